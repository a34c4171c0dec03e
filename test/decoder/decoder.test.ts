// Graphs made of a spec, without running them: what stands in them, where their weights lie, what stages share.
import fs from "node:fs";
import path from "node:path";
import t from "tap";
import type { Checkpoint } from "../../src/checkpoint/checkpoint.ts";
import { buildDecoder } from "../../src/decoder/build.ts";
import { readSpec } from "../../src/decoder/read.ts";
import { formOf, weightsIn } from "../../src/decoder/roles.ts";
import { slicesOf } from "../../src/decoder/spec.ts";
import { stagesOf } from "../../src/decoder/stage.ts";
import { openCheckpoint } from "../../src/formats/open.ts";
import { GraphBuilder } from "../../src/graph/builder.ts";
import { checkGraph } from "../../src/graph/check.ts";
import { externalRange, type Graph, tensorOf } from "../../src/graph/graph.ts";
import { decodeModel, OnnxType } from "../../src/graph/onnx.ts";
import { printGraph } from "../../src/graph/print.ts";
import { decodeTensor } from "../../src/tensor/decode.ts";
import { byteLength, type Dtype, elementCount } from "../../src/tensor/dtype.ts";
import { filled, type TensorRef } from "../../src/tensor/reference.ts";
import { memorySource } from "../../src/tensor/source.ts";

const fixtures = path.resolve(import.meta.dirname, "../../fixtures");
const open = (name: string): Promise<Checkpoint> => openCheckpoint(path.join(fixtures, name));
const graphOf = (model: Uint8Array): Graph => ({ model: decodeModel(model), files: new Map() });

/** The checkpoint with some of its tensors replaced. */
function replaced(checkpoint: Checkpoint, by: (name: string, tensor: TensorRef) => TensorRef): Checkpoint {
  return { ...checkpoint, tensors: new Map([...checkpoint.tensors].map(([name, ref]) => [name, by(name, ref)])) };
}

/** The same shape in another type, all of one byte. */
function retyped(like: TensorRef, dtype: Dtype, byte: number): TensorRef {
  const bytes = byteLength(dtype, like.shape) ?? 0;
  const source = memorySource(`other.${dtype}`, new Uint8Array(bytes).fill(byte));
  return { kind: "stored", dtype, shape: like.shape, bytes, source, offset: 0 };
}

t.test("a llama block is this graph: projections as Gemm over the weight as it is stored", async (t) => {
  const [, block] = stagesOf(readSpec(await open("llama")));
  const expected = fs.readFileSync(path.join(fixtures, "expected/decoder-llama-block.txt"), "utf8");
  t.equal(printGraph(graphOf(block?.model ?? new Uint8Array(0))), expected);
});

t.test("blocks of one form share a key and one model; another window makes another", async (t) => {
  const llama = stagesOf(readSpec(await open("llama")));
  t.same(
    llama.map(({ kind, index }) => [kind, index]),
    [
      ["embedding", undefined],
      ["block", 0],
      ["block", 1],
      ["block", 2],
      ["block", 3],
      ["head", undefined],
    ],
  );
  t.equal(new Set(llama.map(({ key }) => key)).size, 3);
  t.equal(llama[1]?.model, llama[4]?.model, "made once");
  const gemma = stagesOf(readSpec(await open("gemma2"))).filter(({ kind }) => kind === "block");
  t.equal(new Set(gemma.map(({ key }) => key)).size, 2, "sliding and full attention");
  t.equal(gemma[0]?.key, gemma[2]?.key);
});

t.test("every weight of a stage is an input of its model, with the tensor's shape", async (t) => {
  for (const name of ["llama", "gemma2", "mixtral"]) {
    for (const stage of stagesOf(readSpec(await open(name)))) {
      const graph = graphOf(stage.model);
      checkGraph(graph);
      const inputs = graph.model.graph?.input.map((input) => input.name) ?? [];
      const own = {
        embedding: ["token_rows", "position_ids"],
        block: ["hidden", "position_ids"],
        head: ["hidden", "rows"],
      };
      t.same([...inputs].sort(), [...own[stage.kind], ...stage.weights.keys()].sort(), `${name} ${stage.key}`);
    }
  }
});

t.test("initializers are the bytes of the checkpoint's own file, under the checkpoint's own names", async (t) => {
  const checkpoint = await open("llama");
  const graph = buildDecoder(readSpec(checkpoint));
  checkGraph(graph);
  t.same([...graph.files.keys()], ["model.safetensors"]);
  const weights = graph.model.graph?.initializer.filter((tensor) => externalRange(tensor) !== undefined) ?? [];
  t.same(weights.map(({ name }) => name).sort(), [...checkpoint.tensors.keys()].sort());
  for (const weight of weights) {
    const { source: _, ...place } = tensorOf(graph, weight) as TensorRef & { kind: "stored" };
    const { source: __, ...stored } = checkpoint.tensors.get(weight.name) as TensorRef & { kind: "stored" };
    t.same(place, stored, weight.name);
  }
});

t.test("a sharded checkpoint keeps its shards, each under its name", async (t) => {
  const graph = buildDecoder(readSpec(await open("llama-sharded")));
  checkGraph(graph);
  t.ok(graph.files.size > 1);
  t.same([...graph.files.keys()].sort(), (await open("llama-sharded")).shards.map(({ name }) => name).sort());
});

t.test(
  "a tied head and the embedding are one initializer, cast once for the head and after the rows for the tokens",
  async (t) => {
    const checkpoint = await open("gemma2");
    const nodes = buildDecoder(readSpec(checkpoint)).model.graph?.node ?? [];
    const readers = nodes.filter(({ input }) => input.includes("model.embed_tokens.weight"));
    t.same(
      readers.map(({ opType }) => opType),
      ["Gather", "Cast"],
    );
  },
);

t.test("types that ONNX lacks are decoded when they are read, into one file; zeros take no room", async (t) => {
  const checkpoint = replaced(await open("llama"), (name, tensor) => {
    if (name.endsWith("0.mlp.down_proj.weight")) return filled(tensor, new Uint8Array([0]));
    if (name.endsWith("1.mlp.down_proj.weight")) return filled(tensor, new Uint8Array([0x80, 0x3f]));
    return name.endsWith("mlp.gate_proj.weight") ? retyped(tensor, "F8_E4M3", 0x38) : tensor;
  });
  const graph = buildDecoder(readSpec(checkpoint), { decodedName: "rest.bin" });
  checkGraph(graph);
  t.same([...graph.files.keys()].sort(), ["model.safetensors", "rest.bin"]);
  const find = (name: string): TensorRef | undefined => {
    const tensor = graph.model.graph?.initializer.find((each) => each.name === name);
    return tensor && tensorOf(graph, tensor);
  };
  for (const name of ["model.layers.2.mlp.gate_proj.weight", "model.layers.1.mlp.down_proj.weight"]) {
    const ref = find(name);
    t.equal(ref?.dtype, "F32", name);
    t.ok(
      (await decodeTensor(ref as TensorRef)).every((value) => value === 1),
      name,
    );
  }
  const zeros = find("model.layers.0.mlp.down_proj.weight");
  t.ok((await decodeTensor(zeros as TensorRef)).every((value) => value === 0));
});

t.test("slices of a stacked tensor are references into the same bytes", async (t) => {
  const data = Float32Array.from({ length: 12 }, (_, i) => i);
  const source = memorySource("stack", new Uint8Array(data.buffer));
  const tensor: TensorRef = { kind: "stored", dtype: "F32", shape: [3, 2, 2], bytes: 48, source, offset: 0 };
  const slices = slicesOf({ name: "experts", tensor });
  t.same(
    slices.map(({ part }) => part),
    [
      { index: 0, count: 3 },
      { index: 1, count: 3 },
      { index: 2, count: 3 },
    ],
  );
  const last = slices[2]?.tensor;
  t.same(last?.shape, [2, 2]);
  t.same([...(await decodeTensor(last as TensorRef))], [8, 9, 10, 11]);
  t.equal(elementCount(last?.shape ?? []), 4);
});

t.test("roles are the paths to the weights; a form knows shapes and numbers, not names and places", async (t) => {
  const spec = readSpec(await open("llama"));
  const [first, second] = spec.blocks;
  t.same([...weightsIn(first ?? {}).keys()].sort(), [
    "attention.output.weight",
    "attention.qkv.k.weight",
    "attention.qkv.q.weight",
    "attention.qkv.v.weight",
    "attentionNorm.gain",
    "mlp.down.weight",
    "mlp.gateUp.gate.weight",
    "mlp.gateUp.up.weight",
    "mlpNorm.gain",
  ]);
  t.equal(formOf(first ?? {}), formOf(second ?? {}));
  t.not(formOf(first ?? {}), formOf({ ...first, residualMultiplier: 0.5 }));
});

t.test("a builder names values once, keeps equal constants once, and scopes names", async (t) => {
  const graph = new GraphBuilder("small");
  const x = graph.input("x", OnnxType.FLOAT, ["n", 2]);
  const y = graph.within("part", () => graph.node("Add", [x, graph.floats([1, 2])]));
  const z = graph.within("part", () => graph.node("Add", [y, graph.floats([1, 2])]));
  graph.within("part", () => graph.outside(() => graph.node("Mul", [z, graph.floats([1, 2], [1, 2])], {}, "out")));
  graph.output("out", OnnxType.FLOAT, ["n", 2]);
  const built = graph.build();
  checkGraph(built);
  t.equal(
    printGraph(built),
    [
      "onnx ir 11, ai.onnx 23",
      "graph small",
      "input x: F32 [n, 2]",
      "initializer constant_0: F32 [2] [1, 2]",
      "initializer constant_1: F32 [1, 2] [1, 2]",
      "/part/Add = Add(x, constant_0)",
      "/part/Add_1 = Add(/part/Add, constant_0)",
      "out = Mul(/part/Add_1, constant_1)",
      "output out: F32 [n, 2]",
      "",
    ].join("\n"),
  );
});
