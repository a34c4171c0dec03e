// Gemma and its relatives: norms with a gain of 1+w, most of them also behind the branches. Data only.
import type { Axis, Family } from "../family.ts";
import { BY_PERIOD, FULL, layerTypes, like, SLIDING } from "./llama.ts";
import { attention, gain, mlp, normedBranch, norms } from "./parts.ts";

/** Norms before and behind both branches; `value` closes the ones behind. */
export const sandwich = (value: 0 | -1) => [
  norms("input_layernorm", "pre_feedforward_layernorm"),
  {
    ...attention,
    tensors: `${attention.tensors} post_attention_layernorm.weight`,
    branches: [normedBranch("attention", "self_attn.o_proj.@", gain("post_attention_layernorm.weight", value))],
  },
  {
    ...mlp,
    tensors: `${mlp.tensors} post_feedforward_layernorm.weight`,
    branches: [normedBranch("mlp", "mlp.down_proj.@", gain("post_feedforward_layernorm.weight", value))],
  },
];

/** Sliding attention, except for the last block of each period. */
export const everyLastFull = (period: number, field?: string): Axis => ({
  name: "attention",
  sources: [
    layerTypes,
    { from: "every", period, phase: -1, hit: FULL, miss: SLIDING, ...(field === undefined ? {} : { field }) },
  ],
  explicit: "layer_types",
  ignoredBy: BY_PERIOD,
});

export const gemmas: readonly Family[] = [
  like("gemma", {}),
  like("gemma2", { slots: sandwich(-1), axes: [everyLastFull(2)] }),
  // The kind also picks the RoPE base: a shifted pattern shows from the second token.
  like("gemma3_text", { slots: sandwich(-1), axes: [everyLastFull(6, "sliding_window_pattern")] }),
];
