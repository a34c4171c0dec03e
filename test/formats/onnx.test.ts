// Reading and writing ONNX: what stays in the file, every refusal with its whole message, files of any size, and the way back.
import fs from "node:fs";
import path from "node:path";
import t from "tap";
import { finish } from "../../src/events.ts";
import { type OpenedOnnx, openOnnx, readModel } from "../../src/formats/onnx/read.ts";
import { scanModel } from "../../src/formats/onnx/scan.ts";
import { serialise } from "../../src/formats/onnx/serialise.ts";
import { planOnnx } from "../../src/formats/onnx/write.ts";
import { openCheckpoint } from "../../src/formats/open.ts";
import { externalRange, type Graph, inlineTensor, tensorAt, tensorOf, zeroTensor } from "../../src/graph/graph.ts";
import { encodeModel, OnnxType } from "../../src/graph/onnx.ts";
import { printGraph } from "../../src/graph/print.ts";
import { tensorsOf } from "../../src/graph/walk.ts";
import type { FilePlan } from "../../src/storage/file-plan.ts";
import { writeFiles } from "../../src/storage/write.ts";
import { localFolder } from "../../src/tensor/folder.ts";
import type { TensorRef } from "../../src/tensor/reference.ts";
import { type ByteSource, memorySource } from "../../src/tensor/source.ts";
import { modelOf, node, weight } from "../graph/models.ts";
import {
  bare,
  counting,
  exampleModel,
  external,
  field,
  GRAPH,
  MODEL,
  number,
  PARTS,
  TENSOR,
  tensorModel,
  varint,
} from "./onnx-builder.ts";
import { REFUSALS } from "./onnx-refusals.ts";
import { refusal } from "./refusal.ts";

async function graphOfBytes(data: Uint8Array): Promise<Graph> {
  const source = memorySource("x.onnx", data);
  return { model: await readModel(source, "x.onnx"), files: new Map([["x.onnx", source]]) };
}

function open(directory: string, file = "x.onnx"): Promise<OpenedOnnx> {
  return openOnnx(localFolder(directory), file);
}

function write(directory: string, files: readonly FilePlan[]): Promise<unknown> {
  const options = { key: "k", hash: true, sparse: true, resume: true, link: true };
  return finish(writeFiles(directory, files, () => [], options));
}

async function bytesOf(ref: TensorRef | undefined): Promise<string> {
  if (ref?.kind === "stored") return Buffer.from(await ref.source.read(ref.offset, ref.bytes)).toString("hex");
  return ref === undefined ? "none" : "00".repeat(ref.bytes);
}

t.test("each fault of an ONNX file is refused with its own message", async (t) => {
  const directory = t.testdir({
    outside: { secret: "0123456789" },
    model: {
      data: "0123456789",
      empty: "",
      sub: {},
      link: t.fixture("symlink", "../outside/secret"),
      out: t.fixture("symlink", "../outside"),
    },
  });
  const model = path.join(directory, "model");
  for (const [title, data, message] of REFUSALS) {
    fs.writeFileSync(path.join(model, "x.onnx"), data);
    t.equal(await refusal(open(model), model), message, `a file that ${title}`);
  }
});

t.test(
  "large tensors stay in the file, wherever in the model they are; small ones and all else are read",
  async (t) => {
    const data = exampleModel();
    const graph = await graphOfBytes(data);
    t.same(
      [...tensorsOf(graph.model)].map((tensor) => [tensor.name, externalRange(tensor)?.length]),
      [
        ["w", 4096],
        ["b", undefined],
        ["", 1024],
        ["inner", 1200],
      ],
    );
    for (const tensor of tensorsOf(graph.model)) {
      const first = { w: 0, b: 5000, "": 9000, inner: 20000 }[tensor.name] ?? Number.NaN;
      const count = Number(tensor.dims.reduce((a, b) => a * b));
      const expected = Buffer.from(Float32Array.from(counting(count, first)).buffer).toString("hex");
      t.equal(await bytesOf(tensorOf(graph, tensor)), expected, tensor.name);
    }
    t.same(Buffer.from(await serialise(graph)), data, "and back in one piece it is the file that it was");
  },
);

t.test(
  "what the schema does not know survives, and so do an explicit location, a split graph and lengths in long form",
  async (t) => {
    const raw = field(TENSOR.raw, Buffer.alloc(1024, 7));
    const long = Buffer.concat([
      number(MODEL.irVersion, 8),
      varint(MODEL.graph * 8 + 2),
      Buffer.from([0x83, 0x80, 0x00]),
      field(GRAPH.name, "g"),
    ]);
    const kept: readonly (readonly [string, Uint8Array])[] = [
      ["unknown fields", Buffer.concat([tensorModel(256, raw, field(900, "what")), number(901, 5)])],
      [
        "unknown numbers of both widths",
        Buffer.concat([bare(), varint(902 * 8 + 1), Buffer.alloc(8, 1), varint(903 * 8 + 5), Buffer.alloc(4, 2)]),
      ],
      ["an explicit data_location", tensorModel(256, raw, number(TENSOR.location, 0))],
      ["a byte order mark in front of a name", bare(field(GRAPH.name, "\ufeffg"))],
    ];
    for (const [title, data] of kept) t.same(Buffer.from(await serialise(await graphOfBytes(data))), data, title);
    const split = Buffer.concat([
      bare(field(GRAPH.name, "g")),
      field(
        MODEL.graph,
        field(GRAPH.initializer, number(TENSOR.dims, 256), number(TENSOR.type, 1), field(TENSOR.name, "w"), raw),
      ),
    ]);
    const merged = await graphOfBytes(split);
    t.equal(merged.model.graph?.name, "g");
    t.equal(merged.model.graph?.initializer.length, 1);
    t.equal((await graphOfBytes(long)).model.graph?.name, "g");
  },
);

t.test("a light model beside its file is a model itself", async (t) => {
  const directory = t.testdir({ "x.onnx": exampleModel() });
  const light = await scanModel(memorySource("x.onnx", exampleModel()), "x.onnx");
  fs.writeFileSync(path.join(directory, "light.onnx"), light);
  const whole = await open(directory);
  const opened = await open(directory, "light.onnx");
  t.equal(printGraph(opened.graph), printGraph(whole.graph));
  t.equal(await bytesOf(opened.tensors.get("w")), await bytesOf(whole.tensors.get("w")));
});

t.test("the weights of a model are not read, and a window of the file at a time is", async (t) => {
  const big = Buffer.concat([
    tensorModel(2 ** 20, field(TENSOR.raw, Buffer.alloc(2 ** 22))),
    bare(field(GRAPH.name, "n".repeat(200_000))),
  ]);
  const inner = memorySource("x.onnx", big);
  const asked: number[] = [];
  const source: ByteSource = {
    ...inner,
    read: (offset, length) => {
      asked.push(length);
      return inner.read(offset, length);
    },
  };
  await scanModel(source, "x.onnx");
  t.ok(
    asked.every((length) => length <= 200_000),
    "no read is longer than a window, or than one name",
  );
  t.ok(asked.reduce((a, b) => a + b) < 500_000, "of 4 MB");
});

t.test("a model of more than 4 GiB is opened and planned, its weights never in memory", async (t) => {
  const directory = t.testdir({});
  const file = path.join(directory, "big.onnx");
  const size = 3 * 2 ** 30;
  const head = Buffer.concat([number(TENSOR.dims, size / 4), number(TENSOR.type, 1)]);
  const tensor = (name: string): Buffer => {
    const named = Buffer.concat([head, field(TENSOR.name, name), varint(TENSOR.raw * 8 + 2), varint(size)]);
    return Buffer.concat([varint(GRAPH.initializer * 8 + 2), varint(named.length + size), named]);
  };
  const heads = [tensor("a"), tensor("b")];
  const start = Buffer.concat([
    number(MODEL.irVersion, 8),
    varint(MODEL.graph * 8 + 2),
    varint(heads.reduce((sum, { length }) => sum + length + size, 0)),
  ]);
  const fd = fs.openSync(file, "w");
  let at = 0;
  for (const bytes of [start, ...heads]) {
    fs.writeSync(fd, bytes, 0, bytes.length, at);
    at += bytes.length + (bytes === start ? 0 : size);
  }
  fs.ftruncateSync(fd, at);
  fs.writeSync(fd, Buffer.from([1, 2, 3, 4]), 0, 4, at - 4);
  fs.closeSync(fd);
  const { graph, tensors, shards } = await open(directory, "big.onnx");
  t.same(
    shards.map((shard) => shard.tensors),
    [["a", "b"]],
  );
  const b = tensors.get("b");
  t.equal(b?.bytes, size);
  t.same(b?.kind === "stored" && [...(await b.source.read(b.offset + size - 4, 4))], [1, 2, 3, 4]);
  const [model, data] = planOnnx(graph, { name: "model.onnx" });
  t.ok((model?.size ?? 0) < 500);
  t.equal(data?.size, 2 * size);
});

t.test(
  "a directory with one model, or with model.onnx among others, is opened with its settings, data and assets",
  async (t) => {
    const referring = tensorModel(2, external({ location: "weights/w.dat", length: "8" }));
    const files = {
      "config.json": '{"model_type": "gpt2"}',
      "genai_config.json": "{}",
      "tokenizer.json": "{}",
      "other.onnx_data": "stale",
      onnx: { "model.onnx": referring, "model_q4.onnx": referring, weights: { "w.dat": "01234567" } },
    };
    const directory = t.testdir({
      repository: files,
      single: { "a.onnx": bare() },
      several: { "a.onnx": bare(), "b.onnx": bare() },
    });
    const repository = path.join(directory, "repository");
    const checkpoint = await openCheckpoint(repository);
    t.equal(checkpoint.format, "onnx");
    t.same(checkpoint.config.dialect === "onnx" && [...checkpoint.config.documents.keys()], [
      "config.json",
      "genai_config.json",
    ]);
    t.same(
      checkpoint.shards.map(({ name, tensors }) => [name, tensors]),
      [
        ["onnx/model.onnx", []],
        ["onnx/weights/w.dat", ["w"]],
      ],
    );
    t.same([...checkpoint.assets.keys()], ["tokenizer.json"]);
    t.equal(await bytesOf(checkpoint.tensors.get("w")), Buffer.from("01234567").toString("hex"));
    const variant = await openCheckpoint(path.join(repository, "onnx", "model_q4.onnx"));
    t.equal(
      variant.shards[0]?.name,
      "onnx/model_q4.onnx",
      "the settings of a model in a folder named onnx are one level up",
    );
    t.same(variant.config.dialect === "onnx" && variant.config.documents.size, 2);
    t.equal((await openCheckpoint(path.join(directory, "single"))).shards[0]?.name, "a.onnx");
    t.equal(
      await refusal(openCheckpoint(path.join(directory, "several")), path.join(directory, "several")),
      'input: DIR: holds 2 ONNX models ("a.onnx", "b.onnx"): which one is meant is not sure / Give one file, not the directory.',
    );
  },
);

t.test("a model in the Hub's cache, where it and its data are links to blobs, is opened", async (t) => {
  const directory = t.testdir({
    blobs: { aa: tensorModel(2, external({ location: "model.onnx_data" })), bb: "01234567" },
    snapshots: {
      main: {
        "model.onnx": t.fixture("symlink", "../../blobs/aa"),
        "model.onnx_data": t.fixture("symlink", "../../blobs/bb"),
      },
    },
  });
  t.equal((await open(path.join(directory, "snapshots", "main"), "model.onnx")).tensors.get("w")?.bytes, 8);
});

t.test("an inline model is written light, its weights packed once each, with the same contents", async (t) => {
  const directory = t.testdir({ source: { "x.onnx": exampleModel() } });
  const { graph } = await open(path.join(directory, "source"));
  const shared = graph.model.graph?.initializer[0];
  const twin = tensorAt(
    "twin",
    { dtype: "F32", shape: [1024], bytes: 4096 },
    "x.onnx",
    Number(shared && externalRange(shared)?.offset),
  );
  graph.model.graph?.initializer.push(twin, inlineTensor("late", "U8", [2000], new Uint8Array(2000).fill(3)));
  const files = planOnnx(graph, { name: "onnx/new.onnx" });
  t.same(
    files.map(({ name }) => name),
    ["onnx/new.onnx", "onnx/new.onnx_data"],
  );
  t.equal(files[1]?.size, 4096 + 1024 + 1216 + 2000, "on multiples of 64");
  const out = path.join(directory, "out");
  await write(out, files);
  const opened = await open(out, "onnx/new.onnx");
  for (const name of ["w", "b", "twin", "late"])
    t.equal(
      await bytesOf(opened.tensors.get(name)),
      await bytesOf(tensorOf(graph, graph.model.graph?.initializer.find((each) => each.name === name) ?? twin)),
      name,
    );
  t.equal(printGraph(opened.graph, { places: false }), printGraph(graph, { places: false }));
  t.same(opened.shards[1]?.tensors, ["w", "twin", "late"]);
});

t.test("data files go whole and may be linked; zeros are one file, sparse, under the next name", async (t) => {
  const directory = t.testdir({
    source: {
      "model.onnx": tensorModel(2, external({ location: "model.onnx_data", offset: "4096" })),
      "model.onnx_data": Buffer.alloc(5000, 1),
    },
  });
  const { graph } = await open(path.join(directory, "source"), "model.onnx");
  const zeros = [2 ** 20, 2 ** 22].map((count) => zeroTensor(`z${count}`, OnnxType.FLOAT, [BigInt(count)]));
  graph.model.graph?.initializer.push(...zeros);
  const files = planOnnx(graph, { name: "model.onnx" });
  t.same(
    files.slice(1).map(({ name, size, segments }) => [name, size, segments.length]),
    [
      ["model.onnx_data", 5000, 1],
      ["model.onnx_data_1", 2 ** 24, 1],
    ],
  );
  const out = path.join(directory, "out");
  await write(out, files);
  const inode = (folder: string): number => fs.statSync(path.join(directory, folder, "model.onnx_data")).ino;
  t.equal(inode("out"), inode("source"), "a hard link");
  if (process.platform === "linux")
    t.ok(fs.statSync(path.join(out, "model.onnx_data_1")).blocks * 512 < 2 ** 20, "holes");
  const opened = await open(out, "model.onnx");
  t.same(
    [...opened.tensors.values()].map((ref) => ref.kind === "stored" && ref.offset),
    [4096, 0, 0],
  );
});

t.test("--shard-size splits what is packed; large tensors begin on a page", async (t) => {
  const tensors = [2 ** 18, 300, 2 ** 18, 2 ** 20].map((count, at) =>
    weight(`t${at}`, [count], new Array(count).fill(at)),
  );
  const [model, ...files] = planOnnx(modelOf({ initializers: [...tensors, weight("small", [2], [1, 2])] }), {
    name: "m.onnx",
    shardSize: 2.5 * 2 ** 20,
  });
  t.same(
    files.map(({ name, size }) => [name, size]),
    [
      ["m.onnx_data", 2 ** 21 + 4096],
      ["m.onnx_data_1", 2 ** 22],
    ],
    "1 MiB, 1200 bytes, a page's rest, 1 MiB; then one tensor that is larger than a file may be",
  );
  t.ok((model?.size ?? 0) < 1000);
});

t.test("a bad name and a graph that does not hold together are refused before anything is planned", async (t) => {
  const plan = async (graph: Graph, name: string) => planOnnx(graph, { name });
  t.equal(
    await refusal(plan(modelOf({}), "onnx/")),
    'usage: onnx/: a file name that ends in ".onnx" was expected / Choose a name such as model.onnx.',
  );
  t.equal(
    await refusal(plan(modelOf({ nodes: [node("y = Neg(x)")] }), "m.onnx")),
    'damaged: node making "y" (Neg): reads "x", which nothing makes / Export the model again.',
  );
  t.same(Buffer.from(await serialise(modelOf(PARTS))), Buffer.from(encodeModel(modelOf(PARTS).model)));
});
