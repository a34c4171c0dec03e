// Families whose blocks mix attention with recurrences or convolutions. Data only.
import type { Axis, KindSource } from "../axis.ts";
import type { Family, Module } from "../family.ts";
import { FULL, LINEAR, layerTypes, mixers, periodic } from "./axes.ts";
import { attention, branch, moe, norms, part, projection, withTensors } from "./parts.ts";
import { HEAD, like, ONE_MIXER, preNorms } from "./stacks.ts";

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
    slots: [preNorms, withTensors(attention, "self_attn.sinks?"), [graniteSwaMoe, graniteBoth, graniteMoe]],
    axes: [periodic(4, 0, FULL, "sliding_attention")],
    fields: [{ field: "layer_rope_theta", rule: "list" }],
  }),
  like("granitemoehybrid", {
    slots: [preNorms, [attention, mamba2("mamba")], [graniteBoth, graniteShared]],
    axes: [mixers([layerTypes, mambaTypes, { from: "always", kind: "mamba" }], MIXERS)],
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
    { outside: `${HEAD} mtp.**`, notes: [ONE_MIXER] },
  ),
];
