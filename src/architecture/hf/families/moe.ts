// Mixture-of-experts families. Data only.
import type { Axis } from "../axis.ts";
import type { Family } from "../family.ts";
import {
  densePrefix,
  FULL,
  firstDense,
  lastFull,
  layerTypes,
  listed,
  listedMlp,
  listedPrefix,
  SLIDING,
  sparseStep,
} from "./axes.ts";
import { attention, behindNorm, gain, mlp, moe, norms, part, sparseMoe, withTensors } from "./parts.ts";
import { like, MTP, preNorms } from "./stacks.ts";

const GATE = "mlp.gate.weight";
const CORRECTED = "mlp.gate.{weight,e_score_correction_bias?}";

const refuseSliding = {
  refusals: [
    {
      if: { field: "use_sliding_window", is: true },
      reason: "which blocks slide differs between versions of its readers",
      fix: "Set use_sliding_window to false if the model was trained so.",
    },
  ],
};

/** A mixture in every block, with per-expert names or transformers 5's fused ones. */
const mixtral = (name: string) => like(name, { slots: [preNorms, attention, [sparseMoe(), ...moe({ router: GATE })]] });

const ernieMlp: Axis = {
  name: "mlp",
  sources: [
    {
      from: "all",
      of: [
        [{ from: "every", field: "moe_layer_interval", period: 1, phase: -1, hit: "moe", miss: "dense" }],
        [{ from: "below", field: "moe_layer_start_index", default: 0, hit: "dense", miss: "moe" }],
        [{ from: "upTo", field: "moe_layer_end_index", hit: "moe", miss: "dense" }],
      ],
      hit: "moe",
      miss: "dense",
    },
  ],
  modules: { dense: "dense", moe: "moe" },
};

/** Blocks behind the dense prefix count their period anew. */
const cohere2Moe: Axis = {
  ...listed(FULL),
  sources: [
    layerTypes,
    {
      from: "split",
      field: "first_k_dense_replace",
      default: 0,
      below: {
        from: "every",
        field: "prefix_dense_sliding_window_pattern",
        period: 1,
        phase: -1,
        hit: FULL,
        miss: SLIDING,
      },
      above: { from: "every", field: "sliding_window_pattern", period: 4, phase: -1, hit: FULL, miss: SLIDING },
    },
  ],
};

export const moes: readonly Family[] = [
  mixtral("mixtral"),
  mixtral("phimoe"),
  like("olmoe", { slots: [preNorms, attention, moe({ router: GATE })] }),
  like("mellum", {
    slots: [preNorms, attention, [mlp, ...moe({ router: GATE })]],
    axes: [listed(FULL), listedMlp],
  }),
  like(
    "qwen2_moe",
    {
      slots: [
        preNorms,
        attention,
        [mlp, ...moe({ router: `${GATE} mlp.shared_expert_gate.weight`, shared: "shared_expert" })],
      ],
      axes: [listed(FULL), sparseStep],
      fields: [{ field: "max_window_layers", rule: "threshold" }],
    },
    refuseSliding,
  ),
  like(
    "qwen3_moe",
    {
      slots: [preNorms, attention, [mlp, ...moe({ router: GATE })]],
      axes: [sparseStep],
      fields: [{ field: "max_window_layers", rule: "threshold" }],
    },
    refuseSliding,
  ),
  like("gpt_oss", {
    slots: [
      preNorms,
      withTensors(attention, "self_attn.sinks"),
      // mxfp4 files hold ..._blocks and ..._scales for each of the first two.
      part(
        "moe",
        "mlp.experts.gate_up_proj mlp.experts.gate_up_proj_bias mlp.router.@",
        "moe",
        "mlp.experts.down_proj mlp.experts.down_proj_bias",
      ),
    ],
    axes: [{ ...lastFull(2), ignoredBy: "llama.cpp" }],
  }),
  like("hunyuan_v1_moe", {
    slots: [
      preNorms,
      withTensors(attention, "self_attn.{query,key}_layernorm.weight?"),
      [mlp, ...moe({ router: "mlp.gate.wg.weight", shared: "shared_mlp" })],
    ],
    fields: ["num_experts", "moe_topk", "num_shared_expert", "moe_intermediate_size"].map((field) => ({
      field,
      rule: "list-if-list" as const,
    })),
  }),
  like("laguna", {
    slots: [
      preNorms,
      withTensors(attention, "self_attn.g_proj.@?"),
      [
        mlp,
        ...moe({ router: `${GATE} mlp.experts.e_score_correction_bias?`, shared: "shared_expert" }),
        ...moe({ router: `${GATE} mlp.experts.e_score_correction_bias?`, shared: "shared_experts" }),
      ],
    ],
    axes: [listed(FULL), firstDense],
    fields: [{ field: "num_attention_heads_per_layer", rule: "list" }],
  }),
  like("mimo_v2_flash", {
    slots: [preNorms, withTensors(attention, "self_attn.attention_sink_bias?"), [mlp, ...moe({ router: CORRECTED })]],
    axes: [
      {
        name: "attention",
        sources: [
          layerTypes,
          { from: "list", field: "hybrid_layer_pattern", values: { "0": FULL, "1": SLIDING } },
          {
            from: "all",
            of: [
              [{ from: "every", period: 6, phase: -1, hit: FULL, miss: SLIDING }],
              [{ from: "block", at: 0, hit: FULL, miss: SLIDING }],
            ],
            hit: SLIDING,
            miss: FULL,
          },
        ],
        explicit: "layer_types",
        // Sliding blocks have other head counts, so a copy must keep its kind.
        modules: { [FULL]: "attention", [SLIDING]: "attention" },
      },
      {
        ...firstDense,
        sources: [
          { from: "list", field: "mlp_layer_types" },
          { from: "list", field: "moe_layer_freq", values: { "0": "dense", "1": "sparse" } },
          { from: "block", at: 0, hit: "dense", miss: "sparse" },
        ],
      },
    ],
  }),
  like("minimax_m2", {
    slots: [
      preNorms,
      attention,
      [
        sparseMoe("block_sparse_moe.{gate.weight,e_score_correction_bias}"),
        ...moe({ router: "mlp.gate.weight mlp.e_score_correction_bias" }),
      ],
    ],
    fields: [{ field: "attn_type_list", rule: "list" }],
    tail: MTP,
  }),
  like("ernie4_5_moe", {
    slots: [
      preNorms,
      attention,
      [
        mlp,
        ...moe({ router: `${GATE} mlp.moe_statics.e_score_correction_bias`, shared: "shared_experts" }),
        ...moe({ router: `${GATE} mlp.moe_statics.e_score_correction_bias` }),
      ],
    ],
    axes: [ernieMlp],
    // Multi-token prediction stands outside of the stack here.
    outside: "embed_tokens.weight norm.@ mtp_block.** mtp_emb_norm.** mtp_hidden_norm.** mtp_linear_proj.**",
  }),
  like("cohere2_moe", {
    slots: [
      norms("input_layernorm"),
      attention,
      [mlp, ...moe({ router: GATE, shared: "shared_experts" }), ...moe({ router: GATE })],
    ],
    axes: [cohere2Moe, listedPrefix(0)],
  }),
  like("afmoe", {
    slots: [
      norms("input_layernorm", "pre_mlp_layernorm"),
      behindNorm(withTensors(attention, "self_attn.gate_proj.@"), gain("post_attention_layernorm.weight")),
      [
        mlp,
        ...moe({ router: "mlp.router.gate.weight mlp.expert_bias", shared: "shared_experts" }),
        ...moe({ router: "mlp.router.gate.weight mlp.expert_bias" }),
      ].map((one) => behindNorm(one, gain("post_mlp_layernorm.weight"))),
    ],
    axes: [lastFull(4, "global_attn_every_n_layers"), densePrefix(1, "num_dense_layers")],
  }),
];
