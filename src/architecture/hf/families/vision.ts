// Image encoders and the two towers of CLIP: pre-norm, except for Swin 2. Data only.
import type { Axis } from "../axis.ts";
import type { Family, Slot, Stack } from "../family.ts";
import { branch, layerScale, norms, part } from "./parts.ts";

/** ViT's names. `scales`: LayerScale tensors behind attention and MLP. */
const vitStack = (bases: readonly string[], slots: readonly Slot[], outside: string): Stack => ({
  name: "vision",
  scopes: [""],
  bases,
  block: "encoder.layer.{i}.",
  count: ["num_hidden_layers"],
  slots,
  fields: [
    { field: "out_indices", rule: "hidden-state" },
    { field: "out_features", rule: "stages" },
    { field: "stage_names", rule: "stages" },
  ],
  outside: `embeddings.** ${outside}`,
});

const VIT_IN = "attention.attention.{query,key,value}.@";
const vitParts: readonly Slot[] = [
  norms("layernorm_before", "layernorm_after"),
  part("attention", VIT_IN, "attention", "attention.output.dense.@"),
  part("dense", "intermediate.dense.@", "mlp", "output.dense.@"),
];

const beitParts: readonly Slot[] = [
  norms("layernorm_before", "layernorm_after"),
  {
    name: "attention",
    tensors: `${VIT_IN} attention.output.dense.@ lambda_1? attention.attention.relative_position_bias.relative_position_bias_table?`,
    branches: [branch("attention", "attention.output.dense.@", layerScale("lambda_1"))],
    buffers: "attention.attention.relative_position_bias.relative_position_index",
  },
  {
    name: "dense",
    tensors: "{intermediate,output}.dense.@ lambda_2?",
    branches: [branch("mlp", "output.dense.@", layerScale("lambda_2"))],
  },
];

const dinoParts: readonly Slot[] = [
  norms("norm1", "norm2"),
  {
    name: "attention",
    tensors: `${VIT_IN} attention.output.dense.@ layer_scale1.lambda1?`,
    branches: [branch("attention", "attention.output.dense.@", layerScale("layer_scale1.lambda1"))],
  },
  [
    {
      name: "dense",
      tensors: "mlp.{fc1,fc2}.@ layer_scale2.lambda1?",
      branches: [branch("mlp", "mlp.fc2.@", layerScale("layer_scale2.lambda1"))],
    },
    {
      name: "dense",
      tensors: "mlp.{weights_in,weights_out}.@ layer_scale2.lambda1?",
      branches: [branch("mlp", "mlp.weights_out.@", layerScale("layer_scale2.lambda1"))],
    },
  ],
];

const vit = (
  name: string,
  base: string,
  slots: readonly Slot[],
  outside: string,
  types?: readonly string[],
): Family => ({
  name,
  ...(types === undefined ? {} : { types }),
  stacks: [vitStack([base, ""], slots, outside)],
  outside: "classifier.@? decoder.** lm_head.@? layernorm.@?",
});

/** CLIP's text and vision towers. */
const clipStack = (name: "text" | "vision", flat: boolean): Stack => ({
  name,
  scopes: flat ? [""] : [`${name}_config`, `${name}_config_dict`],
  bases: flat ? [`${name}_model.`, ""] : [`${name}_model.`],
  block: "encoder.layers.{i}.",
  count: ["num_hidden_layers"],
  slots: [
    norms("layer_norm1", "layer_norm2"),
    part("attention", "self_attn.{q,k,v}_proj.@", "attention", "self_attn.out_proj.@"),
    part("dense", "mlp.fc1.@", "mlp", "mlp.fc2.@"),
  ],
  outside: "embeddings.** {final_layer_norm,post_layernorm,pre_layrnorm}.@? head.**",
});

const OTHER_TOWER = "text_model.** vision_model.** {text,visual}_projection.weight? logit_scale? logit_bias?";
const clips = (name: string): readonly Family[] => [
  { name, stacks: [clipStack("text", false), clipStack("vision", false)], outside: OTHER_TOWER },
  { name: `${name}_text_model`, stacks: [clipStack("text", true)], outside: "text_projection.weight?" },
  { name: `${name}_vision_model`, stacks: [clipStack("vision", true)], outside: "visual_projection.weight?" },
];

/** Blocks of one stage; every second one shifts its windows, by index in code. */
const shift: Axis = {
  name: "window shift",
  sources: [{ from: "every", period: 2, phase: 1, hit: "shifted", miss: "plain" }],
};

const swinStage = (base: string, stage: number, slots: readonly Slot[]): Stack => ({
  name: `stage${stage}`,
  scopes: [""],
  bases: [`${base}encoder.layers.${stage}.`, `encoder.layers.${stage}.`],
  block: "blocks.{i}.",
  count: ["depths"],
  countIndex: stage,
  slots,
  axes: [shift],
  // The number of stages, which may equal a stage's depth.
  fields: [{ field: "num_layers", rule: "keep" }],
  outside: "downsample.**",
});

const swin = (name: string, slots: readonly Slot[]): Family => ({
  name,
  stacks: [0, 1, 2, 3].map((stage) => swinStage(`${name}.`, stage, slots)),
  outside: `{${name}.,}{embeddings,encoder,layernorm}.** classifier.@? decoder.**`,
});

const SWIN_ATTENTION = "attention.self.{query,key,value}.@ attention.output.dense.@";
const swinParts: readonly Slot[] = [
  norms("layernorm_before", "layernorm_after"),
  part(
    "attention",
    "attention.self.{query,key,value}.@ attention.self.relative_position_bias_table",
    "attention",
    "attention.output.dense.@",
    "attention.self.relative_position_index",
  ),
  part("dense", "intermediate.dense.@", "mlp", "output.dense.@"),
];

const AFTER_LAYER_NORM =
  "a LayerNorm stands behind the projection and gives its bias for 0, so its gain and bias close the branch";
const swin2Parts: readonly Slot[] = [
  {
    name: "attention",
    tensors: `${SWIN_ATTENTION} attention.self.{logit_scale,continuous_position_bias_mlp.0.@,continuous_position_bias_mlp.2.@} layernorm_before.@`,
    branches: [
      {
        name: "attention",
        factors: [{ kind: "norm-gain", tensors: "layernorm_before.@", value: 0 }],
        preferred: "norm-gain",
        why: AFTER_LAYER_NORM,
      },
    ],
    buffers: "attention.self.{relative_position_index,relative_coords_table}",
  },
  {
    name: "dense",
    tensors: "{intermediate,output}.dense.@ layernorm_after.@",
    branches: [
      {
        name: "mlp",
        factors: [{ kind: "norm-gain", tensors: "layernorm_after.@", value: 0 }],
        preferred: "norm-gain",
        why: AFTER_LAYER_NORM,
      },
    ],
  },
];

export const visions: readonly Family[] = [
  vit("vit", "vit.", vitParts, "layernorm.@ pooler.**"),
  vit("deit", "deit.", vitParts, "layernorm.@ pooler.**"),
  vit("vit_msn", "vit.", vitParts, "layernorm.@"),
  vit("beit", "beit.", beitParts, "layernorm.@? pooler.** encoder.relative_position_bias.**"),
  vit("dinov2", "dinov2.", dinoParts, "layernorm.@"),
  ...clips("clip"),
  ...clips("siglip"),
  swin("swin", swinParts),
  swin("swinv2", swin2Parts),
];
