// The engine that reads Hugging Face checkpoints: every tensor claimed once, every refusal named, settings that keep their meaning.
import t from "tap";
import { patternOf } from "../../src/architecture/hf/pattern.ts";
import { understandHf } from "../../src/architecture/hf/understand.ts";
import type { JsonValue } from "../../src/json.ts";
import {
  type Config,
  caught,
  checkpointOf,
  closedBy,
  copiesOf,
  editsOf,
  layoutOf,
  type ModelParts,
  namesOf,
  understood,
} from "./hf-model.ts";

const LLAMA =
  "{input_layernorm,post_attention_layernorm}.weight self_attn.{q,k,v,o}_proj.weight mlp.{gate,up,down}_proj.weight";
const llama = (more: Partial<ModelParts> = {}, config: Config = {}): ModelParts => ({
  config: { model_type: "llama", num_hidden_layers: 4, hidden_size: 8, ...config },
  block: LLAMA,
  count: 4,
  ...more,
});
const S = "sliding_attention";
const F = "full_attention";

t.test("a llama block has two branches, each closed by its output projection", async (t) => {
  const model = understood(llama());
  t.equal(model.family, "llama");
  t.equal(model.modelType, "llama");
  t.equal(model.stack, "text");
  t.same(model.stacks, ["text"]);
  t.equal(model.blocks.length, 4);
  t.same(closedBy(model, 2), { attention: ["self_attn.o_proj.weight=0"], mlp: ["mlp.down_proj.weight=0"] });
  t.same(model.outside, ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"]);
  t.equal(model.period, 1);
  t.same(model.tail, []);
  t.same([...(model.blocks[1]?.tensors.keys() ?? [])], namesOf(LLAMA));
});

t.test("biases of output projections are closed with them, in the block's own type", async (t) => {
  const model = understood(llama({ block: `${LLAMA} self_attn.{q,k,v,o}_proj.bias mlp.down_proj.bias`, dtype: "F16" }));
  t.same(closedBy(model), {
    attention: ["self_attn.o_proj.bias=0", "self_attn.o_proj.weight=0"],
    mlp: ["mlp.down_proj.bias=0", "mlp.down_proj.weight=0"],
  });
});

t.test("an index in a name is an index only where the record says so", async (t) => {
  const model = understood(llama({ count: 11 }, { num_hidden_layers: 11 }));
  t.equal(model.rename("model.layers.1.mlp.up_proj.weight", 10), "model.layers.10.mlp.up_proj.weight");
  t.equal(model.rename("model.layers.10.mlp.up_proj.weight", 3), "model.layers.3.mlp.up_proj.weight");
  t.same(
    model.blocks[1]?.tensors.get("mlp.up_proj.weight"),
    "model.layers.1.mlp.up_proj.weight",
    "block 1 does not hold tensors of block 10",
  );
  t.equal(caught(() => model.rename("model.norm.weight", 1)).tag, "bug");
});

t.test("a base model without the model. prefix is read too", async (t) => {
  const model = understood(llama({ prefix: "layers.{i}.", outside: "embed_tokens.weight norm.weight" }));
  t.equal(model.rename("layers.3.mlp.up_proj.weight", 4), "layers.4.mlp.up_proj.weight");
});

const REFUSED: readonly { title: string; parts: ModelParts; tag: string; message: string; fix?: string }[] = [
  {
    title: "an unknown model type is refused with the nearest names",
    parts: llama({}, { model_type: "lama" }),
    tag: "unsupported",
    message: 'config.json: "lama" is not a known model type',
    fix: "Check model_type (near: llama, bamba, jamba), or report the model.",
  },
  {
    title: "a config without a model type is refused",
    parts: { ...llama(), config: { num_hidden_layers: 4 } },
    tag: "unsupported",
    message: "config.json: has no model_type",
    fix: "Add the model_type that transformers knows the model by.",
  },
  {
    title: "an unknown tensor of the hidden size inside a block may write the stream",
    parts: llama({
      block: (index) => (index === 2 ? `${LLAMA} self_attn.mystery_out.weight` : LLAMA),
      shape: (name) => (name.includes("mystery") ? [8, 16] : [8]),
    }),
    tag: "unsupported",
    message:
      "model.layers.2.self_attn.mystery_out.weight: [8, 16] is no known tensor of a llama block; a dimension is the hidden size 8, so it may write the residual stream",
    fix: "Report the model, so that its record can be completed; guessing could change what it computes.",
  },
  {
    title: "an unknown tensor of another size inside a block is refused as well",
    parts: llama({
      block: (index) => (index === 2 ? `${LLAMA} self_attn.mystery` : LLAMA),
      shape: (name) => (name.includes("mystery") ? [3] : [8]),
    }),
    tag: "unsupported",
    message: "model.layers.2.self_attn.mystery: [3] is no known tensor of a llama block",
  },
  {
    title: "an unknown tensor outside of the blocks is refused",
    parts: llama({ outside: "model.embed_tokens.weight model.norm.weight model.extra.weight" }),
    tag: "unsupported",
    message: "model.extra.weight: [8] is no known tensor of llama outside of its blocks",
    fix: "Report the model, so that its record can be completed.",
  },
  {
    title: "a number with a leading zero is no block index",
    parts: llama({ outside: "model.embed_tokens.weight model.norm.weight model.layers.01.mlp.up_proj.weight" }),
    tag: "unsupported",
    message: "model.layers.01.mlp.up_proj.weight: [8] is no known tensor of llama outside of its blocks",
  },
  {
    title: "a block that lacks a tensor is refused with its name",
    parts: llama({ block: (index) => (index === 3 ? LLAMA.replace("{gate,up,down}", "{gate,up}") : LLAMA) }),
    tag: "unsupported",
    message: "model.layers.3: has no tensor mlp.down_proj.weight, which a llama block has",
    fix: "Check that every shard is there and that config.json names the right model_type.",
  },
  {
    title: "a block that alone lacks an optional tensor is damaged",
    parts: llama({ block: (index) => (index === 3 ? LLAMA : `${LLAMA} self_attn.q_proj.bias`) }),
    tag: "damaged",
    message:
      "model.layers.3: block 0 has a tensor self_attn.q_proj.bias, but block 3 of the same kind (block) has none",
    fix: "Download the checkpoint again; tensors are missing.",
  },
  {
    title: "more blocks in the settings than in the tensors is damaged",
    parts: llama({}, { num_hidden_layers: 5 }),
    tag: "damaged",
    message: "config.json: num_hidden_layers is 5, but block 4 has no tensors",
    fix: "Check that every shard is there and that config.json belongs to these weights.",
  },
  {
    title: "more blocks in the tensors than in the settings is damaged",
    parts: llama({}, { num_hidden_layers: 3 }),
    tag: "damaged",
    message: "config.json: num_hidden_layers is 3, but blocks 0 to 3 have tensors",
  },
  {
    title: "a settings file without a block count is refused",
    parts: { ...llama(), config: { model_type: "llama" } },
    tag: "unsupported",
    message: "config.json: num_hidden_layers is absent; expected the number of blocks",
  },
  {
    title: "tensors of another model are refused",
    parts: llama({ prefix: "transformer.h.{i}." }),
    tag: "unsupported",
    message: "no tensor name starts with model.layers.0. or layers.0.",
    fix: "Check that config.json belongs to these weights.",
  },
  {
    title: "a per-block list that no rule covers is refused",
    parts: llama({}, { layer_scales: [1, 2, 3, 4] }),
    tag: "unsupported",
    message: "config.json: layer_scales has 4 entries, one per block, and no rule of this record covers it",
    fix: "Report the model, or remove layer_scales if nothing reads it.",
  },
  {
    title: "a list of block indices that no rule covers is refused",
    parts: llama({}, { special_layers: [0, 2] }),
    tag: "unsupported",
    message: "config.json: special_layers [0, 2] looks like block indices, and no rule of this record covers it",
  },
  {
    title: "an object keyed by block indices that no rule covers is refused",
    parts: llama({}, { overrides: { "1": 3, "2": 4 } }),
    tag: "unsupported",
    message: "config.json: overrides is keyed by block indices, and no rule of this record covers it",
  },
  {
    title: "a text that names a block is refused",
    parts: llama({}, { keep: ["model.layers.2.mlp"] }),
    tag: "unsupported",
    message: 'config.json: keep names a block ("model.layers.2"), and no rule of this record covers it',
  },
  {
    title: "a second count of the blocks that no rule covers is refused",
    parts: llama({}, { n_layer: 4 }),
    tag: "unsupported",
    message: "config.json: n_layer is 4, the number of blocks, and no rule of this record covers it",
  },
  {
    title: "a list of block indices in generation_config.json is refused",
    parts: llama({ documents: { "generation_config.json": { dola_layers: [1, 3] } } }),
    tag: "unsupported",
    message:
      "generation_config.json: dola_layers [1, 3] looks like block indices, and no rule of this record covers it",
  },
  {
    title: "an integer weight without a quantization method is refused",
    parts: llama({ dtype: (name) => (name.endsWith("o_proj.weight") ? "I8" : "BF16") }),
    tag: "unsupported",
    message:
      "model.layers.0.self_attn.o_proj.weight: expected a floating-point weight, since no quantization is named, found model.layers.0.self_attn.o_proj.weight (I8)",
  },
  {
    title: "a stack that the model does not have is refused",
    parts: { ...llama() },
    tag: "usage",
    message: 'llama has no stack "decoder"; it has text',
    fix: "Choose one of text.",
  },
];
for (const { title, parts, tag, message, fix } of REFUSED) {
  t.test(title, async (t) => {
    const found = caught(() => understood(parts, tag === "usage" ? "decoder" : undefined));
    t.equal(found.tag, tag);
    t.equal(found.message, message);
    if (fix !== undefined) t.equal(found.fix, fix);
  });
}

t.test("a checkpoint without config.json is refused", async (t) => {
  const checkpoint = checkpointOf(llama());
  const found = caught(() => understandHf({ ...checkpoint, config: { dialect: "hf", documents: new Map() } }));
  t.same(found, {
    tag: "input",
    message: "config.json: is missing; it says what the tensors mean",
    fix: "Put the model's config.json next to its weights.",
  });
});

t.test("lists and numbers of ordinary models are no per-block settings", async (t) => {
  const ordinary: Config = {
    architectures: ["LlamaForCausalLM"],
    auto_map: { AutoConfig: "configuration_x.XConfig" },
    bos_token_id: 1,
    eos_token_id: [1, 2],
    suppress_tokens: [0, 1, 2, 3],
    rope_scaling: { short_factor: [1, 2, 3, 4], long_factor: [1, 2, 3, 4], type: "longrope" },
    mrope_section: [1, 2, 3],
    id2label: { "0": "a", "1": "b" },
    image_size: [1, 2],
    torch_dtype: "bfloat16",
    num_attention_heads: 4,
    _name_or_path: "some/model-layers-2",
    vision_config: { num_hidden_layers: 4, fullatt_block_indexes: [1, 3], depths: [1, 2, 3, 4] },
    pretraining_tp: 1,
  };
  const documents = {
    "generation_config.json": { eos_token_id: [1, 2], bad_words_ids: [[1], [2]], transformers_version: "4" },
  };
  t.doesNotThrow(() => understood(llama({ documents }, ordinary)));
  t.same(editsOf(understood(llama({ documents }, ordinary)).adapt(copiesOf(4, 1, 3))), { num_hidden_layers: 6 });
});

t.test("a value that cannot be written exactly in a tensor's type is refused", async (t) => {
  t.same(patternOf(-1, "BF16"), Uint8Array.of(0x80, 0xbf));
  t.same(patternOf(1, "F16"), Uint8Array.of(0x00, 0x3c));
  t.same(patternOf(-1, "F16"), Uint8Array.of(0x00, 0xbc));
  t.same(patternOf(1, "F32"), Uint8Array.of(0, 0, 0x80, 0x3f));
  t.same(patternOf(1, "F64"), Uint8Array.of(0, 0, 0, 0, 0, 0, 0xf0, 0x3f));
  t.same(patternOf(0, "F32"), Uint8Array.of(0));
  t.equal(patternOf(-0.2, "BF16"), undefined);
  t.equal(patternOf(-0.2, "F32"), undefined);
  t.equal(patternOf(0, "I8"), undefined);
  const gemma = understood(gemma2({ dtype: "F32" }));
  t.equal(Buffer.from(gemma.blocks[0]?.branches[0]?.factors[1]?.tensors[0]?.pattern ?? []).toString("hex"), "000080bf");
  t.same(
    caught(() => understood(gemma2({ dtype: (name) => (name.includes("post_") ? "F8_E4M3" : "BF16") }))),
    {
      tag: "unsupported",
      message:
        "model.layers.0.post_attention_layernorm.weight: is F8_E4M3; expected a floating-point type that can hold -1 exactly",
      fix: "Expand the checkpoint that this one was converted from.",
    },
  );
});

const GEMMA2 = `${LLAMA} {pre,post}_feedforward_layernorm.weight`;
function gemma2(more: Partial<ModelParts> = {}, config: Config = {}): ModelParts {
  return { config: { model_type: "gemma2", num_hidden_layers: 6, ...config }, block: GEMMA2, count: 6, ...more };
}

t.test(
  "norms behind the branches are closed with -1 where the gain is 1+w, and the projection stands as the other factor",
  async (t) => {
    const model = understood(gemma2());
    t.same(closedBy(model), {
      attention: ["post_attention_layernorm.weight=-1"],
      mlp: ["post_feedforward_layernorm.weight=-1"],
    });
    const factors = model.blocks[0]?.branches.map((branch) => branch.factors.map((factor) => factor.kind));
    t.same(factors, [
      ["projection", "norm-gain"],
      ["projection", "norm-gain"],
    ]);
  },
);

t.test("whole periods need no list; a broken period is written out, with a warning", async (t) => {
  const model = understood(gemma2());
  t.equal(model.period, 2);
  t.equal(model.periodIsOptional, true);
  const pairs = model.adapt(
    layoutOf(6, [
      [1, 0],
      [1, 1],
    ]),
  );
  t.same(editsOf(pairs), { num_hidden_layers: 8 });
  t.same(pairs.warnings, []);
  const single = model.adapt(copiesOf(6, 1));
  t.same(editsOf(single), { num_hidden_layers: 7, layer_types: [S, F, F, S, F, S, F] });
  t.same(single.warnings, [
    "Readers that derive the attention kind from a period of 2 instead of layer_types (llama.cpp, mlx-lm, transformers before 4.53) give originals 2, 3, 4, 5 (now 3, 4, 5, 6) the wrong kind. Whole periods (--per-group 2) avoid this.",
  ]);
});

t.test("a list on disk is rewritten also where whole periods would not need it", async (t) => {
  const model = understood(gemma2({}, { layer_types: [S, F, S, F, S, F] }));
  const pairs = model.adapt(
    layoutOf(6, [
      [5, 4],
      [5, 5],
    ]),
  );
  t.same(editsOf(pairs), { num_hidden_layers: 8, layer_types: [S, F, S, F, S, F, S, F] });
});

t.test("a list of another length than the block count is refused", async (t) => {
  t.same(
    caught(() => understood(gemma2({}, { layer_types: [S, F, S] }))),
    {
      tag: "unsupported",
      message: "config.json: layer_types has 3 entries, but the model has 6 blocks",
      fix: "Give layer_types one entry per block.",
    },
  );
});

t.test("settings keep their place: nested ones, root ones, and those of the vision tower", async (t) => {
  const text = { model_type: "gemma2", num_hidden_layers: 4, layer_types: [S, F, S, F] };
  const parts: ModelParts = {
    config: { model_type: "llava", text_config: text, vision_config: { num_hidden_layers: 4 } },
    block: GEMMA2,
    count: 4,
    prefix: "language_model.model.layers.{i}.",
    outside:
      "language_model.model.{embed_tokens,norm}.weight language_model.lm_head.weight vision_tower.x.layers.0.weight",
  };
  const nested = understood(parts).adapt(copiesOf(4, 1, 3));
  t.same(editsOf(nested), { "text_config.num_hidden_layers": 6, "text_config.layer_types": [S, F, F, S, F, F] });
  const both = understood({ ...parts, config: { ...parts.config, num_hidden_layers: 4 } }).adapt(copiesOf(4, 1, 3));
  t.same(editsOf(both), {
    "text_config.num_hidden_layers": 6,
    num_hidden_layers: 6,
    "text_config.layer_types": [S, F, F, S, F, F],
  });
  t.same(
    caught(() => understood({ ...parts, config: { ...parts.config, num_hidden_layers: 7 } })),
    {
      tag: "unsupported",
      message: "config.json: text_config.num_hidden_layers is 4, but num_hidden_layers is 7; both count the blocks",
      fix: "Make them agree.",
    },
  );
});

t.test("quantized weights are claimed whole and closed by the bytes of their form", async (t) => {
  const linear = "{qweight,qzeros,scales,g_idx}";
  const block = `{input_layernorm,post_attention_layernorm}.weight self_attn.{q,k,v,o}_proj.${linear} mlp.{gate,up,down}_proj.${linear}`;
  const dtype = (name: string) => (/qweight|qzeros|g_idx/.test(name) ? "I32" : "F16");
  const model = understood(llama({ block, dtype }, { quantization_config: { quant_method: "gptq", bits: 4 } }));
  t.same(closedBy(model), { attention: ["self_attn.o_proj.scales=0"], mlp: ["mlp.down_proj.scales=0"] });
  t.equal(model.notes.length, 1);
});

t.test("mxfp4 experts are closed with their bias", async (t) => {
  const layers: JsonValue = [S, F, S, F];
  const model = understood({
    config: {
      model_type: "gpt_oss",
      num_hidden_layers: 4,
      layer_types: layers,
      quantization_config: { quant_method: "mxfp4", modules_to_not_convert: ["model.layers.*.self_attn"] },
    },
    block:
      "{input_layernorm,post_attention_layernorm}.weight self_attn.{q,k,v,o}_proj.{weight,bias} self_attn.sinks mlp.router.{weight,bias} mlp.experts.{gate_up,down}_proj_{blocks,scales,bias}",
    count: 4,
    dtype: (name) => (/_(blocks|scales)$/.test(name) ? "U8" : "BF16"),
  });
  t.same(closedBy(model), {
    attention: ["self_attn.o_proj.bias=0", "self_attn.o_proj.weight=0"],
    moe: ["mlp.experts.down_proj_bias=0", "mlp.experts.down_proj_blocks=0"],
  });
});
