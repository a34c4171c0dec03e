// Readers of Phi-3 and GLM-4, whose gate and up projections are one tensor; Phi-3's queries, keys and values are, too.
import type { Activation, Attention, DecoderSpec, GatedMlp } from "../spec.ts";
import type { Weights } from "../weights.ts";
import { type Frame, llamaLike, preNormBlock, readFrame } from "./llama.ts";
import { ACTIVATIONS, plainAttention } from "./parts.ts";
import type { HfReaders } from "./reader.ts";
import { readRope } from "./rope.ts";
import type { Settings } from "./settings.ts";

function fusedMlp(weights: Weights, { heads, inner }: Frame, activation: Activation): GatedMlp {
  const linear = weights.linear("gate_up_proj", heads.hidden, 2 * inner, false);
  return {
    kind: "gated",
    gateUp: { form: "fused", linear, order: "halves" },
    down: weights.linear("down_proj", inner, heads.hidden, false),
    activation,
  };
}

function fusedAttention(weights: Weights, { heads: { hidden, heads, kvHeads, headSize } }: Frame): Attention {
  const linear = weights.linear("qkv_proj", hidden, (heads + 2 * kvHeads) * headSize, false);
  return {
    heads,
    kvHeads,
    headSize,
    qkv: { form: "fused", linear, order: "concatenated" },
    output: weights.linear("o_proj", heads * headSize, hidden, false),
    scale: headSize ** -0.5,
  };
}

function readPhi3(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings, { context: 4096, epsilon: 1e-5 });
  const rope = readRope(settings, {
    headSize: frame.heads.headSize,
    context: frame.context,
    partial: 1,
    original: 4096,
    aliases: { su: "longrope", yarn: "longrope" },
  });
  const window = settings.optionalCount("sliding_window");
  // Phi-4-mini's files say these beside transformers' own settings; 1 is what transformers computes.
  settings.only("interpolate_factor", 1);
  settings.only("full_attn_mod", 1);
  const activation = settings.choice("hidden_act", ACTIVATIONS, "silu");
  return llamaLike("phi3", settings, weights, frame, false, (block) =>
    preNormBlock(block, frame, {
      attention: {
        ...fusedAttention(block.under("self_attn."), frame),
        rope,
        ...(window === undefined ? {} : { window }),
      },
      mlp: fusedMlp(block.under("mlp."), frame, activation),
    }),
  );
}

/** Norms on both sides of each branch. */
function readGlm4(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings, { context: 131072, epsilon: 1.5625e-7, kvHeads: 2, headSize: 128 });
  const rope = readRope(settings, {
    headSize: frame.heads.headSize,
    context: frame.context,
    partial: 0.5,
    layout: "interleaved",
  });
  const activation = settings.choice("hidden_act", ACTIVATIONS, "silu");
  const bias = { qkv: settings.flag("attention_bias", true), output: false };
  return llamaLike("glm4", settings, weights, frame, false, (block) => ({
    ...preNormBlock(block, frame, {
      attention: { ...plainAttention(block.under("self_attn."), frame.heads, bias), rope },
      mlp: fusedMlp(block.under("mlp."), frame, activation),
    }),
    attentionOutputNorm: block.rms("post_self_attn_layernorm", frame.heads.hidden, frame.epsilon),
    mlpOutputNorm: block.rms("post_mlp_layernorm", frame.heads.hidden, frame.epsilon),
  }));
}

export const PHI3_READERS: HfReaders = { phi3: readPhi3, glm4: readGlm4 };
