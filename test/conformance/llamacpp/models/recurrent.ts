// Tiny models with recurrent mixers. Data only.
import type { TinyValue } from "../../../../fixtures/gguf.ts";
import {
  ATTENTION,
  type Case,
  f32,
  MAMBA2,
  mamba2Shapes,
  model,
  moe,
  perBlock,
  QK_NORM,
  SHARED,
  SWIGLU,
  ssm,
  u32,
} from "./words.ts";

const isSsm = (block: number): boolean => block % 2 === 1;
const not = (test: (block: number) => boolean) => (block: number) => !test(block);
const hybridHeads = (blocks: number): Record<string, TinyValue> => ({
  ".attention.head_count_kv": perBlock(Array.from({ length: blocks }, (_, block) => (isSsm(block) ? 0 : 2))),
});
const rwkv = { ".wkv.head_size": u32(16), ".attention.head_count": u32(0), ".attention.head_count_kv": u32(0) };
const deltaShapes = {
  attn_q: [2 * 64, 64],
  ssm_conv1d: [2 * 2 * 16 + 4 * 16, 4],
  "ssm_dt.bias": [4],
  "ssm_a.": [4],
  ssm_norm: [16],
  ssm_out: [64, 64],
  ssm_in: [2 * 2 * 16 + 2 * 4 * 16, 64],
  ssm_ba: [8, 64],
  ssm_beta: [4, 64],
  ssm_alpha: [4, 64],
  attn_qkv: [2 * 2 * 16 + 4 * 16, 64],
  attn_gate: [64, 64],
};
const isDelta = (block: number): boolean => (block + 1) % 4 !== 0;
const deltaSettings = {
  ...ssm,
  ".ssm.inner_size": u32(64),
  ".full_attention_interval": u32(4),
  ".rope.dimension_sections": ["array", "i32", [4, 2, 2, 0]] as TinyValue,
};

export const RECURRENT_CASES: readonly Case[] = [
  {
    model: model({
      architecture: "mamba",
      parts: ["attn_norm ssm_in ssm_conv1d ssm_conv1d.bias ssm_x ssm_dt ssm_dt.bias ssm_a. ssm_d. ssm_out"],
      shapes: {
        ssm_in: [256, 64],
        ssm_conv1d: [128, 4],
        ssm_x: [36, 128],
        ssm_dt: [128, 4],
        "ssm_a.": [128, 16],
        "ssm_d.": [128],
        ssm_out: [64, 128],
      },
      metadata: ssm,
    }),
    after: [0, 2],
  },
  {
    model: model({ architecture: "mamba2", parts: ["attn_norm", MAMBA2], shapes: mamba2Shapes, metadata: ssm }),
    after: [0, 2],
  },
  {
    model: model({
      architecture: "granitehybrid",
      parts: [["attn_q attn_k attn_v attn_output", not(isSsm)], [MAMBA2, isSsm], "attn_norm", SWIGLU],
      shapes: mamba2Shapes,
      metadata: { ...ssm, ...hybridHeads(4), ".logit_scale": f32(2), ".residual_scale": f32(0.5) },
    }),
    after: [0, 1, 3],
    shows: "kinds of blocks by head_count_kv",
  },
  {
    model: model({
      architecture: "falcon-h1",
      parts: [ATTENTION, MAMBA2, "ffn_norm. ffn_gate ffn_up ffn_down"],
      shapes: { ...mamba2Shapes, "ffn_norm.": [64] },
      metadata: ssm,
    }),
    after: [0, 2],
    shows: "attention and state space in one block",
  },
  {
    model: model({
      architecture: "nemotron_h",
      parts: [
        "attn_norm",
        [MAMBA2, (b) => b % 3 === 0],
        ["attn_q attn_k attn_v attn_output", (b) => b % 3 === 1],
        ["ffn_up ffn_down", (b) => b % 3 === 2],
      ],
      blocks: 6,
      shapes: mamba2Shapes,
      metadata: {
        ...ssm,
        ".attention.head_count_kv": perBlock([0, 2, 0, 0, 2, 0]),
        ".attention.head_count": perBlock([4, 4, 4, 4, 4, 4]),
        ".feed_forward_length": perBlock([0, 0, 96, 0, 0, 96]),
      },
    }),
    after: [0, 1, 5],
    shows: "blocks of a single branch",
  },
  {
    model: model({
      architecture: "nemotron_h_moe",
      parts: [
        "attn_norm",
        [MAMBA2, (b) => b % 3 === 0],
        ["attn_q attn_k attn_v attn_output", (b) => b % 3 === 1],
        [
          "ffn_gate_inp exp_probs_b.bias ffn_latent_down ffn_latent_up ffn_up_exps ffn_down_exps ffn_up_shexp ffn_down_shexp",
          (b) => b % 3 === 2,
        ],
      ],
      blocks: 6,
      shapes: {
        ...mamba2Shapes,
        ffn_latent_down: [48, 64],
        ffn_latent_up: [64, 48],
        ffn_up_exps: [4, 32, 48],
        ffn_down_exps: [4, 48, 32],
      },
      metadata: {
        ...ssm,
        ...moe({ ".moe_latent_size": u32(48) }),
        ".attention.head_count_kv": perBlock([0, 2, 0, 0, 2, 0]),
        ".feed_forward_length": perBlock([0, 0, 32, 0, 0, 32]),
      },
    }),
    after: [0, 2, 4],
    shows: "experts in a latent space",
  },
  {
    model: model({
      architecture: "jamba",
      parts: [
        "attn_norm",
        ["attn_q attn_k attn_v attn_output", not(isSsm)],
        [
          "ssm_in ssm_conv1d ssm_conv1d.bias ssm_x ssm_dt_norm ssm_dt ssm_dt.bias ssm_b_norm ssm_c_norm ssm_a. ssm_d. ssm_out",
          isSsm,
        ],
        SWIGLU,
      ],
      shapes: {
        ssm_in: [256, 64],
        ssm_conv1d: [128, 4],
        ssm_x: [36, 128],
        ssm_dt: [128, 4],
        "ssm_a.": [128, 16],
        "ssm_d.": [128],
        ssm_out: [64, 128],
        ssm_dt_norm: [4],
        ssm_b_norm: [16],
        ssm_c_norm: [16],
      },
      metadata: { ...ssm, ...hybridHeads(4) },
    }),
    after: [0, 1],
  },
  {
    model: model({
      architecture: "lfm2",
      parts: [
        "attn_norm",
        [`attn_q attn_k attn_v attn_output ${QK_NORM}`, not(isSsm)],
        ["shortconv.conv shortconv.in_proj shortconv.out_proj", isSsm],
        SWIGLU,
      ],
      globals: "",
      norm: "token_embd_norm",
      shapes: { "shortconv.conv": [64, 3], "shortconv.in_proj": [192, 64], "shortconv.out_proj": [64, 64] },
      metadata: { ...hybridHeads(4), ".shortconv.l_cache": u32(3) },
    }),
    after: [0, 1, 3],
    shows: "short convolutions",
  },
  {
    model: model({
      architecture: "qwen3next",
      parts: [
        "attn_norm post_attention_norm",
        ["ssm_in ssm_ba ssm_conv1d ssm_dt.bias ssm_a. ssm_norm ssm_out", isDelta],
        [`attn_q attn_k attn_v attn_output ${QK_NORM}`, not(isDelta)],
        `ffn_gate_inp ffn_gate_exps ffn_up_exps ffn_down_exps ${SHARED} ffn_gate_inp_shexp`,
      ],
      blocks: 8,
      shapes: { ...deltaShapes },
      metadata: { ...deltaSettings, ...moe() },
    }),
    after: [0, 3],
    shows: "recurrent blocks written out",
  },
  {
    model: model({
      architecture: "qwen35",
      parts: [
        "attn_norm post_attention_norm",
        ["attn_qkv attn_gate ssm_beta ssm_alpha ssm_conv1d ssm_dt.bias ssm_a. ssm_norm ssm_out", isDelta],
        [`attn_q attn_k attn_v attn_output ${QK_NORM}`, not(isDelta)],
        "ffn_gate ffn_up ffn_down",
      ],
      blocks: 8,
      shapes: deltaShapes,
      metadata: deltaSettings,
    }),
    after: [0, 3],
  },
  {
    model: model({
      architecture: "qwen35moe",
      parts: [
        "attn_norm post_attention_norm",
        ["attn_qkv attn_gate ssm_beta ssm_alpha ssm_conv1d ssm_dt.bias ssm_a. ssm_norm ssm_out", isDelta],
        [`attn_q attn_k attn_v attn_output ${QK_NORM}`, not(isDelta)],
        `ffn_gate_inp ffn_gate_exps ffn_up_exps ffn_down_exps ${SHARED} ffn_gate_inp_shexp`,
      ],
      blocks: 8,
      shapes: deltaShapes,
      metadata: { ...deltaSettings, ...moe() },
    }),
    after: [3],
    perGroup: 4,
    shows: "whole periods, no list needed",
  },
  {
    model: model({
      architecture: "rwkv6",
      parts: [
        "attn_norm attn_norm.bias attn_norm_2 attn_norm_2.bias time_mix_w1 time_mix_w2 time_mix_lerp_x time_mix_lerp_fused time_mix_first time_mix_decay time_mix_decay_w1 time_mix_decay_w2 time_mix_key time_mix_value time_mix_receptance time_mix_gate time_mix_ln time_mix_ln.bias time_mix_output channel_mix_lerp_k channel_mix_lerp_r channel_mix_key channel_mix_value channel_mix_receptance",
      ],
      globals: "output output_norm.bias token_embd_norm token_embd_norm.bias",
      shapes: {
        time_mix_w1: [40, 64],
        time_mix_w2: [5, 64, 8],
        time_mix_lerp_x: [1, 1, 64],
        time_mix_lerp_fused: [5, 1, 1, 64],
        time_mix_first: [4, 16],
        time_mix_decay_w1: [8, 64],
        time_mix_decay_w2: [64, 8],
        time_mix_key: [64, 64],
        time_mix_value: [64, 64],
        time_mix_receptance: [64, 64],
        time_mix_gate: [64, 64],
        time_mix_output: [64, 64],
        channel_mix_lerp_k: [1, 1, 64],
        channel_mix_lerp_r: [1, 1, 64],
        channel_mix_key: [96, 64],
        channel_mix_value: [64, 96],
        channel_mix_receptance: [64, 64],
      },
      metadata: {
        ...rwkv,
        ".time_mix_extra_dim": u32(8),
        ".time_decay_extra_dim": u32(8),
        ".rescale_every_n_layers": u32(0),
      },
    }),
    after: [0, 2],
  },
  {
    model: model({
      architecture: "rwkv6qwen2",
      parts: [
        "attn_norm time_mix_w1 time_mix_w2 time_mix_lerp_x time_mix_lerp_fused time_mix_decay time_mix_decay_w1 time_mix_decay_w2 time_mix_key time_mix_value time_mix_receptance time_mix_gate time_mix_key.bias time_mix_output",
        SWIGLU,
      ],
      shapes: {
        time_mix_w1: [40, 64],
        time_mix_w2: [5, 64, 8],
        time_mix_lerp_x: [1, 1, 64],
        time_mix_lerp_fused: [5, 1, 1, 64],
        time_mix_decay_w1: [8, 64],
        time_mix_decay_w2: [64, 8],
        time_mix_key: [32, 64],
        time_mix_value: [32, 64],
        time_mix_receptance: [64, 64],
        time_mix_gate: [64, 64],
        time_mix_output: [64, 64],
      },
      metadata: {
        ...rwkv,
        ".attention.head_count_kv": u32(2),
        ".token_shift_count": u32(1),
        ".time_mix_extra_dim": u32(8),
        ".time_decay_extra_dim": u32(8),
      },
    }),
    after: [0, 2],
  },
  {
    model: model({
      architecture: "plamo2",
      parts: [
        "attn_norm post_attention_norm. post_ffw_norm. ffn_norm ffn_up ffn_down",
        [`attn_qkv attn_output ${QK_NORM}`, not(isSsm)],
        [
          "ssm_in ssm_conv1d ssm_x ssm_dt ssm_dt.bias ssm_a. ssm_d. ssm_out ssm_dt_norm. ssm_b_norm. ssm_c_norm.",
          isSsm,
        ],
      ],
      shapes: {
        "post_attention_norm.": [64],
        "post_ffw_norm.": [64],
        ffn_up: [192, 64],
        attn_q_norm: [4, 16],
        attn_k_norm: [2, 16],
        ssm_in: [256, 64],
        ssm_conv1d: [128, 4],
        ssm_x: [96, 128],
        ssm_dt: [4, 64],
        "ssm_dt.bias": [4],
        "ssm_a.": [4],
        "ssm_d.": [4],
        ssm_out: [64, 128],
        "ssm_dt_norm.": [64],
        "ssm_b_norm.": [16],
        "ssm_c_norm.": [16],
      },
      metadata: { ...ssm, ".ssm.group_count": u32(0), ...hybridHeads(4) },
    }),
    after: [0, 1],
    shows: "gains without an ending",
  },
];
