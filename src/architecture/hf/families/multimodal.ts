// Text stacks that only multimodal models have, and two with blocks of their own kind. Data only.
import type { Family } from "../family.ts";
import { FULL, LINEAR, layerTypes, mixers } from "./axes.ts";
import { attention, branch, gatedBranch, layerScale, mlp, moe, part, sparseMoe, withTensors } from "./parts.ts";
import { HEAD, like, MTP, preNorms } from "./stacks.ts";

const llama4: Family = like("llama4_text", {
  slots: [
    preNorms,
    attention,
    [
      part("dense", "feed_forward.{gate,up}_proj.@", "mlp", "feed_forward.down_proj.@"),
      ...moe({ at: "feed_forward", router: "feed_forward.router.@", shared: "shared_expert" }),
    ],
  ],
  axes: [
    {
      name: "rope",
      sources: [
        { from: "list", field: "no_rope_layers", values: { "1": "rope", "0": "nope" } },
        { from: "every", field: "no_rope_layer_interval", period: 4, phase: -1, hit: "nope", miss: "rope" },
      ],
      explicit: "no_rope_layers",
      ignoredBy: "llama.cpp, mlx-lm",
    },
    {
      name: "attention",
      sources: [
        layerTypes,
        { from: "list", field: "no_rope_layers", values: { "1": "chunked_attention", "0": FULL } },
        { from: "every", field: "no_rope_layer_interval", period: 4, phase: -1, hit: FULL, miss: "chunked_attention" },
      ],
      explicit: "layer_types",
      ignoredBy: "llama.cpp, mlx-lm",
    },
    {
      name: "mlp",
      sources: [
        { from: "indices", field: "moe_layers", hit: "moe", miss: "dense" },
        { from: "every", field: "interleave_moe_layer_step", period: 1, phase: -1, hit: "moe", miss: "dense" },
      ],
      explicit: "moe_layers",
      ignoredBy: "llama.cpp, mlx-lm",
      modules: { moe: "moe", dense: "dense" },
    },
  ],
});

/** Cross-attention blocks end in tanh gates: gate 0 is closed. */
const mllama: Family = like("mllama_text_model", {
  slots: [
    preNorms,
    [
      {
        name: "cross",
        tensors: "cross_attn.{q,k,v,o}_proj.@ cross_attn.{q,k}_norm.weight cross_attn_attn_gate",
        branches: [gatedBranch("cross-attention", "cross_attn.o_proj.@", layerScale("cross_attn_attn_gate"))],
      },
      attention,
    ],
    [
      {
        ...withTensors(mlp, "cross_attn_mlp_gate"),
        branches: [gatedBranch("mlp", "mlp.down_proj.@", layerScale("cross_attn_mlp_gate"))],
      },
      mlp,
    ],
  ],
  axes: [
    mixers(
      [
        { from: "indices", field: "cross_attention_layers", hit: "cross_attention", miss: "self_attention" },
        { from: "always", kind: "self_attention" },
      ],
      { cross_attention: "cross", self_attention: "attention" },
    ),
  ],
});

const minimaxM3: Family = like("minimax_m3_vl_text", {
  slots: [
    preNorms,
    [
      { ...withTensors(attention, "self_attn.index_{q,k}_proj.@ self_attn.index_{q,k}_norm.weight"), name: "indexed" },
      attention,
    ],
    [
      mlp,
      sparseMoe("block_sparse_moe.{gate.weight,e_score_correction_bias?}", "shared_experts"),
      ...moe({ router: "mlp.gate.weight mlp.e_score_correction_bias?", shared: "shared_experts" }),
    ],
  ],
  axes: [
    mixers(
      [
        layerTypes,
        {
          from: "list",
          field: "sparse_attention_config.sparse_attention_freq",
          values: { "0": FULL, "1": "minimax_m3_sparse" },
        },
        { from: "always", kind: FULL },
      ],
      { [FULL]: "attention", minimax_m3_sparse: "indexed" },
      "layer_types",
    ),
    {
      name: "mlp",
      sources: [
        { from: "list", field: "mlp_layer_types" },
        { from: "list", field: "moe_layer_freq", values: { "0": "dense", "1": "sparse" } },
        { from: "always", kind: "sparse" },
      ],
      modules: { dense: "dense", sparse: "moe" },
    },
  ],
});

const step3p5: Family = like("step3p5", {
  slots: [
    preNorms,
    withTensors(attention, "self_attn.g_proj.@?"),
    [
      mlp,
      {
        name: "moe",
        tensors:
          "moe.{gate,gate_proj,up_proj,down_proj}.weight moe.router_bias? share_expert.{gate,up,down}_proj.weight",
        branches: [branch("moe", "moe.down_proj.weight share_expert.down_proj.weight")],
      },
    ],
  ],
  axes: [
    {
      name: "attention",
      sources: [layerTypes, { from: "always", kind: FULL }],
      explicit: "layer_types",
    },
    {
      name: "mlp",
      sources: [
        { from: "list", field: "mlp_layer_types" },
        { from: "indices", field: "moe_layers_enum", csv: true, hit: "sparse", miss: "dense" },
      ],
      modules: { dense: "dense", sparse: "moe" },
    },
  ],
  fields: [
    { field: "swiglu_limits", rule: "list" },
    { field: "swiglu_limits_shared", rule: "list" },
    { field: "rope_theta", rule: "list-if-list" },
    { field: "mtp_layer_types", rule: "keep" },
    { field: "mtp_mlp_layer_types", rule: "keep" },
  ],
  tail: MTP,
});

const MAMBA = "{A_log,D,dt_bias,conv1d.@,in_proj.@,norm.weight}";
const SHARED = `shared_transformer.{input,pre_ff}_layernorm.weight shared_transformer.self_attn.{q,k,v,o}_proj.@
  shared_transformer.feed_forward.{gate_up,down}_proj.@ shared_transformer.feed_forward.gate_up_proj_adapter_list.*.*.weight?
  shared_transformer.self_attn.linear_{q,k,v}_adapter_list.*.*.weight?`;
const HYBRID = `linear.weight mamba_decoder.input_layernorm.weight mamba_decoder.mamba.${MAMBA} mamba_decoder.mamba.out_proj.@`;
const noCopy = "it shares a transformer block with others, which is tied by position";

/** Only plain mamba blocks may be copied; the shared block stands under the first hybrid one that uses it. */
const zamba2: Family = like("zamba2", {
  slots: [
    [
      part("mamba", `input_layernorm.weight mamba.${MAMBA}`, "mamba", "mamba.out_proj.@"),
      { name: "hybrid", tensors: `${HYBRID} ${SHARED}`, noCopy },
      { name: "hybrid", tensors: HYBRID, noCopy },
    ],
  ],
  axes: [
    {
      name: "mixer",
      sources: [
        { from: "list", field: "layers_block_type" },
        { from: "indices", field: "hybrid_layer_ids", hit: "hybrid", miss: LINEAR },
      ],
      modules: { hybrid: "hybrid", mamba: "mamba", [LINEAR]: "mamba" },
    },
  ],
  outside: "embed_tokens.weight final_layernorm.weight",
});

const longcat: Family = like(
  "longcat_flash",
  {
    count: ["num_layers", "num_hidden_layers"],
    slots: [
      {
        name: "attention",
        tensors:
          "{input_layernorm,post_attention_layernorm}.{0,1}.weight self_attn.{0,1}.{q_a_proj,q_b_proj,kv_a_proj_with_mqa,kv_b_proj,o_proj}.@ self_attn.{0,1}.{q_a,kv_a}_layernorm.weight",
        branches: [0, 1].map((half) => branch(`attention ${half}`, `self_attn.${half}.o_proj.@`)),
      },
      {
        name: "dense",
        tensors: "mlps.{0,1}.{gate,up,down}_proj.@",
        branches: [0, 1].map((half) => branch(`mlp ${half}`, `mlps.${half}.down_proj.@`)),
      },
      part(
        "moe",
        "mlp.experts.{e}.{gate,up}_proj.weight mlp.router.{classifier.@,e_score_correction_bias}",
        "moe",
        "mlp.experts.{e}.down_proj.weight",
      ),
    ],
  },
  {
    outside: `${HEAD} model.mtp.**`,
    refusals: [
      {
        if: { field: "zero_expert_num" },
        reason:
          "its zero-compute experts return their input, so a copy whose projections are all zero still adds to the stream",
      },
    ],
  },
);

export const textStacks: readonly Family[] = [llama4, mllama, minimaxM3, step3p5, zamba2, longcat];
