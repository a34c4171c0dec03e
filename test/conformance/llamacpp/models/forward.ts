// Tiny models for comparing forward passes: the architectures and settings that the expansion cases do not cover. Data only.
import type { TinyGguf, TinyValue } from "../../../../fixtures/gguf.ts";
import { WIDE } from "../tiny.ts";
import {
  ATTENTION,
  EXPERTS,
  FUSED,
  f32,
  GELU,
  model,
  moe,
  QK_NORM,
  SHARED,
  SWIGLU,
  u32,
  wideExperts,
  window,
} from "./words.ts";

export interface ForwardCase {
  readonly model: TinyGguf;
  readonly shows: string;
}

const text = (value: string): TinyValue => ["string", value];
const bools = (values: readonly boolean[]): TinyValue => ["array", "bool", values];
const llama = (metadata: Readonly<Record<string, TinyValue>>, globals = "output") =>
  model({ architecture: "llama", parts: [ATTENTION, SWIGLU], metadata, globals, shapes: FACTORS });
/** Half of the head size of 16. */
/** One projection of all queries, keys and values, as many key heads as query heads, biases. */
const fused = (spec: Omit<Parameters<typeof model>[0], "parts"> & { readonly parts?: readonly string[] }) =>
  model({
    parts: [FUSED, GELU],
    ...spec,
    metadata: { ".attention.head_count_kv": u32(4), ...spec.metadata },
    shapes: { attn_qkv: [192, 64] },
  });
const FACTORS = { rope_freqs: [8], rope_factors_short: [8], rope_factors_long: [8] };
const ALL_HEADS = { attn_k: [64, 64], attn_v: [64, 64] };
const QKV = { attn_qkv: [128, 64] };
const PLAIN_QKV = "attn_norm attn_q attn_k attn_v attn_output";
const YARN = {
  ".rope.scaling.type": text("yarn"),
  ".rope.scaling.factor": f32(4),
  ".rope.scaling.original_context_length": u32(64),
};
const LONGROPE = {
  ".rope.scaling.type": text("longrope"),
  ".rope.scaling.attn_factor": f32(1.19),
  ".rope.scaling.original_context_length": u32(32),
};

const ROTATION: readonly ForwardCase[] = [
  { model: llama({ ".rope.scaling.type": text("linear"), ".rope.scaling.factor": f32(4) }), shows: "linear scaling" },
  { model: llama({ ".rope.scale_linear": f32(2) }), shows: "the old key of linear scaling" },
  { model: llama({ ".rope.scaling.type": text("none") }), shows: "no scaling, said so" },
  { model: llama(YARN), shows: "yarn" },
  { model: llama({ ...YARN, ".rope.scaling.attn_factor": f32(0.8) }), shows: "yarn with a magnitude" },
  { model: llama({ ".rope.freq_base": f32(500000) }, "output rope_freqs"), shows: "stored divisors (llama 3)" },
  {
    model: llama({ ...LONGROPE }, "output rope_factors_short rope_factors_long"),
    shows: "longrope beyond the original context",
  },
  {
    model: llama(
      { ...LONGROPE, ".rope.scaling.original_context_length": u32(256) },
      "output rope_factors_short rope_factors_long",
    ),
    shows: "longrope within the original context",
  },
  {
    model: model({
      architecture: "mistral3",
      parts: [ATTENTION, SWIGLU],
      metadata: {
        ...YARN,
        ".rope.scaling.yarn_beta_fast": f32(16),
        ".rope.scaling.yarn_beta_slow": f32(2),
        ".rope.scaling.yarn_log_multiplier": f32(0.7),
      },
    }),
    shows: "yarn's own numbers",
  },
  {
    model: model({
      architecture: "phi3",
      parts: ["attn_norm attn_qkv attn_output ffn_norm ffn_up ffn_down"],
      shapes: { ffn_up: [192, 64], rope_factors_short: [4], rope_factors_long: [4] },
      globals: "output rope_factors_short rope_factors_long",
      metadata: { ...LONGROPE, ".rope.dimension_count": u32(8) },
    }),
    shows: "longrope of half a head",
  },
  {
    model: model({
      architecture: "gemma3",
      parts: [ATTENTION, QK_NORM, "post_attention_norm post_ffw_norm", SWIGLU],
      globals: "",
      blocks: 7,
      metadata: {
        ...window(),
        ".rope.freq_base": f32(1000000),
        ".rope.scaling.type": text("linear"),
        ".rope.scaling.factor": f32(8),
        ".final_logit_softcapping": f32(5),
      },
    }),
    shows: "sliding blocks that turn otherwise, a cap on the logits",
  },
  {
    model: model({
      architecture: "olmo2",
      parts: [
        "attn_q attn_k attn_v attn_output ffn_gate ffn_up ffn_down",
        QK_NORM,
        "post_attention_norm post_ffw_norm",
      ],
      shapes: { attn_q_norm: [64], attn_k_norm: [32] },
      metadata: { ...window(), ...YARN, ".attention.sliding_window_pattern": bools([true, false, true, true]) },
    }),
    shows: "yarn in the blocks that do not slide, a stored pattern",
  },
  {
    model: model({
      architecture: "gpt-oss",
      parts: [
        `${ATTENTION} attn_q.bias attn_k.bias attn_v.bias attn_output.bias attn_sinks post_attention_norm ffn_gate_inp ffn_gate_inp.bias ffn_gate_exps ffn_gate_exps.bias ffn_up_exps ffn_up_exps.bias ffn_down_exps ffn_down_exps.bias`,
      ],
      shapes: { "ffn_gate_exps.bias": [4, 32], "ffn_up_exps.bias": [4, 32], "ffn_down_exps.bias": [4, 64] },
      blocks: 3,
      metadata: { ...moe(), ...window(), ...YARN, ".rope.freq_base": f32(150000) },
    }),
    shows: "yarn, sinks and a window",
  },
];

const ARCHITECTURES: readonly ForwardCase[] = [
  {
    model: model({ architecture: "llama", parts: ["attn_norm attn_qkv attn_output", SWIGLU], shapes: QKV }),
    shows: "queries, keys and values in one tensor",
  },
  {
    model: model({
      architecture: "llama",
      parts: [`${ATTENTION} attn_output.bias`, `${SWIGLU} ffn_gate.bias ffn_up.bias ffn_down.bias`],
      globals: "",
    }),
    shows: "biases, tied head",
  },
  {
    model: model({
      architecture: "llama",
      parts: [ATTENTION, SWIGLU],
      sizes: { ...WIDE, heads: 2, kvHeads: 1, head: 32, embedding: 64 },
      globals: "output",
    }),
    shows: "one key head",
  },
  { model: model({ architecture: "arcee", parts: [ATTENTION, "ffn_norm ffn_up ffn_down"] }), shows: "squared relu" },
  {
    model: model({
      architecture: "granite",
      parts: [ATTENTION, SWIGLU],
      metadata: {
        ".logit_scale": f32(3),
        ".residual_scale": f32(0.3),
        ".embedding_scale": f32(5),
        ".attention.scale": f32(0.1),
      },
    }),
    shows: "four multipliers",
  },
  {
    model: model({
      architecture: "granite",
      parts: [ATTENTION, SWIGLU],
      metadata: { ".logit_scale": f32(1), ".rope.scaling.finetuned": ["bool", false] },
    }),
    shows: "no rotation",
  },
  {
    model: model({
      architecture: "granitemoe",
      parts: [ATTENTION, EXPERTS, SHARED],
      shapes: wideExperts,
      metadata: { ...moe(), ".logit_scale": f32(2) },
    }),
    shows: "experts and a shared one",
  },
  {
    model: model({
      architecture: "phi2",
      parts: [
        "attn_norm attn_norm.bias attn_q attn_q.bias attn_k attn_k.bias attn_v attn_v.bias attn_output attn_output.bias",
        "ffn_up ffn_up.bias ffn_down ffn_down.bias",
      ],
      globals: "output output.bias output_norm.bias",
      shapes: { "output.bias": [64] },
      metadata: { ".rope.dimension_count": u32(8) },
    }),
    shows: "parallel branches of one norm, half a head turned",
  },
  {
    model: fused({
      architecture: "gptneox",
      globals: "output output_norm.bias",
      metadata: {
        ".use_parallel_residual": ["bool", false],
        ".rope.dimension_count": u32(4),
      },
    }),
    shows: "branches one after the other, a quarter of a head turned",
  },
  {
    model: model({
      architecture: "falcon",
      parts: ["attn_norm attn_norm.bias attn_qkv attn_output ffn_up ffn_down"],
      globals: "output output_norm.bias",
      metadata: { ".attention.head_count_kv": u32(1) },
      shapes: { attn_qkv: [96, 64] },
    }),
    shows: "one norm, one key head",
  },
  {
    model: model({
      architecture: "falcon",
      parts: ["attn_norm attn_norm.bias attn_norm_2 attn_norm_2.bias attn_qkv attn_output ffn_up ffn_down"],
      globals: "output_norm.bias",
      shapes: QKV,
    }),
    shows: "two norms",
  },
  {
    model: fused({
      architecture: "mpt",
      parts: ["attn_norm attn_qkv attn_output ffn_norm ffn_up ffn_down"],
      globals: "",
      metadata: {
        ".attention.max_alibi_bias": f32(8),
        ".attention.clamp_kqv": f32(0.8),
      },
    }),
    shows: "slopes and clamped projections",
  },
  {
    model: fused({
      architecture: "mpt",
      globals: "output_norm.bias position_embd",
    }),
    shows: "learned positions, biases",
  },
  {
    model: fused({
      architecture: "bloom",
      globals: "token_embd_norm token_embd_norm.bias output output_norm.bias",
    }),
    shows: "slopes, a norm behind the embedding",
  },
  {
    model: model({
      architecture: "bloom",
      parts: [FUSED, GELU],
      sizes: { ...WIDE, embedding: 96, heads: 6, kvHeads: 6, head: 16, network: 128 },
      globals: "token_embd_norm token_embd_norm.bias output output_norm.bias",
      shapes: { attn_qkv: [288, 96] },
    }),
    shows: "slopes of six heads",
  },
  {
    model: model({
      architecture: "starcoder",
      parts: [FUSED, GELU],
      globals: "output output_norm.bias position_embd",
      metadata: { ".attention.head_count_kv": u32(1) },
      shapes: { attn_qkv: [96, 64] },
    }),
    shows: "one key head, learned positions",
  },
  {
    model: model({
      architecture: "starcoder2",
      parts: [
        "attn_norm attn_norm.bias attn_q attn_q.bias attn_k attn_k.bias attn_v attn_v.bias attn_output attn_output.bias",
        GELU,
      ],
      globals: "output_norm.bias",
    }),
    shows: "biases everywhere",
  },
  {
    model: model({
      architecture: "stablelm",
      parts: ["attn_norm attn_norm.bias attn_q attn_k attn_v attn_output ffn_norm.bias", SWIGLU],
      globals: "output output_norm.bias",
      metadata: { ".rope.dimension_count": u32(4) },
    }),
    shows: "layer norms, a quarter of a head turned",
  },
  {
    model: model({
      architecture: "stablelm",
      parts: ["attn_norm attn_norm.bias attn_q attn_k attn_v attn_output ffn_gate ffn_up ffn_down", QK_NORM],
      globals: "output output_norm.bias",
      shapes: { attn_q_norm: [4, 16], attn_k_norm: [2, 16] },
    }),
    shows: "one norm for both branches, a norm for each head",
  },
  {
    model: model({
      architecture: "olmo",
      parts: ["attn_q attn_k attn_v attn_output ffn_gate ffn_up ffn_down"],
      norm: "",
      shapes: ALL_HEADS,
      metadata: { ".attention.head_count_kv": u32(4), ".attention.clamp_kqv": f32(0.5) },
    }),
    shows: "norms without gains, clamped projections",
  },
  {
    model: model({
      architecture: "command-r",
      parts: [PLAIN_QKV, "ffn_gate ffn_up ffn_down"],
      globals: "",
      metadata: { ".logit_scale": f32(0.06) },
    }),
    shows: "parallel branches, scaled logits",
  },
  {
    model: model({
      architecture: "command-r",
      parts: [PLAIN_QKV, "ffn_gate ffn_up ffn_down", QK_NORM],
      globals: "",
      blocks: 64,
      shapes: { attn_q_norm: [4, 16], attn_k_norm: [2, 16] },
    }),
    shows: "norms of heads in 64 blocks",
  },
  {
    model: model({
      architecture: "gemma2",
      parts: [ATTENTION, "post_attention_norm post_ffw_norm", SWIGLU],
      globals: "",
      blocks: 46,
      metadata: { ...window(), ".attention.key_length": u32(16), ".attention.value_length": u32(16) },
      sizes: { ...WIDE, embedding: 96, heads: 4, kvHeads: 2, head: 16, network: 64 },
    }),
    shows: "46 blocks, whose scores are scaled otherwise",
  },
  {
    model: model({
      architecture: "gemma3",
      parts: [ATTENTION, QK_NORM, "post_attention_norm post_ffw_norm", SWIGLU],
      globals: "",
      blocks: 62,
      sizes: { ...WIDE, embedding: 96, heads: 4, kvHeads: 2, head: 16, network: 64 },
    }),
    shows: "62 blocks, whose scores are scaled otherwise; no window",
  },
  {
    model: model({
      architecture: "exaone4",
      parts: [
        "attn_q attn_k attn_v attn_output ffn_gate ffn_up ffn_down",
        QK_NORM,
        "post_attention_norm post_ffw_norm",
      ],
      blocks: 64,
      metadata: window(),
    }),
    shows: "64 blocks, of which every fourth does not rotate",
  },
];

export const FORWARD_CASES: readonly ForwardCase[] = [...ROTATION, ...ARCHITECTURES];
