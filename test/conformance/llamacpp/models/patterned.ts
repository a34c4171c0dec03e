// Tiny models whose blocks differ by their number: windows, missing position encoding. Data only.
import {
  ATTENTION,
  type Case,
  EXPERTS,
  FIRST_DENSE,
  f32,
  full,
  model,
  moe,
  POST,
  QK_NORM,
  SHARED,
  SWIGLU,
  u32,
  window,
} from "./words.ts";

export const PATTERNED_CASES: readonly Case[] = [
  {
    model: model({
      architecture: "gemma2",
      parts: [ATTENTION, POST, SWIGLU],
      globals: "",
      blocks: 6,
      metadata: window(),
    }),
    after: [0, 3],
    shows: "a window pattern written out",
  },
  {
    model: model({
      architecture: "gemma2",
      parts: [ATTENTION, POST, SWIGLU],
      globals: "",
      blocks: 6,
      metadata: window(),
      seed: 2,
    }),
    after: [1, 3],
    perGroup: 2,
    shows: "whole periods, no list needed",
  },
  {
    model: model({
      architecture: "gemma3",
      parts: [ATTENTION, QK_NORM, POST, SWIGLU],
      globals: "",
      blocks: 7,
      metadata: window(),
    }),
    after: [0, 4],
    shows: "a window pattern of period 6",
  },
  {
    model: model({
      architecture: "cohere2",
      parts: ["attn_norm attn_q attn_k attn_v attn_output ffn_gate ffn_up ffn_down"],
      globals: "",
      blocks: 6,
      metadata: { ...window(), ".logit_scale": f32(0.5) },
    }),
    after: [0, 2],
  },
  {
    model: model({
      architecture: "olmo2",
      parts: ["attn_q attn_k attn_v attn_output ffn_gate ffn_up ffn_down", QK_NORM, POST],
      shapes: full,
      blocks: 6,
      metadata: window(),
    }),
    after: [1, 4],
  },
  {
    model: model({
      architecture: "exaone4",
      parts: ["attn_q attn_k attn_v attn_output ffn_gate ffn_up ffn_down", QK_NORM, POST],
      blocks: 6,
      metadata: window(),
    }),
    after: [1, 4],
  },
  {
    model: model({
      architecture: "gpt-oss",
      parts: [
        `${ATTENTION} attn_q.bias attn_k.bias attn_v.bias attn_output.bias attn_sinks post_attention_norm ffn_gate_inp ffn_gate_inp.bias ffn_gate_exps ffn_gate_exps.bias ffn_up_exps ffn_up_exps.bias ffn_down_exps ffn_down_exps.bias`,
      ],
      shapes: { "ffn_gate_exps.bias": [4, 32], "ffn_up_exps.bias": [4, 32], "ffn_down_exps.bias": [4, 64] },
      blocks: 6,
      metadata: { ...moe(), ...window() },
    }),
    after: [0, 3],
    shows: "biases of experts, a norm in front of the network that is named like one behind",
  },
  {
    model: model({
      architecture: "exaone-moe",
      parts: [ATTENTION, QK_NORM, ...FIRST_DENSE, ["exp_probs_b.bias", (b) => b >= 1]],
      blocks: 6,
      metadata: { ...moe({ ".leading_dense_block_count": u32(1) }), ...window() },
    }),
    after: [0, 2],
    shows: "a window pattern and a leading dense block",
  },
  {
    model: model({
      architecture: "mellum",
      parts: [ATTENTION, QK_NORM, EXPERTS],
      blocks: 6,
      metadata: { ...moe(), ...window() },
    }),
    after: [0, 2],
  },
  {
    model: model({
      architecture: "afmoe",
      parts: [`${ATTENTION} attn_gate`, QK_NORM, POST, ...FIRST_DENSE, ["exp_probs_b.bias", (b) => b >= 1]],
      blocks: 8,
      metadata: { ...moe({ ".leading_dense_block_count": u32(1) }), ...window() },
    }),
    after: [0, 0, 0, 0],
    shows: "groups of four, leading dense blocks and gains",
  },
  {
    model: model({
      architecture: "llama4",
      parts: [
        ATTENTION,
        "ffn_norm",
        ["ffn_gate ffn_up ffn_down", (b) => (b + 1) % 2 !== 0],
        [`ffn_gate_inp ffn_gate_exps ffn_up_exps ffn_down_exps ${SHARED}`, (b) => (b + 1) % 2 === 0],
      ],
      blocks: 8,
      metadata: moe({ ".interleave_moe_layer_step": u32(2) }),
    }),
    after: [3],
    perGroup: 4,
    shows: "experts in every second block, no position encoding in every fourth",
  },
  {
    model: model({
      architecture: "smallthinker",
      parts: [ATTENTION, EXPERTS],
      blocks: 8,
      metadata: { ...moe(), ...window() },
    }),
    after: [3],
    perGroup: 4,
  },
  {
    model: model({
      architecture: "step35",
      parts: [`${ATTENTION} attn_q_norm attn_k_norm`, ["attn_gate", () => true], ...FIRST_DENSE],
      blocks: 6,
      shapes: { attn_gate: [4, 64] },
      metadata: {
        ...moe({ ".leading_dense_block_count": u32(1) }),
        ...window(),
        ".attention.sliding_window_pattern": ["array", "bool", [false, true, true, true, false, true]],
        ".rope.freq_base_swa": f32(10000),
        ".swiglu_clamp_exp": ["array", "f32", [0, 0, 7, 0, 5, 0]],
      },
    }),
    after: [1, 3],
  },
  {
    model: model({
      architecture: "spark2_5",
      parts: ["attn_norm attn_qkv attn_gate attn_output", SWIGLU],
      blocks: 4,
      shapes: { attn_gate: [4, 64] },
      metadata: { ...window(), ".attention.sliding_window_pattern": ["array", "bool", [true, false, true, false]] },
    }),
    after: [0, 2],
  },
];
