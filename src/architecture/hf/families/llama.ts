// Llama and the pre-norm families that differ from it in little. Data only.
import type { Axis } from "../axis.ts";
import type { Family } from "../family.ts";
import { FULL, firstFull, lastFull, layerTypes, SLIDING, window } from "./axes.ts";
import {
  attention,
  fcMlp,
  fusedMlp,
  latentAttention,
  mlp,
  norms,
  part,
  plainMlp,
  ROTARY,
  withTensors,
} from "./parts.ts";
import { like, preNorms } from "./stacks.ts";

const thresholds = [{ field: "max_window_layers", rule: "threshold" }] as const;

const depthScale = [{ field: "scale_depth", rule: "depth-scale" }] as const;

const noRope: Axis = {
  name: "rope",
  sources: [
    { from: "list", field: "no_rope_layers", values: { "1": "rope", "0": "nope" } },
    { from: "every", field: "no_rope_layer_interval", period: 4, phase: -1, hit: "nope", miss: "rope" },
  ],
  explicit: "no_rope_layers",
  ignoredBy: "llama.cpp; mlx-lm reads the list",
};

/** smollm3 derives the attention kind from the NoPE list when sliding is on. */
const noRopeWindow: Axis = {
  name: "attention",
  sources: [
    layerTypes,
    {
      from: "list",
      field: "no_rope_layers",
      values: { "1": FULL, "0": SLIDING },
      when: { field: "use_sliding_window", is: true, default: false },
    },
    { from: "always", kind: FULL },
  ],
  explicit: "layer_types",
};

const phiAttention = part(
  "attention",
  "self_attn.{q,k,v}_proj.@ self_attn.{q,k}_layernorm.@?",
  "attention",
  "self_attn.dense.@",
  ROTARY,
);
const fusedQkv = part("attention", "self_attn.qkv_proj.@", "attention", "self_attn.o_proj.@", ROTARY);

const parallel = norms("input_layernorm");

export const llamas: readonly Family[] = [
  like("llama", {}, { types: ["llama", "code_llama"] }),
  // Never gets a layer_types: AutoConfig would then load it as ministral (configuration_auto.py).
  like("mistral"),
  like("ministral3"),
  like("ministral", {
    axes: [
      {
        name: "attention",
        sources: [
          layerTypes,
          { from: "always", kind: SLIDING, when: { field: "sliding_window" } },
          { from: "always", kind: FULL },
        ],
      },
    ],
  }),
  like("qwen2", { axes: [window], fields: thresholds }),
  like("qwen3", { axes: [window], fields: thresholds }),
  like("gemma"),
  like("granite"),
  like("helium"),
  like("seed_oss"),
  like("ernie4_5"),
  like("internlm3"),
  like("eurobert"),
  like("cwm", { axes: [firstFull(4)] }),
  like("smollm3", { axes: [noRope, noRopeWindow] }),
  like("granite_swa", {
    slots: [preNorms, withTensors(attention, "self_attn.sinks?"), mlp],
    axes: [firstFull(4)],
    fields: [{ field: "layer_rope_theta", rule: "list" }],
  }),
  like("hunyuan_v1_dense", {
    slots: [preNorms, withTensors(attention, "self_attn.{query,key}_layernorm.weight?"), mlp],
  }),
  like("arcee", { slots: [preNorms, attention, plainMlp] }),
  like("nemotron", { slots: [preNorms, attention, plainMlp] }),
  like("jais2", { slots: [preNorms, attention, plainMlp] }),
  like("apertus", {
    slots: [
      norms("attention_layernorm", "feedforward_layernorm"),
      attention,
      withTensors(plainMlp, "mlp.act_fn.{alpha_n,alpha_p,beta?,eps?}"),
    ],
  }),
  like("bitnet", {
    slots: [
      preNorms,
      withTensors(attention, "self_attn.attn_sub_norm.weight"),
      withTensors(mlp, "mlp.ffn_sub_norm.weight"),
    ],
  }),
  like("vaultgemma", {
    slots: [norms("input_layernorm", "pre_feedforward_layernorm"), attention, mlp],
    axes: [lastFull(2)],
  }),
  like("cohere", { slots: [parallel, attention, mlp] }),
  like("cohere2", { slots: [parallel, attention, mlp], axes: [lastFull(4, "sliding_window_pattern")] }),
  like("phi", { slots: [parallel, phiAttention, fcMlp], outside: "embed_tokens.weight final_layernorm.@" }),
  like("phi3", { slots: [preNorms, fusedQkv, fusedMlp] }),
  like("glm", { slots: [preNorms, attention, fusedMlp] }),
  like("olmo", { slots: [attention, mlp], outside: "embed_tokens.weight" }),
  like("nanochat", { slots: [attention, fcMlp], outside: "embed_tokens.weight" }),
  like("youtu", { slots: [preNorms, latentAttention, mlp] }),
  like("stablelm", {
    slots: [
      norms("input_layernorm"),
      // A parallel block has one norm only.
      { name: "second norm", tensors: "post_attention_layernorm.@?" },
      withTensors(attention, "self_attn.{q,k}_layernorm.norms.*.weight?"),
      mlp,
    ],
  }),
  like("starcoder2", { slots: [preNorms, attention, part("dense", "mlp.c_fc.@", "mlp", "mlp.c_proj.@")] }),
  like("persimmon", {
    bases: ["model.", "language_model.model.", ""],
    slots: [
      preNorms,
      part(
        "attention",
        "self_attn.query_key_value.@ self_attn.{q,k}_layernorm.@?",
        "attention",
        "self_attn.dense.@",
        ROTARY,
      ),
      part("dense", "mlp.dense_h_to_4h.@", "mlp", "mlp.dense_4h_to_h.@"),
    ],
    outside: "embed_tokens.weight final_layernorm.@",
  }),
  // The residual multiplier is scale_depth / sqrt(blocks).
  like("minicpm", { fields: depthScale }),
  like("minicpm3", { slots: [preNorms, latentAttention, mlp], fields: depthScale }),
  like("doge", {
    slots: [
      preNorms,
      withTensors(attention, "self_attn.A self_attn.dt_proj.@"),
      [
        part(
          "moe",
          "mlp.{gate,up}_proj.@ mlp.router_gate.weight mlp.down_embed.weight",
          "mlp",
          "mlp.down_proj.@ mlp.up_embed.weight",
        ),
        mlp,
      ],
      // They multiply the stream itself.
      {
        name: "residual scales",
        tensors: "input_residual post_attention_residual",
        fixed: [{ tensors: "input_residual post_attention_residual", value: 1 }],
      },
    ],
  }),
];
