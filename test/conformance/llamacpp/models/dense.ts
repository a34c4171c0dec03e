// Tiny models whose blocks are all alike, with a dense network. Data only.
import { ATTENTION, type Case, FUSED, f32, GELU, model, POST, QK_NORM, SWIGLU, u32, window } from "./words.ts";

export const DENSE_CASES: readonly Case[] = [
  { model: model({ architecture: "llama", parts: [ATTENTION, SWIGLU] }), after: [0, 2] },
  {
    model: model({ architecture: "qwen2", parts: [`${ATTENTION} attn_q.bias attn_k.bias attn_v.bias`, SWIGLU] }),
    after: [1, 3],
  },
  { model: model({ architecture: "qwen3", parts: [ATTENTION, QK_NORM, SWIGLU] }), after: [0, 1, 2, 3] },
  {
    model: model({
      architecture: "gpt2",
      parts: [FUSED, GELU],
      globals: "output output_norm.bias position_embd",
      metadata: { ".attention.head_count_kv": u32(4) },
      shapes: { attn_qkv: [192, 64] },
    }),
    after: [0, 2],
    shows: "biases of the projections",
  },
  {
    model: model({
      architecture: "gptneox",
      parts: [FUSED, GELU],
      globals: "output output_norm.bias",
      metadata: { ".attention.head_count_kv": u32(4), ".use_parallel_residual": ["bool", true] },
      shapes: { attn_qkv: [192, 64] },
    }),
    after: [0, 2],
    shows: "parallel branches",
  },
  {
    model: model({
      architecture: "phi3",
      parts: ["attn_norm attn_qkv attn_output ffn_norm ffn_up ffn_down"],
      shapes: { ffn_up: [192, 64] },
      metadata: window(),
    }),
    after: [1, 2],
  },
  { model: model({ architecture: "gemma", parts: [ATTENTION, SWIGLU], globals: "" }), after: [0, 3] },
  {
    model: model({
      architecture: "glm4",
      parts: [ATTENTION, POST, "ffn_norm ffn_up ffn_down"],
      shapes: { ffn_up: [192, 64] },
    }),
    after: [0, 2],
    shows: "gains of norms behind the branches",
  },
  {
    model: model({
      architecture: "minicpm",
      parts: [ATTENTION, SWIGLU],
    }),
    after: [0, 2],
    shows: "residual scale that follows from the block count",
  },
  {
    model: model({ architecture: "smollm3", parts: [ATTENTION, SWIGLU], blocks: 8 }),
    after: [1, 1, 1, 1],
    shows: "blocks without position encoding",
  },
  {
    model: model({
      architecture: "talkie",
      parts: ["attn_q attn_k attn_v attn_output attn_q_norm ffn_gate ffn_up ffn_down layer_output_scale"],
      globals: "output",
      shapes: { attn_q_norm: [4, 1], layer_output_scale: [1] },
      norm: "",
      metadata: { ".logit_scale": f32(1) },
    }),
    after: [0, 2],
    shows: "an embedding skip in each block",
  },
  {
    model: model({
      architecture: "apertus",
      parts: [ATTENTION, QK_NORM, "ffn_norm ffn_up ffn_down"],
      metadata: {
        "xielu.alpha_n": ["array", "f32", [0.5, 0.6, 0.7, 0.8]],
        "xielu.alpha_p": ["array", "f32", [0.8, 0.7, 0.6, 0.5]],
        "xielu.beta": ["array", "f32", [0.5, 0.5, 0.4, 0.4]],
        "xielu.eps": ["array", "f32", [1e-6, 1e-6, 1e-6, 1e-6]],
      },
    }),
    after: [0, 2],
    shows: "lists without the architecture's name",
  },
  {
    model: model({
      architecture: "bitnet",
      parts: [ATTENTION, SWIGLU, "attn_sub_norm ffn_sub_norm attn_q.scale attn_output.scale ffn_down.scale"],
      globals: "",
      shapes: { ffn_sub_norm: [96] },
    }),
    after: [0, 2],
  },
  {
    model: model({
      architecture: "plm",
      parts: ["attn_norm attn_q attn_kv_a_mqa attn_kv_a_norm attn_kv_b attn_output ffn_norm ffn_up ffn_down"],
      globals: "",
      shapes: { attn_q: [4 * 32, 64], attn_kv_b: [4 * 32, 32], attn_output: [64, 4 * 16] },
      metadata: {
        ".attention.kv_lora_rank": u32(32),
        ".attention.key_length": u32(32),
        ".attention.value_length": u32(16),
        ".rope.dimension_count": u32(16),
        ".attention.head_count_kv": u32(4),
      },
    }),
    after: [0, 2],
  },
  {
    model: model({
      architecture: "chameleon",
      parts: [ATTENTION, QK_NORM, SWIGLU],
      vocabulary: 10240,
      shapes: { attn_q_norm: [4, 16], attn_k_norm: [2, 16] },
    }),
    after: [0, 2],
  },
  { model: model({ architecture: "llama-embed", parts: [ATTENTION, SWIGLU] }), after: [0, 2], encoder: true },
  { model: model({ architecture: "eurobert", parts: [ATTENTION, SWIGLU], globals: "" }), after: [0, 2], encoder: true },
  {
    model: model({
      architecture: "neo-bert",
      parts: ["attn_norm attn_qkv attn_output ffn_norm ffn_up ffn_down"],
      globals: "",
      norm: "enc.output_norm",
      shapes: { ffn_up: [192, 64] },
    }),
    after: [0, 2],
    encoder: true,
  },
  {
    model: model({
      architecture: "modern-bert",
      parts: ["attn_qkv attn_output ffn_norm ffn_up ffn_down", ["attn_norm", (block) => block > 0]],
      globals: "token_embd_norm",
      blocks: 7,
      shapes: { attn_qkv: [192, 64], ffn_up: [192, 64] },
      metadata: { ...window(), ".attention.head_count_kv": u32(4) },
    }),
    after: [1, 2],
    encoder: true,
    shows: "a symmetric window, and block 0 without its norm",
  },
  {
    model: model({
      architecture: "gemma-embedding",
      parts: [ATTENTION, QK_NORM, POST, SWIGLU],
      globals: "",
      blocks: 7,
      metadata: window(),
    }),
    after: [0, 4],
    encoder: true,
  },
];
