// A shorthand for tiny GGUF models of many architectures: words stand for tensors, shapes follow from the sizes. Fixtures only.
import type { Fill, TinyGguf, TinyTensor, TinyValue } from "../../../fixtures/gguf.ts";
import type { Dtype, Shape } from "../../../src/tensor/dtype.ts";

/** Widths of a model. */
export interface Sizes {
  readonly embedding: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly head: number;
  readonly network: number;
  readonly experts: number;
  readonly expert: number;
  /** Ranks and head widths of latent attention. */
  readonly rank: number;
  readonly rope: number;
}

export const SMALL: Sizes = {
  embedding: 64,
  heads: 4,
  kvHeads: 2,
  head: 16,
  network: 96,
  experts: 4,
  expert: 32,
  rank: 32,
  rope: 16,
};

/** Rows of 256 values, which every quantized type needs or divides. */
export const WIDE: Sizes = { ...SMALL, embedding: 256, head: 64, network: 256, expert: 256 };

/** "attn_q" is blk.{i}.attn_q.weight; "attn_q.bias" and "ssm_a." (no ending) are written out. Words may hold for some blocks only. */
export type Part = string | readonly [words: string, when: (block: number) => boolean];

export interface Spec {
  readonly architecture: string;
  readonly blocks: number;
  readonly parts: readonly Part[];
  readonly metadata?: Readonly<Record<string, TinyValue>>;
  /** Tensors outside of blocks besides token_embd and the last norm; "output" by default. */
  readonly globals?: string;
  /** Name of the last norm; "output_norm" by default, "" for none. */
  readonly norm?: string;
  /** Shapes that differ from the usual ones, by word, outermost dimension first. */
  readonly shapes?: Readonly<Record<string, Shape>>;
  readonly sizes?: Sizes;
  readonly type?: Dtype;
  readonly vocabulary?: number;
  readonly seed?: number;
}

/** Small tensors that llama.cpp reads as F32 only. */
const PLAIN =
  /^(ssm_(conv1d|a|d|dt|norm)|shortconv\.conv|time_mix_(lerp|first|decay\b|w0|a0|v0|k_k|k_a|r_k|ln)|channel_mix_lerp|attn_sinks|hc_|exp_probs_b|ffn_gate_inp|indexer\.proj|position_embd|.*norm)/;

export function tiny(spec: Spec): TinyGguf {
  const sizes = spec.sizes ?? SMALL;
  const vocabulary = spec.vocabulary ?? 64;
  const outside = `token_embd ${spec.norm ?? "output_norm"} ${spec.globals ?? "output"}`.split(" ").filter(Boolean);
  const [first = "", ...rest] = outside;
  const globals = (words: readonly string[]): TinyTensor[] =>
    words.map((word) => tensorOf(word, "", shapeOf(word, spec, sizes, vocabulary)));
  const blocks = spec.parts.flatMap((part) => {
    const [words, when] = typeof part === "string" ? [part, undefined] : part;
    return words.split(" ").map((word) => ({
      ...tensorOf(word, "blk.{i}.", shapeOf(word, spec, sizes, vocabulary)),
      ...(when === undefined ? {} : { blocks: when }),
    }));
  });
  return {
    architecture: spec.architecture,
    blocks: spec.blocks,
    type: spec.type ?? "F32",
    seed: spec.seed ?? 1,
    vocabulary,
    metadata: { ...usual(sizes), ...spec.metadata },
    tensors: [...globals([first]), ...blocks, ...globals(rest)],
  };
}

function tensorOf(word: string, prefix: string, shape: Shape): TinyTensor {
  const name = word.endsWith(".") ? word.slice(0, -1) : /\.(bias|scales?)$/.test(word) ? word : `${word}.weight`;
  return {
    name: prefix + name,
    shape,
    ...(PLAIN.test(word) ? { dtype: "F32" as const } : {}),
    ...fillOf(word),
  };
}

function fillOf(word: string): { fill?: Fill } {
  if (word === "ssm_a." || word === "ssm_d.") return { fill: "bias" };
  if (/norm\.?$/.test(word) || /\.scale$/.test(word)) return { fill: "norm" };
  return {};
}

function shapeOf(word: string, { shapes = {} }: Spec, sizes: Sizes, vocabulary: number): Shape {
  const given = shapes[word];
  if (given !== undefined) return given;
  if (word.endsWith(".scale")) return [1];
  if (word.endsWith(".bias") || word.endsWith(".")) {
    const weight =
      shapes[word.replace(/\.(bias)?$/, "")] ?? usualShape(word.replace(/\.(bias)?$/, ""), sizes, vocabulary);
    return [weight[0] ?? 1];
  }
  return usualShape(word, sizes, vocabulary);
}

function usualShape(word: string, s: Sizes, vocabulary: number): Shape {
  const q = s.heads * s.head;
  const kv = s.kvHeads * s.head;
  const nope = 16;
  const shapes: Readonly<Record<string, Shape>> = {
    token_embd: [vocabulary, s.embedding],
    output: [vocabulary, s.embedding],
    position_embd: [256, s.embedding],
    attn_q: [q, s.embedding],
    attn_k: [kv, s.embedding],
    attn_v: [kv, s.embedding],
    attn_qkv: [q + 2 * kv, s.embedding],
    attn_output: [s.embedding, q],
    attn_gate: [q, s.embedding],
    attn_sinks: [s.heads],
    attn_q_norm: [s.head],
    attn_k_norm: [s.head],
    ffn_gate: [s.network, s.embedding],
    ffn_up: [s.network, s.embedding],
    ffn_down: [s.embedding, s.network],
    ffn_gate_inp: [s.experts, s.embedding],
    exp_probs_b: [s.experts],
    ffn_gate_exps: [s.experts, s.expert, s.embedding],
    ffn_up_exps: [s.experts, s.expert, s.embedding],
    ffn_down_exps: [s.experts, s.embedding, s.expert],
    ffn_gate_inp_shexp: [s.embedding],
    ffn_gate_shexp: [s.expert, s.embedding],
    ffn_up_shexp: [s.expert, s.embedding],
    ffn_down_shexp: [s.embedding, s.expert],
    attn_q_a: [s.rank, s.embedding],
    attn_q_a_norm: [s.rank],
    attn_q_b: [s.heads * (nope + s.rope), s.rank],
    attn_kv_a_mqa: [s.rank + s.rope, s.embedding],
    attn_kv_a_norm: [s.rank],
    attn_k_b: [s.heads, s.rank, nope],
    attn_v_b: [s.heads, 16, s.rank],
    "nextn.eh_proj": [s.embedding, 2 * s.embedding],
  };
  return shapes[word] ?? [s.embedding];
}

function usual(s: Sizes): Readonly<Record<string, TinyValue>> {
  return {
    "general.quantization_version": ["u32", 2],
    ".context_length": ["u32", 256],
    ".embedding_length": ["u32", s.embedding],
    ".feed_forward_length": ["u32", s.network],
    ".attention.head_count": ["u32", s.heads],
    ".attention.head_count_kv": ["u32", s.kvHeads],
    ".attention.key_length": ["u32", s.head],
    ".attention.value_length": ["u32", s.head],
    ".rope.dimension_count": ["u32", s.head],
    ".rope.freq_base": ["f32", 10000],
    ".attention.layer_norm_rms_epsilon": ["f32", 1e-5],
    ".attention.layer_norm_epsilon": ["f32", 1e-5],
  };
}

/** Settings of a mixture of experts; `of` sizes. */
export function experts(
  s: Sizes,
  extra: Readonly<Record<string, TinyValue>> = {},
): Readonly<Record<string, TinyValue>> {
  return {
    ".expert_count": ["u32", s.experts],
    ".expert_used_count": ["u32", 2],
    ".expert_feed_forward_length": ["u32", s.expert],
    ".expert_shared_count": ["u32", 1],
    ".expert_shared_feed_forward_length": ["u32", s.expert],
    ".expert_gating_func": ["u32", 1],
    ...extra,
  };
}

/** Settings of latent attention. */
export function latent(s: Sizes): Readonly<Record<string, TinyValue>> {
  return {
    ".attention.head_count_kv": ["u32", 1],
    ".attention.q_lora_rank": ["u32", s.rank],
    ".attention.kv_lora_rank": ["u32", s.rank],
    ".attention.key_length": ["u32", s.rank + s.rope],
    ".attention.value_length": ["u32", s.rank],
    ".attention.key_length_mla": ["u32", 16 + s.rope],
    ".attention.value_length_mla": ["u32", 16],
    ".rope.dimension_count": ["u32", s.rope],
  };
}
