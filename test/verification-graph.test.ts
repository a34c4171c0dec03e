// The structural proof of ONNX, tested by sabotage: each fault is found by its own finding, and no other refutes.
import path from "node:path";
import t from "tap";
import type { TinyDecoder } from "../fixtures/onnx/options.ts";
import { type OnnxFlavour, tinyOnnx, writeTinyOnnx } from "../fixtures/onnx.ts";
import type { Checkpoint } from "../src/checkpoint/checkpoint.ts";
import { ExpandError } from "../src/errors.ts";
import { finish } from "../src/events.ts";
import { openCheckpoint } from "../src/formats/open.ts";
import { attributeOf } from "../src/graph/attributes.ts";
import { cloneGraph, type Graph, inlineTensor, tensorOf } from "../src/graph/graph.ts";
import { DataLocation, type GraphProto, type TensorProto } from "../src/graph/onnx.ts";
import { expand } from "../src/index.ts";
import { JsonDocument } from "../src/json.ts";
import type { VerificationReport } from "../src/verification/report.ts";
import { verifyStructure } from "../src/verification/structure.ts";

interface Pair {
  readonly before: Checkpoint;
  readonly after: Checkpoint;
}

t.setTimeout(240_000);
const pairs = new Map<string, Promise<Pair>>();
const home = t.testdir();

/** A tiny model of 3 blocks and its expansion, with copies of block 0 at 1 and of block 2 at 4. */
function pairOf(flavour: OnnxFlavour, options: Partial<TinyDecoder> = {}): Promise<Pair> {
  const key = `${flavour} ${JSON.stringify(options)}`;
  const known = pairs.get(key) ?? makePair(`${pairs.size}`, flavour, options);
  pairs.set(key, known);
  return known;
}

async function makePair(name: string, flavour: OnnxFlavour, options: Partial<TinyDecoder>): Promise<Pair> {
  const [source, output] = [path.join(home, `${name}-before`), path.join(home, `${name}-after`)];
  writeTinyOnnx(source, tinyOnnx(flavour, options), { settings: ["config", "genai"] });
  await finish(expand({ source, output, after: [0, 2], verify: "none" }));
  return { before: await openCheckpoint(source), after: await openCheckpoint(output) };
}

type Sabotage = (graph: GraphProto, data: (tensor: TensorProto) => Promise<Uint8Array>) => Promise<void> | void;

async function sabotaged(after: Checkpoint, change: Sabotage): Promise<Checkpoint> {
  if (after.graph === undefined) throw new ExpandError("bug", "no graph");
  const graph: Graph = cloneGraph(after.graph);
  const main = graph.model.graph;
  if (main === undefined) throw new ExpandError("bug", "no graph");
  await change(main, (tensor) => bytesOf(graph, tensor));
  return { ...after, graph };
}

async function bytesOf(graph: Graph, tensor: TensorProto): Promise<Uint8Array> {
  const ref = tensorOf(graph, tensor);
  return ref.kind === "fill" ? new Uint8Array(ref.bytes) : ref.source.read(ref.offset, ref.bytes);
}

function set(tensor: TensorProto, data: Uint8Array): void {
  const typed = inlineTensor(tensor.name, "U8", [data.length], data);
  Object.assign(tensor, { rawData: typed.rawData, dataLocation: DataLocation.DEFAULT, externalData: [] });
  Object.assign(tensor, { floatData: [], int32Data: [], int64Data: [] });
}

function found<Item>(items: readonly Item[], is: (item: Item) => boolean): Item {
  const item = items.find(is);
  if (item === undefined) throw new ExpandError("bug", "nothing to sabotage");
  return item;
}

const initializer = (graph: GraphProto, pattern: RegExp): TensorProto =>
  found(graph.initializer, ({ name }) => pattern.test(name));

const refuting = (report: VerificationReport): string[] => [
  ...new Set(report.findings.filter(({ severity }) => severity === "refutes").map(({ code }) => code)),
];

/** Another number in each name of a cache. */
function renumbered(change: (number: number) => number): Sabotage {
  const rename = (name: string): string =>
    name.replace(/^(past_key_values|present)\.(\d+)/, (_, word, digits) => `${word}.${change(Number(digits))}`);
  return (graph) => {
    for (const value of [...graph.input, ...graph.output]) value.name = rename(value.name);
    for (const each of graph.node) {
      each.input = each.input.map(rename);
      each.output = each.output.map(rename);
    }
  };
}

const FAITHFUL: readonly OnnxFlavour[] = [
  "traced-gpt2",
  "dynamo",
  "functions",
  "genai-int4",
  "genai-biases",
  "opset23",
  "int8",
  "fused-gpt2",
  "merged",
];

t.test("expansions of every flavour are proved, with each block and what closes it named", async (t) => {
  for (const flavour of FAITHFUL) {
    const { before, after } = await pairOf(flavour);
    const report = await finish(verifyStructure(before, after));
    t.equal(report.verdict, "identity", flavour);
    t.same(
      report.blocks.map(({ kind, from }) => `${kind} ${from}`),
      ["original 0", "copy 0", "original 1", "original 2", "copy 2"],
      flavour,
    );
    t.ok(
      (report.blocks[1]?.closed ?? []).some(({ branch }) => branch === "attention"),
      flavour,
    );
    t.same(refuting(report), [], flavour);
  }
});

interface Fault {
  readonly title: string;
  readonly flavour: OnnxFlavour;
  readonly change: Sabotage;
  readonly codes: readonly string[];
}

const UP = /^model\.layers\.1\.mlp\.up_proj\.weight$/;

const FAULTS: readonly Fault[] = [
  {
    title: "one flipped bit in an original block's weight",
    flavour: "dynamo",
    change: async (graph, data) => {
      const tensor = initializer(graph, UP);
      const bytes = await data(tensor);
      bytes[77] = (bytes[77] ?? 0) ^ 1;
      set(tensor, bytes);
    },
    codes: ["original-differs"],
  },
  {
    title: "one flipped bit outside the blocks",
    flavour: "dynamo",
    change: async (graph, data) => {
      const tensor = initializer(graph, /^lm_head/);
      const bytes = await data(tensor);
      bytes[5] = (bytes[5] ?? 0) ^ 64;
      set(tensor, bytes);
    },
    codes: ["original-differs"],
  },
  {
    title: "one value of a copy's projection that is not 0",
    flavour: "dynamo",
    change: async (graph, data) => {
      const tensor = initializer(graph, /^copy\.1\..*o_proj/);
      const bytes = await data(tensor);
      bytes[403] = 0x3f;
      set(tensor, bytes);
    },
    codes: ["copy-not-closed"],
  },
  {
    title: "a copy's weight that is not its source's",
    flavour: "dynamo",
    change: async (graph, data) => {
      const tensor = initializer(graph, /^copy\.4\..*gate_proj/);
      const bytes = await data(tensor);
      bytes[9] = (bytes[9] ?? 0) ^ 1;
      set(tensor, bytes);
    },
    codes: ["copy-differs"],
  },
  {
    title: "the weights of two originals swapped",
    flavour: "dynamo",
    change: (graph) => {
      const swap = (name: string): string =>
        name.replace(/^model\.layers\.([01])\./, (_, digit) => `model.layers.${1 - Number(digit)}.`);
      for (const tensor of graph.initializer) tensor.name = swap(tensor.name);
    },
    codes: ["original-differs"],
  },
  {
    title: "a bias left open behind a closed projection",
    flavour: "genai-biases",
    change: async (graph, data) => {
      const tensor = initializer(graph, /^copy\.1\..*mlp\.down_proj\.bias/);
      const bytes = await data(tensor);
      bytes[2] = 0x80;
      bytes[3] = 0x3f;
      set(tensor, bytes);
    },
    codes: ["copy-not-closed"],
  },
  {
    title: "a rotary table that is read by one original with other numbers",
    flavour: "opset23",
    change: async (graph, data) => {
      const table = initializer(graph, /^cos_cache$/);
      const other = inlineTensor("cos_cache.1", "F32", table.dims.map(Number), await data(table));
      other.rawData[1] = 7;
      graph.initializer.push(other);
      const user = found(graph.node, ({ opType, input }) => opType === "RotaryEmbedding" && input[1] === "cos_cache");
      user.input[1] = other.name;
    },
    codes: ["original-differs"],
  },
  {
    title: "an attribute of an original's node that changed",
    flavour: "opset23",
    change: (graph) => {
      const [, , last] = graph.node.filter(({ opType }) => opType === "RMSNormalization").slice(-3);
      const epsilon = last === undefined ? undefined : attributeOf(last, "epsilon");
      if (epsilon !== undefined) epsilon.f = 0.5;
    },
    codes: ["graph-differs"],
  },
  {
    title: "an original that reads another shared value",
    flavour: "dynamo",
    change: (graph) => {
      const sums = graph.node.filter(({ opType, input }) => opType === "Mul" && input[1]?.startsWith("Cast_output"));
      const [first] = sums;
      if (first === undefined) throw new ExpandError("bug", "nothing to sabotage");
      const others = sums.map(({ input }) => input[1] ?? "").filter((name) => name !== first.input[1]);
      first.input[1] = others[0] ?? "";
    },
    codes: ["graph-differs"],
  },
  {
    title: "caches numbered from 1 instead of from 0",
    flavour: "genai-int4",
    change: renumbered((number) => number + 1),
    codes: ["graph-differs", "interface-differs"],
  },
  {
    title: "an output that BEFORE does not have",
    flavour: "dynamo",
    change: (graph) => {
      const [first] = graph.output;
      if (first === undefined) throw new ExpandError("bug", "no output");
      const name = found(graph.node, ({ input }) => input.includes("lm_head")).output[0] ?? "";
      graph.output.push({ ...first, name });
    },
    codes: ["interface-differs"],
  },
  {
    title: "a copy that is not closed at all",
    flavour: "genai-int4",
    change: async (graph, data) => {
      for (const part of ["o_proj", "down_proj"]) {
        const tensor = initializer(graph, new RegExp(`^copy\\.4\\..*${part}.*scales`));
        const source = initializer(graph, new RegExp(`^model\\.layers\\.2\\..*${part}.*scales`));
        set(tensor, await data(source));
      }
    },
    codes: ["copy-not-closed"],
  },
  {
    title: "one branch of a merged graph that reads another original's weight",
    flavour: "merged",
    change: (graph) => {
      const branch = attributeOf(
        found(graph.node, ({ opType }) => opType === "If"),
        "then_branch",
      )?.g;
      const user = found(branch?.node ?? [], ({ input }) => input.includes("onnx::MatMul_1.mlp.up_proj"));
      user.input = user.input.map((name) => name.replace("MatMul_1", "MatMul_2"));
    },
    codes: ["original-differs", "tensor-added"],
  },
];

for (const { title, flavour, change, codes } of FAULTS) {
  t.test(`found: ${title}`, async (t) => {
    const { before, after } = await pairOf(flavour);
    const report = await finish(verifyStructure(before, await sabotaged(after, change)));
    t.equal(report.verdict, "not-identity", report.reason ?? "");
    t.same(refuting(report).sort(), [...codes].sort(), JSON.stringify(report.findings.slice(0, 6), null, 1));
  });
}

t.test("found: settings that count the old blocks", async (t) => {
  const { before, after } = await pairOf("dynamo");
  if (after.config.dialect !== "onnx") throw new ExpandError("bug", "no settings");
  for (const [name, key] of [
    ["config.json", "num_hidden_layers"],
    ["config.json", "layer_types"],
    ["genai_config.json", "model.decoder.num_hidden_layers"],
    ["genai_config.json", "model.decoder.sliding_window.layers"],
  ] as const) {
    const documents = new Map(after.config.documents);
    const old = before.config.dialect === "onnx" ? before.config.documents.get(name) : undefined;
    const document = documents.get(name);
    if (document === undefined || old === undefined) throw new ExpandError("bug", `no ${name}`);
    documents.set(name, document.with(key.split("."), old.get(key.split("."))));
    const stale: Checkpoint = { ...after, config: { dialect: "onnx", documents } };
    const report = await finish(verifyStructure(before, stale));
    t.same(refuting(report), ["setting-stale"], key);
    t.equal(report.findings.find(({ code }) => code === "setting-stale")?.at, `${name}: ${key}`);
  }
});

t.test("a graph in which no blocks are found is neither proved nor refuted", async (t) => {
  const { before } = await pairOf("dynamo");
  const file = writeTinyOnnx(path.join(home, "one"), tinyOnnx("one-block"));
  const report = await finish(verifyStructure(before, await openCheckpoint(file)));
  t.equal(report.verdict, "inconclusive");
  t.match(report.reason, /^AFTER is not understood: no two equal blocks stand one after another between /);
});

t.test("caches whose numbers follow nothing are neither proved nor refuted", async (t) => {
  const { before, after } = await pairOf("genai-int4");
  const swapped = renumbered((number) => (number === 1 || number === 2 ? 3 - number : number));
  const report = await finish(verifyStructure(before, await sabotaged(after, swapped)));
  t.equal(report.verdict, "inconclusive");
  t.equal(
    report.reason,
    'AFTER is not understood: cache "past_key_values.0.key": its name does not say which block it belongs to',
  );
});

t.test("a model is no expansion of another one, and is one of itself without copies", async (t) => {
  const { before } = await pairOf("dynamo");
  const other = await pairOf("functions");
  t.equal((await finish(verifyStructure(before, other.after))).verdict, "not-identity");
  const same = await finish(verifyStructure(before, before));
  t.equal(same.verdict, "identity");
  t.same(refuting(same), []);
});

t.test("half-precision sums inside fused norms are warned of", async (t) => {
  const { before, after } = await pairOf("genai-fp16");
  const report = await finish(verifyStructure(before, after));
  t.equal(report.verdict, "identity");
  t.match(
    report.findings.map(({ code, severity, message }) => `${code} ${severity} ${message}`),
    [/^reader-differs warns its norms are fused with half-precision sums/],
  );
});

function withChunks(documents: ReadonlyMap<string, JsonDocument>, count: number): ReadonlyMap<string, JsonDocument> {
  const config = JSON.parse(documents.get("config.json")?.text ?? "{}");
  config["transformers.js_config"] = { use_external_data_format: count };
  return new Map([...documents, ["config.json", JsonDocument.parse("config.json", JSON.stringify(config))]]);
}

t.test("found: a wrong number of data files for transformers.js", async (t) => {
  const { before, after } = await pairOf("dynamo");
  if (before.config.dialect !== "onnx" || after.config.dialect !== "onnx") throw new ExpandError("bug", "no settings");
  const source: Checkpoint = {
    ...before,
    config: { dialect: "onnx", documents: withChunks(before.config.documents, 0) },
  };
  for (const [count, codes] of [
    [2, []],
    [1, ["setting-stale"]],
  ] as const) {
    const documents = withChunks(after.config.documents, count);
    const report = await finish(verifyStructure(source, { ...after, config: { dialect: "onnx", documents } }));
    t.same(refuting(report), codes, `${count} files`);
  }
});
