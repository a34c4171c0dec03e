// What sets one GGUF architecture apart from another, as llama.cpp v0.5.0 computes it (src/models/). Types only.

/** Absent: the family has no such tensor, and one in the file is refused. */
export type Presence = "required" | "optional";

export interface GgufFamily {
  readonly norm: {
    readonly kind: "rms" | "layer";
    /** False: it only centres and scales (olmo). */
    readonly gain?: false;
    readonly bias?: Presence;
  };
  /** Names of the norms by place. Absent: attn_norm, ffn_norm. */
  readonly norms?: Norms | "falcon" | "stablelm";
  /** "key": use_parallel_residual says. "shared norm": parallel where the block has one norm only. Absent: sequential. */
  readonly residual?: "parallel" | "key" | "shared norm";
  readonly attention: AttentionRule;
  /** Absent: every block has experts. */
  readonly mlp?: MlpRule;
  /** Used where expert_count is not 0. */
  readonly experts?: ExpertsRule;
  readonly embedding?: {
    /** The rows are multiplied by the root of the width. */
    readonly scaled?: true;
    /** token_embd_norm. */
    readonly norm?: true;
    /** position_embd. */
    readonly positions?: Presence;
  };
  readonly head?: {
    /** output.weight; absent means that the token embedding is used. Default "optional". */
    readonly weight?: Presence | "never";
    readonly bias?: Presence;
    /** logit_scale: logits are multiplied by it, or divided. "required" or absent counting as 1. */
    readonly scale?: { readonly key: Presence; readonly divides: boolean };
    /** final_logit_softcapping where the key is absent; 0 is none. */
    readonly softcap?: number;
  };
  /** embedding_scale, residual_scale and attention.scale (granite). */
  readonly multipliers?: true;
}

export interface Norms {
  readonly attention?: string;
  readonly mlp?: string;
  readonly attentionOutput?: string;
  readonly mlpOutput?: string;
}

export interface AttentionRule {
  /** Of queries, keys and values. Default "optional". */
  readonly qkvBias?: Presence;
  readonly outputBias?: Presence;
  /** attn_q_norm and attn_k_norm. each head: a gain for every head. */
  readonly headNorm?: {
    readonly kind: "rms" | "layer";
    readonly over: "head" | "each head" | "all";
    readonly presence: Presence;
  };
  readonly rope?: RopeRule;
  /** attention.clamp_kqv is read. */
  readonly clip?: true;
  /** Largest slope exponent; "key": attention.max_alibi_bias, 0 being none. */
  readonly alibi?: number | "key";
  readonly sinks?: true;
  /** attn_logit_softcapping where the key is absent. */
  readonly softcap?: number;
  /** Scores are scaled by the root of width / heads, not of the head size, in models of this many blocks. */
  readonly wideScaleAt?: number;
  /** ignored: llama.cpp lets every block see everything, whatever attention.sliding_window says (phi3). Absent: the key must be absent or 0. */
  readonly window?: WindowRule | "ignored";
}

export interface RopeRule {
  readonly layout: "half" | "interleaved";
  /** rope.dimension_count may be less than the head size. */
  readonly partial?: true;
  /** freqs: rope_freqs divides the frequencies. long: rope_factors_short and _long do. either: long under the scaling type longrope. */
  readonly factors?: "freqs" | "long" | "either";
  /** Blocks that rotate. sliding: where anything slides, only the sliding ones. three of four: not every fourth. key: none under rope.scaling.finetuned = false. */
  readonly blocks?: "sliding" | "three of four" | "key";
  /** How sliding blocks turn. Absent: like the others. */
  readonly sliding?: {
    /** rope.freq_base_swa where absent: a number, or the others' base. Absent: never read. */
    readonly base?: number | "same";
    /** full: scaled like the others. none: not scaled at all. frequencies: only yarn's ramp and magnitude are left. */
    readonly scaling: "full" | "none" | "frequencies";
  };
  /** yarn_beta_fast, yarn_beta_slow and yarn_log_multiplier are read; elsewhere they are 32, 1 and 0. */
  readonly yarn?: true;
}

export interface WindowRule {
  /** attention.sliding_window where absent; 0: nothing slides. Absent: the key is required. */
  readonly size?: number;
  /** Every such block sees everything, the others slide, unless attention.sliding_window_pattern says otherwise. */
  readonly period: number;
  /** Only models of this many blocks slide at all. */
  readonly onlyAt?: number;
}

export interface MlpRule {
  /** gated: ffn_gate and ffn_up. fused: ffn_up holds both, gate first. */
  readonly form: "gated" | "fused" | "plain";
  readonly activation: "silu" | "gelu_tanh" | "relu2";
  readonly bias?: Presence;
}

export interface ExpertsRule {
  /** Weights of the selected experts are divided by their sum. */
  readonly normalize: boolean;
  /** all: softmax over all experts first. selected: over the selected logits only. */
  readonly softmax: "all" | "selected";
  /** Which key holds the experts' inner width; expert_feed_forward_length falls back on feed_forward_length / experts used. */
  readonly width: "feed_forward_length" | "expert_feed_forward_length";
  /** gated: always, times a sigmoid. sized: where expert_shared_feed_forward_length is not 0. */
  readonly shared?: "gated" | "sized";
  /** gpt-oss: biases everywhere, clamped SwiGLU with 1.702 and 7. */
  readonly clamped?: true;
}
