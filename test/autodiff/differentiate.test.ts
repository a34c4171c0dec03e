// Gradient graphs: what stands in them, what is refused, and blocks that are computed twice to save memory.
import fs from "node:fs";
import path from "node:path";
import t from "tap";
import { differentiate } from "../../src/autodiff/differentiate.ts";
import { Tape } from "../../src/autodiff/tape.ts";
import { checkGraph } from "../../src/graph/check.ts";
import { decodeModel, encodeModel, OnnxType } from "../../src/graph/onnx.ts";
import { printGraph } from "../../src/graph/print.ts";
import { findInstallation } from "../../src/runtime/installation.ts";
import { openRuntime } from "../../src/runtime/runtime.ts";
import type { Value, Values } from "../../src/runtime/values.ts";

const expectedFolder = path.resolve(import.meta.dirname, "../../fixtures/expected");
const runtime = await openRuntime({ device: "cpu", threads: 1 });
t.teardown(() => runtime.close());

const f32 = (...shape: number[]) => ({ type: OnnxType.FLOAT, shape });

function empty(): Tape {
  const nothing = { opset: 21, domains: new Map(), files: new Map(), inputs: [], outputs: [], nodes: [] };
  return new Tape({ ...nothing, initializers: new Map(), varying: new Set(), types: new Map() });
}

/** Σ value² */
function squares(tape: Tape, value: string): string {
  return tape.op("ReduceSum", [tape.op("Mul", [value, value])], { keepdims: 0 });
}

/** A gated block, h + (silu(h Uᵀ)) Dᵀ, of weights that are inputs; h [2, 3, 4]. */
function block(tape: Tape, h: string, name: string): string {
  return tape.within(name, () => {
    const [up, down] = [tape.input(`${name}.up`, f32(6, 4)), tape.input(`${name}.down`, f32(4, 6))];
    const flat = tape.op("Reshape", [h, tape.ints([-1, 4])]);
    const inner = tape.op("Gemm", [flat, up], { transB: 1 });
    const gated = tape.op("Mul", [inner, tape.op("Sigmoid", [inner])]);
    const out = tape.op("Gemm", [gated, down], { transB: 1 });
    return tape.op("Add", [h, tape.op("Reshape", [out, tape.ints([2, 3, 4])])]);
  });
}

/** Blocks one behind the other; the values at their borders, the first of them the input. */
function chain(count: number): { tape: Tape; loss: string; borders: readonly string[] } {
  const tape = empty();
  const borders = [tape.input("x", f32(2, 3, 4))];
  for (let at = 0; at < count; at++) borders.push(block(tape, borders[at] ?? "", `b${at}`));
  return { tape, loss: squares(tape, borders.at(-1) ?? ""), borders };
}

function drawn(seed: number, shape: readonly number[]): Value {
  let state = seed;
  const data = Float32Array.from({ length: shape.reduce((product, size) => product * size, 1) }, () => {
    state = (state * 48271) % 2147483647;
    return state / 2147483647 - 0.5;
  });
  return { dtype: "float32", shape, data };
}

function feedsOf(tape: Tape): Values {
  return Object.fromEntries([...tape.inputs].map((name, at) => [name, drawn(at + 1, tape.shapeOf(name))]));
}

t.test("one trainable weight behind a frozen one: this graph, and nothing below the trainable weight", async (t) => {
  const { tape, loss } = chain(2);
  tape.output("loss", loss);
  for (const [name, gradient] of differentiate(tape, loss, ["b1.up", "b1.down"])) tape.output(`d.${name}`, gradient);
  const graph = tape.toGraph("gradient");
  checkGraph(graph);
  t.equal(printGraph(graph), fs.readFileSync(path.join(expectedFolder, "gradient-block.txt"), "utf8"));
});

t.test("no weight is turned by a Transpose", async (t) => {
  const { tape, loss } = chain(2);
  const names = [...tape.inputs];
  for (const [name, gradient] of differentiate(tape, loss, names)) tape.output(`d.${name}`, gradient);
  const operators = new Set(tape.toGraph().model.graph?.node.map(({ opType }) => opType));
  t.notOk(operators.has("Transpose"));
  t.ok(operators.has("Gemm"));
});

t.test("every node without a gradient is named, all at once, before anything is emitted", async (t) => {
  const tape = empty();
  const x = tape.input("x", f32(2, 4));
  const w = tape.input("w", f32(4));
  const scaled = tape.op("Mul", [x, w]);
  const odd = tape.op("Mish", [tape.op("Hardmax", [scaled])]);
  const steps = tape.op(
    "ScatterElements",
    [
      scaled,
      tape.constant([0, 1], OnnxType.INT64, [1, 2]),
      tape.op("Slice", [odd, tape.ints([0]), tape.ints([1]), tape.ints([0])]),
    ],
    { reduction: "mul" },
  );
  const low = tape.op("ReduceMin", [w], { keepdims: 0 });
  const clipped = tape.op("Clip", [steps, low]);
  const loss = squares(tape, tape.op("Add", [clipped, tape.op("Floor", [scaled])]));
  // Is not on the way to the loss.
  tape.op("Mish", [scaled]);
  const before = tape.nodes.length;
  t.throws(() => differentiate(tape, loss, ["w"]), {
    tag: "unsupported",
    message:
      "4 of the nodes between the trainable weights and the loss have no gradient: " +
      'node "@Hardmax" (Hardmax); node "@Mish" (Mish); node "@ScatterElements" (ScatterElements) with its attributes; ' +
      'node "@Clip" (Clip), input 1',
    fix: "Freeze the blocks up to them, or export the model with other operators.",
  });
  t.equal(tape.nodes.length, before);
});

t.test("a weight that the loss does not depend on has no gradient, one behind a step neither", async (t) => {
  const tape = empty();
  const [x, w, v] = ["x", "w", "v"].map((name) => tape.input(name, f32(3)));
  const loss = squares(tape, tape.op("Add", [x ?? "", tape.op("Round", [v ?? ""])]));
  t.same([...differentiate(tape, loss, [w ?? "", v ?? ""])], []);
});

t.test("a seed takes the place of ones, for a part of a model", async (t) => {
  const { tape, borders } = chain(1);
  const out = borders[1] ?? "";
  const seed = tape.input("dy", f32(2, 3, 4));
  const gradients = differentiate(tape, out, ["b0.up", "x"], { seed });
  for (const [name, gradient] of gradients) tape.output(`d.${name}`, gradient);
  const session = await runtime.open(encodeModel(tape.toGraph().model));
  const zeros = { ...feedsOf(tape), dy: { ...drawn(1, [2, 3, 4]), data: new Float32Array(24) } };
  const { "d.x": dx } = await session.run(zeros);
  t.ok(dx?.data.every((value) => Number(value) === 0));
  await session.close();
});

/** Gradients of all weights, and of the input, of a chain of four. */
function gradients(boundaries: (borders: readonly string[]) => readonly string[]): Tape {
  const { tape, loss, borders } = chain(4);
  const wanted = [...tape.inputs];
  tape.output("loss", loss);
  for (const [name, gradient] of differentiate(tape, loss, wanted, { boundaries: boundaries(borders) })) {
    tape.output(`d.${name}`, gradient);
  }
  return tape;
}

t.test("blocks that are computed again give the same gradients, bit for bit", async (t) => {
  const results: Values[] = [];
  for (const boundaries of [
    () => [],
    (borders: readonly string[]) => borders,
    (borders: readonly string[]) => borders.slice(0, -1),
    (borders: readonly string[]) => [borders[0] ?? "", borders[2] ?? ""],
  ]) {
    const tape = gradients(boundaries);
    checkGraph(tape.toGraph());
    const session = await runtime.open(encodeModel(tape.toGraph().model));
    results.push(await session.run(feedsOf(tape)));
    await session.close();
  }
  const [kept, ...again] = results;
  t.equal(Object.keys(kept ?? {}).length, 10, "loss, input, eight weights");
  for (const [name, { data }] of Object.entries(kept ?? {})) {
    for (const each of again) t.same(each[name]?.data, data, name);
    t.ok(data.some((value) => Number(value) !== 0));
  }
});

t.test(
  "computing again survives onnxruntime: as many sigmoids are left as blocks are run twice; without the tie they would not",
  async (t) => {
    const sigmoids = async (tape: Tape, untie = false): Promise<number> => {
      const model = decodeModel(encodeModel(tape.toGraph().model));
      // What ties is `h + 0 dY`: reading h in its place undoes it.
      const ties = new Map(
        (model.graph?.node ?? [])
          .filter(({ name, opType }) => opType === "Add" && name.startsWith("@gradient/again/"))
          .map(({ input, output }) => [output[0] ?? "", input[0] ?? ""]),
      );
      if (untie) {
        for (const node of model.graph?.node ?? [])
          node.input = node.input.map((name) =>
            ties.get(name) !== undefined && !node.name.includes("/again/Add") ? (ties.get(name) ?? name) : name,
          );
      }
      return (await optimised(t.testdir(), encodeModel(model))).filter((op) => op === "Sigmoid" || op === "QuickGelu")
        .length;
    };
    t.equal(await sigmoids(gradients(() => [])), 4, "none is computed again");
    t.equal(await sigmoids(gradients((borders) => borders)), 8, "all are");
    t.equal(await sigmoids(gradients((borders) => borders.slice(0, -1))), 7, "but the last");
    t.equal(
      await sigmoids(
        gradients((borders) => borders),
        true,
      ),
      4,
      "merged again without the tie",
    );
  },
);

interface Creating {
  readonly InferenceSession: {
    create(model: Uint8Array, options: object): Promise<{ release(): Promise<void> }>;
  };
}

/** Operators of a model as onnxruntime runs it. */
async function optimised(folder: string, model: Uint8Array): Promise<readonly string[]> {
  const file = path.join(folder, "optimised.onnx");
  const module = findInstallation()?.module ?? "onnxruntime-node";
  const loaded = (await import(module)) as Creating & { readonly default?: Creating };
  const { InferenceSession } = loaded.default ?? loaded;
  const session = await InferenceSession.create(model, {
    executionProviders: ["cpu"],
    graphOptimizationLevel: "all",
    optimizedModelFilePath: file,
    logSeverityLevel: 4,
  });
  await session.release();
  return decodeModel(fs.readFileSync(file)).graph?.node.map(({ opType }) => opType) ?? [];
}

t.test(
  "nothing is computed again that is at hand: behind the last border, and what a gradient does not need",
  async (t) => {
    const tape = gradients((borders) => borders.slice(0, -1));
    const again = tape.nodes.filter(({ name }) => name.startsWith("@gradient/again/"));
    const count = (operator: string): number => again.filter(({ opType }) => opType === operator).length;
    // Of three blocks: the first product and what gates it, but neither the second product nor the sum; and one tie each.
    t.same([count("Gemm"), count("Sigmoid"), count("Add")], [3, 3, 3]);
  },
);

t.test("names never meet those of the graph", async (t) => {
  const tape = empty();
  tape.input("@gradient/Add", f32(2));
  const x = tape.input("x", f32(2));
  const loss = squares(tape, x);
  const [[, gradient] = ["", ""]] = differentiate(tape, loss, ["x"]);
  t.not(gradient, "@gradient/Add");
  tape.output("d", gradient);
  checkGraph(tape.toGraph());
});

t.test("rows read twice in half precision are summed in f32, for the CPU has no kernel that adds them", async (t) => {
  const tape = empty();
  const table = tape.input("table", { type: OnnxType.FLOAT16, shape: [3, 2] });
  const rows = tape.op("Gather", [table, tape.ints([0, 2, 2])]);
  const columns = tape.op("GatherElements", [rows, tape.constant([0, 0, 1, 1, 0, 1], OnnxType.INT64, [3, 2])], {
    axis: 1,
  });
  const loss = tape.op("ReduceSum", [columns], { keepdims: 0 });
  for (const [, gradient] of differentiate(tape, loss, [table])) tape.output("d", gradient);
  const session = await runtime.open(encodeModel(tape.toGraph().model));
  const { d } = await session.run({});
  t.equal(d?.dtype, "float16");
  // Row 0: both of its values read from column 0. Row 2: column 1 twice, then both columns once.
  const [zero, one, two, three] = [0, 0x3c00, 0x4000, 0x4200];
  t.same([...(d?.data ?? [])], [two, zero, zero, zero, one, three]);
  await session.close();
});
