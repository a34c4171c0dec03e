// Families with norms behind their branches: Gemma 2 to 4, OLMo 2 and 3, GLM-4, EXAONE 4. Data only.
import type { Axis } from "../axis.ts";
import type { Family, Module, Slot } from "../family.ts";
import { FULL, LINEAR, lastFull, layerTypes, periodic, SLIDING } from "./axes.ts";
import { attention, behindNorm, fusedMlp, gain, mlp, moe, normedBranch, norms, part } from "./parts.ts";
import { like, preNorms } from "./stacks.ts";

const FEED_FORWARD_NORM = "post_feedforward_layernorm.weight";

/** Norms before and behind both branches; `value` closes the ones behind. */
const sandwich = (value: 0 | -1): readonly Slot[] => [
  norms("input_layernorm", "pre_feedforward_layernorm"),
  behindNorm(attention, gain("post_attention_layernorm.weight", value)),
  behindNorm(mlp, gain(FEED_FORWARD_NORM, value)),
];

/** Norms behind both branches and none before. */
const postNorm: readonly Slot[] = sandwich(0).slice(1);

const gemma4Attention = (name: string, projections: string): Module =>
  behindNorm(
    part(name, `self_attn.${projections}_proj.@ self_attn.{q,k}_norm.weight?`, "attention", "self_attn.o_proj.@"),
    gain("post_attention_layernorm.weight"),
  );

const gemma4Mlp: readonly Module[] = [
  {
    name: "moe",
    tensors: `mlp.{gate,up,down}_proj.@ experts.{gate_up_proj,down_proj} router.{proj.weight,scale,per_expert_scale}
      ${FEED_FORWARD_NORM} {post_feedforward_layernorm_1,post_feedforward_layernorm_2,pre_feedforward_layernorm_2}.weight`,
    branches: [normedBranch("mlp", "mlp.down_proj.@ experts.down_proj", gain(FEED_FORWARD_NORM))],
  },
  behindNorm(mlp, gain(FEED_FORWARD_NORM)),
];

/** One in six, and the last, is full; transformers takes the last for full whatever layer_types says. The kind decides sizes of heads. */
const gemma4Kinds: Axis = {
  name: "attention",
  sources: [
    { from: "list", field: "layer_types", last: FULL },
    {
      from: "all",
      of: [
        [{ from: "every", period: 6, phase: -1, hit: FULL, miss: SLIDING }],
        [{ from: "block", at: -1, hit: FULL, miss: SLIDING }],
      ],
      hit: SLIDING,
      miss: FULL,
    },
  ],
  explicit: "layer_types",
  modules: {},
};

const gemma4: Family = like("gemma4_text", {
  slots: [
    norms("input_layernorm", "pre_feedforward_layernorm"),
    [
      gemma4Attention("attention", "{q,k,v}"),
      // attention_k_eq_v: keys serve as values.
      gemma4Attention("attention without v_proj", "{q,k}"),
      // Blocks that read another block's keys and values.
      gemma4Attention("attention on shared keys", "q"),
    ],
    gemma4Mlp,
    // Multiplies the stream at the end of the block.
    { name: "scalar", tensors: "", buffers: "layer_scalar", fixed: [{ tensors: "layer_scalar", value: 1 }] },
  ],
  axes: [gemma4Kinds],
  fields: [{ field: "num_kv_shared_layers", rule: "tail" }],
  outside:
    "embed_tokens.weight norm.weight embed_tokens_per_layer.weight per_layer_model_projection.weight per_layer_projection_norm.weight",
  slices: "{embed_tokens_per_layer,per_layer_model_projection}.weight",
  links: [{ from: "tail", count: "num_kv_shared_layers", axis: "attention", what: "keys and values" }],
});

/** Disk names (attention_layer_norm, feedforward_layer_norm) or runtime names of the same norms. */
const olmoHybrid = (before: string, after: string): readonly Module[] => [
  part(
    "linear",
    `${before}.weight ${after}.weight linear_attn.{a,b,g,k,q,v}_proj.@ linear_attn.{A_log,dt_bias,o_norm.weight} linear_attn.{q,k,v}_conv1d.weight`,
    "attention",
    "linear_attn.o_proj.@",
  ),
  behindNorm(attention, gain(`${after}.weight`)),
];

/** Full in the last block of each period; all full without a window; old files say "LLLG". */
export const exaoneAxis: Axis = {
  ...lastFull(4),
  sources: [
    layerTypes,
    { from: "cycle", field: "sliding_window_pattern", values: { L: SLIDING, G: FULL } },
    {
      from: "every",
      field: "sliding_window_pattern",
      period: 4,
      phase: -1,
      hit: FULL,
      miss: SLIDING,
      when: { field: "sliding_window" },
    },
    { from: "always", kind: FULL },
  ],
};

export const normed: readonly Family[] = [
  like("gemma2", { slots: sandwich(-1), axes: [lastFull(2)] }),
  // The kind also picks the RoPE base: a shifted pattern shows from the second token.
  like("gemma3_text", { slots: sandwich(-1), axes: [lastFull(6, "sliding_window_pattern")] }),
  gemma4,
  like("olmo2", { slots: postNorm }),
  like("olmo3", { slots: postNorm, axes: [lastFull(4)] }),
  like("flex_olmo", {
    slots: [
      behindNorm(attention, gain("post_attention_layernorm.weight")),
      moe({ router: "mlp.gate.weight" }).map((one) => behindNorm(one, gain(FEED_FORWARD_NORM))),
    ],
  }),
  like("exaone4", { slots: postNorm, axes: [exaoneAxis] }),
  // post_attention_layernorm is the norm before the MLP here.
  like("glm4", {
    slots: [
      preNorms,
      behindNorm(attention, gain("post_self_attn_layernorm.weight")),
      behindNorm(fusedMlp, gain("post_mlp_layernorm.weight")),
    ],
  }),
  like("olmo_hybrid", {
    slots: [
      [
        ...olmoHybrid("attention_layer_norm", "feedforward_layer_norm"),
        ...olmoHybrid("input_layernorm", "post_attention_layernorm"),
      ],
      [behindNorm(mlp, gain(FEED_FORWARD_NORM)), mlp],
    ],
    axes: [periodic(4, -1, FULL, LINEAR, { modules: { [FULL]: "attention", [LINEAR]: "linear" } })],
  }),
];
