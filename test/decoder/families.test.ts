import t from "tap";
import { bloomSlopes, mptSlopes } from "../../src/decoder/hf/alibi.ts";
import { HF_READERS } from "../../src/decoder/hf/readers.ts";
import { Settings } from "../../src/decoder/hf/settings.ts";
import type { DecoderSpec } from "../../src/decoder/spec.ts";
import { Weights } from "../../src/decoder/weights.ts";
import type { JsonObject } from "../../src/json.ts";
import type { TensorRef } from "../../src/tensor/reference.ts";
import { memorySource } from "../../src/tensor/source.ts";

type Shapes = Readonly<Record<string, readonly number[]>>;

function tensorsOf(shapes: Shapes): Map<string, TensorRef> {
  const source = memorySource("memory", new Uint8Array(0));
  const tensors = new Map<string, TensorRef>();
  for (const [name, shape] of Object.entries(shapes)) {
    const bytes = 4 * shape.reduce((product, size) => product * size, 1);
    tensors.set(name, { kind: "stored", dtype: "F32", shape, bytes, source, offset: 0 });
  }
  return tensors;
}

function read(family: string, settings: JsonObject, shapes: Shapes = {}): DecoderSpec {
  const reader = HF_READERS[family];
  if (reader === undefined) throw new Error(`no reader of ${family}`);
  const [config, weights] = [new Settings(settings), new Weights(tensorsOf(shapes))];
  const spec = reader(config, weights);
  config.finish(family);
  weights.finish(family);
  return spec;
}

/** The message of what reading throws. */
function refusal(family: string, settings: JsonObject): string {
  try {
    read(family, settings);
  } catch (error) {
    if (error instanceof Error) return error.message;
  }
  return "nothing was refused";
}

const GPT2 = { n_embd: 8, n_head: 2, n_layer: 1, n_positions: 16, vocab_size: 5 };
const LLAMA = {
  hidden_size: 8,
  num_attention_heads: 2,
  num_hidden_layers: 1,
  intermediate_size: 12,
  vocab_size: 5,
};
const NEO = { hidden_size: 8, num_heads: 2, num_layers: 1, vocab_size: 5 };
const FALCON = { hidden_size: 8, num_attention_heads: 2, num_hidden_layers: 1, vocab_size: 5 };
const MPT = { d_model: 8, n_heads: 2, n_layers: 1, vocab_size: 5 };

const REFUSED: readonly (readonly [family: string, settings: JsonObject, message: string])[] = [
  ["gpt2", { ...GPT2, hidden_size: 6 }, "config.json: hidden_size: is 6, but n_embd is 8"],
  ["gpt2", { ...GPT2, n_head: 3 }, "config.json: n_head: is 3, which does not divide the width 8"],
  [
    "gpt2",
    { ...GPT2, add_cross_attention: true },
    "config.json: add_cross_attention: is true; only false is supported",
  ],
  [
    "gptj",
    { ...GPT2, rotary_dim: 5 },
    "config.json: rotary_dim: is 5; a multiple of 2 up to the head size 4 is needed",
  ],
  ["gptj", { ...GPT2, rotary_dim: 4, rotary: false }, "config.json: rotary: is false; only true is supported"],
  [
    "gpt_neox",
    { ...LLAMA, rope_theta: 500 },
    "config.json: rope_theta: gpt_neox calls these rotary_emb_base and rotary_pct",
  ],
  [
    "falcon",
    { ...FALCON, num_attention_heads: 3 },
    "config.json: num_attention_heads: is 3, which does not divide the width 8",
  ],
  [
    "falcon",
    { ...FALCON, ffn_hidden_size: 24, ff_factor: 4 },
    "config.json: ff_factor: is 4, but ffn_hidden_size is 24",
  ],
  [
    "falcon",
    { ...FALCON, new_decoder_architecture: true, num_kv_heads: 3 },
    "config.json: num_kv_heads: is 3, which does not divide the 2 attention heads",
  ],
  [
    "falcon",
    { ...FALCON, num_ln_in_parallel_attn: 3 },
    "config.json: num_ln_in_parallel_attn: is 3; 1 and 2 are known",
  ],
  [
    "falcon",
    { ...FALCON, num_ln_in_parallel_attn: 2 },
    "config.json: num_ln_in_parallel_attn: is 2, which needs new_decoder_architecture",
  ],
  [
    "bloom",
    { hidden_size: 8, n_head: 3, n_layer: 1, vocab_size: 5 },
    "config.json: n_head: is 3, which does not divide the width 8",
  ],
  [
    "bloom",
    { hidden_size: 8, n_head: 2, n_layer: 1, vocab_size: 5, apply_residual_connection_post_layernorm: true },
    "config.json: apply_residual_connection_post_layernorm: is true; only false is supported",
  ],
  [
    "mpt",
    { ...MPT, attn_config: { alibi_bias_max: 16 } },
    "config.json: attn_config: alibi_bias_max: is 16; only 8 is supported",
  ],
  [
    "mpt",
    { ...MPT, attn_config: { qk_ln: true } },
    "config.json: attn_config: qk_ln: is true; only false is supported",
  ],
  ["mpt", { ...MPT, no_bias: false }, "config.json: no_bias: is false; only true is supported"],
  [
    "opt",
    { ...LLAMA, ffn_dim: 12, do_layer_norm_before: false },
    "config.json: do_layer_norm_before: is false; only true is supported",
  ],
  [
    "starcoder2",
    { ...LLAMA, num_key_value_heads: 1, norm_type: "rms_norm" },
    'config.json: norm_type: is "rms_norm"; only "layer_norm" is supported',
  ],
  [
    "qwen2_moe",
    { ...LLAMA, num_key_value_heads: 1, layer_types: ["sliding_attention"] },
    "config.json: layer_types: names sliding_attention, but use_sliding_window is false",
  ],
  [
    "gpt_oss",
    { ...LLAMA, num_key_value_heads: 1 },
    "config.json: rope_scaling: is missing; gpt_oss has no rotation without scaling",
  ],
  [
    "gpt_oss",
    { ...LLAMA, num_key_value_heads: 1, rope_parameters: { rope_type: "default" }, swiglu_alpha: 1 },
    "config.json: swiglu_alpha: is 1; only 1.702 is supported",
  ],
  ["gpt_neo", { ...NEO, num_heads: 3 }, "config.json: num_heads: is 3, which does not divide the width 8"],
  [
    "gpt_neo",
    { ...NEO, attention_types: [[["global", "far"], 1]] },
    'config.json: attention_types: is [[["global","far"],1]]; runs of "global" and "local" were expected',
  ],
  [
    "gpt_neo",
    { ...NEO, attention_types: 7 },
    'config.json: attention_types: is 7; runs of "global" and "local" were expected',
  ],
  [
    "gpt_neo",
    { ...NEO, attention_types: [[["global"], 3]] },
    "config.json: attention_types: names 3 blocks; there are 1",
  ],
  [
    "gpt_neo",
    { ...NEO, attention_types: [[["global"], 1]], attention_layers: ["local"] },
    "config.json: attention_layers: is not what attention_types says",
  ],
  ["olmoe", { ...LLAMA, clip_qkv: 8 }, "config.json: clip_qkv: is set; clipping behind norms is not supported"],
];

t.test("settings that change what is computed are refused by name", async (t) => {
  for (const [family, settings, message] of REFUSED) t.equal(refusal(family, settings), message);
});

const GPT2_BLOCK: Shapes = {
  "ln_1.weight": [8],
  "ln_1.bias": [8],
  "ln_2.weight": [8],
  "ln_2.bias": [8],
  "attn.c_attn.weight": [8, 24],
  "attn.c_attn.bias": [24],
  "attn.c_proj.weight": [8, 8],
  "attn.c_proj.bias": [8],
  "mlp.c_fc.weight": [8, 32],
  "mlp.c_fc.bias": [32],
  "mlp.c_proj.weight": [32, 8],
  "mlp.c_proj.bias": [8],
};

function under(prefix: string, shapes: Shapes): Shapes {
  return Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [prefix + name, shape]));
}

t.test("the oldest GPT-2 files lack the outer module's name and hold causal masks", async (t) => {
  const bare: Shapes = {
    "wte.weight": [5, 8],
    "wpe.weight": [16, 8],
    "ln_f.weight": [8],
    "ln_f.bias": [8],
    ...under("h.0.", { ...GPT2_BLOCK, "attn.bias": [1, 1, 16, 16] }),
  };
  for (const prefix of ["", "transformer."]) {
    const spec = read("gpt2", { ...GPT2, n_ctx: 16 }, under(prefix, bare));
    t.equal(spec.head.weight.name, `${prefix}wte.weight`, "tied unless the settings say otherwise");
    t.match(spec.blocks[0], { residual: "sequential", attention: { scale: 0.5, kvHeads: 2 } });
  }
});

function falconBlock(qkv: number, norms: readonly string[]): Shapes {
  return {
    "transformer.word_embeddings.weight": [5, 8],
    "lm_head.weight": [5, 8],
    "transformer.ln_f.weight": [8],
    "transformer.ln_f.bias": [8],
    ...under("transformer.h.0.", {
      "self_attention.query_key_value.weight": [qkv, 8],
      "self_attention.dense.weight": [8, 8],
      "mlp.dense_h_to_4h.weight": [32, 8],
      "mlp.dense_4h_to_h.weight": [8, 32],
      ...Object.fromEntries(
        norms.flatMap((norm) => [
          [`${norm}.weight`, [8]],
          [`${norm}.bias`, [8]],
        ]),
      ),
    }),
  };
}

t.test("Falcon's forms differ in heads, norms and positions", async (t) => {
  const first = read("falcon", { ...FALCON, num_kv_heads: 2 }, falconBlock(16, ["input_layernorm"])).blocks[0];
  t.match(first, { residual: "parallel", attention: { kvHeads: 1, rope: { dims: 4 } } });
  t.notOk(first?.mlpNorm, "one norm serves both");

  const norms = ["input_layernorm", "post_attention_layernorm"];
  const rw = { ...FALCON, alibi: true, multi_query: false, parallel_attn: false };
  const second = read("falcon", rw, falconBlock(24, norms)).blocks[0];
  t.match(second, { residual: "sequential", attention: { kvHeads: 2, alibi: { scale: 0.5, bfloat16: true } } });

  const large = { ...FALCON, new_decoder_architecture: true, num_kv_heads: 1 };
  const third = read("falcon", large, falconBlock(16, ["ln_attn", "ln_mlp"])).blocks[0];
  t.ok(third?.mlpNorm, "two norms side by side");
});

const MIXTRAL = {
  ...LLAMA,
  num_key_value_heads: 1,
  num_local_experts: 2,
};
const OUTSIDE: Shapes = {
  "model.embed_tokens.weight": [5, 8],
  "model.norm.weight": [8],
  "lm_head.weight": [5, 8],
  ...under("model.layers.0.", {
    "input_layernorm.weight": [8],
    "post_attention_layernorm.weight": [8],
    "self_attn.q_proj.weight": [8, 8],
    "self_attn.k_proj.weight": [4, 8],
    "self_attn.v_proj.weight": [4, 8],
    "self_attn.o_proj.weight": [8, 8],
  }),
};

t.test("experts are read one by one or stacked", async (t) => {
  const single: Shapes = {
    ...OUTSIDE,
    ...under("model.layers.0.block_sparse_moe.", {
      "gate.weight": [2, 8],
      ...Object.fromEntries(
        [0, 1].flatMap((expert) => [
          [`experts.${expert}.w1.weight`, [12, 8]],
          [`experts.${expert}.w2.weight`, [8, 12]],
          [`experts.${expert}.w3.weight`, [12, 8]],
        ]),
      ),
    }),
  };
  const [one] = read("mixtral", MIXTRAL, single).blocks;
  t.match(one?.mlp, { kind: "mixture", router: { perToken: 2, normalize: true } });
  const expert = one?.mlp.kind === "mixture" ? one.mlp.experts[1] : undefined;
  t.match(expert, {
    gateUp: { gate: { weight: { name: "model.layers.0.block_sparse_moe.experts.1.w1.weight" } } },
    down: { weight: { name: "model.layers.0.block_sparse_moe.experts.1.w2.weight" } },
  });
  const stacked: Shapes = {
    ...OUTSIDE,
    ...under("model.layers.0.mlp.", {
      "gate.weight": [2, 8],
      "experts.gate_up_proj": [2, 24, 8],
      "experts.down_proj": [2, 8, 12],
    }),
  };
  const [other] = read("mixtral", MIXTRAL, stacked).blocks;
  const second = other?.mlp.kind === "mixture" ? other.mlp.experts[1] : undefined;
  t.match(second, {
    gateUp: { order: "halves", linear: { weight: { part: { index: 1, count: 2 }, tensor: { offset: 24 * 8 * 4 } } } },
    down: { weight: { tensor: { shape: [8, 12], offset: 8 * 12 * 4 } } },
  });
});

t.test("slopes of linear biases are those of the published models", async (t) => {
  t.same(bloomSlopes(4), [1 / 4, 1 / 16, 1 / 64, 1 / 256]);
  t.same(bloomSlopes(6), [1 / 4, 1 / 16, 1 / 64, 1 / 256, 1 / 2, 1 / 8]);
  t.same(mptSlopes(4, 8), [1 / 4, 1 / 16, 1 / 64, 1 / 256]);
  t.same(mptSlopes(6, 8), [1 / 4, 1 / 16, 1 / 64, 1 / 256, 1 / 2, 1 / 8]);
});
