// Words, shapes and settings that many tiny models share, and what a case is. Data only.
import type { TinyGguf, TinyValue } from "../../../../fixtures/gguf.ts";
import { experts, latent, type Part, SMALL, type Spec, tiny } from "../tiny.ts";

export const ATTENTION = "attn_norm attn_q attn_k attn_v attn_output";
export const FUSED = "attn_norm attn_norm.bias attn_qkv attn_qkv.bias attn_output attn_output.bias";
export const SWIGLU = "ffn_norm ffn_gate ffn_up ffn_down";
export const GELU = "ffn_norm ffn_norm.bias ffn_up ffn_up.bias ffn_down ffn_down.bias";
export const QK_NORM = "attn_q_norm attn_k_norm";
export const EXPERTS = "ffn_norm ffn_gate_inp ffn_gate_exps ffn_up_exps ffn_down_exps";
export const SHARED = "ffn_gate_shexp ffn_up_shexp ffn_down_shexp";
export const LATENT =
  "attn_norm attn_q_a attn_q_a_norm attn_q_b attn_kv_a_mqa attn_kv_a_norm attn_k_b attn_v_b attn_output";
export const POST = "post_attention_norm post_ffw_norm";
export const u32 = (value: number): TinyValue => ["u32", value];
export const f32 = (value: number): TinyValue => ["f32", value];
export const window = (size = 8): Record<string, TinyValue> => ({ ".attention.sliding_window": u32(size) });
export const wideExperts = { ffn_gate_exps: [4, 96, 64], ffn_up_exps: [4, 96, 64], ffn_down_exps: [4, 64, 96] };
export const allHeads = { attn_k: [64, 64], attn_v: [64, 64] };
export const full = { attn_q_norm: [64], attn_k_norm: [32] };
export const latentOut = { attn_output: [64, 64] };

/** Dense block 0, experts behind it. */
export const FIRST_DENSE: readonly Part[] = [
  [SWIGLU, (block) => block < 1],
  [`${EXPERTS} ${SHARED}`, (block) => block >= 1],
];
export const ssm = {
  ".ssm.conv_kernel": u32(4),
  ".ssm.inner_size": u32(128),
  ".ssm.state_size": u32(16),
  ".ssm.time_step_rank": u32(4),
  ".ssm.group_count": u32(2),
};
export const perBlock = (values: readonly number[]): TinyValue => ["array", "i32", values];
export const MAMBA2 = "ssm_in ssm_conv1d ssm_conv1d.bias ssm_dt.bias ssm_a. ssm_d. ssm_norm ssm_out";
export const mamba2Shapes = {
  ssm_in: [2 * 128 + 2 * 2 * 16 + 4, 64],
  ssm_conv1d: [128 + 64, 4],
  "ssm_conv1d.bias": [128 + 64],
  "ssm_dt.bias": [4],
  "ssm_a.": [4, 1],
  "ssm_d.": [4, 1],
  ssm_norm: [2, 64],
  ssm_out: [64, 128],
};

/** A model and how it is expanded. */
export interface Case {
  readonly model: TinyGguf;
  /** Source blocks that get a copy behind them. */
  readonly after: readonly number[];
  /** Copy this many blocks each time; 1 by default. */
  readonly perGroup?: number;
  /** What this case shows beyond its architecture. */
  readonly shows?: string;
  /** The model gives embeddings, no logits. */
  readonly encoder?: boolean;
}

export function model(spec: Omit<Spec, "blocks"> & { readonly blocks?: number }): TinyGguf {
  return tiny({ blocks: 4, ...spec });
}

export const moe = (extra: Record<string, TinyValue> = {}): Record<string, TinyValue> => ({ ...experts(SMALL, extra) });

export function withoutQueryRank(): Record<string, TinyValue> {
  const { ".attention.q_lora_rank": _, ...rest } = latent(SMALL);
  return rest;
}

export function withoutGating(settings: Record<string, TinyValue>): Record<string, TinyValue> {
  const { ".expert_gating_func": _, ...rest } = settings;
  return rest;
}
