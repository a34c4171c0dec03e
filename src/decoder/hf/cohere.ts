// Readers of Cohere's Command models: both branches read one LayerNorm, pairs turn interleaved, logits are scaled.
import type { Attention, BlockSpec, DecoderSpec, HeadNorm } from "../spec.ts";
import type { Weights } from "../weights.ts";
import { readBias } from "./llama.ts";
import {
  ACTIVATIONS,
  blockKinds,
  gatedMlp,
  type Heads,
  headOf,
  plainAttention,
  plainEmbedding,
  readHeads,
  windowOf,
} from "./parts.ts";
import type { HfReaders } from "./reader.ts";
import { readRope } from "./rope.ts";
import type { Settings } from "./settings.ts";

interface Frame {
  readonly heads: Heads;
  readonly context: number;
  readonly epsilon: number;
}

function readFrame(settings: Settings): Frame {
  return {
    heads: readHeads(settings),
    context: settings.count("max_position_embeddings", 8192),
    epsilon: settings.number("layer_norm_eps", 1e-5),
  };
}

function cohereLike(
  family: string,
  settings: Settings,
  weights: Weights,
  { heads, context, epsilon }: Frame,
  attention: (block: Weights, index: number) => Partial<Attention>,
): DecoderSpec {
  const { hidden } = heads;
  const vocabulary = settings.count("vocab_size");
  const inner = settings.count("intermediate_size");
  const bias = readBias(settings, false);
  const activation = settings.choice("hidden_act", ACTIVATIONS, "silu");
  const root = weights.root("model.");
  weights.ignore(/\.rotary_emb\.inv_freq$/);
  const embedding = plainEmbedding(root, "embed_tokens", vocabulary, hidden);
  const blockOf = (block: Weights, index: number): BlockSpec => ({
    residual: "parallel",
    residualMultiplier: 1,
    attention: { ...plainAttention(block.under("self_attn."), heads, bias), ...attention(block, index) },
    mlp: gatedMlp(block.under("mlp."), hidden, inner, activation),
    attentionNorm: block.layer("input_layernorm", hidden, epsilon, false),
  });
  const blocks = settings.count("num_hidden_layers");
  return {
    family,
    hidden,
    vocabulary,
    context,
    embedding,
    blocks: Array.from({ length: blocks }, (_, index) => blockOf(root.under(`layers.${index}.`), index)),
    finalNorm: root.layer("norm", hidden, epsilon, false),
    head: {
      ...headOf(settings, weights, "lm_head", embedding, true),
      scale: settings.number("logit_scale", 0.0625),
    },
  };
}

function readCohere(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings);
  const { heads, kvHeads, headSize } = frame.heads;
  const rope = readRope(settings, { headSize, context: frame.context, base: 500000, layout: "interleaved" });
  const isNormed = settings.flag("use_qk_norm", false);
  const norm = (block: Weights, name: string, count: number): HeadNorm => ({
    kind: "layer",
    epsilon: frame.epsilon,
    gain: block.get(`self_attn.${name}.weight`, [count, headSize]),
    gainOffset: 0,
    over: "head",
  });
  return cohereLike("cohere", settings, weights, frame, (block) => ({
    rope,
    ...(isNormed ? { qNorm: norm(block, "q_norm", heads), kNorm: norm(block, "k_norm", kvHeads) } : {}),
  }));
}

/** What the released files say beside transformers' own settings; only these values are what transformers computes. */
const COHERE2_CONSTANTS: Readonly<Record<string, boolean | number | string>> = {
  use_parallel_block: true,
  use_gated_activation: true,
  use_embedding_sharing: true,
  use_parallel_embedding: false,
  position_embedding_type: "rope_gptj",
  order_of_interleaved_layers: "local_attn_first",
  rotary_pct: 1,
};

/** Blocks with a window turn; the others know no positions. */
function readCohere2(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings);
  const { headSize } = frame.heads;
  const rope = readRope(settings, { headSize, context: frame.context, layout: "interleaved" });
  const window = settings.optionalCount("sliding_window", 4096);
  const period = settings.count("sliding_window_pattern", 4);
  settings.only("layer_switch", period);
  for (const [key, value] of Object.entries(COHERE2_CONSTANTS)) settings.only(key, value);
  const kinds = blockKinds(settings, settings.count("num_hidden_layers"), (index) =>
    (index + 1) % period === 0 ? "full_attention" : "sliding_attention",
  );
  return cohereLike("cohere2", settings, weights, frame, (_, index) => ({
    ...(kinds[index] === "sliding_attention" ? { rope } : {}),
    ...windowOf(settings, kinds[index], window),
  }));
}

export const COHERE_READERS: HfReaders = { cohere: readCohere, cohere2: readCohere2 };
