// Readers of Mixtral, Qwen2-MoE and Qwen3-MoE: llama with experts in place of the MLP. Refuse windows that contradict their switch.
import type { Attention, BlockSpec, DecoderSpec, MixtureMlp, Mlp } from "../spec.ts";
import type { Weights } from "../weights.ts";
import { type ExpertSizes, gatedExperts, PROJ_NAMES, softmaxRouter } from "./experts.ts";
import { type Frame, llamaLike, preNormBlock, readFrame } from "./llama.ts";
import { countOf, skip } from "./names.ts";
import { ACTIVATIONS, blockKinds, gatedMlp, headRms, plainAttention } from "./parts.ts";
import type { HfReaders } from "./reader.ts";
import { readRope } from "./rope.ts";
import type { Settings } from "./settings.ts";

function readMixtral(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings, { context: 131072, epsilon: 1e-5, kvHeads: 8 });
  const { hidden, headSize } = frame.heads;
  const rope = readRope(settings, { headSize, context: frame.context, base: 1e6 });
  const activation = settings.choice("hidden_act", ACTIVATIONS, "silu");
  const window = settings.optionalCount("sliding_window");
  const sizes = { experts: countOf(settings, ["num_local_experts", "num_experts"], 8), hidden, inner: frame.inner };
  const perToken = settings.count("num_experts_per_tok", 2);
  const mlp = (block: Weights): MixtureMlp => {
    const own = block.has("mlp.gate.weight") ? block.under("mlp.") : block.under("block_sparse_moe.");
    return {
      kind: "mixture",
      router: softmaxRouter(own, "gate", sizes, { perToken, normalize: true }),
      experts: gatedExperts(own, { gate: "w1", up: "w3", down: "w2" }, sizes, activation),
    };
  };
  return llamaLike("mixtral", settings, weights, frame, false, (block) =>
    preNormBlock(block, frame, {
      attention: { ...attentionOf(block, frame, { qkv: false, output: false }), rope, ...windowOf(window) },
      mlp: mlp(block),
    }),
  );
}

function attentionOf(
  block: Weights,
  frame: Frame,
  bias: { readonly qkv: boolean; readonly output: boolean },
): Attention {
  return plainAttention(block.under("self_attn."), frame.heads, bias);
}

function windowOf(window: number | undefined): Pick<Attention, "window"> {
  return window === undefined ? {} : { window };
}

/** The MLP of a block: experts in every `decoder_sparse_step`th one that is not in `mlp_only_layers`. */
function qwenMlps(
  settings: Settings,
  frame: Frame,
  mixture: (weights: Weights, sizes: ExpertSizes, base: MixtureMlp) => MixtureMlp,
  defaults: { readonly experts: number; readonly perToken: number; readonly inner: number },
): (weights: Weights, index: number) => Mlp {
  const { hidden } = frame.heads;
  const activation = settings.choice("hidden_act", ACTIVATIONS, "silu");
  const inner = settings.count("moe_intermediate_size", defaults.inner);
  const experts = countOf(settings, ["num_experts", "num_local_experts"], defaults.experts);
  const sizes = { experts, hidden, inner };
  const perToken = settings.count("num_experts_per_tok", defaults.perToken);
  const normalize = settings.flag("norm_topk_prob", false);
  const step = settings.count("decoder_sparse_step", 1);
  const dense = new Set(settings.optionalNumbers("mlp_only_layers"));
  return (weights, index) => {
    if (dense.has(index) || (index + 1) % step !== 0) return gatedMlp(weights, hidden, frame.inner, activation);
    return mixture(weights, sizes, {
      kind: "mixture",
      router: softmaxRouter(weights, "gate", sizes, { perToken, normalize }),
      experts: gatedExperts(weights, PROJ_NAMES, sizes, activation),
    });
  };
}

function readQwen2Moe(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings, { context: 32768, epsilon: 1e-6, kvHeads: 16 });
  const rope = readRope(settings, { headSize: frame.heads.headSize, context: frame.context });
  const bias = { qkv: settings.flag("qkv_bias", true), output: false };
  const sharedInner = settings.count("shared_expert_intermediate_size", 5632);
  const windows = qwen2Windows(settings, frame.blocks);
  const activation = settings.choice("hidden_act", ACTIVATIONS, "silu");
  const mlpOf = qwenMlps(
    settings,
    frame,
    (own, { hidden }, base) => ({
      ...base,
      shared: {
        mlp: gatedMlp(own.under("shared_expert."), hidden, sharedInner, activation),
        gate: own.linear("shared_expert_gate", hidden, 1, false),
      },
    }),
    { experts: 60, perToken: 4, inner: 1408 },
  );
  return llamaLike(
    "qwen2_moe",
    settings,
    weights,
    frame,
    false,
    (block, index): BlockSpec =>
      preNormBlock(block, frame, {
        attention: { ...attentionOf(block, frame, bias), rope, ...windowOf(windows[index]) },
        mlp: mlpOf(block.under("mlp."), index),
      }),
  );
}

/** The window of each block. Without layer_types every other of the first `max_window_layers` blocks has one. */
function qwen2Windows(settings: Settings, blocks: number): readonly (number | undefined)[] {
  const windowed = settings.flag("use_sliding_window", false);
  const width = settings.optionalNumber("sliding_window") ?? 4096;
  const below = settings.number("max_window_layers", 28);
  const kinds = blockKinds(settings, blocks, (index) =>
    windowed && index % 2 === 0 && index < below ? "sliding_attention" : "full_attention",
  );
  if (!windowed && kinds.includes("sliding_attention")) {
    throw settings.refuse("layer_types", "names sliding_attention, but use_sliding_window is false");
  }
  return kinds.map((kind) => (kind === "sliding_attention" ? width : undefined));
}

function readQwen3Moe(settings: Settings, weights: Weights): DecoderSpec {
  const frame = readFrame(settings, { context: 32768, epsilon: 1e-6, kvHeads: 4 });
  const { headSize } = frame.heads;
  const rope = readRope(settings, { headSize, context: frame.context });
  const bias = settings.flag("attention_bias", false);
  const windowed = settings.flag("use_sliding_window", false);
  const width = settings.optionalCount("sliding_window", 4096);
  // transformers gives all blocks the window, whatever this says.
  skip(settings, ["max_window_layers"]);
  const window = windowed ? width : undefined;
  const mlpOf = qwenMlps(settings, frame, (_own, _sizes, base) => base, { experts: 128, perToken: 8, inner: 768 });
  return llamaLike("qwen3_moe", settings, weights, frame, false, (block, index): BlockSpec => {
    const own = block.under("self_attn.");
    return preNormBlock(block, frame, {
      attention: {
        ...plainAttention(own, frame.heads, { qkv: bias, output: bias }),
        qNorm: headRms(own, "q_norm", headSize, frame.epsilon),
        kNorm: headRms(own, "k_norm", headSize, frame.epsilon),
        rope,
        ...windowOf(window),
      },
      mlp: mlpOf(block.under("mlp."), index),
    });
  });
}

export const MIXTURE_READERS: HfReaders = {
  mixtral: readMixtral,
  qwen2_moe: readQwen2Moe,
  qwen3_moe: readQwen3Moe,
};
