// Encoders of text, images and sound with the norm in front of the branch. Data only.
import type { Axis, Family, Slot, Stack } from "../family.ts";
import { firstApart, firstFull } from "./axes.ts";
import { branch, layerScale, norms, nothing, part } from "./parts.ts";
import { like } from "./stacks.ts";

/** BERT's names with the norm in front. */
const bertParts = (attentionNorm: string, mlpNorm: string): readonly Slot[] => [
  norms(attentionNorm, mlpNorm),
  part(
    "attention",
    "attention.self.{query,key,value}.@",
    "attention",
    "attention.output.dense.@",
    "attention.self.rotary_embeddings.inv_freq",
  ),
  part("dense", "intermediate.dense.@", "mlp", "output.dense.@"),
];

const modernBert = (name: string, attention: string, outside: string): Family =>
  like(
    name,
    {
      slots: [
        // The first block has no norm in front of its attention.
        [{ name: "rest", tensors: "attn_norm.@" }, nothing("first")],
        norms("mlp_norm"),
        part("attention", attention, "attention", "attn.Wo.@"),
        part("dense", "mlp.Wi.@", "mlp", "mlp.Wo.@"),
      ],
      axes: [firstFull(3, "global_attn_every_n_layers"), firstApart],
      outside: "embeddings.** final_norm.@",
    },
    { outside },
  );

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

const speech = (name: string, attention: Slot, axes: readonly Axis[] = []): Family => ({
  name,
  stacks: [
    {
      name: "encoder",
      scopes: [""],
      bases: [`${name}.`, ""],
      block: "encoder.layers.{i}.",
      count: ["num_hidden_layers"],
      slots: [
        norms("layer_norm", "final_layer_norm"),
        attention,
        part("dense", "feed_forward.intermediate_dense.@", "mlp", "feed_forward.output_dense.@"),
      ],
      axes,
      outside:
        "encoder.{pos_conv_embed.**,layer_norm.@} feature_extractor.** feature_projection.** masked_spec_embed? adapter.**",
    },
  ],
  outside: "lm_head.@? quantizer.** project_hid.@? project_q.@? projector.@? classifier.@? layer_weights?",
  refusals: [
    {
      if: { field: "do_stable_layer_norm", is: false, default: false },
      reason:
        "without do_stable_layer_norm a LayerNorm stands behind every residual addition: a block with zeroed branches is LayerNorm(x), not x",
      fix: "Choose a checkpoint with do_stable_layer_norm (the large ones).",
    },
  ],
});
const speechAttention = part("attention", "attention.{q,k,v}_proj.@", "attention", "attention.out_proj.@");
const wavlm = part(
  "rest",
  "attention.{q,k,v}_proj.@ attention.{gru_rel_pos_const,gru_rel_pos_linear.@}",
  "attention",
  "attention.out_proj.@",
);

export const encoders: readonly Family[] = [
  like(
    "esm",
    {
      bases: ["esm.", ""],
      block: "encoder.layer.{i}.",
      slots: [
        // Files of transformers 5 spell the norms' parameters gamma and beta.
        [
          norms("attention.LayerNorm", "LayerNorm"),
          { name: "norms", tensors: "{attention.LayerNorm,LayerNorm}.{gamma,beta}" },
        ],
        ...bertParts("", "").slice(1),
      ],
      outside: "embeddings.** encoder.emb_layer_norm_after.** contact_head.** pooler.**",
    },
    { outside: "lm_head.** classifier.**" },
  ),
  like(
    "megatron-bert",
    {
      bases: ["bert.", ""],
      block: "encoder.layer.{i}.",
      slots: bertParts("attention.ln", "ln"),
      outside: "embeddings.** encoder.ln.@ pooler.**",
    },
    { types: ["megatron-bert", "megatron_bert"], outside: "cls.** classifier.** qa_outputs.**" },
  ),
  like(
    "roberta-prelayernorm",
    {
      bases: ["roberta_prelayernorm.", ""],
      block: "encoder.layer.{i}.",
      slots: bertParts("attention.LayerNorm", "intermediate.LayerNorm"),
      outside: "embeddings.** LayerNorm.@ pooler.**",
    },
    { types: ["roberta-prelayernorm", "roberta_prelayernorm"], outside: "lm_head.** classifier.** qa_outputs.**" },
  ),
  modernBert("modernbert", "attn.Wqkv.@", "head.** decoder.@? classifier.@?"),
  modernBert("modernbert-decoder", "attn.{q,k,v}_proj.@", "lm_head.** decoder.@? classifier.@?"),
  vit("vit", "vit.", vitParts, "layernorm.@ pooler.**"),
  vit("deit", "deit.", vitParts, "layernorm.@ pooler.**"),
  vit("vit_msn", "vit.", vitParts, "layernorm.@"),
  vit("beit", "beit.", beitParts, "layernorm.@? pooler.** encoder.relative_position_bias.**"),
  vit("dinov2", "dinov2.", dinoParts, "layernorm.@"),
  ...clips("clip"),
  ...clips("siglip"),
  swin("swin", swinParts),
  swin("swinv2", swin2Parts),
  speech("wav2vec2", speechAttention),
  speech("hubert", speechAttention),
  speech(
    "wavlm",
    // The first block's bias serves all.
    [{ ...wavlm, name: "first", tensors: `${wavlm.tensors} attention.rel_attn_embed.weight` }, wavlm],
    [firstApart],
  ),
  like(
    "rwkv",
    {
      bases: ["rwkv.", ""],
      block: "blocks.{i}.",
      slots: [
        [{ name: "first", tensors: "pre_ln.@" }, nothing("rest")],
        norms("ln1", "ln2"),
        part(
          "attention",
          "attention.{key,value,receptance}.weight attention.time_{decay,first,mix_key,mix_value,mix_receptance}",
          "attention",
          "attention.output.weight",
        ),
        part(
          "dense",
          "feed_forward.{key,receptance}.weight feed_forward.time_{mix_key,mix_receptance}",
          "mlp",
          "feed_forward.value.weight",
        ),
      ],
      axes: [firstApart],
      outside: "embeddings.weight ln_out.@",
    },
    {
      outside: "head.weight?",
      refusals: [
        {
          if: { field: "rescale_every", default: 6 },
          reason:
            "rescale_every halves the stream and divides weights by block index at inference, so blocks behind an inserted one would change",
          fix: "Set rescale_every to 0 in config.json first; the model computes the same up to the epsilon of its norms.",
        },
      ],
    },
  ),
];
