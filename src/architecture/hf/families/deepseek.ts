// Mixture-of-experts families after DeepSeek: a dense prefix, shared experts, often a multi-token prediction tail. Data only.
import type { Family } from "../family.ts";
import { deepseekPrefix, densePrefix, FULL, firstDense, layerTypes, listed, listedPrefix, SLIDING } from "./axes.ts";
import { exaoneAxis } from "./gemma.ts";
import { attention, behindNorm, gain, INDEXER, latentAttention, mlp, moe, withTensors } from "./parts.ts";
import { like, MTP, preNorms } from "./stacks.ts";

const GATE = "mlp.gate.weight";
const CORRECTED = "mlp.gate.{weight,e_score_correction_bias?}";

const deepseekMoe = [mlp, ...moe({ router: CORRECTED, shared: "shared_experts" })];

export const deepseeks: readonly Family[] = [
  like("deepseek_v2", {
    slots: [preNorms, latentAttention, deepseekMoe],
    axes: [deepseekPrefix(0)],
    tail: MTP,
  }),
  like(
    "deepseek_v3",
    { slots: [preNorms, latentAttention, deepseekMoe], axes: [deepseekPrefix(3)], tail: MTP },
    { types: ["deepseek_v3", "kimi_k2"] },
  ),
  like("deepseek_v32", {
    slots: [preNorms, withTensors(latentAttention, INDEXER), deepseekMoe],
    axes: [listed("indexed_attention"), listedPrefix(3)],
    tail: MTP,
  }),
  like(
    "glm_moe_dsa",
    {
      slots: [
        preNorms,
        [withTensors({ ...latentAttention, name: "full" }, INDEXER), { ...latentAttention, name: "shared" }],
        deepseekMoe,
      ],
      axes: [
        listed("indexed_attention"),
        listedPrefix(3),
        {
          name: "indexer",
          sources: [
            { from: "list", field: "indexer_types" },
            { from: "always", kind: "full" },
          ],
        },
      ],
      links: [{ from: "kind", axis: "indexer", source: "full", reader: "shared", what: "top-k choice" }],
      tail: MTP,
    },
    {
      refusals: [
        {
          if: { field: "index_topk_freq" },
          reason: "index_topk_freq makes blocks share an indexer by index",
          fix: "Write the resulting indexer_types list into config.json and remove index_topk_freq.",
        },
        {
          if: { field: "index_topk_pattern" },
          reason: "index_topk_pattern makes blocks share an indexer by index",
          fix: "Write the resulting indexer_types list into config.json and remove index_topk_pattern.",
        },
      ],
    },
  ),
  like("axk1", {
    slots: [
      preNorms,
      latentAttention,
      [
        // Files store the norm in dense blocks too, where nothing reads it.
        ...moe({ router: CORRECTED, shared: "shared_experts" }).map((one) =>
          behindNorm(one, gain("post_mlp_layernorm.weight?")),
        ),
        withTensors(mlp, "post_mlp_layernorm.weight?"),
      ],
    ],
    axes: [listedPrefix(1)],
  }),
  like("glm4_moe", { slots: [preNorms, attention, deepseekMoe], axes: [densePrefix(1)], tail: MTP }),
  // transformers 5 reads mlp_layer_types only, mlx-lm first_k_dense_replace only.
  like("glm4_moe_lite", {
    slots: [preNorms, latentAttention, deepseekMoe],
    axes: [firstDense],
    fields: [{ field: "first_k_dense_replace", rule: "threshold" }],
    tail: MTP,
  }),
  like("mistral4", { slots: [preNorms, latentAttention, deepseekMoe], axes: [densePrefix(0)] }),
  like("solar_open", {
    slots: [preNorms, attention, deepseekMoe],
    fields: [{ field: "first_k_dense_replace", rule: "threshold" }],
  }),
  like("dots1", {
    slots: [preNorms, attention, deepseekMoe],
    axes: [
      densePrefix(0),
      {
        name: "attention",
        sources: [
          layerTypes,
          {
            from: "below",
            field: "max_window_layers",
            default: 62,
            hit: FULL,
            miss: SLIDING,
            when: { field: "sliding_window" },
          },
          { from: "always", kind: FULL },
        ],
        explicit: "layer_types",
      },
    ],
  }),
  like("exaone_moe", {
    slots: [
      preNorms,
      attention,
      [mlp, ...moe({ router: `${GATE} mlp.e_score_correction_bias`, shared: "shared_experts" })],
    ],
    axes: [exaoneAxis, listedPrefix(1)],
  }),
  like("hy_v3", {
    slots: [
      preNorms,
      attention,
      [
        mlp,
        ...moe({ router: "mlp.router.gate.weight mlp.expert_bias", shared: "shared_mlp" }),
        ...moe({ router: "mlp.router.gate.weight mlp.expert_bias", shared: "shared_experts" }),
      ],
    ],
    axes: [firstDense],
    fields: [{ field: "first_k_dense_replace", rule: "threshold" }],
    tail: MTP,
  }),
];
