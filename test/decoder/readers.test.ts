// What the readers of llama and its relatives make of settings, and what they refuse, with the whole of each message.
import path from "node:path";
import t from "tap";
import type { Checkpoint } from "../../src/checkpoint/checkpoint.ts";
import { readSpec } from "../../src/decoder/read.ts";
import type { DecoderSpec } from "../../src/decoder/spec.ts";
import { ExpandError } from "../../src/errors.ts";
import { openCheckpoint } from "../../src/formats/open.ts";
import { JsonDocument, type JsonObject, type JsonValue } from "../../src/json.ts";

const fixtures = path.resolve(import.meta.dirname, "../../fixtures");
const bases = new Map<string, Checkpoint>();
for (const name of ["llama", "gemma2"]) bases.set(name, await openCheckpoint(path.join(fixtures, name)));

/** The fixture with settings changed; undefined removes one. */
function variant(base: string, changes: Readonly<Record<string, JsonValue | undefined>>): Checkpoint {
  const checkpoint = bases.get(base) as Checkpoint;
  const { config } = checkpoint;
  if (config.dialect !== "hf") throw new Error("fixtures are HF checkpoints");
  const values = { ...(config.documents.get("config.json")?.value as JsonObject), ...changes };
  const text = JSON.stringify(values);
  const documents = new Map([["config.json", JsonDocument.parse("config.json", text)]]);
  return { ...checkpoint, location: base, config: { dialect: "hf", documents } };
}

const spec = (base: string, changes: Readonly<Record<string, JsonValue | undefined>> = {}): DecoderSpec =>
  readSpec(variant(base, changes));
const ropeOf = (changes: Readonly<Record<string, JsonValue | undefined>>) =>
  spec("llama", changes).blocks[0]?.attention.rope;

const STRUCTURE = "Use verify --mode structure, or train --export: both do without a forward pass.";
const CORRECT = "Correct the setting, or download the file again.";
const REFUSED: readonly (readonly [string, string, Record<string, JsonValue | undefined>, string, string])[] = [
  [
    "a setting nobody asked for",
    "llama",
    { attention_sink: 4 },
    "config.json: attention_sink: this setting is not understood for llama",
    STRUCTURE,
  ],
  [
    "a quantization",
    "llama",
    { quantization_config: { bits: 4 } },
    "config.json: quantization_config: this setting is not understood for llama",
    STRUCTURE,
  ],
  [
    "an unknown model type",
    "llama",
    { model_type: "lstm" },
    'llama: no forward pass is known for the model type "lstm"',
    STRUCTURE,
  ],
  [
    "no model type",
    "llama",
    { model_type: undefined },
    "llama: no config.json says what kind of model this is",
    "Put the model's config.json, with its model_type, beside the weights.",
  ],
  [
    "an unknown activation",
    "llama",
    { hidden_act: "tanhshrink" },
    'config.json: hidden_act: is "tanhshrink"; supported are silu, swish, gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, quick_gelu, relu, relu2',
    STRUCTURE,
  ],
  [
    "an unknown rope type",
    "llama",
    { rope_scaling: { type: "mrope" } },
    'config.json: rope_parameters: the rope type "mrope" is unknown; known are default, linear, dynamic, llama3, yarn, longrope',
    STRUCTURE,
  ],
  [
    "a setting that its rope type does not have",
    "llama",
    { rope_scaling: { type: "linear", factor: 2, beta_fast: 3 } },
    "config.json: rope_scaling: beta_fast: this setting is not understood for this rope type",
    STRUCTURE,
  ],
  [
    "partial rotation of whole heads",
    "llama",
    { partial_rotary_factor: 0.5 },
    "config.json: partial_rotary_factor: is 0.5; this family rotates whole heads",
    STRUCTURE,
  ],
  [
    "factors of the wrong number",
    "llama",
    { rope_scaling: { type: "longrope", short_factor: [1], long_factor: [1] } },
    "config.json: rope_scaling: short_factor: has 1 numbers; 4 were expected",
    STRUCTURE,
  ],
  [
    "heads that do not divide",
    "llama",
    { num_key_value_heads: 3 },
    "config.json: num_key_value_heads: is 3, which does not divide the 2 attention heads",
    STRUCTURE,
  ],
  [
    "a missing size",
    "llama",
    { hidden_size: undefined },
    "config.json: hidden_size: is missing; a whole number of at least 1 was expected",
    CORRECT,
  ],
  [
    "a size that is no number",
    "llama",
    { vocab_size: "32" },
    'config.json: vocab_size: is "32"; a whole number of at least 1 was expected',
    CORRECT,
  ],
  [
    "a switch that is no switch",
    "llama",
    { attention_bias: 1 },
    "config.json: attention_bias: is 1; true or false was expected",
    CORRECT,
  ],
  [
    "a bias that the file lacks",
    "llama",
    { attention_bias: true },
    "model.layers.0.self_attn.q_proj.bias: this tensor is missing",
    "Download the model again, or check that its configuration belongs to these weights.",
  ],
  [
    "a size that the tensors contradict",
    "llama",
    { intermediate_size: 25 },
    "model.layers.0.mlp.gate_proj.weight: has the shape [24,16]; the configuration says [25,16]",
    "Check that the configuration belongs to these weights.",
  ],
  [
    "fewer blocks than the file has",
    "llama",
    { num_hidden_layers: 3 },
    "model.layers.3.self_attn.q_proj.weight: the forward pass of llama has no place for this tensor (and 8 more)",
    STRUCTURE,
  ],
  [
    "kinds of too few blocks",
    "gemma2",
    { layer_types: ["full_attention"] },
    "config.json: layer_types: names 1 blocks; there are 4",
    STRUCTURE,
  ],
  [
    "an unknown kind",
    "gemma2",
    { layer_types: ["chunked_attention", "full_attention", "full_attention", "full_attention"] },
    'config.json: layer_types: names "chunked_attention"; known are full_attention and sliding_attention',
    STRUCTURE,
  ],
  [
    "windows without a window",
    "gemma2",
    { sliding_window: null },
    "config.json: sliding_window: is absent, but layer_types has blocks of sliding_attention",
    STRUCTURE,
  ],
  [
    "attention in both directions",
    "gemma2",
    { use_bidirectional_attention: true },
    "config.json: use_bidirectional_attention: this setting is not understood for gemma2",
    STRUCTURE,
  ],
  [
    "layer_types of a mistral",
    "llama",
    { model_type: "mistral", layer_types: ["full_attention"] },
    "config.json: layer_types: this setting is not understood for mistral",
    STRUCTURE,
  ],
];

for (const [title, base, changes, message, fix] of REFUSED) {
  t.test(`${title}: refused`, async (t) => {
    const error = thrown(() => spec(base, changes));
    t.equal(error?.message, message);
    t.equal(error?.fix, fix);
  });
}

function thrown(run: () => unknown): ExpandError | undefined {
  try {
    run();
    return undefined;
  } catch (error) {
    if (error instanceof ExpandError) return error;
    throw error;
  }
}

t.test("settings without effect, null and false pass", async (t) => {
  t.ok(spec("llama", { torch_dtype: "float16", foo_dropout: 0.1, rope_interleaved: false, pruned_heads: {}, x: null }));
});

t.test("rope settings of transformers 4 and 5 mean the same", async (t) => {
  const scaling = { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 32 };
  const four = ropeOf({ rope_theta: 500, rope_scaling: { type: "llama3", ...scaling } });
  const five = ropeOf({ rope_theta: undefined, rope_parameters: { rope_type: "llama3", rope_theta: 500, ...scaling } });
  t.same(four, five);
  t.not(four?.angles.frequencies[2], ropeOf({ rope_theta: 500 })?.angles.frequencies[2]);
});

/** python: transformers 5.23's ROPE_INIT_FUNCTIONS for heads of 8, theta 10000 and an original context of 128. */
const EXPECTED: readonly (readonly [string, Record<string, JsonValue>, readonly number[], number])[] = [
  ["linear", { factor: 4 }, [0.25, 0.025, 0.0025, 0.00025], 1],
  ["llama3", { factor: 8, low_freq_factor: 1, high_freq_factor: 4 }, [1, 0.04275118, 0.00125, 0.000125], 1],
  ["yarn", { factor: 4 }, [1, 0.0625, 0.0025, 0.00025], 1.138629436],
  [
    "longrope",
    { factor: 4, short_factor: [1, 1.5, 2, 3], long_factor: [1, 2, 4, 8] },
    [1, 0.06666667, 0.005, 0.0003333333],
    1.133893419,
  ],
];

t.test("frequencies are those that transformers computes", async (t) => {
  const original = { original_max_position_embeddings: 128 };
  for (const [type, more, frequencies, magnitude] of EXPECTED) {
    const rope = ropeOf({ rope_scaling: { type, ...more, ...(type === "linear" ? {} : original) } });
    t.ok(
      rope?.angles.frequencies.every((value, i) => Math.abs(value / (frequencies[i] ?? 0) - 1) < 1e-6),
      type,
    );
    t.ok(Math.abs((rope?.angles.magnitude ?? 0) - magnitude) < 1e-6, `${type}: magnitude`);
  }
});

t.test("an absent window is the family's own; null is none", async (t) => {
  const mistral = { model_type: "mistral" };
  t.equal(spec("llama", mistral).blocks[0]?.attention.window, 4096);
  t.equal(spec("llama", { ...mistral, sliding_window: null }).blocks[0]?.attention.window, undefined);
  t.equal(spec("llama", { ...mistral, sliding_window: 7 }).blocks[0]?.attention.window, 7);
});

t.test("softcaps of gemma2: absent is 50 and 30, null is none", async (t) => {
  const absent = { attn_logit_softcapping: undefined, final_logit_softcapping: undefined };
  t.equal(spec("gemma2", absent).blocks[0]?.attention.softcap, 50);
  t.equal(spec("gemma2", absent).head.softcap, 30);
  const none = { attn_logit_softcapping: null, final_logit_softcapping: null };
  t.equal(spec("gemma2", none).blocks[0]?.attention.softcap, undefined);
  t.equal(spec("gemma2", none).head.softcap, undefined);
});

t.test("a model file without the outer module's name is read all the same", async (t) => {
  const checkpoint = variant("llama", { tie_word_embeddings: true });
  const tensors = new Map(
    [...checkpoint.tensors]
      .filter(([name]) => name !== "lm_head.weight")
      .map(([name, tensor]) => [name.replace(/^model\./, ""), tensor]),
  );
  const read = readSpec({ ...checkpoint, tensors });
  t.equal(read.blocks.length, 4);
  t.equal(read.head.weight.name, "embed_tokens.weight");
});
