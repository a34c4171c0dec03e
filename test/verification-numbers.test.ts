// Numbers, tested by sabotage: whatever is planted, the block that computes something else is the one that is named.
import fs from "node:fs";
import path from "node:path";
import t from "tap";
import { type TinyHf, writeTinyHf } from "../fixtures/hf.ts";
import type { Checkpoint } from "../src/checkpoint/checkpoint.ts";
import { main } from "../src/cli/main.ts";
import { expand } from "../src/commands/expand.ts";
import { ExpandError } from "../src/errors.ts";
import { finish, type RunEvent } from "../src/events.ts";
import { openCheckpoint } from "../src/formats/open.ts";
import { JsonDocument, type JsonValue } from "../src/json.ts";
import { findInstallation } from "../src/runtime/installation.ts";
import { openRuntime, type RuntimeOptions } from "../src/runtime/runtime.ts";
import { decodeTensor } from "../src/tensor/decode.ts";
import { memorySource } from "../src/tensor/source.ts";
import { generator, sittingsFor } from "../src/verification/numeric/inputs.ts";
import { isWithin, measure } from "../src/verification/numeric/measure.ts";
import { withinMemory } from "../src/verification/numeric/memory.ts";
import type { NumbersOptions } from "../src/verification/numeric/options.ts";
import { promptIds } from "../src/verification/numeric/prompt.ts";
import { defaultTolerance } from "../src/verification/numeric/tolerance.ts";
import { junitText } from "../src/verification/report/junit.ts";
import { markdownText } from "../src/verification/report/markdown.ts";
import { terminalText } from "../src/verification/report/terminal.ts";
import type { NumericComparison, VerificationReport } from "../src/verification/report.ts";
import { verifyBoth, verifyNumbers } from "../src/verification/verify.ts";

const [WIDTH, INNER, VOCABULARY] = [32, 48, 40];
const DIMENSIONS = {
  hidden_size: WIDTH,
  intermediate_size: INNER,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 8,
  vocab_size: VOCABULARY,
  max_position_embeddings: 8192,
  rms_norm_eps: 1e-6,
  num_hidden_layers: 4,
};
const BLOCK = {
  "model.layers.{i}.input_layernorm.weight": [WIDTH],
  "model.layers.{i}.self_attn.q_proj.weight": [WIDTH, WIDTH],
  "model.layers.{i}.self_attn.k_proj.weight": [WIDTH / 2, WIDTH],
  "model.layers.{i}.self_attn.v_proj.weight": [WIDTH / 2, WIDTH],
  "model.layers.{i}.self_attn.o_proj.weight": [WIDTH, WIDTH],
  "model.layers.{i}.post_attention_layernorm.weight": [WIDTH],
  "model.layers.{i}.mlp.gate_proj.weight": [INNER, WIDTH],
  "model.layers.{i}.mlp.up_proj.weight": [INNER, WIDTH],
  "model.layers.{i}.mlp.down_proj.weight": [WIDTH, INNER],
} as const;
const BIASES = {
  "model.layers.{i}.self_attn.q_proj.bias": [WIDTH],
  "model.layers.{i}.self_attn.k_proj.bias": [WIDTH / 2],
  "model.layers.{i}.self_attn.v_proj.bias": [WIDTH / 2],
  "model.layers.{i}.self_attn.o_proj.bias": [WIDTH],
} as const;
const ENDS = {
  "model.norm.weight": [WIDTH],
  "lm_head.weight": [VOCABULARY, WIDTH],
} as const;

const LLAMA: TinyHf = {
  blocks: 4,
  dtype: "F32",
  seed: 7,
  config: {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    rope_theta: 10000,
    attention_bias: true,
    ...DIMENSIONS,
  },
  tensors: { "model.embed_tokens.weight": [VOCABULARY, WIDTH], ...BLOCK, ...BIASES, ...ENDS },
};
const GEMMA2: TinyHf = {
  blocks: 4,
  dtype: "BF16",
  seed: 8,
  config: {
    architectures: ["Gemma2ForCausalLM"],
    model_type: "gemma2",
    hidden_activation: "gelu_pytorch_tanh",
    query_pre_attn_scalar: 8,
    // Far past the 64 tokens that are run: only positions reach it.
    sliding_window: 4096,
    layer_types: ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
    attn_logit_softcapping: 50,
    final_logit_softcapping: 30,
    ...DIMENSIONS,
  },
  tensors: {
    "model.embed_tokens.weight": [VOCABULARY, WIDTH],
    ...BLOCK,
    "model.layers.{i}.pre_feedforward_layernorm.weight": [WIDTH],
    "model.layers.{i}.post_feedforward_layernorm.weight": [WIDTH],
    "model.norm.weight": [WIDTH],
  },
};

// One thread: more would wait for each other by spinning, on a machine that has other work.
const runtime = await openRuntime({ device: "cpu", threads: 1 });
t.teardown(() => runtime.close());
const directory = t.testdir({});

/** A model and its expansion: blocks 0 1 (copy of 1) 2 3 (copy of 3). */
async function pair(name: string, model: TinyHf, after = [1, 3]): Promise<{ before: Checkpoint; after: Checkpoint }> {
  const [source, output] = [path.join(directory, name), path.join(directory, `${name}-${after.join("-")}`)];
  writeTinyHf(source, model);
  await finish(expand({ source, output, after, verify: "none" }));
  return { before: await openCheckpoint(source), after: await openCheckpoint(output) };
}

const llama = await pair("llama", LLAMA);
const gemma2 = await pair("gemma2", GEMMA2);

function numbers(before: Checkpoint, after: Checkpoint, options: NumbersOptions = {}): Promise<VerificationReport> {
  return finish(verifyNumbers(before, after, runtime, options));
}

/** The checkpoint with one tensor's values changed, as F32. */
async function changed(
  checkpoint: Checkpoint,
  name: string,
  change: (values: Float32Array) => void,
): Promise<Checkpoint> {
  const tensor = checkpoint.tensors.get(name);
  if (tensor === undefined) throw new Error(`the test has no ${name}`);
  const values = await decodeTensor(tensor);
  change(values);
  const source = memorySource(name, new Uint8Array(values.buffer));
  const made = {
    kind: "stored",
    dtype: "F32",
    shape: tensor.shape,
    bytes: values.byteLength,
    source,
    offset: 0,
  } as const;
  return { ...checkpoint, tensors: new Map(checkpoint.tensors).set(name, made) };
}

function setting(checkpoint: Checkpoint, key: string, value: JsonValue): Checkpoint {
  if (checkpoint.config.dialect !== "hf") throw new Error("the test edits config.json");
  const config = checkpoint.config.documents.get("config.json")?.value;
  const text = JSON.stringify({ ...(config as object), [key]: value });
  const documents = new Map(checkpoint.config.documents).set("config.json", JsonDocument.parse("config.json", text));
  return { ...checkpoint, config: { dialect: "hf", documents } };
}

/** Block `to` gets the tensors of block `from`. */
function moved(checkpoint: Checkpoint, ...moves: readonly (readonly [from: number, to: number])[]): Checkpoint {
  const tensors = new Map(checkpoint.tensors);
  for (const [from, to] of moves) {
    for (const [name, tensor] of checkpoint.tensors) {
      if (name.includes(`.layers.${from}.`)) tensors.set(name.replace(`.${from}.`, `.${to}.`), tensor);
    }
  }
  return { ...checkpoint, tensors };
}

function numericOf({ numeric }: VerificationReport): NumericComparison {
  if (numeric === undefined) throw new Error("nothing was run");
  return numeric;
}

const first = (report: VerificationReport) => report.numeric?.firstDifference?.block;
const codes = (report: VerificationReport): readonly string[] =>
  report.findings.map((each) => `${each.code} ${each.at}`);

t.test("an expansion gives the same logits, and each copy gives back its input", async (t) => {
  for (const [name, { before, after }] of Object.entries({ llama, gemma2 })) {
    const report = await numbers(before, after);
    t.equal(report.verdict, "identity", name);
    t.same(report.findings, []);
    const { logits, blocks, ...rest } = numericOf(report);
    t.same(rest, { device: "cpu", method: "streamed", samples: 4, tokens: 64, seed: 0, tolerance: 0 });
    t.same(logits, { maxAbs: 0, maxRel: 0, differing: 0, total: 4 * 64 * VOCABULARY });
    t.same(
      blocks.map(({ at, kind, from, maxAbs, nonFinite }) => [at, kind, from, maxAbs, nonFinite]),
      [0, 1, 1, 2, 3, 3].map((from, at) => [at, at === 2 || at === 5 ? "copy" : "original", from, 0, 0]),
    );
    t.ok(blocks.every((block) => block.norm > 0.1));
  }
});

const row = (values: Float32Array): void => void values.fill(0.01, 0, WIDTH);
const FAULTS: readonly {
  readonly fault: string;
  readonly of?: typeof llama;
  readonly plant: (after: Checkpoint) => Checkpoint | Promise<Checkpoint>;
  readonly block: number;
  readonly code: string;
}[] = [
  {
    fault: "one row of a copy's projection that is not zero",
    plant: (after) => changed(after, "model.layers.2.self_attn.o_proj.weight", row),
    block: 2,
    code: "copy-not-exact block 2",
  },
  {
    fault: "a copy's bias that was not zeroed",
    plant: (after) => changed(after, "model.layers.5.self_attn.o_proj.bias", (values) => values.fill(0.01, 0, 3)),
    block: 5,
    code: "copy-not-exact block 5",
  },
  {
    fault: "two originals that changed places",
    plant: (after) => moved(after, [3, 4], [4, 3]),
    block: 3,
    code: "state-differs block 3",
  },
  {
    fault: "a stale pattern of windows",
    of: gemma2,
    plant: (after) =>
      setting(after, "layer_types", [
        "sliding_attention",
        "full_attention",
        "sliding_attention",
        "full_attention",
        "sliding_attention",
        "full_attention",
      ]),
    block: 3,
    code: "state-differs block 3",
  },
  {
    fault: "another rotary base",
    plant: (after) => setting(after, "rope_theta", 500000),
    block: 0,
    code: "state-differs block 0",
  },
  {
    fault: "a gain with 1 added to it",
    of: gemma2,
    plant: (after) =>
      changed(after, "model.layers.3.input_layernorm.weight", (values) => values.set(values.map((x) => x + 1))),
    block: 3,
    code: "state-differs block 3",
  },
  {
    fault: "two heads of queries that changed places",
    plant: (after) =>
      changed(after, "model.layers.4.self_attn.q_proj.weight", (values) => {
        const head = values.slice(0, 8 * WIDTH);
        values.copyWithin(0, 16 * WIDTH, 24 * WIDTH);
        values.set(head, 16 * WIDTH);
      }),
    block: 4,
    code: "state-differs block 4",
  },
  {
    fault: "an extra copy of an original in which nothing is closed",
    plant: (after) => moved(after, [1, 2]),
    block: 2,
    code: "state-differs block 2",
  },
];

for (const { fault, of = llama, plant, block, code } of FAULTS) {
  t.test(`${fault}: not identity, and its block is named`, async (t) => {
    const report = await numbers(of.before, await plant(of.after));
    t.equal(report.verdict, "not-identity");
    t.equal(first(report), block, "the first block that parts");
    t.equal(codes(report)[0], code);
    t.ok(codes(report).includes("logits-differ logits"));
    t.ok(report.numeric?.blocks.slice(0, block).every((each) => each.maxAbs === 0));
  });
}

t.test("the first block that differs is said with how much, and what follows from it is not", async (t) => {
  const report = await numbers(llama.before, setting(llama.after, "rope_theta", 500000));
  const [state, logits] = report.findings;
  t.equal(report.findings.length, 2);
  const amount = String.raw`\d+(\.\d+)?(e-\d+)?`;
  t.match(
    state?.message,
    new RegExp(
      `^differs from what block 0 of BEFORE gives by up to ${amount}, ${amount} of the largest value; equality was expected$`,
    ),
  );
  t.match(logits?.message, new RegExp(`^\\d+ of 10240 values differ, by up to ${amount}, `));
  t.equal(report.numeric?.firstDifference?.maxAbs, report.numeric?.blocks[0]?.maxAbs);
});

t.test("a copy that changes its input is a finding of its own, whatever went before", async (t) => {
  const one = await changed(llama.after, "model.layers.5.self_attn.o_proj.weight", row);
  const two = await changed(one, "model.layers.2.mlp.down_proj.weight", row);
  const report = await numbers(llama.before, two);
  t.same(codes(report), ["copy-not-exact block 2", "copy-not-exact block 5", "logits-differ logits"]);
  t.match(
    report.findings[0]?.message,
    /^was added to BEFORE's blocks and changes its input, by up to 0\.\d+; a copy gives it back exactly$/,
  );
});

t.test("NaN in one weight is found in the block where it enters", async (t) => {
  const after = await changed(llama.after, "model.layers.3.mlp.down_proj.weight", (values) =>
    values.fill(Number.NaN, 5, 6),
  );
  const report = await numbers(llama.before, after);
  t.equal(report.verdict, "not-identity");
  t.same(
    report.findings.map(({ at, message }) => `${at} ${message}`),
    [
      "block 3 has 256 values that are NaN or infinite in its output; so have 2 later ones",
      "logits 10240 of 10240 values are finite on one side only",
    ],
    "and no block is said to differ by up to 0",
  );
  t.same(
    report.numeric?.blocks.map((block) => block.nonFinite > 0),
    [false, false, false, true, true, true],
  );
});

t.test("infinity times the zeros of a copy is no zero, and is found", async (t) => {
  const after = await changed(llama.after, "model.layers.2.mlp.up_proj.weight", (values) =>
    values.fill(Number.POSITIVE_INFINITY, 0, 1),
  );
  const report = await numbers(llama.before, after);
  t.equal(report.verdict, "not-identity");
  t.same(codes(report), ["not-finite block 2", "logits-differ logits"]);
});

t.test("where BEFORE itself is not finite, nothing is concluded", async (t) => {
  const spoil = (checkpoint: Checkpoint, at: number): Promise<Checkpoint> =>
    changed(checkpoint, `model.layers.${at}.mlp.down_proj.weight`, (values) => values.fill(Number.NaN, 0, 1));
  const report = await numbers(await spoil(llama.before, 2), await spoil(llama.after, 3));
  t.equal(report.verdict, "inconclusive");
  t.equal(
    report.reason,
    "block 3 has 256 values that are NaN or infinite in its output; so have 2 later ones; BEFORE's own block has 256, so nothing can be concluded",
  );
});

t.test("a fault outside of the blocks blames none of them", async (t) => {
  const bump = (values: Float32Array): void => values.set([0.77], 3);
  const norm = await numbers(llama.before, await changed(llama.after, "model.norm.weight", bump));
  t.same(codes(norm), ["logits-differ logits"]);
  t.equal(norm.numeric?.firstDifference, undefined);
  const head = await numbers(llama.before, await changed(llama.after, "lm_head.weight", bump));
  t.same(codes(head), ["logits-differ logits"]);
  const table = await numbers(
    llama.before,
    await changed(llama.after, "model.embed_tokens.weight", (values) => values.fill(0.1)),
  );
  t.equal(codes(table)[0], "state-differs embedding");
});

t.test("a lost block of BEFORE is missed", async (t) => {
  const tensors = new Map([...llama.before.tensors].filter(([name]) => !name.includes(".layers.3.")));
  const report = await numbers(llama.before, setting({ ...llama.before, tensors }, "num_hidden_layers", 3));
  t.same(codes(report), ["state-differs block 3 of BEFORE", "logits-differ logits"]);
  t.equal(report.findings[0]?.message, "no block of AFTER computes what it computes");
});

t.test("a source that has copies of its own: they are originals now", async (t) => {
  const source = path.join(directory, "llama-1-3");
  const output = path.join(directory, "twice");
  await finish(expand({ source, output, after: [2], verify: "none" }));
  const report = await numbers(await openCheckpoint(source), await openCheckpoint(output));
  t.equal(report.verdict, "identity");
  t.same(
    report.numeric?.blocks.map((block) => block.kind),
    ["original", "original", "original", "copy", "original", "original", "original"],
  );
});

t.test("numbers and bytes make one verdict, and neither hides the other", async (t) => {
  const both = (after: Checkpoint) => finish(verifyBoth(llama.before, after, runtime));
  const good = await both(llama.after);
  t.match(good, { mode: "both", verdict: "identity", findings: [] });
  t.equal(good.blocks.length, 6);
  t.equal(good.numeric?.blocks.length, 6);
  // -0 in a copy is seen in bytes only, and changes nothing.
  const minus = await both(
    await changed(llama.after, "model.layers.2.self_attn.o_proj.weight", (values) => values.fill(-0)),
  );
  t.equal(minus.verdict, "identity");
  t.same(
    minus.findings.map((each) => each.code),
    ["negative-zero"],
  );
  t.equal(minus.numeric?.logits.differing, 0);
  const bad = await both(await changed(llama.after, "model.layers.2.self_attn.o_proj.weight", row));
  t.same(
    new Set(bad.findings.map((each) => each.code)),
    new Set(["copy-not-closed", "copy-not-exact", "logits-differ"]),
  );
});

t.test("a model whose computation is not known is inconclusive, and says why", async (t) => {
  const after = setting(llama.after, "model_type", "llama_of_tomorrow");
  const report = await numbers(llama.before, after);
  t.equal(report.verdict, "inconclusive");
  t.equal(
    report.reason,
    `the models could not be run: ${after.location}: no forward pass is known for the model type "llama_of_tomorrow"`,
  );
  t.equal(report.numeric, undefined);
});

t.test("token ids of one's own are run as they are, and must be the model's", async (t) => {
  const report = await numbers(llama.before, llama.after, { tokenIds: [3, 1, 4, 1, 5] });
  t.match(report.numeric, { samples: 1, tokens: 5, logits: { total: 5 * VOCABULARY } });
  const wrong = numbers(llama.before, llama.after, { tokenIds: [3, 40] });
  await t.rejects(wrong, { tag: "usage", message: "token id 40 is not one of the model's, 0 to 39" });
  await t.rejects(numbers(llama.before, llama.after, { tokenIds: [] }), {
    tag: "usage",
    message: "no token ids are given; at least one is needed",
  });
  await t.rejects(numbers(llama.before, llama.after, { samples: 0 }), {
    tag: "usage",
    message: "samples must be a whole number from 1 up, not 0",
  });
  await t.rejects(numbers(llama.before, llama.after, { tolerance: -1 }), {
    tag: "usage",
    message: "tolerance must be 0 or more, not -1",
  });
});

t.test("progress is told by block, and an abort stops between two", async (t) => {
  const events: RunEvent[] = [];
  await finish(verifyNumbers(llama.before, llama.after, runtime), (event) => events.push(event));
  t.same(
    events.flatMap((event) => (event.kind === "phase" ? event.name : [])),
    ["run blocks", "compare logits"],
  );
  t.same(events.flatMap((event) => (event.kind === "note" ? event.text : [])).slice(1, 3), [
    "block 1 is block 1 of BEFORE: exact",
    "block 2 is a copy: exact",
  ]);
  const controller = new AbortController();
  const run = finish(
    verifyNumbers(llama.before, llama.after, runtime, { signal: controller.signal }),
    (event) => event.kind === "note" && controller.abort(),
  );
  await t.rejects(run, { tag: "interrupted", message: "interrupted" });
});

t.test(
  "positions jump past windows, and to lengths where rotary angles change, if the model was made for them",
  async (t) => {
    const attention = { window: 4096 };
    const limits = (context: number, ...blocks: readonly object[]) =>
      [{ vocabulary: 10, context, blocks: blocks.map((each) => ({ attention: each })) }] as unknown as Parameters<
        typeof sittingsFor
      >[0];
    const options = { samples: 3, tokens: 8, seed: 0 };
    const positions = (...sides: Parameters<typeof sittingsFor>): readonly (readonly number[])[] =>
      sittingsFor(...sides).map((each) => [...each.positions].slice(0, each.length).map(Number));
    const plain = [0, 1, 2, 3, 4, 5, 6, 7];
    t.same(positions(limits(8192, attention, {}), options), [plain, [0, 1, 2, 3, 4094, 4095, 4096, 4097]]);
    t.same(positions(limits(4096, attention), options), [plain], "a window that no position can leave");
    t.same(positions(limits(8192, { window: 4 }), options), [plain], "a window that 8 tokens leave anyhow");
    t.same(positions(limits(8192, { rope: { beyond: { length: 100 } } }), options), [
      plain,
      [0, 1, 2, 3, 98, 99, 100, 101],
    ]);
    t.same(
      sittingsFor(limits(8192, attention), options).map((each) => each.batch),
      [2, 2],
    );
    t.same(sittingsFor(limits(8192), options), sittingsFor(limits(8192), options), "the same seed, the same ids");
    t.notSame(sittingsFor(limits(8192), options)[0]?.ids, sittingsFor(limits(8192), { ...options, seed: 1 })[0]?.ids);
    const next = generator(0);
    t.same(
      [next(), next(), next()].map((x) => Math.floor(x * 1e6)),
      [266429, 329, 223272],
    );
  },
);

t.test("what differs is counted, and what is not finite is never averaged away", async (t) => {
  const { NaN: nan, POSITIVE_INFINITY: inf } = Number;
  const found = Float32Array.of(1, -0, nan, inf, inf, 2, nan, -inf);
  const other = Float32Array.of(1, 0, nan, inf, -inf, 2.5, 3, 4);
  t.same(measure(found, other), {
    maxAbs: 0.5,
    largest: 2.5,
    differing: 4,
    total: 8,
    nonFinite: 5,
    nonFiniteExpected: 3,
    torn: 3,
    squares: 0.25,
  });
  t.notOk(isWithin(measure(found, other), 1), "no tolerance covers what is finite on one side only");
  const close = measure(Float32Array.of(1, 10), Float32Array.of(1.001, 10));
  t.notOk(isWithin(close, 0));
  t.ok(isWithin(close, 1e-3));
  t.notOk(isWithin(close, 1e-5), "1e-4 of the largest");
});

t.test("the tolerance is 0 for the same format on the CPU, and stated by the coarser weights otherwise", async (t) => {
  const gguf = await openCheckpoint(path.join(import.meta.dirname, "../fixtures/llama.gguf"));
  const with2 = (dtype: "F32" | "F16" | "Q8_0" | "Q4_K" | "Q2_K"): Checkpoint => ({
    ...gguf,
    tensors: new Map([["x", { kind: "fill", dtype, shape: [256, 256], bytes: 0, pattern: new Uint8Array(1) }]]),
  });
  t.equal(defaultTolerance(llama.before, llama.after, "cpu"), 0);
  t.equal(defaultTolerance(llama.before, { ...llama.after, format: "torch" }, "cpu"), 0);
  t.equal(defaultTolerance(llama.before, llama.after, "cuda"), 1e-4);
  t.equal(defaultTolerance(llama.before, with2("F32"), "cpu"), 1e-4);
  t.equal(defaultTolerance(with2("Q4_K"), llama.after, "cpu"), 1e-4, "widening loses nothing");
  t.equal(defaultTolerance(llama.before, with2("F16"), "cpu"), 0.03);
  t.equal(defaultTolerance(llama.before, with2("Q8_0"), "cpu"), 0.1);
  t.equal(defaultTolerance(llama.before, with2("Q4_K"), "cpu"), undefined, "rounding is no smaller than a fault there");
  const report = await numbers(llama.before, with2("Q4_K"));
  t.equal(report.verdict, "inconclusive");
  t.match(report.reason, "rounding cannot be told from a fault; say how far logits may be apart with --tolerance");
});

t.test("reports show what was run", async (t) => {
  const good = await numbers(llama.before, llama.after);
  t.match(
    terminalText(good),
    /^identity: AFTER computes what BEFORE computes\n(.*\n)* {2}run {7}4 x 64 tokens on cpu, block by block, seed 0, tolerance 0\n {2}logits {4}all 10240 equal\n {2}states {4}equal behind every original block; all 2 copies give back their input exactly$/,
  );
  t.match(junitText(good), /<testsuites name="expand-checkpoint verify" tests="3" failures="0" errors="0" skipped="0"/);
  t.match(junitText(good), /<testcase classname="numbers" name="every activation is finite"\/>/);
  t.match(markdownText(good), /Logits: all 10240 equal\./);
  t.match(markdownText(good), /\| 2 \| a copy \| [\d.]+ \| 0 \| 0 \|/);
  const bad = await numbers(llama.before, await changed(llama.after, "model.layers.2.self_attn.o_proj.weight", row));
  t.match(terminalText(bad), / {2}states {4}block 2 is the first that parts, by up to [\d.]+\n/);
  t.match(terminalText(bad), /^not-identity: AFTER does not compute what BEFORE computes\n/);
  t.match(junitText(bad), /<failure type="copy-not-exact" message="block 2: was added/);
  const lost = await numbers(llama.before, setting(llama.after, "model_type", "other"));
  t.match(
    junitText(lost),
    /<testcase classname="numbers" name="BEFORE and AFTER can be compared">\n {6}<error type="inconclusive"/,
  );
});

t.test(
  "a prompt is tokenized by BEFORE's tokenizer, and where that cannot be, --token-ids is what to pass",
  async (t) => {
    const byteLevel = { type: "ByteLevel", add_prefix_space: false, use_regex: true };
    const vocab = Object.fromEntries(["a", "b", "c", "ab", "Ġ", "Ġab", "1"].map((each, at) => [each, at]));
    const bpe = { type: "BPE", vocab, merges: ["a b", "Ġ ab"] };
    const ids = (tokenizer: object | string): Promise<readonly number[]> => {
      const data = Buffer.from(typeof tokenizer === "string" ? tokenizer : JSON.stringify(tokenizer));
      const assets = new Map([["tokenizer.json", memorySource("tokenizer.json", data)]]);
      return promptIds({ ...llama.before, assets }, "ab abc ab1");
    };
    t.same(await ids({ model: bpe, pre_tokenizer: byteLevel }), [3, 5, 2, 5, 6]);
    const fix = "Tokenize the text yourself and pass --token-ids.";
    for (const [tokenizer, reason] of [
      ["{", "is not JSON"],
      [
        { model: { ...bpe, dropout: 0.1 } },
        "drops merges at random, which is not computed here as in the library that trained it",
      ],
    ] as const) {
      const message = `--prompt cannot be tokenized: tokenizer.json: ${reason}`;
      await t.rejects(ids(tokenizer), { tag: "usage", message, fix });
    }
    await t.rejects(promptIds({ ...llama.before, assets: new Map() }, "x"), {
      message: "--prompt cannot be tokenized: BEFORE: holds no tokenizer.json, which turns text into tokens",
      fix,
    });
  },
);

t.test(
  "models are proved without onnxruntime's fusions, on the device and the threads that were asked for",
  async (t) => {
    const asked: RuntimeOptions[] = [];
    const { openProver } = await t.mockImport<typeof import("../src/commands/prover.ts")>("../src/commands/prover.ts", {
      "../src/runtime/runtime.ts": {
        openRuntime: async (options: RuntimeOptions) => {
          asked.push(options);
          return runtime;
        },
      },
    });
    for (const mode of ["structure", "numbers", "both"] as const) await openProver({ mode, threads: 3 });
    t.same(asked, [
      { device: "cpu", optimization: "basic", threads: 3 },
      { device: "cpu", optimization: "basic", threads: 3 },
    ]);
  },
);

t.test("too many tokens for the memory are said to be that, and a model too large is not", async (t) => {
  const sitting = { batch: 4, length: 40000, ids: [], positions: new BigInt64Array() };
  const failing = (words: string) => (): Promise<never> => {
    throw new ExpandError("backend", `onnxruntime ran out of memory on cpu: ${words}`, {
      at: "model",
      fix: "Free it.",
    });
  };
  const run =
    "Non-zero status code returned while running Or node. Name:'/Or' Status Message: bfc_arena.cc:360 Failed to allocate memory for requested buffer of size 6400000000";
  await t.rejects(withinMemory(sitting, failing(run)), {
    tag: "backend",
    message: "model: 4 x 40000 tokens take more memory than there is on cpu; the last piece it asked for has 6.4 GB",
    fix: "Give a smaller --tokens (memory grows with its square) or a smaller --samples.",
  });
  await t.rejects(withinMemory(sitting, failing("status while running MatMul node: CUBLAS_STATUS_ALLOC_FAILED")), {
    message: "model: 4 x 40000 tokens take more memory than there is on cpu",
  });
  await t.rejects(withinMemory(sitting, failing("std::bad_alloc")), {
    message: "model: onnxruntime ran out of memory on cpu: std::bad_alloc",
    fix: "Free it.",
  });
});

async function cli(...words: string[]): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ["", ""];
  const streams = { out: { write: (text: string) => (out += text) }, err: { write: (text: string) => (err += text) } };
  return { code: await main(words, streams), out, err };
}

t.test("on the command line: modes, exit codes, a GGUF pair, and expand --verify full", async (t) => {
  const fixture = (name: string): string => path.join(import.meta.dirname, "../fixtures", name);
  const output = path.join(directory, "full.gguf");
  const few = ["--samples", "2", "--tokens", "16", "--threads", "1"];
  const full = await cli("expand", fixture("llama.gguf"), output, "--every", "2", "--verify", "full", ...few);
  t.equal(full.code, 0, full.err);
  t.match(full.out, "  run       2 x 16 tokens on cpu, block by block, seed 0, tolerance 0\n");
  t.match(full.out, /states {4}equal behind every original block; all 2 copies give back their input exactly/);
  const proof = JSON.parse(fs.readFileSync(path.join(directory, "full.verification.json"), "utf8"));
  t.match(proof, { mode: "both", verdict: "identity", numeric: { method: "streamed", samples: 2, tokens: 16 } });
  const again = await cli(
    "verify",
    fixture("llama.gguf"),
    output,
    "--mode",
    "numbers",
    "--json",
    "--seed",
    "3",
    ...few,
  );
  t.equal(again.code, 0, again.err);
  t.match(JSON.parse(again.out), { mode: "numbers", verdict: "identity", numeric: { seed: 3 } });
  const other = await cli(
    "verify",
    fixture("llama"),
    fixture("llama-sharded"),
    "--mode",
    "numbers",
    "--token-ids",
    "1,2",
    ...few,
  );
  t.equal(other.code, 1, other.err);
  t.match(other.out, /^not-identity: AFTER does not compute what BEFORE computes/);
  const named = path.join(directory, "with-words");
  fs.cpSync(fixture("llama"), named, { recursive: true });
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, use_regex: true };
  const vocab = Object.fromEntries(["a", "b", "c", "ab", "Ġ", "Ġab", "1"].map((each, at) => [each, at]));
  const tokenizer = { model: { type: "BPE", vocab, merges: ["a b", "Ġ ab"] }, pre_tokenizer: byteLevel };
  fs.writeFileSync(path.join(named, "tokenizer.json"), JSON.stringify(tokenizer));
  const words = ["--prompt", "ab abc ab1", "--threads", "1", "--json"];
  const prompted = await cli("verify", named, fixture("llama"), "--mode", "numbers", ...words);
  t.equal(prompted.code, 0, prompted.err);
  t.match(JSON.parse(prompted.out), { verdict: "identity", numeric: { samples: 1, tokens: 5 } }, "a text of 5 tokens");
  const unlike = await cli("verify", fixture("llama"), fixture("gemma2"), "--mode", "numbers", "--threads", "1");
  t.ok(unlike.code === 1 || unlike.code === 7, "another model is never the same");
  for (const [words, message] of [
    [["--tolerance", "-1"], /--tolerance/],
    [["--tolerance", "1x"], /--tolerance takes one number from 0 up, such as 0 or 1e-4, not "1x"/],
    [["--token-ids", "1,a"], /--token-ids takes token ids separated by commas, such as 3,7,11, not "1,a"/],
    [["--token-ids", "1", "--prompt", "x"], /--prompt and --token-ids both say what to run on/],
    [["--prompt", "x"], /--prompt cannot be tokenized: .*tokenizer\.json/],
    [["--mode", "all"], /Invalid values/],
    [["--device", "gpu"], /--device takes cpu, cuda, or one GPU of several such as cuda:1, not "gpu"/],
    [["--device", "cuda:"], /--device takes cpu, cuda, or one GPU of several such as cuda:1, not "cuda:"/],
  ] as const) {
    const mode = words[0] === "--mode" ? [] : ["--mode", "numbers"];
    const result = await cli("verify", fixture("llama"), fixture("llama"), ...mode, ...words);
    t.equal(result.code, 2, words.join(" "));
    t.match(result.err, message);
  }
  if (findInstallation()?.missing.length === 0) return;
  const cuda = await cli(
    "expand",
    fixture("llama"),
    path.join(directory, "never"),
    "--verify",
    "full",
    "--device",
    "cuda:1",
  );
  t.equal(cuda.code, 6, "before anything is read or written");
  t.notOk(fs.existsSync(path.join(directory, "never")));
  t.match(cuda.err, /use --device cpu\./);
});
