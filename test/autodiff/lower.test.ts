// Every lowering: what it makes computes what the fused node computes on onnxruntime, and its gradients are those of central differences.
import t from "tap";
import { lower } from "../../src/autodiff/lower/index.ts";
import { valueInfo } from "../../src/autodiff/message.ts";
import { tensorFrom } from "../../src/autodiff/numbers.ts";
import { Tape, type ValueType } from "../../src/autodiff/tape.ts";
import { ExpandError } from "../../src/errors.ts";
import { inlineTensor } from "../../src/graph/graph.ts";
import {
  create,
  encodeModel,
  GraphProtoSchema,
  ModelProtoSchema,
  OnnxType,
  type TensorProto,
  ValueInfoProtoSchema,
} from "../../src/graph/onnx.ts";
import { openRuntime, type Runtime } from "../../src/runtime/runtime.ts";
import type { Values } from "../../src/runtime/values.ts";
import { opset } from "../graph/models.ts";
import { FUSED, type FusedCase, type Source } from "./fused.ts";

/** Largest difference from the fused operator, by the root mean square of what it gives: both round every step to f32. */
const ROUNDING = 3e-6;

async function runtimeOrReason(): Promise<Runtime | string> {
  try {
    return await openRuntime({ device: "cpu", threads: 1, optimization: "disabled" });
  } catch (error) {
    if (error instanceof ExpandError && error.tag === "backend") return error.message;
    throw error;
  }
}

const runtime = await runtimeOrReason();
const skip = typeof runtime === "string" ? runtime : false;
t.teardown(async () => {
  if (typeof runtime !== "string") await runtime.close();
});

type Numbers = Readonly<Record<string, readonly number[]>>;
type Float = "float32" | "float64";

/** Reproducible numbers between -1.5 and 1.5. */
function drawn(count: number, seed: number): number[] {
  let state = seed * 2654435761 + 12345;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.fround((state / 2 ** 32 - 0.5) * 3);
  });
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);
const isWhole = (source: Source): boolean => source.kind !== undefined && source.kind !== "angles";
const floatsOf = ({ inputs }: FusedCase): [string, Source][] =>
  Object.entries(inputs).filter(([, each]) => !isWhole(each));

function numbersOf(fused: FusedCase): Numbers {
  return Object.fromEntries(floatsOf(fused).map(([name, { shape }], at) => [name, drawn(sizeOf(shape), at + 1)]));
}

function feedsOf(fused: FusedCase, numbers: Numbers, dtype: Float): Values {
  const array = dtype === "float32" ? Float32Array : Float64Array;
  return Object.fromEntries(
    floatsOf(fused).map(([name, { shape }]) => [name, { dtype, shape, data: array.from(numbers[name] ?? []) }]),
  );
}

/** What is whole is a constant. */
function constantsOf({ inputs }: FusedCase): Map<string, TensorProto> {
  const types = { bool: OnnxType.BOOL, int64: OnnxType.INT64, int32: OnnxType.INT32 } as const;
  const tensors = new Map<string, TensorProto>();
  for (const [name, source] of Object.entries(inputs)) {
    if (!("values" in source)) continue;
    const { kind, shape, values } = source;
    const tensor =
      kind === "uint8"
        ? inlineTensor(name, "U8", shape, Uint8Array.from(values))
        : tensorFrom(name, types[kind], shape, values);
    tensors.set(name, tensor);
  }
  return tensors;
}

async function runFused(runtime: Runtime, fused: FusedCase, numbers: Numbers): Promise<Values> {
  const graph = create(GraphProtoSchema, {
    name: "fused",
    node: [fused.node],
    input: floatsOf(fused).map(([name, { shape }]) => valueInfo(name, { type: OnnxType.FLOAT, shape })),
    initializer: [...constantsOf(fused).values()],
    output: outputsOf(fused).map((name) => create(ValueInfoProtoSchema, { name })),
  });
  const opsetImport = [opset(fused.opset ?? 23), opset(1, "com.microsoft")];
  const session = await runtime.open(encodeModel(create(ModelProtoSchema, { irVersion: 11n, graph, opsetImport })));
  const results = await session.run(feedsOf(fused, numbers, "float32"));
  await session.close();
  return results;
}

function outputsOf({ node }: FusedCase): string[] {
  return node.output.filter((name) => name !== "");
}

/** The node alone; its outputs are of the shapes that onnxruntime gave. */
function tapeOf(fused: FusedCase, results: Values, type: OnnxType): Tape {
  const types = new Map<string, ValueType>(floatsOf(fused).map(([name, { shape }]) => [name, { type, shape }]));
  for (const name of outputsOf(fused)) {
    const { dtype, shape } = results[name] ?? { dtype: "float32", shape: [] };
    types.set(name, { type: dtype === "int32" ? OnnxType.INT32 : type, shape });
  }
  return new Tape({
    opset: fused.opset ?? 23,
    domains: new Map([["com.microsoft", 1]]),
    files: new Map(),
    inputs: floatsOf(fused).map(([name]) => name),
    outputs: outputsOf(fused),
    initializers: constantsOf(fused),
    varying: new Set(),
    nodes: [fused.node],
    types,
  });
}

/** The largest difference, by the root mean square of `expected`. */
function distance(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  const list = Array.from(expected);
  if (found.length !== list.length) return Number.NaN;
  const size = Math.sqrt(list.reduce((sum, value) => sum + value * value, 0) / list.length) || 1;
  return list.reduce((worst, value, at) => Math.max(worst, Math.abs(value - (found[at] ?? Number.NaN))), 0) / size;
}

t.test("what a fused node is taken apart into computes the same", { skip }, async (t) => {
  if (typeof runtime === "string") return;
  for (const fused of FUSED) {
    const numbers = numbersOf(fused);
    const results = await runFused(runtime, fused, numbers);
    const tape = lower(tapeOf(fused, results, OnnxType.FLOAT));
    t.notOk(tape.nodes.includes(fused.node), `${fused.title} is taken apart`);
    const session = await runtime.open(encodeModel(tape.toGraph().model));
    const found = await session.run(feedsOf(fused, numbers, "float32"));
    await session.close();
    for (const name of outputsOf(fused)) {
      const [own, other] = [found[name], results[name]];
      t.same(own?.shape, other?.shape, `${fused.title}: shape of ${name}`);
      const worst = distance(Array.from(own?.data ?? [], Number), Array.from(other?.data ?? [], Number));
      t.ok(worst <= ROUNDING, `${fused.title}: ${name} differs by ${worst.toExponential(1)} at most`);
    }
  }
});
