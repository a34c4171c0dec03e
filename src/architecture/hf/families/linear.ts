// Families with linear attention, short convolutions or recurrent cells besides attention. Data only.
import type { Axis } from "../axis.ts";
import type { Family, Module } from "../family.ts";
import { densePrefix, FULL, LINEAR, layerTypes, listedPrefix, mixers, periodic, sparseStep } from "./axes.ts";
import { attention, latentAttention, mlp, moe, norms, part } from "./parts.ts";
import { HEAD, like, preNorms } from "./stacks.ts";

/** Qwen3-Next and Qwen3.5: gated delta-net blocks, full attention in the last of each period. */
const deltaNet = (projections: string): Module =>
  part(
    "linear",
    `linear_attn.{A_log,dt_bias,conv1d.weight,norm.weight} linear_attn.${projections}.weight`,
    "attention",
    "linear_attn.out_proj.@",
  );
const deltaAxis: Axis = {
  ...periodic(4, -1, FULL, LINEAR, {
    field: "full_attention_interval",
    modules: { [FULL]: "attention", [LINEAR]: "linear" },
  }),
  ignoredBy: "mlx-lm, older llama.cpp",
};
const qwenShared = moe({ router: "mlp.gate.weight mlp.shared_expert_gate.weight", shared: "shared_expert" });
const qwen35 = deltaNet("in_proj_{a,b,qkv,z}");

const lfm2Conv = part("conv", "conv.conv.@ conv.in_proj.@", "conv", "conv.out_proj.@");
const lfm2Attention = part(
  "attention",
  "self_attn.{q,k,v}_proj.@ self_attn.{q,k}_layernorm.weight",
  "attention",
  "self_attn.out_proj.@",
);
const lfm2Mlp = part("dense", "feed_forward.{w1,w3}.@", "mlp", "feed_forward.w2.@");
const lfm2Mixers = mixers(
  [layerTypes, { from: "indices", field: "full_attn_idxs", hit: FULL, miss: "conv" }, { from: "always", kind: FULL }],
  { conv: "conv", [FULL]: "attention" },
);
const lfm2Stack = { outside: "embed_tokens.weight embedding_norm.weight norm.weight?" };

export const linears: readonly Family[] = [
  like(
    "qwen3_next",
    {
      slots: [preNorms, [attention, deltaNet("in_proj_{ba,qkvz}")], [mlp, ...qwenShared]],
      axes: [deltaAxis, sparseStep],
    },
    { outside: `${HEAD} mtp.**` },
  ),
  like(
    "qwen3_5_text",
    { slots: [preNorms, [attention, qwen35], mlp], axes: [deltaAxis] },
    { outside: `${HEAD} mtp.**` },
  ),
  like(
    "qwen3_5_moe_text",
    { slots: [preNorms, [attention, qwen35], qwenShared], axes: [deltaAxis] },
    { outside: `${HEAD} mtp.**` },
  ),
  like("lfm2", {
    ...lfm2Stack,
    slots: [norms("operator_norm", "ffn_norm"), [lfm2Attention, lfm2Conv], lfm2Mlp],
    axes: [lfm2Mixers],
  }),
  like("lfm2_moe", {
    ...lfm2Stack,
    slots: [
      norms("operator_norm", "ffn_norm"),
      [lfm2Attention, lfm2Conv],
      [
        lfm2Mlp,
        part(
          "moe",
          "feed_forward.experts.{e}.{w1,w3}.weight feed_forward.gate.weight feed_forward.expert_bias?",
          "moe",
          "feed_forward.experts.{e}.w2.weight",
        ),
      ],
    ],
    axes: [lfm2Mixers, densePrefix(2, "num_dense_layers")],
  }),
  like("kimi_linear", {
    slots: [
      preNorms,
      [
        part(
          "kda",
          "self_attn.{q,k,v,b,f_a,f_b,g_a,g_b}_proj.@ self_attn.{q,k,v}_conv1d.weight self_attn.{A_log,dt_bias} self_attn.o_norm.weight",
          "attention",
          "self_attn.o_proj.@",
        ),
        { ...latentAttention, name: "latent" },
      ],
      [
        part("dense", "{mlp,block_sparse_moe}.{gate,up}_proj.@?", "mlp", "mlp.down_proj.@"),
        part("dense", "block_sparse_moe.{gate,up}_proj.@", "mlp", "block_sparse_moe.down_proj.@"),
        part(
          "moe",
          "block_sparse_moe.experts.{e}.{w1,w3}.weight block_sparse_moe.gate.{weight,e_score_correction_bias?} block_sparse_moe.shared_experts.{gate,up}_proj.@?",
          "moe",
          "block_sparse_moe.experts.{e}.w2.weight block_sparse_moe.shared_experts.down_proj.@?",
        ),
      ],
    ],
    axes: [
      mixers(
        [
          layerTypes,
          { from: "indices", field: "linear_attn_config.full_attn_layers", base: 1, hit: FULL, miss: LINEAR },
        ],
        { [FULL]: "latent", [LINEAR]: "kda" },
      ),
      listedPrefix(1),
    ],
    fields: [{ field: "linear_attn_config.kda_layers", rule: "indices", base: 1 }],
  }),
  like("recurrent_gemma", {
    slots: [
      norms("temporal_pre_norm", "channel_pre_norm"),
      [
        part("attention", "temporal_block.{q,k,v}_proj.@", "attention", "temporal_block.o_proj.@"),
        part(
          "recurrent",
          "temporal_block.{linear_x,linear_y,conv_1d}.@ temporal_block.rg_lru.{input,recurrent}_gate_{weight,bias} temporal_block.rg_lru.recurrent_param",
          "recurrence",
          "temporal_block.linear_out.@",
        ),
      ],
      part("dense", "mlp_block.{gate,up}_proj.@", "mlp", "mlp_block.down_proj.@"),
    ],
    axes: [
      mixers(
        [
          { from: "cycle", field: "block_types" },
          { from: "cycle", field: "_block_types" },
          { from: "every", period: 3, phase: -1, hit: "attention", miss: "recurrent" },
        ],
        { attention: "attention", recurrent: "recurrent" },
      ),
    ],
    outside: "embed_tokens.weight final_norm.weight",
  }),
  like("xlstm", {
    bases: ["backbone.", ""],
    block: "blocks.{i}.",
    count: ["num_blocks", "num_hidden_layers"],
    slots: [
      norms("norm_mlstm", "norm_ffn"),
      part(
        "mlstm",
        "mlstm_layer.{q,k,v}.@ mlstm_layer.{fgate,igate,ogate}_preact.@ mlstm_layer.multihead_norm.@",
        "mlstm",
        "mlstm_layer.out_proj.@",
      ),
      part("dense", "ffn.{proj_up,proj_up_gate}.@", "mlp", "ffn.proj_down.@"),
    ],
    outside: "embeddings.weight out_norm.weight",
  }),
  like("jetmoe", {
    slots: [
      preNorms,
      part(
        "attention",
        "self_attention.experts.{input_linear.weight,router.layer.weight} self_attention.kv_proj.@",
        "attention",
        // A bias as wide as the model is added behind the experts.
        "self_attention.experts.output_linear.weight self_attention.experts.bias",
      ),
      part("moe", "mlp.{input_linear.weight,router.layer.weight}", "moe", "mlp.output_linear.weight mlp.bias"),
    ],
  }),
];
