// Ways in which the kind of a block follows from its index, shared by families. Formulas after transformers 5.16 (decba1d2). Data only.
import type { Axis, KindSource } from "../axis.ts";

export const FULL = "full_attention";
export const SLIDING = "sliding_attention";
export const LINEAR = "linear_attention";

/** The explicit list of transformers 4.53 and later. */
export const layerTypes: KindSource = { from: "list", field: "layer_types" };

/** Readers that go by a period whatever the list says (notes on hazards 1 and 2). */
const BY_PERIOD = "llama.cpp, mlx-lm, transformers before 4.53";

/** An explicit list, else one kind in every period. */
export const periodic = (
  period: number,
  phase: number,
  hit: string,
  miss: string,
  more: { readonly field?: string; readonly modules?: Axis["modules"] } = {},
): Axis => ({
  name: "attention",
  sources: [
    layerTypes,
    { from: "every", period, phase, hit, miss, ...(more.field === undefined ? {} : { field: more.field }) },
  ],
  explicit: "layer_types",
  ignoredBy: BY_PERIOD,
  ...(more.modules === undefined ? {} : { modules: more.modules }),
});

/** Sliding attention, full in the last block of each period. */
export const lastFull = (period: number, field?: string): Axis =>
  periodic(period, -1, FULL, SLIDING, field === undefined ? {} : { field });

/** Sliding attention, full in the first block of each period. */
export const firstFull = (period: number, field?: string): Axis =>
  periodic(period, 0, FULL, SLIDING, field === undefined ? {} : { field });

/** A list that no reader derives from a period; without one all blocks are alike. */
export const listed = (otherwise: string): Axis => ({
  name: "attention",
  sources: [layerTypes, { from: "always", kind: otherwise }],
  explicit: "layer_types",
});

/** Mixers by list, or all alike. */
export const mixers = (sources: readonly KindSource[], modules: Axis["modules"], explicit?: string): Axis => ({
  name: "mixer",
  sources,
  ...(modules === undefined ? {} : { modules }),
  ...(explicit === undefined ? {} : { explicit }),
});

/** qwen2 and relatives: full attention below max_window_layers, sliding above it, if sliding is on at all. */
export const window: Axis = {
  name: "attention",
  sources: [
    layerTypes,
    {
      from: "below",
      field: "max_window_layers",
      default: 28,
      hit: FULL,
      miss: SLIDING,
      when: { field: "use_sliding_window", is: true, default: false },
    },
    { from: "always", kind: FULL },
  ],
  explicit: "layer_types",
};

const MLP_MODULES: Axis["modules"] = { dense: "dense", sparse: "moe", moe: "moe" };

/** Dense blocks below a threshold. */
export const densePrefix = (fallback: number, field = "first_k_dense_replace"): Axis => ({
  name: "mlp",
  sources: [{ from: "below", field, default: fallback, hit: "dense", miss: "moe" }],
  modules: MLP_MODULES,
});

/** DeepSeek's own code also wants the index to be a multiple of moe_layer_freq. */
export const deepseekPrefix = (fallback: number): Axis => ({
  name: "mlp",
  sources: [
    {
      from: "all",
      of: [
        [{ from: "below", field: "first_k_dense_replace", default: fallback, hit: "dense", miss: "moe" }],
        [{ from: "every", field: "moe_layer_freq", period: 1, phase: 0, hit: "moe", miss: "dense" }],
      ],
      hit: "moe",
      miss: "dense",
    },
  ],
  modules: MLP_MODULES,
});

/** mlp_layer_types wins over first_k_dense_replace. */
export const listedPrefix = (fallback: number): Axis => ({
  name: "mlp",
  sources: [
    { from: "list", field: "mlp_layer_types" },
    { from: "below", field: "first_k_dense_replace", default: fallback, hit: "dense", miss: "sparse" },
  ],
  explicit: "mlp_layer_types",
  modules: MLP_MODULES,
});

/** mlp_layer_types, else exactly the first block is dense, whatever first_k_dense_replace says. */
export const firstDense: Axis = {
  name: "mlp",
  sources: [
    { from: "list", field: "mlp_layer_types" },
    { from: "block", at: 0, hit: "dense", miss: "sparse" },
  ],
  explicit: "mlp_layer_types",
  modules: MLP_MODULES,
};

/** mlp_layer_types, else all sparse. */
export const listedMlp: Axis = {
  name: "mlp",
  sources: [
    { from: "list", field: "mlp_layer_types" },
    { from: "always", kind: "sparse" },
  ],
  explicit: "mlp_layer_types",
  modules: MLP_MODULES,
};

/** qwen2_moe and relatives: MoE every decoder_sparse_step blocks, except for mlp_only_layers. */
export const sparseStep: Axis = {
  name: "mlp",
  sources: [
    {
      from: "all",
      of: [
        [
          { from: "indices", field: "mlp_only_layers", hit: "dense", miss: "moe" },
          { from: "always", kind: "moe" },
        ],
        [{ from: "every", field: "decoder_sparse_step", period: 1, phase: -1, hit: "moe", miss: "dense" }],
      ],
      hit: "moe",
      miss: "dense",
    },
  ],
  explicit: "mlp_only_layers",
  set: { decoder_sparse_step: 1 },
  modules: MLP_MODULES,
};

/** The first block alone has another set of tensors. */
export const firstApart: Axis = {
  name: "position",
  sources: [{ from: "block", at: 0, hit: "first", miss: "rest" }],
  modules: { first: "first", rest: "rest" },
};

export const lastApart: Axis = {
  name: "position",
  sources: [{ from: "block", at: -1, hit: "last", miss: "rest" }],
  modules: { last: "last", rest: "rest" },
};
