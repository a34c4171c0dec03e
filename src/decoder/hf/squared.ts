// Readers of Persimmon, Nemotron and Arcee, whose plain MLPs square a ReLU; and of Seed-OSS, llama with biases of its own.
import type { BlockSpec, DecoderSpec, HeadNorm, Norm } from "../spec.ts";
import type { Weights } from "../weights.ts";
import { llamaBlock, llamaLike, preNormBlock, readBias, readFrame } from "./llama.ts";
import { ACTIVATIONS, plainAttention } from "./parts.ts";
import { NEOX_MLP, neoxAttention, plainMlp, sequentialBlock } from "./plain.ts";
import type { HfReaders } from "./reader.ts";
import { readRope } from "./rope.ts";
import type { Settings } from "./settings.ts";

function readPersimmon(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings, { context: 16384, epsilon: 1e-5, epsilonKey: "layer_norm_eps" });
  const { heads, inner, epsilon } = frame;
  const { hidden, headSize } = heads;
  const rope = readRope(settings, { headSize, context: frame.context, partial: 0.5 });
  const activation = settings.choice("hidden_act", ACTIVATIONS, "relu2");
  const normed = settings.flag("qk_layernorm", true);
  const block = (own: Weights): BlockSpec => {
    const self = own.under("self_attn.");
    const norm = (name: string): HeadNorm => ({ ...self.layer(name, headSize, epsilon, true), over: "head" });
    const norms = {
      attention: own.layer("input_layernorm", hidden, epsilon, true),
      mlp: own.layer("post_attention_layernorm", hidden, epsilon, true),
    };
    return sequentialBlock(norms, {
      attention: {
        ...neoxAttention(self, heads, true),
        rope,
        ...(normed ? { qNorm: norm("q_layernorm"), kNorm: norm("k_layernorm") } : {}),
      },
      mlp: plainMlp(own, NEOX_MLP, { hidden, inner }, activation, true),
    });
  };
  const finalNorm = (root: Weights): Norm => root.layer("final_layernorm", hidden, epsilon, true);
  return llamaLike("persimmon", settings, weights, frame, false, block, finalNorm);
}

const UP_DOWN = { up: "mlp.up_proj", down: "mlp.down_proj" };

function readNemotron(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings, { context: 4096, epsilon: 1e-5, epsilonKey: "norm_eps" });
  const { hidden, headSize } = frame.heads;
  const sizes = { hidden, inner: frame.inner };
  const rope = readRope(settings, { headSize, context: frame.context, partial: 0.5 });
  const activation = settings.choice("hidden_act", ACTIVATIONS, "relu2");
  const bias = readBias(settings, false);
  const mlpBias = settings.flag("mlp_bias", false);
  // A LayerNorm of (1 + w).
  const norm = (own: Weights, name: string): Norm => ({
    ...own.layer(name, hidden, frame.epsilon, true),
    gainOffset: 1,
  });
  const block = (own: Weights): BlockSpec =>
    sequentialBlock(
      { attention: norm(own, "input_layernorm"), mlp: norm(own, "post_attention_layernorm") },
      {
        attention: { ...plainAttention(own.under("self_attn."), frame.heads, bias), rope },
        mlp: plainMlp(own, UP_DOWN, sizes, activation, mlpBias),
      },
    );
  return llamaLike("nemotron", settings, weights, frame, false, block, (root) => norm(root, "norm"));
}

function readArcee(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings, { context: 4096, epsilon: 1e-5 });
  const { hidden, headSize } = frame.heads;
  const sizes = { hidden, inner: frame.inner };
  const rope = readRope(settings, { headSize, context: frame.context });
  const activation = settings.choice("hidden_act", ACTIVATIONS, "relu2");
  const bias = readBias(settings, false);
  const mlpBias = settings.flag("mlp_bias", false);
  return llamaLike("arcee", settings, weights, frame, false, (own) =>
    preNormBlock(own, frame, {
      attention: { ...plainAttention(own.under("self_attn."), frame.heads, bias), rope },
      mlp: plainMlp(own, UP_DOWN, sizes, activation, mlpBias),
    }),
  );
}

function readSeedOss(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings, { context: 524288, epsilon: 1e-6, kvHeads: 8, headSize: 128 });
  const own = {
    bias: { qkv: settings.flag("attention_bias", true), output: settings.flag("attention_out_bias", false) },
    mlpBias: settings.flag("mlp_bias", false),
    activation: settings.choice("hidden_act", ACTIVATIONS, "silu"),
    attention: { rope: readRope(settings, { headSize: frame.heads.headSize, context: frame.context }) },
  };
  return llamaLike("seed_oss", settings, weights, frame, false, (block) => llamaBlock(block, frame, own));
}

export const SQUARED_READERS: HfReaders = {
  persimmon: readPersimmon,
  nemotron: readNemotron,
  arcee: readArcee,
  seed_oss: readSeedOss,
};
