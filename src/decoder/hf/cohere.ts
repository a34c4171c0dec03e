// Readers of Cohere's Command models: both branches read one LayerNorm, pairs turn interleaved, logits are scaled.
import type { Attention, BlockSpec, DecoderSpec, HeadNorm, Norm } from "../spec.ts";
import type { Weights } from "../weights.ts";
import { type Frame, llamaLike, readBias, readFrame } from "./llama.ts";
import { ACTIVATIONS, blockKinds, gatedMlp, plainAttention, windowOf } from "./parts.ts";
import { parallelBlock } from "./plain.ts";
import type { HfReaders } from "./reader.ts";
import { readRope } from "./rope.ts";
import type { Settings } from "./settings.ts";

function readCohereFrame(settings: Settings): Frame {
  return readFrame(settings, { context: 8192, epsilon: 1e-5, epsilonKey: "layer_norm_eps" });
}

function cohereLike(
  family: string,
  settings: Settings,
  weights: Weights,
  frame: Frame,
  attention: (block: Weights, index: number) => Partial<Attention>,
): DecoderSpec {
  const { heads, inner, epsilon } = frame;
  const { hidden } = heads;
  const bias = readBias(settings, false);
  const activation = settings.choice("hidden_act", ACTIVATIONS, "silu");
  const blockOf = (block: Weights, index: number): BlockSpec =>
    parallelBlock(
      { attention: block.layer("input_layernorm", hidden, epsilon, false) },
      {
        attention: { ...plainAttention(block.under("self_attn."), heads, bias), ...attention(block, index) },
        mlp: gatedMlp(block.under("mlp."), hidden, inner, activation),
      },
    );
  const finalNorm = (root: Weights): Norm => root.layer("norm", hidden, epsilon, false);
  const spec = llamaLike(family, settings, weights, frame, true, blockOf, finalNorm);
  return { ...spec, head: { ...spec.head, scale: settings.number("logit_scale", 0.0625) } };
}

function readCohere(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readCohereFrame(settings);
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
  const frame = readCohereFrame(settings);
  const { headSize } = frame.heads;
  const rope = readRope(settings, { headSize, context: frame.context, layout: "interleaved" });
  const window = settings.optionalCount("sliding_window", 4096);
  const period = settings.count("sliding_window_pattern", 4);
  settings.only("layer_switch", period);
  for (const [key, value] of Object.entries(COHERE2_CONSTANTS)) settings.only(key, value);
  const kinds = blockKinds(settings, frame.blocks, (index) =>
    (index + 1) % period === 0 ? "full_attention" : "sliding_attention",
  );
  return cohereLike("cohere2", settings, weights, frame, (_, index) => ({
    ...(kinds[index] === "sliding_attention" ? { rope } : {}),
    ...windowOf(settings, kinds[index], window),
  }));
}

export const COHERE_READERS: HfReaders = { cohere: readCohere, cohere2: readCohere2 };
