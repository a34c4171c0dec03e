// Reader of Falcon in its three forms: 7B (one key head), RW (ALiBi, sequential), 40B and later (grouped heads).
import type { Activation, Attention, BlockSpec, DecoderSpec, Norm, Rope } from "../spec.ts";
import type { Weights } from "../weights.ts";
import { bloomSlopes } from "./alibi.ts";
import { countOf } from "./names.ts";
import { ACTIVATIONS, type Heads, headOf, plainEmbedding } from "./parts.ts";
import { blocksOf, NEOX_MLP, neoxAttention, parallelBlock, plainMlp, sequentialBlock } from "./plain.ts";
import type { HfReaders } from "./reader.ts";
import { readRope } from "./rope.ts";
import type { Settings } from "./settings.ts";

/** separate: norms for attention and MLP, side by side. shared: one norm for both, side by side. sequential: one after the other. */
type Placement = "separate" | "shared" | "sequential";

interface Frame extends Heads {
  readonly vocabulary: number;
  readonly blocks: number;
  readonly inner: number;
  readonly context: number;
  readonly epsilon: number;
  readonly activation: Activation;
  readonly bias: boolean;
  readonly placement: Placement;
  readonly positions: Pick<Attention, "rope" | "alibi">;
}

function readFalcon(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings);
  const { hidden, vocabulary } = frame;
  settings.only("apply_residual_connection_post_layernorm", false);
  const root = weights.root("transformer.");
  const embedding = plainEmbedding(root, "word_embeddings", vocabulary, hidden);
  return {
    family: "falcon",
    hidden,
    vocabulary,
    context: frame.context,
    embedding,
    blocks: blocksOf(root, "h.", frame.blocks, (own) => falconBlock(own, frame)),
    finalNorm: root.layer("ln_f", hidden, frame.epsilon, true),
    head: headOf(settings, weights, "lm_head", embedding, true),
  };
}

function readFrame(settings: Settings): Frame {
  const hidden = countOf(settings, ["hidden_size", "n_embed"]);
  const heads = countOf(settings, ["num_attention_heads", "n_head"]);
  if (hidden % heads !== 0) {
    throw settings.refuse("num_attention_heads", `is ${heads}, which does not divide the width ${hidden}`);
  }
  const grouped = settings.flag("new_decoder_architecture", false);
  const headSize = hidden / heads;
  const inner = settings.optionalCount("ffn_hidden_size") ?? 4 * hidden;
  const factor = settings.optionalCount("ff_factor") ?? inner / hidden;
  if (factor * hidden !== inner) throw settings.refuse("ff_factor", `is ${factor}, but ffn_hidden_size is ${inner}`);
  const context = settings.count("max_position_embeddings", 2048);
  return {
    hidden,
    heads,
    kvHeads: kvHeadsOf(settings, heads, grouped),
    headSize,
    vocabulary: settings.count("vocab_size"),
    blocks: countOf(settings, ["num_hidden_layers", "n_layer"]),
    inner,
    context,
    epsilon: settings.number("layer_norm_epsilon", 1e-5),
    activation: settings.choice("activation", ACTIVATIONS, "gelu"),
    bias: settings.flag("bias", false),
    placement: placementOf(settings, grouped),
    positions: positionsOf(settings, { heads, headSize, context }),
  };
}

function kvHeadsOf(settings: Settings, heads: number, grouped: boolean): number {
  const stored = countOf(settings, ["num_kv_heads", "n_head_kv"], heads);
  const single = settings.flag("multi_query", true);
  if (!grouped) return single ? 1 : heads;
  if (heads % stored === 0) return stored;
  throw settings.refuse("num_kv_heads", `is ${stored}, which does not divide the ${heads} attention heads`);
}

function placementOf(settings: Settings, grouped: boolean): Placement {
  const norms = settings.optionalCount("num_ln_in_parallel_attn") ?? (grouped ? 2 : 1);
  if (norms > 2) throw settings.refuse("num_ln_in_parallel_attn", `is ${norms}; 1 and 2 are known`);
  if (grouped) {
    settings.only("parallel_attn", true);
    return norms === 2 ? "separate" : "shared";
  }
  if (!settings.flag("parallel_attn", true)) return "sequential";
  if (norms === 1) return "shared";
  throw settings.refuse("num_ln_in_parallel_attn", "is 2, which needs new_decoder_architecture");
}

function positionsOf(
  settings: Settings,
  { heads, headSize, context }: { readonly heads: number; readonly headSize: number; readonly context: number },
): Pick<Attention, "rope" | "alibi"> {
  const rope: Rope = readRope(settings, { headSize, context });
  if (!settings.flag("alibi", false)) return { rope };
  // Falcon scales the biased score, and computes the bias in bfloat16.
  return { alibi: { slopes: bloomSlopes(heads), scale: headSize ** -0.5, bfloat16: true } };
}

function falconBlock(weights: Weights, frame: Frame): BlockSpec {
  const { hidden, bias, placement } = frame;
  const norm = (name: string): Norm => weights.layer(name, hidden, frame.epsilon, true);
  const inside = {
    attention: { ...neoxAttention(weights.under("self_attention."), frame, bias), ...frame.positions },
    mlp: plainMlp(weights, NEOX_MLP, frame, frame.activation, bias),
  };
  if (placement === "separate") return parallelBlock({ attention: norm("ln_attn"), mlp: norm("ln_mlp") }, inside);
  const attentionNorm = norm("input_layernorm");
  if (placement === "shared") return parallelBlock({ attention: attentionNorm }, inside);
  return sequentialBlock({ attention: attentionNorm, mlp: norm("post_attention_layernorm") }, inside);
}

export const FALCON_READERS: HfReaders = { falcon: readFalcon };
