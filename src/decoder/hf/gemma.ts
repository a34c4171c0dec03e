// Readers of Gemma, Gemma 2 and the text model of Gemma 3: gains of 1 + w, a scaled embedding, norms on both sides of the branches.
import { plainFrequencies } from "../frequencies.ts";
import type { Attention, BlockSpec, DecoderSpec, Norm, Rope } from "../spec.ts";
import type { Weights } from "../weights.ts";
import { type Frame, llamaLike, readBias, readFrame } from "./llama.ts";
import { ACTIVATIONS, blockKinds, gatedMlp, headRms, plainAttention, windowOf } from "./parts.ts";
import type { HfReaders } from "./reader.ts";
import { readRope } from "./rope.ts";
import type { Settings } from "./settings.ts";

/** "gelu" in a Gemma configuration means the tanh form, as transformers reads it. */
const GEMMA_ACTIVATIONS = { ...ACTIVATIONS, gelu: "gelu_tanh" } as const;
/** head_dim where none is stored. */
const HEAD_SIZE = 256;

function gemmaLike(
  family: string,
  settings: Settings,
  weights: Weights,
  frame: Frame,
  block: (weights: Weights, index: number) => BlockSpec,
): DecoderSpec {
  const spec = llamaLike(family, settings, weights, frame, true, block);
  const root = weights.root("model.");
  return {
    ...spec,
    embedding: { ...spec.embedding, scale: Math.sqrt(spec.hidden) },
    finalNorm: gain(root, "norm", frame),
  };
}

function gain(weights: Weights, name: string, frame: Frame): Norm {
  return weights.rms(name, frame.heads.hidden, frame.epsilon, 1);
}

function readGemma(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings, { context: 8192, epsilon: 1e-6, kvHeads: 16, headSize: HEAD_SIZE });
  const rope = readRope(settings, { headSize: frame.heads.headSize, context: frame.context });
  const activation = settings.choice("hidden_act", GEMMA_ACTIVATIONS, "gelu_pytorch_tanh");
  // An old name, which transformers 5 does not read: it must not say something else.
  settings.only("hidden_activation", "gelu_pytorch_tanh");
  const bias = readBias(settings, false);
  return gemmaLike("gemma", settings, weights, frame, (block) => ({
    residual: "sequential",
    residualMultiplier: 1,
    attention: { ...plainAttention(block.under("self_attn."), frame.heads, bias), rope },
    mlp: gatedMlp(block.under("mlp."), frame.heads.hidden, frame.inner, activation),
    attentionNorm: gain(block, "input_layernorm", frame),
    mlpNorm: gain(block, "post_attention_layernorm", frame),
  }));
}

/** A norm before and after each branch; scores scaled by query_pre_attn_scalar. */
function sandwiched(settings: Settings, frame: Frame): (block: Weights, attention: Partial<Attention>) => BlockSpec {
  const activation = settings.choice("hidden_activation", ACTIVATIONS, "gelu_pytorch_tanh");
  const scale = settings.number("query_pre_attn_scalar", 256) ** -0.5;
  const bias = readBias(settings, false);
  return (block, attention) => ({
    residual: "sequential",
    residualMultiplier: 1,
    attention: { ...plainAttention(block.under("self_attn."), frame.heads, bias), scale, ...attention },
    mlp: gatedMlp(block.under("mlp."), frame.heads.hidden, frame.inner, activation),
    attentionNorm: gain(block, "input_layernorm", frame),
    attentionOutputNorm: gain(block, "post_attention_layernorm", frame),
    mlpNorm: gain(block, "pre_feedforward_layernorm", frame),
    mlpOutputNorm: gain(block, "post_feedforward_layernorm", frame),
  });
}

function readGemma2(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings, { context: 8192, epsilon: 1e-6, kvHeads: 4, headSize: HEAD_SIZE });
  const rope = readRope(settings, { headSize: frame.heads.headSize, context: frame.context });
  const window = settings.optionalCount("sliding_window", 4096);
  const kinds = blockKinds(settings, frame.blocks, (i) => (i % 2 === 0 ? "sliding_attention" : "full_attention"));
  const softcap = settings.optionalNumber("attn_logit_softcapping", 50);
  // Files of early versions repeat the activation under its usual name, which Gemma 2 does not read.
  settings.only("hidden_act", "gelu_pytorch_tanh");
  const blockOf = sandwiched(settings, frame);
  const spec = gemmaLike("gemma2", settings, weights, frame, (block, index) =>
    blockOf(block, {
      rope,
      ...windowOf(settings, kinds[index], window),
      ...(softcap === undefined ? {} : { softcap }),
    }),
  );
  return withCap(spec, settings.optionalNumber("final_logit_softcapping", 30));
}

function readGemma3(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings, { context: 131072, epsilon: 1e-6, kvHeads: 4, headSize: HEAD_SIZE });
  const { headSize } = frame.heads;
  const ropes = readRopes(settings, frame);
  const window = settings.optionalCount("sliding_window", 4096);
  const period = settings.count("sliding_window_pattern", 6);
  const kinds = blockKinds(settings, frame.blocks, (index) =>
    (index + 1) % period === 0 ? "full_attention" : "sliding_attention",
  );
  const blockOf = sandwiched(settings, frame);
  const spec = gemmaLike("gemma3_text", settings, weights, frame, (block, index) => {
    const kind = kinds[index] === "sliding_attention" ? "sliding_attention" : "full_attention";
    return blockOf(block, {
      rope: ropes[kind],
      qNorm: headRms(block, "self_attn.q_norm", headSize, frame.epsilon, 1),
      kNorm: headRms(block, "self_attn.k_norm", headSize, frame.epsilon, 1),
      ...windowOf(settings, kind, window),
    });
  });
  return withCap(spec, settings.optionalNumber("final_logit_softcapping"));
}

/** Kinds of blocks turn differently. In old files rope_theta and rope_scaling are those of full attention. */
function readRopes(settings: Settings, frame: Frame): Readonly<Record<"full_attention" | "sliding_attention", Rope>> {
  const { headSize } = frame.heads;
  const { context } = frame;
  const full = readRope(settings, { headSize, context, base: 1e6 }, "full_attention");
  const base = settings.number("rope_local_base_freq", 10000);
  if (settings.below("rope_parameters")?.has("sliding_attention")) {
    return {
      full_attention: full,
      sliding_attention: readRope(settings, { headSize, context, base }, "sliding_attention"),
    };
  }
  const angles = { frequencies: plainFrequencies(base, headSize), magnitude: 1 };
  return { full_attention: full, sliding_attention: { dims: headSize, layout: "half", angles } };
}

function withCap(spec: DecoderSpec, softcap: number | undefined): DecoderSpec {
  return softcap === undefined ? spec : { ...spec, head: { ...spec.head, softcap } };
}

export const GEMMA_READERS: HfReaders = { gemma: readGemma, gemma2: readGemma2, gemma3_text: readGemma3 };
