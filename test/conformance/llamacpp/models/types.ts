// One tiny model per ggml tensor type, and what is refused although the file would load. Data only.
import { GGML_DTYPES } from "../../../../src/formats/gguf/types.ts";
import type { JsonValue } from "../../../../src/json.ts";
import type { Dtype } from "../../../../src/tensor/dtype.ts";
import { SMALL, tiny, WIDE } from "../tiny.ts";
import { EXPERT_CASES } from "./experts.ts";
import { ATTENTION, type Case, EXPERTS, model, moe, SWIGLU, u32, window } from "./words.ts";

/** Integers are no weights that llama.cpp multiplies with. */
const WEIGHTS = GGML_DTYPES.filter((dtype) => !/^(I\d+|F64)$/.test(dtype));

const llama = (type: Dtype): Case => ({
  model: tiny({ architecture: "llama", blocks: 3, parts: [ATTENTION, SWIGLU], sizes: WIDE, type, vocabulary: 64 }),
  after: [0, 2],
  shows: `${type} weights`,
});

export const TYPE_CASES: readonly Case[] = [
  ...WEIGHTS.map(llama),
  {
    model: tiny({
      architecture: "qwen3moe",
      blocks: 3,
      parts: [ATTENTION, "attn_q_norm attn_k_norm", EXPERTS],
      sizes: WIDE,
      type: "MXFP4",
      metadata: { ...moe(), ".expert_feed_forward_length": u32(WIDE.expert) },
    }),
    after: [0, 1],
    shows: "MXFP4 experts",
  },
  {
    model: { ...llama("Q4_K").model, shardSize: 600_000 },
    after: [1, 2],
    shows: "a model in several files",
  },
];

/** A layout that `adapt` refuses, and the edits that a careless tool would make. */
export interface Refused extends Case {
  readonly edits?: Readonly<Record<string, JsonValue>>;
  readonly because: string;
}

const narrow = { ...SMALL, head: 32 };
const gemma = "attn_norm attn_q attn_k attn_v attn_output post_attention_norm post_ffw_norm";

export const REFUSED_CASES: readonly Refused[] = [
  ...EXPERT_CASES.filter((one) => one.model.architecture === "hy_v4").map((one) => ({
    ...one,
    after: [0],
    edits: { leading_dense_block_count: 2, "attention.indexer.types": [1, 1, 0, 1, 0] },
    because: "block 1 would use the token selection of a copy",
  })),
  {
    model: model({ architecture: "smollm3", parts: [ATTENTION, SWIGLU], blocks: 8 }),
    after: [0],
    because: "every fourth block has no position encoding",
  },
  {
    model: model({
      architecture: "gemma2",
      parts: [gemma, SWIGLU],
      globals: "",
      blocks: 44,
      sizes: narrow,
      metadata: window(),
    }),
    after: [1],
    perGroup: 2,
    because: "46 blocks have another query scale",
  },
  {
    model: model({
      architecture: "gemma3",
      parts: [gemma, "attn_q_norm attn_k_norm", SWIGLU],
      globals: "",
      blocks: 60,
      sizes: narrow,
      metadata: { ".attention.sliding_window": u32(0) },
    }),
    after: [1],
    perGroup: 2,
    because: "62 blocks have another query scale",
  },
  {
    model: model({
      architecture: "exaone4",
      parts: [
        "attn_q attn_k attn_v attn_output ffn_gate ffn_up ffn_down",
        "attn_q_norm attn_k_norm post_attention_norm post_ffw_norm",
      ],
      blocks: 62,
      metadata: window(),
    }),
    after: [1],
    perGroup: 2,
    because: "64 blocks have windows",
  },
  {
    model: model({
      architecture: "llama4",
      parts: [ATTENTION, SWIGLU],
      metadata: {
        ".attention.sliding_window": u32(0),
        ".interleave_moe_layer_step": u32(0),
        ".expert_feed_forward_length": u32(32),
      },
    }),
    after: [3],
    because: "the last block has no position encoding",
  },
];
