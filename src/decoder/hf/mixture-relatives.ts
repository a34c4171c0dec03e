// Readers of OLMoE and of Granite's mixtures. Refuse OLMoE's clipping, which follows its norms.
import { type Activation, type DecoderSpec, type GatedMlp, type HeadNorm, type MixtureMlp, slicesOf } from "../spec.ts";
import type { Weights } from "../weights.ts";
import { gatedExperts, PROJ_NAMES, pairs, softmaxRouter } from "./experts.ts";
import { type Frame, llamaLike, preNormBlock, readBias, readFrame } from "./llama.ts";
import { countOf } from "./names.ts";
import { ACTIVATIONS, plainAttention } from "./parts.ts";
import type { HfReaders } from "./reader.ts";
import { readRope } from "./rope.ts";
import type { Settings } from "./settings.ts";

function readOlmoe(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings, { context: 4096, epsilon: 1e-5 });
  const { hidden, heads, kvHeads, headSize } = frame.heads;
  const rope = readRope(settings, { headSize, context: frame.context });
  const activation = settings.choice("hidden_act", ACTIVATIONS, "silu");
  const bias = readBias(settings, false);
  const sizes = {
    experts: countOf(settings, ["num_experts", "num_local_experts"], 64),
    hidden,
    inner: frame.inner,
  };
  const chosen = {
    perToken: settings.count("num_experts_per_tok", 8),
    normalize: settings.flag("norm_topk_prob", false),
  };
  if (settings.has("clip_qkv")) throw settings.refuse("clip_qkv", "is set; clipping behind norms is not supported");
  return llamaLike("olmoe", settings, weights, frame, false, (block) => {
    const own = block.under("self_attn.");
    const mlp = block.under("mlp.");
    const norm = (name: string, count: number): HeadNorm => ({
      ...own.rms(name, count * headSize, frame.epsilon),
      over: "all",
    });
    return preNormBlock(block, frame, {
      attention: {
        ...plainAttention(own, frame.heads, bias),
        rope,
        qNorm: norm("q_norm", heads),
        kNorm: norm("k_norm", kvHeads),
      },
      mlp: {
        kind: "mixture",
        router: softmaxRouter(mlp, "gate", sizes, chosen),
        experts: gatedExperts(mlp, PROJ_NAMES, sizes, activation),
      },
    });
  });
}

interface GraniteMixture {
  readonly experts: number;
  readonly perToken: number;
  readonly activation: Activation;
  /** Width of the shared expert; 0: there is none. */
  readonly shared: number;
}

function readGraniteMoe(family: string): (settings: Settings, weights: Weights) => DecoderSpec {
  return (settings, weights) => {
    const frame = readFrame(settings, { context: 2048, epsilon: 1e-6 });
    const { headSize } = frame.heads;
    const rope = readRope(settings, { headSize, context: frame.context });
    const bias = readBias(settings, false);
    const scale = settings.number("attention_multiplier", 1);
    const residualMultiplier = settings.number("residual_multiplier", 1);
    const mixture: GraniteMixture = {
      experts: countOf(settings, ["num_local_experts", "num_experts"], 8),
      perToken: settings.count("num_experts_per_tok", 2),
      activation: settings.choice("hidden_act", ACTIVATIONS, "silu"),
      shared: family === "granitemoe" ? 0 : settings.number("shared_intermediate_size", 0),
    };
    const spec = llamaLike(family, settings, weights, frame, false, (block) => ({
      ...preNormBlock(block, frame, {
        attention: { ...plainAttention(block.under("self_attn."), frame.heads, bias), rope, scale },
        mlp: graniteMixture(block, frame, mixture),
      }),
      residualMultiplier,
    }));
    return {
      ...spec,
      embedding: { ...spec.embedding, scale: settings.number("embedding_multiplier", 1) },
      head: { ...spec.head, scale: 1 / settings.number("logits_scaling", 1) },
    };
  };
}

function graniteMixture(block: Weights, frame: Frame, own: GraniteMixture): MixtureMlp {
  const { experts, perToken, activation, shared } = own;
  const { inner } = frame;
  const { hidden } = frame.heads;
  const weights = block.under("block_sparse_moe.");
  const inputs = slicesOf(weights.get("input_linear.weight", [experts, 2 * inner, hidden]));
  const outputs = slicesOf(weights.get("output_linear.weight", [experts, hidden, inner]));
  return {
    kind: "mixture",
    router: {
      linear: weights.linear("router.layer", hidden, experts, false),
      perToken,
      softmax: "selected",
      normalize: false,
      scale: 1,
    },
    experts: pairs(inputs, outputs).map(([gateUp, down]) => ({
      kind: "gated",
      gateUp: { form: "fused", linear: { weight: gateUp, layout: "out_in" }, order: "halves" },
      down: { weight: down, layout: "out_in" },
      activation,
    })),
    ...(shared === 0 ? {} : { shared: { mlp: sharedMlp(block.under("shared_mlp."), hidden, shared, activation) } }),
  };
}

function sharedMlp(weights: Weights, hidden: number, inner: number, activation: Activation): GatedMlp {
  return {
    kind: "gated",
    gateUp: { form: "fused", linear: weights.linear("input_linear", hidden, 2 * inner, false), order: "halves" },
    down: weights.linear("output_linear", inner, hidden, false),
    activation,
  };
}

export const MIXTURE_RELATIVE_READERS: HfReaders = {
  olmoe: readOlmoe,
  granitemoe: readGraniteMoe("granitemoe"),
  granitemoeshared: readGraniteMoe("granitemoeshared"),
};
