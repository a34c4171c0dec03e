// ONNX models, run whole: expansions of every export flavour are identity in numbers, and planted faults are named at their block.

import fs from "node:fs";
import path from "node:path";
import t from "tap";
import { VOCABULARY } from "../fixtures/onnx/options.ts";
import { type OnnxFlavour, tinyOnnx, writeTinyOnnx } from "../fixtures/onnx.ts";
import type { Checkpoint } from "../src/checkpoint/checkpoint.ts";
import { convert } from "../src/commands/convert.ts";
import { expand } from "../src/commands/expand.ts";
import { finish } from "../src/events.ts";
import { openCheckpoint } from "../src/formats/open.ts";
import { attribute } from "../src/graph/attributes.ts";
import { GraphBuilder } from "../src/graph/builder.ts";
import { cloneGraph, inlineTensor, tensorOf } from "../src/graph/graph.ts";
import { encodeModel, type NodeProto, OnnxType, type TensorProto } from "../src/graph/onnx.ts";
import { JsonDocument, type JsonObject } from "../src/json.ts";
import { findBlocks } from "../src/residual/find.ts";
import { openRuntime } from "../src/runtime/runtime.ts";
import { feedsFor, vocabularyOf } from "../src/verification/numeric/whole-inputs.ts";
import { headsOf, pastWindows, type Sizes } from "../src/verification/numeric/windows.ts";
import { terminalText } from "../src/verification/report/terminal.ts";
import type { VerificationReport } from "../src/verification/report.ts";
import { verifyNumbers } from "../src/verification/verify.ts";

// One thread: more would wait for each other by spinning, on a machine that has other work.
const runtime = await openRuntime({ device: "cpu", threads: 1 });
t.teardown(() => runtime.close());
t.setTimeout(120_000);
const directory = t.testdir({});

/** Blocks 0 (copy of 0) 1 (copy of 1) 2. */
async function pair(
  flavour: OnnxFlavour,
  name: string = flavour,
  edit: (nodes: NodeProto[]) => void = () => undefined,
): Promise<{ before: Checkpoint; after: Checkpoint }> {
  const [source, output] = [path.join(directory, name), path.join(directory, `${name}-expanded`)];
  const model = tinyOnnx(flavour);
  edit(model.graph?.node ?? []);
  writeTinyOnnx(source, model);
  await finish(expand({ source, output, after: [0, 1], verify: "none" }));
  return { before: await openCheckpoint(source), after: await openCheckpoint(output) };
}

const numbers = (before: Checkpoint, after: Checkpoint): Promise<VerificationReport> =>
  finish(verifyNumbers(before, after, runtime, { samples: 2, tokens: 16 }));

/** A model whose config.json says what is given. */
function saying(checkpoint: Checkpoint, settings: JsonObject): Checkpoint {
  const text = Buffer.from(JSON.stringify(settings));
  return {
    ...checkpoint,
    config: { dialect: "onnx", documents: new Map([["config.json", JsonDocument.parse("c", text)]]) },
  };
}

/** The report, and what was noted on the way. */
async function noted(before: Checkpoint, after: Checkpoint) {
  const warnings: string[] = [];
  const options = { samples: 4, tokens: 16 };
  const report = await finish(verifyNumbers(before, after, runtime, options), (event) => {
    if (event.kind === "note" && event.level === "warning") warnings.push(event.text);
  });
  return { report, warnings };
}

t.test(
  "sliding windows are passed behind caches that hold as many tokens, or it is said that they are not",
  async (t) => {
    const { before, after } = await pair("traced", "windows");
    const near = await noted(saying(before, { text_config: { sliding_window: 4096 } }), after);
    t.equal(near.report.verdict, "identity", near.report.reason ?? "");
    t.match(near.report.numeric, { samples: 4, tokens: 16, cached: { tokens: 7, past: 4104 } });
    t.match(terminalText(near.report), /\n {2}run {7}4 x 16 tokens and 7 behind caches of 4104 on cpu, /);
    t.same(near.warnings, []);
    const far = await noted(saying(before, { sliding_window: 2 ** 24 }), after);
    t.match(far.report.numeric, { cached: { tokens: 7, past: 7 } });
    t.same(far.warnings, [
      "16 tokens do not pass a sliding window of 16777216: a shifted pattern of windows would not show; use --tokens 16777224",
    ]);
    const off = await noted(
      saying(before, { sliding_window: 2 ** 24, use_sliding_window: false, vision: { window_size: 9 } }),
      saying(after, { sliding_window: 4096, max_position_embeddings: 4096 }),
    );
    t.match(off.report.numeric, { cached: { past: 17 } }, "what is switched off, or as long as the context, is none");
    t.same(off.warnings, []);
  },
);

t.test("without caches sliding windows are passed by longer sequences, as far as memory goes", async (t) => {
  const { before, after } = await pair("traced-nocache", "long");
  const near = await noted(saying(before, { sliding_window: 24 }), after);
  t.match(near.report.numeric, { samples: 2, tokens: 32 }, "as many tokens in all, in longer samples");
  t.same(near.warnings, []);
  const sizes = { vocabulary: 32000, heads: 32 };
  const wishes = { samples: 4, tokens: 64, seed: 0, tolerance: 0 };
  const passed = (window: number, over: Partial<Sizes> = {}): readonly (number | readonly number[])[] => {
    const { wishes: raised, beyond } = pastWindows(wishes, [window], { ...sizes, ...over });
    return [raised.samples, raised.tokens, beyond];
  };
  t.same(passed(4096), [1, 4104, []]);
  t.same(passed(8192), [4, 64, [8192]], "the scores of 32 heads do not fit");
  t.same(passed(8192, { heads: 8 }), [1, 8200, []]);
  t.same(passed(8192, { heads: 8, vocabulary: 262144 }), [4, 64, [8192]], "the logits do not fit");
  t.equal(headsOf(saying(before, { text_config: { num_attention_heads: 7 } })), 7);
  t.equal(headsOf(before), 32, "where nothing says it");
});

t.test("windows of another length are found behind caches, at the first block that has one", async (t) => {
  const windows = (length: number) => (nodes: NodeProto[]) => {
    for (const node of nodes.filter(({ opType }) => opType === "GroupQueryAttention")) {
      node.attribute = node.attribute.filter((each) => each.name !== "local_window_size");
      node.attribute.push(attribute("local_window_size", length));
    }
  };
  const { before, after } = await pair("genai", "windowed", windows(100));
  const good = await noted(before, after);
  t.equal(good.report.verdict, "identity");
  t.same(good.report.numeric?.cached, { tokens: 7, past: 108 });
  const bad = await noted(before, await rewritten(after, "shifted", windows(90)));
  t.equal(bad.report.verdict, "not-identity");
  t.equal(bad.report.numeric?.logits.differing, 0, "16 tokens do not show it");
  t.match(bad.report.findings, [{ code: "state-differs", at: "block 0, behind its cache", block: 0 }]);
  t.equal(bad.report.numeric?.firstDifference?.block, 0);
  const { report, warnings } = await noted(saying(before, { sliding_window: 4096 }), after);
  t.same(report.numeric?.cached, { tokens: 7, past: 7 }, "its tables of angles end at 160");
  t.same(warnings, [
    "16 tokens do not pass a sliding window of 100 or 4096: a shifted pattern of windows would not show; use --tokens 4104",
  ]);
});

/** Plain, fused, quantized, and with the newest operators; test/expansion/graph.test.ts has the others. */
const FLAVOURS: readonly OnnxFlavour[] = ["traced", "fused-gpt2", "genai", "genai-int4", "opset23"];

for (const flavour of FLAVOURS) {
  t.test(
    `${flavour}: an expansion gives the same outputs, bit for bit, and each copy gives back its input`,
    async (t) => {
      const { before, after } = await pair(flavour);
      const report = await numbers(before, after);
      t.equal(report.verdict, "identity", report.reason ?? "");
      t.same(report.findings, []);
      t.match(report.numeric, { device: "cpu", method: "whole", samples: 2, tokens: 16, tolerance: 0 });
      t.match(report.numeric?.logits, { maxAbs: 0, differing: 0, total: 2 * 16 * VOCABULARY });
      t.same(
        report.numeric?.blocks.map(({ kind, from, maxAbs }) => [kind, from, maxAbs]),
        [
          ["original", 0, 0],
          ["copy", 0, 0],
          ["original", 1, 0],
          ["copy", 1, 0],
          ["original", 2, 0],
        ],
      );
    },
  );
}

t.test(
  "norms fused with half-precision sums: a stated tolerance for the outputs, equality for every block of the twins",
  async (t) => {
    const { before, after } = await pair("genai-fp16");
    const report = await numbers(before, after);
    t.equal(report.verdict, "identity");
    t.equal(report.numeric?.tolerance, 0.005);
    t.ok((report.numeric?.logits.maxRel ?? 1) < 0.005);
    t.ok(report.numeric?.blocks.every((block) => block.maxAbs === 0));
    t.match(terminalText(report), /^identity: AFTER computes what BEFORE computes, within 0\.005\n/);
    const strict = await finish(verifyNumbers(before, after, runtime, { tolerance: 0 }));
    t.equal(strict.verdict, "not-identity");
    t.same(
      strict.findings.map((each) => each.code),
      ["logits-differ"],
    );
  },
);

t.test("a cache whose last size is open is as wide as the settings beside the model say, or refused", async (t) => {
  const input = {
    name: "past_key_values.0.key",
    dtype: "float32",
    shape: ["batch_size", 1, "past", "kv_cache_dim"],
  } as const;
  const sitting = {
    batch: 2,
    length: 3,
    ids: [0, 1, 2, 3, 4, 5],
    positions: BigInt64Array.of(0n, 1n, 2n, 0n, 1n, 2n),
    past: 7,
  };
  t.same(feedsFor([input], sitting, { seed: 0, headSize: 8 })[input.name]?.shape, [2, 1, 7, 8]);
  t.throws(() => feedsFor([input], sitting, { seed: 0 }), {
    tag: "unsupported",
    message: 'input "past_key_values.0.key": has a size "kv_cache_dim" that no config.json beside it says',
  });
});

t.test("token ids are known behind a Reshape, as gpt2's exports have it", async (t) => {
  const { before } = await pair("traced", "reshaped");
  const graph = new GraphBuilder("reshaped");
  const ids = graph.input("input_ids", OnnxType.INT64, ["batch", "sequence"]);
  const shape = graph.ints([-1, 4]);
  const table = graph.floats(
    Array.from({ length: 22 }, (_, at) => at),
    [11, 2],
  );
  graph.output(
    graph.node("Gather", [table, graph.node("Reshape", [ids, shape], {}, "view")], {}, "rows"),
    OnnxType.FLOAT,
    [],
  );
  t.equal(vocabularyOf({ ...before, graph: graph.build() }), 11);
});

t.test("branches of a merged decoder: the blocks of both are looked at, with and without a past", async (t) => {
  const { before, after } = await pair("merged");
  const report = await numbers(before, after);
  t.equal(report.verdict, "identity", report.reason ?? "");
  t.equal(report.numeric?.logits.differing, 0);
  t.same(report.numeric?.cached, { tokens: 7, past: 7 });
  t.same(
    report.numeric?.blocks.map(({ kind, from }) => [kind, from]),
    [
      ["original", 0],
      ["copy", 0],
      ["original", 1],
      ["copy", 1],
      ["original", 2],
    ],
  );
  const branch = (at: number) => (nodes: NodeProto[]) => {
    const merged = nodes.find(({ opType }) => opType === "If");
    for (const node of merged?.attribute[at]?.g?.node ?? []) if (node.opType === "Sigmoid") node.opType = "Tanh";
  };
  for (const [at, block] of [
    [0, "block 0, behind its cache"],
    [1, "block 0"],
  ] as const) {
    const bad = await numbers(before, await rewritten(after, `merged-${at}`, branch(at)));
    t.equal(bad.verdict, "not-identity", `a fault in ${at === 0 ? "then" : "else"}_branch only`);
    t.match(bad.findings[0], { code: "state-differs", at: block });
  }
});

/** The model of a checkpoint with its nodes edited, written beside its data files. */
async function rewritten(
  checkpoint: Checkpoint,
  name: string,
  edit: (nodes: NodeProto[], initializers: TensorProto[]) => void | Promise<void>,
): Promise<Checkpoint> {
  if (checkpoint.graph === undefined) throw new Error("the test edits graphs");
  const { model } = cloneGraph(checkpoint.graph);
  await edit(model.graph?.node ?? [], model.graph?.initializer ?? []);
  const folder = path.join(directory, name);
  fs.cpSync(checkpoint.location, folder, { recursive: true });
  fs.writeFileSync(path.join(folder, "model.onnx"), encodeModel(model));
  return openCheckpoint(folder);
}

/** The same with its initializers edited, one by one. */
function edited(
  checkpoint: Checkpoint,
  name: string,
  edit: (tensor: TensorProto) => Promise<TensorProto | undefined>,
): Promise<Checkpoint> {
  return rewritten(checkpoint, name, async (_, initializers) => {
    for (const [at, tensor] of initializers.entries()) initializers[at] = (await edit(tensor)) ?? tensor;
  });
}

/** Other values for a tensor of f32, up to `size`. */
function filled(tensor: TensorProto, size: number): TensorProto {
  const count = tensor.dims.reduce((product, size) => product * Number(size), 1);
  const values = Float32Array.from({ length: count }, (_, at) => (size * (((at * 7) % 11) - 5)) / 5);
  return inlineTensor(tensor.name, "F32", tensor.dims.map(Number), new Uint8Array(values.buffer));
}

t.test("a copy's projection that is not zero, and an original's other weight, are named at their blocks", async (t) => {
  const { before, after } = await pair("traced-nocache");
  const { graph } = after;
  if (graph === undefined) throw new Error("it brings a graph");
  const blocks = findBlocks(graph).blocks;
  const zeros = async (tensor: TensorProto): Promise<boolean> => {
    const ref = tensorOf(graph, tensor);
    if (ref.dtype !== "F32" || ref.shape.length !== 2) return false;
    const data = ref.kind === "fill" ? ref.pattern : await ref.source.read(ref.offset, ref.bytes);
    return data.every((byte) => byte === 0);
  };
  const inBlock = (at: number): Set<string> => new Set(blocks[at]?.tensors.map((each) => each.initializer));
  const copy = inBlock(3);
  const open = await edited(after, "open", async (tensor) =>
    copy.has(tensor.name) && (await zeros(tensor)) ? filled(tensor, 0.01) : undefined,
  );
  const first = await numbers(before, open);
  t.equal(first.verdict, "not-identity");
  t.equal(first.numeric?.firstDifference?.block, 3);
  t.equal(first.findings[0]?.block, 3);
  const original = inBlock(2);
  const other = await edited(after, "other", async (tensor) =>
    original.has(tensor.name) && tensor.dims.length === 2 ? filled(tensor, 0.5) : undefined,
  );
  const second = await numbers(before, other);
  t.equal(second.verdict, "not-identity");
  t.equal(second.numeric?.firstDifference?.block, 2);
  t.match(
    second.findings.map((each) => each.code),
    ["state-differs", "logits-differ"],
  );
});

t.test(
  "a checkpoint and the ONNX model made from it, and that model expanded: within the tolerance of another order of additions",
  async (t) => {
    const source = path.join(import.meta.dirname, "../fixtures/llama");
    const [model, output] = [path.join(directory, "converted"), path.join(directory, "converted-expanded")];
    await finish(convert({ source, output: model, format: "onnx" }));
    await finish(expand({ source: model, output, after: [1], verify: "none" }));
    const [before, middle, after] = [
      await openCheckpoint(source),
      await openCheckpoint(model),
      await openCheckpoint(output),
    ];
    const good = await numbers(before, after);
    t.equal(good.verdict, "identity", good.reason ?? "");
    t.match(good.numeric, { method: "streamed", tolerance: 1e-4 });
    t.same(
      good.numeric?.blocks.map(({ kind, from }) => [kind, from]),
      [
        ["original", 0],
        ["original", 1],
        ["copy", 1],
        ["original", 2],
        ["original", 3],
      ],
    );
    const back = await numbers(middle, before);
    t.equal(back.verdict, "identity", "the other way round");
    const other = path.join(directory, "other");
    fs.cpSync(source, other, { recursive: true });
    const config = JSON.parse(fs.readFileSync(path.join(other, "config.json"), "utf8"));
    fs.writeFileSync(path.join(other, "config.json"), JSON.stringify({ ...config, rope_theta: 500 }));
    const bad = await numbers(await openCheckpoint(other), after);
    t.equal(bad.verdict, "not-identity");
    t.equal(bad.numeric?.firstDifference?.block, 0);
  },
);

t.test("a mixture of experts as a graph: where its blocks cannot be looked at, the logits are compared", async (t) => {
  const source = path.join(import.meta.dirname, "../fixtures/mixtral");
  const output = path.join(directory, "mixtral");
  await finish(convert({ source, output, format: "onnx" }));
  const report = await numbers(await openCheckpoint(source), await openCheckpoint(output));
  t.equal(report.verdict, "identity", report.reason ?? "");
  t.match(report.numeric, { method: "whole", tolerance: 1e-4, blocks: [] });
});

t.test(
  "caches that changed places hide the blocks, and leave the verdict open although every output agrees",
  async (t) => {
    const { before, after } = await pair("opset23", "caches");
    const swap = (name: string): string =>
      name.replace(/^(past_key_values\.)([24])(\.key)$/, (_, head, at, tail) => `${head}${6 - Number(at)}${tail}`);
    const swapped = await rewritten(after, "swapped-caches", (nodes) => {
      for (const node of nodes) node.input = node.input.map(swap);
    });
    const report = await numbers(before, swapped);
    t.equal(report.verdict, "inconclusive");
    t.equal(report.numeric?.logits.differing, 0);
    t.equal(report.reason, 'AFTER cache "past_key_values.0.key": its name does not say which block it belongs to');
  },
);

t.test(
  "caches of two blocks that are handed back to each other are found behind caches that hold something",
  async (t) => {
    const { before, after } = await pair("opset23", "handed");
    // Both of a block's caches, read and left: the blocks look as if they stood in another order.
    const swap = (name: string): string =>
      name.replace(
        /^((?:past_key_values|present)\.)([24])(\.(?:key|value))$/,
        (_, head, at, tail) => `${head}${6 - at}${tail}`,
      );
    const handed = await rewritten(after, "handed-over", (nodes) => {
      for (const node of nodes) {
        node.input = node.input.map(swap);
        node.output = node.output.map(swap);
      }
    });
    const report = await numbers(before, handed);
    t.not(report.verdict, "identity");
  },
);
