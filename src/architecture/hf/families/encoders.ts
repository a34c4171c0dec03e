// Encoders of text and sound with the norm in front of the branch, and RWKV. Data only.
import type { Axis } from "../axis.ts";
import type { Family, Slot } from "../family.ts";
import { firstApart, firstFull } from "./axes.ts";
import { norms, nothing, part } from "./parts.ts";
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
      // [1, blocks * heads]: the head adds up the attention maps of all blocks.
      rowSlices: "contact_head.regression.weight",
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
