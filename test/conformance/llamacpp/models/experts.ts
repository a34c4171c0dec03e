// Tiny models with mixtures of experts. Data only.
import { latent, SMALL } from "../tiny.ts";
import {
  ATTENTION,
  allHeads,
  type Case,
  EXPERTS,
  FIRST_DENSE,
  f32,
  LATENT,
  latentOut,
  model,
  moe,
  QK_NORM,
  SHARED,
  u32,
  wideExperts,
  withoutGating,
  withoutQueryRank,
} from "./words.ts";

export const EXPERT_CASES: readonly Case[] = [
  {
    model: model({ architecture: "llama", parts: [ATTENTION, EXPERTS], shapes: wideExperts, metadata: moe(), seed: 3 }),
    after: [0, 2],
    shows: "Mixtral's names",
  },
  {
    model: model({
      architecture: "qwen2moe",
      parts: [ATTENTION, EXPERTS, `${SHARED} ffn_gate_inp_shexp`],
      metadata: moe(),
    }),
    after: [0, 2],
  },
  { model: model({ architecture: "qwen3moe", parts: [ATTENTION, QK_NORM, EXPERTS], metadata: moe() }), after: [1, 2] },
  {
    model: model({
      architecture: "olmoe",
      parts: [ATTENTION, QK_NORM, EXPERTS],
      metadata: moe({ ".attention.head_count_kv": u32(4) }),
      shapes: { ...wideExperts, ...allHeads, attn_q_norm: [64], attn_k_norm: [64] },
    }),
    after: [0, 3],
  },
  {
    model: model({
      architecture: "deepseek2",
      parts: [LATENT, ...FIRST_DENSE],
      shapes: latentOut,
      blocks: 5,
      metadata: { ...moe({ ".leading_dense_block_count": u32(1) }), ...latent(SMALL) },
    }),
    after: [0, 1, 3],
    shows: "leading dense blocks",
  },
  {
    model: model({
      architecture: "deepseek2",
      parts: ["attn_norm attn_q attn_kv_a_mqa attn_kv_a_norm attn_k_b attn_v_b attn_output", ...FIRST_DENSE],
      shapes: { ...latentOut, attn_q: [128, 64] },
      blocks: 27,
      metadata: { ...moe({ ".leading_dense_block_count": u32(1) }), ...withoutQueryRank() },
    }),
    after: [0, 9, 18],
    shows: "a lite model (27 blocks) that grows out of its block count",
  },
  {
    model: model({
      architecture: "deepseek2",
      parts: [LATENT, ...FIRST_DENSE],
      shapes: latentOut,
      blocks: 47,
      vocabulary: 154880,
      metadata: { ...withoutGating(moe({ ".leading_dense_block_count": u32(1) })), ...latent(SMALL) },
    }),
    after: [0, 20, 40],
    shows: "gating that follows from the block count (47)",
  },
  {
    model: model({
      architecture: "glm4moe",
      parts: [
        `${ATTENTION} post_attention_norm`,
        QK_NORM,
        ["ffn_gate ffn_up ffn_down", (b) => b < 1],
        [`ffn_gate_inp exp_probs_b.bias ffn_gate_exps ffn_up_exps ffn_down_exps ${SHARED}`, (b) => b >= 1],
        ["nextn.eh_proj nextn.enorm nextn.hnorm nextn.shared_head_norm", (b) => b === 5],
      ],
      blocks: 6,
      metadata: { ...moe({ ".leading_dense_block_count": u32(1), ".nextn_predict_layers": u32(1) }) },
    }),
    after: [0, 3],
    shows: "a multi-token-prediction block that stays last",
  },
  {
    model: model({
      architecture: "dots1",
      parts: [ATTENTION, QK_NORM, ...FIRST_DENSE, ["exp_probs_b.bias", (b) => b >= 1]],
      shapes: allHeads,
      metadata: moe({ ".attention.head_count_kv": u32(4), ".leading_dense_block_count": u32(1) }),
    }),
    after: [0, 2],
  },
  {
    model: model({
      architecture: "deepseek2-ocr",
      parts: [ATTENTION, ...FIRST_DENSE],
      shapes: allHeads,
      metadata: { ...moe({ ".leading_dense_block_count": u32(1) }), ".attention.head_count_kv": u32(4) },
    }),
    after: [0, 2],
  },
  {
    model: model({
      architecture: "ernie4_5-moe",
      parts: [ATTENTION, ...FIRST_DENSE],
      metadata: moe({ ".leading_dense_block_count": u32(1), ".interleave_moe_layer_step": u32(1) }),
    }),
    after: [0, 2],
  },
  {
    model: model({
      architecture: "grok",
      parts: [`${ATTENTION} attn_output_norm post_ffw_norm`, EXPERTS, "ffn_gate ffn_up ffn_down"],
      metadata: moe(),
    }),
    after: [0, 2],
    shows: "a dense network beside the experts, behind one norm",
  },
  {
    model: model({
      architecture: "hy_v4",
      parts: [
        `${LATENT} attn_gate attn_sinks hc_attn_fn hc_attn_base hc_attn_scale hc_ffn_fn hc_ffn_base hc_ffn_scale`,
        ...FIRST_DENSE,
        ["indexer.attn_q_b indexer.attn_k indexer.k_norm indexer.k_norm.bias indexer.proj", (b) => b % 2 === 0],
      ],
      globals: "output output_hc_fn output_hc_base output_hc_scale",
      shapes: {
        ...latentOut,
        attn_gate: [64, 64],
        hc_attn_fn: [4, 128],
        hc_attn_base: [4],
        hc_attn_scale: [2],
        hc_ffn_fn: [4, 128],
        hc_ffn_base: [4],
        hc_ffn_scale: [2],
        output_hc_fn: [2, 128],
        output_hc_base: [2],
        output_hc_scale: [1],
        "indexer.attn_q_b": [2 * 32, 32],
        "indexer.attn_k": [32, 64],
        "indexer.k_norm": [32],
        "indexer.k_norm.bias": [32],
        "indexer.proj": [2, 64],
      },
      metadata: {
        ...moe({ ".leading_dense_block_count": u32(1) }),
        ...latent(SMALL),
        ".hyper_connection.count": u32(2),
        ".hyper_connection.epsilon": f32(1e-6),
        ".hyper_connection.magnitude": f32(2),
        ".attention.indexer.head_count": u32(2),
        ".attention.indexer.key_length": u32(32),
        ".attention.indexer.top_k": u32(4),
        ".attention.indexer.types": ["array", "u32", [1, 0, 1, 0]],
      },
    }),
    after: [1, 3],
    shows: "streams that are not mixed, shared token selection",
  },
  {
    model: model({
      architecture: "glm-dsa",
      parts: [
        LATENT,
        ...FIRST_DENSE,
        "indexer.attn_q_b indexer.attn_k indexer.k_norm indexer.k_norm.bias indexer.proj",
      ],
      shapes: {
        ...latentOut,
        "indexer.attn_q_b": [2 * 64, 32],
        "indexer.attn_k": [64, 64],
        "indexer.k_norm": [64],
        "indexer.k_norm.bias": [64],
        "indexer.proj": [2, 64],
      },
      metadata: {
        ...moe({ ".leading_dense_block_count": u32(1) }),
        ...latent(SMALL),
        ".attention.indexer.head_count": u32(2),
        ".attention.indexer.key_length": u32(64),
        ".attention.indexer.top_k": u32(4),
      },
    }),
    after: [0, 2],
  },
];
