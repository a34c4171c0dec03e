// Families that ship their own code: names read in mlx-lm and llama.cpp, not in transformers (evidence B of the notes). Data only.
import type { Family } from "../family.ts";
import { densePrefix, FULL } from "./axes.ts";
import { attention, gain, mlp, moe, normedBranch, norms, nothing, part, ROTARY } from "./parts.ts";
import { HEAD, like, MTP, preNorms } from "./stacks.ts";

const packed = part("attention", "self_attn.W_pack.@", "attention", "self_attn.o_proj.@", ROTARY);

/** Norm gains of w + 1/5 and w + 5^-1.5 have no exact closing value, so only the projections can close. */
const plamo2Branch = (name: string, output: string) => ({
  ...normedBranch(name, output, gain("")),
  preferred: "projection" as const,
  factors: normedBranch(name, output, gain("")).factors.slice(0, 1),
  why: "the gain of the norm behind it is w + c with a c that has no exact form, so only the projection closes exactly",
});

export const remotes: readonly Family[] = [
  like("baichuan", { slots: [preNorms, packed, mlp] }),
  like("baichuan_m1", {
    slots: [
      preNorms,
      part("attention", "self_attn.W_pack.@ self_attn.{conv_k,conv_v}", "attention", "self_attn.o_proj.@", ROTARY),
      mlp,
    ],
    axes: [
      {
        name: "attention",
        sources: [
          { from: "indices", field: "sliding_window_layers", hit: "sliding_attention", miss: FULL },
          { from: "always", kind: FULL },
        ],
      },
    ],
  }),
  like(
    "internlm2",
    {
      slots: [
        norms("attention_norm", "ffn_norm"),
        part("attention", "attention.wqkv.@", "attention", "attention.wo.@", "attention.rotary_emb.inv_freq"),
        part("dense", "feed_forward.{w1,w3}.@", "mlp", "feed_forward.w2.@"),
      ],
      outside: "tok_embeddings.weight norm.weight",
    },
    { outside: "output.weight?" },
  ),
  like("exaone", {
    bases: ["transformer."],
    block: "h.{i}.",
    count: ["num_layers", "num_hidden_layers"],
    slots: [
      norms("ln_1", "ln_2"),
      part(
        "attention",
        "attn.attention.{q,k,v}_proj.@",
        "attention",
        "attn.attention.out_proj.@",
        "attn.attention.rotary.inv_freq",
      ),
      part("dense", "mlp.{c_fc_0,c_fc_1}.@", "mlp", "mlp.c_proj.@"),
    ],
    outside: "wte.weight ln_f.weight rotary.inv_freq?",
  }),
  like("qwen", {
    bases: ["transformer."],
    block: "h.{i}.",
    slots: [
      norms("ln_1", "ln_2"),
      part("attention", "attn.c_attn.@", "attention", "attn.c_proj.@", "attn.rotary_emb.inv_freq"),
      part("dense", "mlp.{w1,w2}.@", "mlp", "mlp.c_proj.@"),
    ],
    outside: "wte.weight ln_f.weight rotary_emb.inv_freq?",
  }),
  like(
    "phi-msft",
    {
      bases: ["transformer."],
      block: "h.{i}.",
      count: ["n_layer"],
      slots: [
        norms("ln"),
        part("attention", "mixer.Wqkv.@", "attention", "mixer.out_proj.@", "mixer.rotary_emb.inv_freq"),
        part("dense", "mlp.fc1.@", "mlp", "mlp.fc2.@"),
      ],
      outside: "embd.wte.weight",
    },
    { outside: "lm_head.{ln,linear}.@" },
  ),
  like("openelm", {
    bases: ["transformer."],
    count: ["num_transformer_layers"],
    slots: [
      norms("attn_norm", "ffn_norm"),
      part("attention", "attn.qkv_proj.@ attn.{q,k}_norm.weight?", "attention", "attn.out_proj.@"),
      part("dense", "ffn.proj_1.@", "mlp", "ffn.proj_2.@"),
    ],
    // Every block has shapes of its own.
    fields: [
      { field: "num_query_heads", rule: "list" },
      { field: "num_kv_heads", rule: "list" },
      { field: "ffn_multipliers", rule: "list" },
      // Only the lists above are derived from it, and they are written out.
      { field: "qkv_multipliers", rule: "keep" },
    ],
    outside: "token_embeddings.weight norm.weight",
  }),
  like(
    "plamo",
    {
      bases: ["model.layers."],
      slots: [norms("norm"), attention, mlp],
      outside: "",
    },
    { outside: `${HEAD} model.embed_tokens.weight model.norm.weight` },
  ),
  like(
    "plamo2",
    {
      bases: ["model.layers."],
      slots: [
        norms("pre_mixer_norm", "post_mixer_norm", "pre_mlp_norm", "post_mlp_norm"),
        [
          {
            name: "attention",
            tensors: "mixer.{qkv,o}_proj.@ mixer.{q,k}_weight",
            branches: [plamo2Branch("attention", "mixer.o_proj.@")],
          },
          {
            name: "mamba",
            tensors: "mixer.{in,bcdt,dt,out}_proj.@ mixer.conv1d.@ mixer.{A_log,D,dt_bias} mixer.{dt,B,C}_norm_weight",
            branches: [plamo2Branch("mamba", "mixer.out_proj.@")],
          },
        ],
        {
          name: "dense",
          tensors: "mlp.{gate_up,down}_proj.@",
          branches: [plamo2Branch("mlp", "mlp.down_proj.@")],
        },
      ],
      axes: [
        {
          name: "mixer",
          sources: [{ from: "middle", field: "mamba_step", period: 2, hit: "attention", miss: "mamba" }],
          modules: { attention: "attention", mamba: "mamba" },
        },
      ],
      outside: "",
    },
    { outside: `${HEAD} model.embed_tokens.weight model.norm.weight` },
  ),
  like(
    "chatglm",
    {
      bases: ["transformer.encoder."],
      count: ["num_layers", "num_hidden_layers"],
      slots: [
        preNorms,
        part("attention", "self_attention.query_key_value.@", "attention", "self_attention.dense.@"),
        part("dense", "mlp.dense_h_to_4h.@", "mlp", "mlp.dense_4h_to_h.@"),
      ],
      outside: "final_layernorm.weight",
    },
    {
      outside:
        "transformer.embedding.word_embeddings.weight transformer.rotary_pos_emb.inv_freq transformer.output_layer.@ transformer.vision.**",
      refusals: [
        {
          if: { field: "apply_residual_connection_post_layernorm", is: true },
          reason: "the residual is the output of a norm, so a block with zeroed branches still changes the stream",
        },
      ],
    },
  ),
  like("phi3small", {
    slots: [
      preNorms,
      part("attention", "self_attn.query_key_value.@", "attention", "self_attn.dense.@", ROTARY),
      part("dense", "mlp.up_proj.@", "mlp", "mlp.down_proj.@"),
    ],
    axes: [
      {
        name: "attention",
        sources: [
          { from: "every", field: "dense_attention_every_n_layers", period: 2, phase: 0, hit: "dense", miss: "sparse" },
        ],
      },
    ],
    outside: "embed_tokens.weight final_layernorm.@",
  }),
  like(
    "deci",
    {
      slots: [
        // A block may lack its attention or its MLP.
        [norms("input_layernorm"), nothing("no attention norm")],
        [attention, nothing("no attention")],
        [norms("post_attention_layernorm"), nothing("no mlp norm")],
        [mlp, nothing("no mlp")],
      ],
      fields: [{ field: "block_configs", rule: "list" }],
    },
    { types: ["deci", "nemotron-nas"] },
  ),
  like("hunyuan", {
    slots: [
      preNorms,
      [
        part(
          "attention",
          "self_attn.{q,k,v}_proj.@ self_attn.{query,key}_layernorm.weight?",
          "attention",
          "self_attn.o_proj.@",
        ),
        part(
          "attention on shared keys",
          "self_attn.q_proj.@ self_attn.query_layernorm.weight?",
          "attention",
          "self_attn.o_proj.@",
        ),
      ],
      [mlp, ...moe({ router: "mlp.gate.wg.weight", shared: "shared_mlp" })],
    ],
    axes: [
      {
        name: "keys",
        sources: [
          {
            from: "every",
            field: "cla_share_factor",
            period: 1,
            phase: 0,
            hit: "own",
            miss: "shared",
            when: { field: "use_cla" },
          },
          { from: "always", kind: "own" },
        ],
        modules: { own: "attention", shared: "attention on shared keys" },
      },
    ],
  }),
  like(
    "bailing_moe",
    {
      slots: [
        preNorms,
        part(
          "attention",
          "attention.query_key_value.@ attention.{query,key}_layernorm.weight?",
          "attention",
          "attention.dense.@",
        ),
        [
          mlp,
          ...moe({ router: "mlp.gate.{weight,expert_bias?}", shared: "shared_experts" }),
          ...moe({ router: "mlp.gate.{weight,expert_bias?}" }),
        ],
      ],
      axes: [densePrefix(0)],
      outside: "word_embeddings.weight norm.weight",
      tail: MTP,
    },
    { types: ["bailing_moe", "bailing_moe_v2"] },
  ),
];
