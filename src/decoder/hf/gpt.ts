// Readers of GPT-2 and GPT-J. Refuse cross attention and what transformers ignores.
import { plainFrequencies } from "../frequencies.ts";
import type { Activation, BlockSpec, DecoderSpec, Rope } from "../spec.ts";
import type { Weights } from "../weights.ts";
import { countOf, skip } from "./names.ts";
import { ACTIVATIONS, type Heads, headOf, plainAttention, plainEmbedding } from "./parts.ts";
import { blocksOf, fusedAttention, fusedWidth, parallelBlock, plainMlp, sequentialBlock } from "./plain.ts";
import type { HfReaders } from "./reader.ts";
import type { Settings } from "./settings.ts";

/** What these models name alike. */
export interface GptFrame extends Heads {
  readonly vocabulary: number;
  readonly blocks: number;
  readonly positions: number;
  readonly inner: number;
  /** Of the LayerNorms. */
  readonly epsilon: number;
  readonly activation: Activation;
}

export function readGptFrame(settings: Settings, activation = "gelu_new"): GptFrame {
  const hidden = countOf(settings, ["n_embd", "hidden_size"]);
  const heads = countOf(settings, ["n_head", "num_attention_heads"]);
  if (hidden % heads !== 0) throw settings.refuse("n_head", `is ${heads}, which does not divide the width ${hidden}`);
  return {
    hidden,
    heads,
    kvHeads: heads,
    headSize: hidden / heads,
    vocabulary: settings.count("vocab_size"),
    blocks: countOf(settings, ["n_layer", "num_hidden_layers"]),
    positions: countOf(settings, ["n_positions", "max_position_embeddings"]),
    inner: settings.optionalCount("n_inner") ?? 4 * hidden,
    epsilon: settings.number("layer_norm_epsilon", 1e-5),
    activation: settings.choice("activation_function", ACTIVATIONS, activation),
  };
}

function readGpt2(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readGptFrame(settings);
  const { hidden, positions, vocabulary, epsilon } = frame;
  const scale = settings.flag("scale_attn_weights", true) ? frame.headSize ** -0.5 : 1;
  const byIndex = settings.flag("scale_attn_by_inverse_layer_idx", false);
  settings.only("add_cross_attention", false);
  // The order of one product, which matters in half precision only.
  skip(settings, ["reorder_and_upcast_attn"]);
  const root = weights.root("transformer.");
  weights.ignore(/\.attn\.(bias|masked_bias)$/);
  const table = plainEmbedding(root, "wte", vocabulary, hidden);
  const embedding = { ...table, positions: { weight: root.get("wpe.weight", [positions, hidden]), offset: 0 } };
  return {
    family: "gpt2",
    hidden,
    vocabulary,
    context: positions,
    embedding,
    blocks: blocksOf(root, "h.", frame.blocks, (own, index) =>
      gpt2Block(own, frame, byIndex ? scale / (index + 1) : scale),
    ),
    finalNorm: root.layer("ln_f", hidden, epsilon, true),
    head: headOf(settings, weights, "lm_head", embedding, true),
  };
}

function gpt2Block(weights: Weights, frame: GptFrame, scale: number): BlockSpec {
  const { hidden, inner, epsilon, activation } = frame;
  const attention = fusedAttention(frame, "concatenated", {
    qkv: weights.conv1d("attn.c_attn", hidden, fusedWidth(frame)),
    output: weights.conv1d("attn.c_proj", hidden, hidden),
  });
  const norms = {
    attention: weights.layer("ln_1", hidden, epsilon, true),
    mlp: weights.layer("ln_2", hidden, epsilon, true),
  };
  return sequentialBlock(norms, {
    attention: { ...attention, scale },
    mlp: {
      kind: "plain",
      up: weights.conv1d("mlp.c_fc", hidden, inner),
      down: weights.conv1d("mlp.c_proj", inner, hidden),
      activation,
    },
  });
}

function readGptj(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readGptFrame(settings);
  const { hidden, vocabulary } = frame;
  const rope = gptjRope(settings, frame.headSize);
  settings.only("rotary", true);
  settings.only("scale_attn_weights", true);
  const root = weights.root("transformer.");
  weights.ignore(/\.attn\.(bias|masked_bias|embed_positions)$/);
  const embedding = plainEmbedding(root, "wte", vocabulary, hidden);
  const head = headOf(settings, weights, "lm_head", embedding, false);
  return {
    family: "gptj",
    hidden,
    vocabulary,
    context: frame.positions,
    embedding,
    blocks: blocksOf(root, "h.", frame.blocks, (own) => gptjBlock(own, frame, rope)),
    finalNorm: root.layer("ln_f", hidden, frame.epsilon, true),
    head: { ...head, bias: weights.get("lm_head.bias", [vocabulary]) },
  };
}

/** The base of GPT-J is not a setting. */
export function gptjRope(settings: Settings, headSize: number): Rope {
  const dims = settings.count("rotary_dim", 64);
  if (dims > headSize || dims % 2 !== 0) {
    throw settings.refuse("rotary_dim", `is ${dims}; a multiple of 2 up to the head size ${headSize} is needed`);
  }
  return { dims, layout: "interleaved", angles: { frequencies: plainFrequencies(10000, dims), magnitude: 1 } };
}

function gptjBlock(weights: Weights, frame: GptFrame, rope: Rope): BlockSpec {
  return parallelBlock(
    { attention: weights.layer("ln_1", frame.hidden, frame.epsilon, true) },
    {
      attention: { ...plainAttention(weights.under("attn."), frame, { qkv: false, output: false }, "out_proj"), rope },
      mlp: plainMlp(weights, { up: "mlp.fc_in", down: "mlp.fc_out" }, frame, frame.activation, true),
    },
  );
}

export const GPT_READERS: HfReaders = { gpt2: readGpt2, gptj: readGptj };
