// Families whose blocks mix attention with recurrences or convolutions. Data only.
import type { Axis, Family, KindSource, Module } from "../family.ts";
import { densePrefix, FULL, LINEAR, layerTypes, listedPrefix, mixers, periodic, sparseStep } from "./axes.ts";
import { attention, branch, latentAttention, mlp, moe, norms, part, projection, withTensors } from "./parts.ts";
import { HEAD, like, preNorms } from "./stacks.ts";

/** Mamba 2 as bamba, granitemoehybrid and falcon_h1 name it. */
const mamba2 = (at: string): Module =>
  part(
    "mamba",
    `${at}.{A_log,D,dt_bias} ${at}.conv1d.@ ${at}.in_proj.@ ${at}.norm.weight?`,
    "mamba",
    `${at}.out_proj.@`,
  );

/** Mamba 1. */
const mamba1 = (at: string, extra = ""): Module =>
  part(
    "mamba",
    `${at}.{A_log,D} ${at}.conv1d.@ ${at}.dt_proj.@ ${at}.{in_proj,x_proj}.@ ${extra}`,
    "mamba",
    `${at}.out_proj.@`,
  );

const MIXERS = { mamba: "mamba", [LINEAR]: "mamba", attention: "attention", [FULL]: "attention" };
const mambaTypes: KindSource = { from: "list", field: "layers_block_type" };

const feedForward = part("dense", "feed_forward.{gate,up}_proj.@", "mlp", "feed_forward.down_proj.@");
const feedForwardNorms = norms("input_layernorm", "pre_ff_layernorm");

/** Granite's experts are fused, its shared MLP stands beside them. */
const graniteMoe = part(
  "moe",
  "block_sparse_moe.{input_linear.weight,router.layer.weight}",
  "moe",
  "block_sparse_moe.output_linear.weight",
);
const graniteShared = part("shared", "shared_mlp.input_linear.weight", "shared-mlp", "shared_mlp.output_linear.weight");
const graniteBoth: Module = {
  name: "moe",
  tensors: `${graniteMoe.tensors} ${graniteShared.tensors}`,
  // One sum goes into the stream.
  branches: [branch("moe", "block_sparse_moe.output_linear.weight shared_mlp.output_linear.weight")],
};
const graniteSwaMoe = part(
  "moe",
  "block_sparse_moe.experts.gate_up_proj block_sparse_moe.router.weight shared_mlp.input_linear.weight?",
  "moe",
  "block_sparse_moe.experts.down_proj shared_mlp.output_linear.weight?",
);

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

const nemotronMixers: Axis = mixers(
  [
    mambaTypes,
    layerTypes,
    {
      from: "chars",
      field: "hybrid_override_pattern",
      values: { M: LINEAR, "*": FULL, "-": "mlp", E: "moe" },
    },
  ],
  { ...MIXERS, mlp: "dense", moe: "moe" },
);
const NEMOTRON_EXPERTS = "mixer.experts.{e}.{up,down}_proj.weight mixer.gate.{weight,e_score_correction_bias}";
const NEMOTRON_SHARED = "mixer.shared_experts.down_proj.@";
const nemotronMoe: readonly Module[] = [
  {
    name: "moe",
    tensors: `${NEMOTRON_EXPERTS} mixer.shared_experts.{up,down}_proj.@ mixer.{fc1,fc2}_latent_proj.@`,
    branches: [
      {
        // The experts and the way out of their latent space stand in series; the bias and the shared expert beside both.
        ...branch("moe", `mixer.fc2_latent_proj.@ ${NEMOTRON_SHARED}`),
        factors: [
          projection(`mixer.fc2_latent_proj.@ ${NEMOTRON_SHARED}`),
          projection(`mixer.experts.{e}.down_proj.weight mixer.fc2_latent_proj.bias? ${NEMOTRON_SHARED}`),
        ],
      },
    ],
  },
  {
    name: "moe",
    tensors: `${NEMOTRON_EXPERTS} mixer.shared_experts.{up,down}_proj.@`,
    branches: [branch("moe", `mixer.experts.{e}.down_proj.weight ${NEMOTRON_SHARED}`)],
  },
];

const mambaStack = {
  bases: ["backbone.", ""],
  outside: "{embeddings,embedding}.weight? norm_f.weight",
};

const everyBy = (
  field: string,
  offset: string,
  period: number,
  phase: number,
  hit: string,
  miss: string,
): KindSource => ({
  from: "every",
  field,
  phaseField: offset,
  period,
  phase,
  hit,
  miss,
});

export const hybrids: readonly Family[] = [
  like("mamba", { ...mambaStack, count: ["num_hidden_layers", "n_layer"], slots: [norms("norm"), mamba1("mixer")] }),
  like("falcon_mamba", {
    ...mambaStack,
    count: ["num_hidden_layers", "n_layer"],
    slots: [norms("norm"), mamba1("mixer")],
  }),
  like("mamba2", { ...mambaStack, count: ["num_hidden_layers", "n_layer"], slots: [norms("norm"), mamba2("mixer")] }),
  like("bamba", {
    slots: [feedForwardNorms, [attention, mamba2("mamba")], feedForward],
    axes: [
      mixers(
        [
          { from: "indices", field: "attn_layer_indices", hit: "attention", miss: "mamba" },
          { from: "always", kind: "mamba" },
        ],
        MIXERS,
      ),
    ],
    outside: "embed_tokens.weight final_layernorm.weight",
  }),
  like("falcon_h1", {
    slots: [feedForwardNorms, attention, mamba2("mamba"), feedForward],
    outside: "embed_tokens.weight final_layernorm.weight",
  }),
  like("jamba", {
    slots: [
      feedForwardNorms,
      [attention, mamba1("mamba", "mamba.{b,c,dt}_layernorm.weight")],
      [feedForward, ...moe({ at: "feed_forward", router: "feed_forward.router.weight" })],
    ],
    axes: [
      mixers([everyBy("attn_layer_period", "attn_layer_offset", 8, 4, "attention", "mamba")], MIXERS),
      {
        name: "mlp",
        sources: [
          { from: "always", kind: "dense", when: { field: "num_experts", is: 1 } },
          everyBy("expert_layer_period", "expert_layer_offset", 2, 1, "moe", "dense"),
        ],
        modules: { dense: "dense", moe: "moe" },
      },
    ],
    outside: "embed_tokens.weight final_layernorm.weight",
  }),
  like("granitemoe", { slots: [preNorms, attention, graniteMoe] }),
  like("granitemoeshared", { slots: [preNorms, attention, [graniteBoth, graniteMoe]] }),
  like("granitemoe_swa", {
    slots: [preNorms, withTensors(attention, "self_attn.sinks?"), graniteSwaMoe],
    axes: [periodic(4, 0, FULL, "sliding_attention")],
    fields: [{ field: "layer_rope_theta", rule: "list" }],
  }),
  like("granitemoehybrid", {
    slots: [preNorms, [attention, mamba2("mamba")], [graniteBoth, graniteShared]],
    axes: [mixers([layerTypes, mambaTypes, { from: "always", kind: "mamba" }], MIXERS)],
  }),
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
  like(
    "nemotron_h",
    {
      bases: ["backbone.", "model.", ""],
      countList: "layers_block_type",
      slots: [
        norms("norm"),
        [
          mamba2("mixer"),
          part("attention", "mixer.{q,k,v}_proj.@", "attention", "mixer.o_proj.@"),
          ...nemotronMoe,
          part("dense", "mixer.up_proj.@", "mlp", "mixer.down_proj.@"),
        ],
      ],
      axes: [nemotronMixers],
      outside: "{embeddings,embed_tokens}.weight? {norm_f,norm}.weight?",
    },
    { outside: `${HEAD} mtp.**` },
  ),
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
