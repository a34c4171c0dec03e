// GPT-2, GPT-Neo(X), Falcon, OPT and other decoders with their own names. Data only.
import type { Family, Module, Stack } from "../family.ts";
import { lastApart } from "./axes.ts";
import { branch, norms, nothing, part } from "./parts.ts";
import { like } from "./stacks.ts";

/** A decoder under `transformer.` */
const gptStack = {
  bases: ["transformer.", ""],
  block: "h.{i}.",
  count: ["n_layer", "num_hidden_layers"],
} satisfies Partial<Stack>;

/** The causal mask: attn.bias is no bias. */
const MASKS = "attn.{bias,masked_bias}";

const gpt2Cross: Module = {
  name: "cross",
  tensors: "crossattention.{c_attn,q_attn,c_proj}.@ ln_cross_attn.@",
  branches: [branch("cross-attention", "crossattention.c_proj.@")],
  buffers: "crossattention.{bias,masked_bias}",
};

const neoxNorms = norms("input_layernorm", "post_attention_layernorm");
const neoxAttention = part(
  "attention",
  "attention.query_key_value.@",
  "attention",
  "attention.dense.@",
  "attention.{bias,masked_bias} attention.rotary_emb.inv_freq",
);
const neoxMlp = part("dense", "mlp.dense_h_to_4h.@", "mlp", "mlp.dense_4h_to_h.@");

/** fairseq's decoder block. */
export const fairseqParts: readonly Module[] = [
  norms("self_attn_layer_norm", "final_layer_norm"),
  part("attention", "self_attn.{q,k,v}_proj.@", "attention", "self_attn.out_proj.@"),
  part("dense", "fc1.@", "mlp", "fc2.@"),
];

export const gpts: readonly Family[] = [
  like(
    "gpt2",
    {
      ...gptStack,
      slots: [
        norms("ln_1", "ln_2"),
        part("attention", "attn.c_attn.@", "attention", "attn.c_proj.@", MASKS),
        part("dense", "mlp.c_fc.@", "mlp", "mlp.c_proj.@"),
        [gpt2Cross, nothing()],
      ],
      outside: "{wte,wpe}.weight ln_f.@",
    },
    {
      refusals: [
        {
          if: { field: "scale_attn_by_inverse_layer_idx", is: true },
          reason: "attention is scaled by 1 / (block index + 1), so every block behind an inserted one would change",
        },
      ],
    },
  ),
  like("gpt_bigcode", {
    ...gptStack,
    slots: [
      norms("ln_1", "ln_2"),
      part("attention", "attn.c_attn.@", "attention", "attn.c_proj.@", MASKS),
      part("dense", "mlp.c_fc.@", "mlp", "mlp.c_proj.@"),
    ],
    // `bias` is the causal mask of the whole model.
    outside: "{wte,wpe}.weight ln_f.@ bias?",
  }),
  like("gpt_neo", {
    ...gptStack,
    count: ["num_layers", "num_hidden_layers"],
    slots: [
      norms("ln_1", "ln_2"),
      part(
        "attention",
        "attn.attention.{q,k,v}_proj.@",
        "attention",
        "attn.attention.out_proj.@",
        "attn.attention.{bias,masked_bias}",
      ),
      part("dense", "mlp.c_fc.@", "mlp", "mlp.c_proj.@"),
    ],
    axes: [
      {
        name: "attention",
        sources: [
          { from: "runs", field: "attention_types" },
          { from: "list", field: "attention_layers" },
          { from: "every", period: 2, phase: 0, hit: "global", miss: "local" },
        ],
      },
    ],
    outside: "{wte,wpe}.weight ln_f.@",
  }),
  like(
    "gpt_neox",
    {
      bases: ["gpt_neox.", ""],
      slots: [neoxNorms, neoxAttention, neoxMlp],
      outside: "embed_in.weight final_layer_norm.@",
    },
    { outside: "embed_out.weight?" },
  ),
  like(
    "gpt_neox_japanese",
    {
      bases: ["gpt_neox_japanese.", ""],
      slots: [
        neoxNorms,
        [
          // Only the last block adds a bias to its attention.
          part("last", "attention.query_key_value.@", "attention", "attention.dense.weight attention.dense_bias"),
          { ...neoxAttention, name: "rest" },
        ],
        neoxMlp,
      ],
      axes: [lastApart],
      outside: "embed_in.weight final_layer_norm.@",
    },
    { outside: "embed_out.weight?" },
  ),
  like("gptj", {
    ...gptStack,
    slots: [
      norms("ln_1"),
      part("attention", "attn.{q,k,v}_proj.@", "attention", "attn.out_proj.@", `${MASKS} attn.embed_positions`),
      part("dense", "mlp.fc_in.@", "mlp", "mlp.fc_out.@"),
    ],
    outside: "wte.weight ln_f.@",
  }),
  like("codegen", {
    ...gptStack,
    slots: [
      norms("ln_1"),
      part(
        "attention",
        "attn.qkv_proj.@",
        "attention",
        "attn.out_proj.@",
        `${MASKS} attn.{causal_mask,embed_positions}`,
      ),
      part("dense", "mlp.fc_in.@", "mlp", "mlp.fc_out.@"),
    ],
    outside: "wte.weight ln_f.@",
  }),
  like("falcon", {
    ...gptStack,
    count: ["num_hidden_layers", "n_layer"],
    slots: [
      [norms("ln_attn", "ln_mlp"), norms("input_layernorm", "post_attention_layernorm"), norms("input_layernorm")],
      part("attention", "self_attention.query_key_value.@", "attention", "self_attention.dense.@"),
      part("dense", "mlp.dense_h_to_4h.@", "mlp", "mlp.dense_4h_to_h.@"),
    ],
    outside: "word_embeddings.weight ln_f.@",
  }),
  like(
    "bloom",
    {
      ...gptStack,
      slots: [
        norms("input_layernorm", "post_attention_layernorm"),
        part("attention", "self_attention.query_key_value.@", "attention", "self_attention.dense.@"),
        part("dense", "mlp.dense_h_to_4h.@", "mlp", "mlp.dense_4h_to_h.@"),
      ],
      outside: "word_embeddings.weight word_embeddings_layernorm.@ ln_f.@",
    },
    {
      refusals: [
        {
          if: { field: "apply_residual_connection_post_layernorm", is: true },
          reason: "the residual is the output of a LayerNorm, so a block with zeroed branches still changes the stream",
        },
      ],
    },
  ),
  like("mpt", {
    bases: ["transformer.", ""],
    block: "blocks.{i}.",
    count: ["n_layers", "num_hidden_layers"],
    slots: [
      norms("norm_1", "norm_2"),
      part("attention", "attn.Wqkv.@ attn.{q,k}_ln.@?", "attention", "attn.out_proj.@"),
      part("dense", "ffn.up_proj.@", "mlp", "ffn.down_proj.@"),
    ],
    outside: "{wte,wpe}.weight? norm_f.@ emb_norm.@?",
  }),
  like("dbrx", {
    bases: ["transformer.", ""],
    block: "blocks.{i}.",
    count: ["n_layers", "num_hidden_layers"],
    slots: [
      norms("norm_attn_norm.norm_1", "norm_attn_norm.norm_2"),
      part("attention", "norm_attn_norm.attn.Wqkv.@", "attention", "norm_attn_norm.attn.out_proj.@"),
      // All experts in one 2D tensor [experts * ffn, hidden] without a .weight.
      part("moe", "ffn.experts.mlp.{v1,w1} ffn.router.layer.weight", "moe", "ffn.experts.mlp.w2"),
    ],
    outside: "wte.weight norm_f.weight",
  }),
  like("ctrl", {
    ...gptStack,
    slots: [
      norms("layernorm1", "layernorm2"),
      part("attention", "multi_head_attention.{Wq,Wk,Wv}.@", "attention", "multi_head_attention.dense.@"),
      part("dense", "ffn.0.@", "mlp", "ffn.2.@"),
    ],
    outside: "w.weight layernorm.@ pos_encoding?",
  }),
  like(
    "opt",
    {
      bases: ["model.decoder.", "decoder.", ""],
      // Norms without weights: layer_norm_elementwise_affine false (Galactica).
      slots: [[norms("self_attn_layer_norm", "final_layer_norm"), nothing()], ...fairseqParts.slice(1)],
      outside: "embed_{tokens,positions}.weight final_layer_norm.@? project_{in,out}.weight?",
    },
    {
      refusals: [
        {
          if: { field: "do_layer_norm_before", is: false },
          reason:
            "its LayerNorm stands behind the residual addition: a block with zeroed branches is LayerNorm(x), not x",
        },
      ],
    },
  ),
  like(
    "biogpt",
    { bases: ["biogpt.", ""], slots: fairseqParts, outside: "embed_{tokens,positions}.weight layer_norm.@" },
    { outside: "output_projection.weight? lm_head.weight?" },
  ),
  like("xglm", {
    count: ["num_layers", "num_hidden_layers"],
    slots: fairseqParts,
    outside: "embed_tokens.weight embed_positions.weights? layer_norm.@",
  }),
];
