// Pieces that most Hugging Face decoders are made of, out of settings and weights. Holds no family.
import type { Activation, Attention, Embedding, GatedMlp, Head, HeadNorm, Qkv } from "../spec.ts";
import type { Weights } from "../weights.ts";
import type { Settings } from "./settings.ts";

/** hidden_act and its synonyms, by transformers' names. */
export const ACTIVATIONS: Readonly<Record<string, Activation>> = {
  silu: "silu",
  swish: "silu",
  gelu: "gelu",
  gelu_new: "gelu_tanh",
  gelu_fast: "gelu_tanh",
  gelu_pytorch_tanh: "gelu_tanh",
  quick_gelu: "gelu_quick",
  relu: "relu",
  relu2: "relu2",
};

export interface Heads {
  readonly hidden: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headSize: number;
}

/** hidden_size, num_attention_heads, num_key_value_heads (null: all heads) and head_dim (null: hidden / heads); absent: the defaults, or as null. */
export function readHeads(settings: Settings, defaults: { kvHeads?: number; headSize?: number } = {}): Heads {
  const hidden = settings.count("hidden_size");
  const heads = settings.count("num_attention_heads");
  const kvHeads = settings.optionalCount("num_key_value_heads", defaults.kvHeads) ?? heads;
  const headSize = settings.optionalCount("head_dim", defaults.headSize) ?? Math.floor(hidden / heads);
  if (heads % kvHeads !== 0) {
    throw settings.refuse("num_key_value_heads", `is ${kvHeads}, which does not divide the ${heads} attention heads`);
  }
  return { hidden, heads, kvHeads, headSize };
}

/** q_proj, k_proj and v_proj. */
export function separateQkv(weights: Weights, { hidden, heads, kvHeads, headSize }: Heads, bias: boolean): Qkv {
  return {
    form: "separate",
    q: weights.linear("q_proj", hidden, heads * headSize, bias),
    k: weights.linear("k_proj", hidden, kvHeads * headSize, bias),
    v: weights.linear("v_proj", hidden, kvHeads * headSize, bias),
  };
}

/** Plain attention: q_proj, k_proj, v_proj and an output projection, scores scaled by 1 / sqrt(head size). */
export function plainAttention(
  weights: Weights,
  heads: Heads,
  bias: { readonly qkv: boolean; readonly output: boolean },
  output = "o_proj",
): Attention {
  return {
    heads: heads.heads,
    kvHeads: heads.kvHeads,
    headSize: heads.headSize,
    qkv: separateQkv(weights, heads, bias.qkv),
    output: weights.linear(output, heads.heads * heads.headSize, heads.hidden, bias.output),
    scale: heads.headSize ** -0.5,
  };
}

/** RMS norm of each head alone, gain `name`.weight [head size]. */
export function headRms(
  weights: Weights,
  name: string,
  headSize: number,
  epsilon: number,
  gainOffset: 0 | 1 = 0,
): HeadNorm {
  return { ...weights.rms(name, headSize, epsilon, gainOffset), over: "head" };
}

/** gate_proj, up_proj, down_proj. */
export function gatedMlp(
  weights: Weights,
  hidden: number,
  inner: number,
  activation: Activation,
  bias = false,
): GatedMlp {
  return {
    kind: "gated",
    gateUp: {
      form: "separate",
      gate: weights.linear("gate_proj", hidden, inner, bias),
      up: weights.linear("up_proj", hidden, inner, bias),
    },
    down: weights.linear("down_proj", inner, hidden, bias),
    activation,
  };
}

/** The table, not scaled. */
export function plainEmbedding(weights: Weights, name: string, vocabulary: number, width: number): Embedding {
  return { weight: weights.get(`${name}.weight`, [vocabulary, width]), scale: 1 };
}

/**
 * The head `name`.weight where the file has it; else, when the settings tie the two, the embedding. transformers, too, uses a stored head of a tied
 * model (it ties only when the values agree).
 */
export function headOf(
  settings: Settings,
  weights: Weights,
  name: string,
  embedding: Embedding,
  tiedByDefault: boolean,
): Head {
  const tied = settings.flag("tie_word_embeddings", tiedByDefault);
  if (tied && !weights.has(`${name}.weight`)) return { weight: embedding.weight, scale: 1 };
  return { weight: weights.get(`${name}.weight`, embedding.weight.tensor.shape), scale: 1 };
}

/** What each block attends to: layer_types, or `fallback` of the index. Only the two given kinds are known. */
export function blockKinds(
  settings: Settings,
  blocks: number,
  fallback: (index: number) => "full_attention" | "sliding_attention",
): readonly string[] {
  const kinds = settings.optionalTexts("layer_types") ?? Array.from({ length: blocks }, (_, i) => fallback(i));
  if (kinds.length !== blocks) {
    throw settings.refuse("layer_types", `names ${kinds.length} blocks; there are ${blocks}`);
  }
  const unknown = kinds.find((kind) => kind !== "full_attention" && kind !== "sliding_attention");
  if (unknown === undefined) return kinds;
  throw settings.refuse("layer_types", `names "${unknown}"; known are full_attention and sliding_attention`);
}

/** sliding_window for the blocks that slide. Throws "unsupported" when a block does and there is no window. */
export function windowOf(
  settings: Settings,
  kind: string | undefined,
  window: number | undefined,
): { window?: number } {
  if (kind !== "sliding_attention") return {};
  if (window !== undefined) return { window };
  throw settings.refuse("sliding_window", "is absent, but layer_types has blocks of sliding_attention");
}
