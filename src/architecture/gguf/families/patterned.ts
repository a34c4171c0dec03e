// Architectures whose blocks differ by their number: sliding windows, and blocks without position encoding (llama.cpp v0.5.0). Data only.
import type { GgufRecords, GroupRule } from "../family.ts";
import { leastCommonMultiple } from "../patterns.ts";
import { lastStaysLast, neverCopyBlockZero } from "../rules/particular.ts";
import { ATTENTION, DENSE, EXPERTS, MTP, POST_NORMS, QK_NORM, SHARED_EXPERT } from "./stems.ts";

/** RMSNorm on the output of each branch. */
const BEHIND = { attention: "post_attention_norm", mlp: "post_ffw_norm" };
const EVERY_FOURTH = "readers leave the position encoding out of every fourth block, by number";

const FOURTH_HAS_NO_ROPE: GroupRule = {
  why: EVERY_FOURTH,
  size: () => 4,
  noRope: (index) => (index + 1) % 4 === 0,
};

export const PATTERNED_RECORDS: GgufRecords = {
  afmoe: {
    stems: [ATTENTION, QK_NORM, DENSE, EXPERTS, SHARED_EXPERT, POST_NORMS, "attn_gate"],
    outputNorms: BEHIND,
    window: { period: 4, active: "when-set" },
    group: FOURTH_HAS_NO_ROPE,
  },
  cohere2: { stems: [ATTENTION, DENSE], window: { period: 4 } },
  cohere2moe: {
    stems: [ATTENTION, DENSE, EXPERTS, SHARED_EXPERT, MTP],
    window: { period: 4, denseFirst: true },
  },
  "exaone-moe": {
    stems: [ATTENTION, QK_NORM, DENSE, EXPERTS, SHARED_EXPERT, MTP],
    window: { period: 4 },
  },
  "gemma-embedding": {
    stems: [ATTENTION, QK_NORM, DENSE, POST_NORMS],
    outputNorms: BEHIND,
    window: { period: 6 },
  },
  gemma2: {
    stems: [ATTENTION, DENSE, POST_NORMS],
    outputNorms: BEHIND,
    window: { period: 2 },
    counts: {
      of: [46],
      why: "readers scale queries by 1/sqrt(embedding_length/head_count) instead of 1/sqrt(key_length)",
    },
  },
  gemma3: {
    stems: [ATTENTION, QK_NORM, DENSE, POST_NORMS],
    outputNorms: BEHIND,
    window: { period: 6, active: "when-set" },
    counts: {
      of: [62],
      why: "readers scale queries by 1/sqrt(embedding_length/head_count) instead of 1/sqrt(key_length)",
    },
  },
  // post_attention_norm stands before the network here.
  "gpt-oss": { stems: [ATTENTION, EXPERTS, "attn_sinks post_attention_norm"], window: { period: 2 } },
  laguna: {
    stems: [ATTENTION, QK_NORM, DENSE, EXPERTS, SHARED_EXPERT, "attn_gate"],
    window: { period: 4, denseFirst: true, active: "when-set" },
  },
  llama4: {
    stems: [ATTENTION, DENSE, EXPERTS, SHARED_EXPERT],
    window: { period: 4, active: "unless-zero" },
    handles: ["interleave_moe_layer_step"],
    group: {
      why: "readers leave the position encoding out of every fourth block and expect experts in every interleave_moe_layer_step-th, by number",
      size: (settings) =>
        leastCommonMultiple(
          settings.number("attention.sliding_window") === 0 ? 1 : 4,
          moeStep(settings.number("interleave_moe_layer_step")),
        ),
      copySize: (settings) => moeStep(settings.number("interleave_moe_layer_step")),
      noRope: (index, settings) => settings.number("attention.sliding_window") !== 0 && (index + 1) % 4 === 0,
    },
    rules: [lastStaysLast],
  },
  mellum: { stems: [ATTENTION, QK_NORM, EXPERTS], window: { period: 4, active: "when-set" } },
  "modern-bert": {
    stems: [ATTENTION, DENSE],
    window: { period: 3, denseFirst: true, active: "when-set" },
    rules: [neverCopyBlockZero("it has no norm in front of its attention")],
  },
  "muse-glimmer": {
    stems: [ATTENTION, QK_NORM, DENSE, POST_NORMS, "attn_gate"],
    outputNorms: BEHIND,
    window: { period: 4 },
  },
  olmo2: {
    stems: [ATTENTION, QK_NORM, DENSE, POST_NORMS],
    outputNorms: BEHIND,
    window: { period: 4, active: "when-set" },
  },
  plamo3: {
    stems: [ATTENTION, QK_NORM, DENSE, POST_NORMS],
    outputNorms: BEHIND,
    window: { period: 8, active: "when-set" },
  },
  smallthinker: {
    stems: [ATTENTION, DENSE, EXPERTS],
    window: { period: 4, denseFirst: true, active: "when-set" },
    group: {
      why: EVERY_FOURTH,
      size: (settings) => ((settings.number("attention.sliding_window") ?? 0) > 0 ? 4 : 1),
      noRope: (index, settings) => (settings.number("attention.sliding_window") ?? 0) > 0 && index % 4 === 0,
    },
  },
  smollm3: { stems: [ATTENTION, DENSE], group: FOURTH_HAS_NO_ROPE },
  // Reads the pattern as a list only.
  spark2_5: { stems: [ATTENTION, DENSE, "attn_gate"] },
};

/** 0 and 1 mean that all blocks are alike. */
function moeStep(step: number | undefined): number {
  return Math.max(1, step ?? 1);
}
