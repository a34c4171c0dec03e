// The GGUF architectures whose forward pass is known: llama.cpp v0.5.0's src/models/, as data. Where llama.cpp approximates gelu by tanh and
// the model's own code does not (gptneox, falcon, mpt), llama.cpp is followed.
import type { AttentionRule, GgufFamily, MlpRule, RopeRule } from "./family.ts";

const RMS = { kind: "rms" } as const;
const LAYER = { kind: "layer", bias: "required" } as const;
const SWIGLU: MlpRule = { form: "gated", activation: "silu" };
const GEGLU: MlpRule = { form: "gated", activation: "gelu_tanh" };
const GELU: MlpRule = { form: "plain", activation: "gelu_tanh", bias: "required" };
const HALF: RopeRule = { layout: "half" };
const PARTIAL: RopeRule = { layout: "half", partial: true };
const INTERLEAVED: RopeRule = { layout: "interleaved" };
const SANDWICH = {
  attention: "attn_norm",
  mlp: "ffn_norm",
  attentionOutput: "post_attention_norm",
  mlpOutput: "post_ffw_norm",
} as const;
const POST = { attentionOutput: "post_attention_norm", mlpOutput: "post_ffw_norm" } as const;
const HEAD_RMS = { kind: "rms", over: "head", presence: "required" } as const;
/** Queries and keys of these were permuted for interleaved rotation when the file was made (notes: conversion of llama). */
const LLAMA_ATTENTION: AttentionRule = { outputBias: "optional", rope: { layout: "interleaved", factors: "either" } };
const QWEN_EXPERTS = { softmax: "all", width: "expert_feed_forward_length" } as const;
const GRANITE: GgufFamily = {
  norm: RMS,
  attention: { ...LLAMA_ATTENTION, rope: { layout: "interleaved", factors: "either", blocks: "key" } },
  mlp: { ...SWIGLU, bias: "optional" },
  experts: { normalize: true, softmax: "all", width: "feed_forward_length", shared: "sized" },
  head: { scale: { key: "required", divides: true } },
  multipliers: true,
};

export const GGUF_FAMILIES: Readonly<Record<string, GgufFamily>> = {
  llama: {
    norm: RMS,
    attention: LLAMA_ATTENTION,
    mlp: { ...SWIGLU, bias: "optional" },
    experts: { normalize: true, softmax: "all", width: "feed_forward_length" },
  },
  mistral3: {
    norm: RMS,
    attention: { ...LLAMA_ATTENTION, rope: { layout: "interleaved", factors: "either", yarn: true } },
    mlp: { ...SWIGLU, bias: "optional" },
    experts: { normalize: true, softmax: "all", width: "feed_forward_length" },
  },
  arcee: {
    norm: RMS,
    attention: { rope: { layout: "interleaved", factors: "either" } },
    mlp: { form: "plain", activation: "relu2" },
  },
  smollm3: { norm: RMS, attention: { rope: { layout: "interleaved", blocks: "three of four" } }, mlp: SWIGLU },
  granite: GRANITE,
  granitemoe: GRANITE,
  qwen2: { norm: RMS, attention: { rope: HALF }, mlp: SWIGLU, head: { bias: "optional" } },
  qwen3: { norm: RMS, attention: { rope: HALF, headNorm: HEAD_RMS }, mlp: SWIGLU },
  qwen2moe: {
    norm: RMS,
    attention: { rope: HALF },
    experts: { ...QWEN_EXPERTS, normalize: false, shared: "gated" },
    head: { weight: "required" },
  },
  qwen3moe: { norm: RMS, attention: { rope: HALF, headNorm: HEAD_RMS }, experts: { ...QWEN_EXPERTS, normalize: true } },
  olmoe: {
    norm: RMS,
    attention: { rope: HALF, headNorm: { kind: "rms", over: "all", presence: "required" } },
    experts: { normalize: false, softmax: "all", width: "feed_forward_length" },
    head: { weight: "required" },
  },
  gemma: {
    norm: RMS,
    attention: { rope: PARTIAL },
    mlp: GEGLU,
    embedding: { scaled: true },
    head: { weight: "never" },
  },
  gemma2: {
    norm: RMS,
    norms: SANDWICH,
    attention: {
      rope: { ...PARTIAL, sliding: { base: "same", scaling: "full" } },
      softcap: 50,
      wideScaleAt: 46,
      window: { size: 4096, period: 2 },
    },
    mlp: GEGLU,
    embedding: { scaled: true },
    head: { weight: "never", softcap: 30 },
  },
  gemma3: {
    norm: RMS,
    norms: SANDWICH,
    attention: {
      rope: { ...PARTIAL, sliding: { base: 10000, scaling: "frequencies" } },
      headNorm: HEAD_RMS,
      wideScaleAt: 62,
      window: { size: 0, period: 6 },
    },
    mlp: GEGLU,
    embedding: { scaled: true },
    head: { softcap: 0 },
  },
  phi2: {
    norm: LAYER,
    norms: { attention: "attn_norm" },
    residual: "parallel",
    attention: { rope: PARTIAL, outputBias: "required" },
    mlp: GELU,
    head: { weight: "required", bias: "required" },
  },
  phi3: {
    norm: RMS,
    attention: { rope: { ...PARTIAL, factors: "long" }, window: "ignored" },
    mlp: { form: "fused", activation: "silu" },
  },
  gpt2: {
    norm: LAYER,
    attention: { qkvBias: "required", outputBias: "required" },
    mlp: GELU,
    embedding: { positions: "required" },
  },
  starcoder: {
    norm: LAYER,
    attention: { qkvBias: "required", outputBias: "required" },
    mlp: GELU,
    embedding: { positions: "required" },
  },
  starcoder2: { norm: LAYER, attention: { rope: HALF, outputBias: "required" }, mlp: GELU },
  gptneox: {
    norm: LAYER,
    residual: "key",
    attention: { rope: PARTIAL, qkvBias: "required", outputBias: "required" },
    mlp: GELU,
    head: { weight: "required" },
  },
  falcon: {
    norm: LAYER,
    norms: "falcon",
    residual: "parallel",
    attention: { rope: HALF },
    mlp: { form: "plain", activation: "gelu_tanh" },
  },
  mpt: {
    norm: { kind: "layer", bias: "optional" },
    // llama.cpp v0.5.0 stops at norms of queries and keys here, so they are refused.
    attention: { outputBias: "optional", clip: true, alibi: "key" },
    mlp: { ...GELU, bias: "optional" },
    embedding: { positions: "optional" },
  },
  bloom: {
    norm: LAYER,
    attention: { qkvBias: "required", outputBias: "required", alibi: 8 },
    mlp: GELU,
    embedding: { norm: true },
  },
  stablelm: {
    norm: { kind: "layer", bias: "optional" },
    norms: "stablelm",
    residual: "shared norm",
    attention: { rope: PARTIAL, headNorm: { kind: "layer", over: "each head", presence: "optional" } },
    mlp: SWIGLU,
    head: { weight: "required" },
  },
  olmo: { norm: { kind: "layer", gain: false }, attention: { rope: INTERLEAVED, clip: true }, mlp: SWIGLU },
  olmo2: {
    norm: RMS,
    norms: POST,
    attention: {
      rope: { layout: "half", sliding: { scaling: "none" } },
      headNorm: { kind: "rms", over: "all", presence: "required" },
      window: { size: 0, period: 4 },
    },
    mlp: SWIGLU,
    head: { weight: "required" },
  },
  "command-r": {
    norm: { kind: "layer" },
    norms: { attention: "attn_norm" },
    residual: "parallel",
    attention: {
      rope: { layout: "interleaved", partial: true },
      headNorm: { kind: "layer", over: "each head", presence: "optional" },
    },
    mlp: SWIGLU,
    head: { weight: "never", scale: { key: "optional", divides: false } },
  },
  cohere2: {
    norm: { kind: "layer" },
    norms: { attention: "attn_norm" },
    residual: "parallel",
    attention: { rope: { layout: "interleaved", partial: true, blocks: "sliding" }, window: { period: 4 } },
    mlp: SWIGLU,
    head: { weight: "never", scale: { key: "required", divides: false } },
  },
  glm4: {
    norm: RMS,
    norms: SANDWICH,
    attention: { rope: { layout: "interleaved", partial: true } },
    mlp: { form: "fused", activation: "silu" },
  },
  exaone4: {
    norm: RMS,
    norms: POST,
    attention: {
      rope: { layout: "half", factors: "freqs", blocks: "sliding" },
      headNorm: HEAD_RMS,
      window: { size: 4096, period: 4, onlyAt: 64 },
    },
    mlp: SWIGLU,
  },
  "gpt-oss": {
    norm: RMS,
    norms: { attention: "attn_norm", mlp: "post_attention_norm" },
    attention: {
      rope: { layout: "half", sliding: { base: "same", scaling: "full" } },
      outputBias: "required",
      sinks: true,
      window: { period: 2 },
    },
    experts: { normalize: false, softmax: "selected", width: "expert_feed_forward_length", clamped: true },
    head: { weight: "required" },
  },
};
