// Every lowering: what it makes computes what the fused node computes on onnxruntime, and its gradients are those of central differences.
import t from "tap";
import { differentiate } from "../../src/autodiff/differentiate.ts";
import { LOWERINGS, lower } from "../../src/autodiff/lower/index.ts";
import { valueInfo } from "../../src/autodiff/message.ts";
import { tensorFrom } from "../../src/autodiff/numbers.ts";
import { Tape, type ValueType } from "../../src/autodiff/tape.ts";
import { operatorOf } from "../../src/autodiff/types/index.ts";
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
import { node, opset } from "../graph/models.ts";
import { inDoubles } from "./definitions.ts";
import { FUSED, type FusedCase, REFUSED, type Source } from "./fused.ts";

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
type Float = "float16" | "float32" | "float64";

/** Reproducible numbers between -1.5 and 1.5. */
function drawn(count: number, seed: number): number[] {
  let state = seed * 2654435761 + 12345;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.fround((state / 2 ** 32 - 0.5) * 3);
  });
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);
const isWhole = (source: Source): boolean => source.kind !== undefined && source.kind !== "frozen";
const floatsOf = ({ inputs }: FusedCase): [string, Source][] =>
  Object.entries(inputs).filter(([, each]) => !isWhole(each));

function numbersOf(fused: FusedCase): Numbers {
  return Object.fromEntries(
    floatsOf(fused).map(([name, source], at) => {
      const scale = "scale" in source ? (source.scale ?? 1) : 1;
      return [name, drawn(sizeOf(source.shape), at + 1).map((value) => scale * value)];
    }),
  );
}

const TYPES = { float16: OnnxType.FLOAT16, float32: OnnxType.FLOAT, float64: OnnxType.DOUBLE } as const;
const ARRAYS = { float16: Uint16Array, float32: Float32Array, float64: Float64Array } as const;

function feedsOf(fused: FusedCase, numbers: Numbers, dtype: Float): Values {
  return Object.fromEntries(
    floatsOf(fused).map(([name, { shape }]) => {
      const { buffer } = tensorFrom(name, TYPES[dtype], shape, numbers[name] ?? []).rawData;
      return [name, { dtype, shape, data: new ARRAYS[dtype](buffer) }];
    }),
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
function tapeOf(fused: FusedCase, results: Values, dtype: Float): Tape {
  const type = TYPES[dtype];
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

t.test("every lowering has a case, and every case a lowering", (t) => {
  const cases = new Set(FUSED.map(({ node }) => operatorOf(node)));
  t.same([...cases].sort(), Object.keys(LOWERINGS).sort());
  t.end();
});

/** What the lowered node gives when it computes in this type. */
async function runLowered(runtime: Runtime, fused: FusedCase, results: Values, dtype: Float): Promise<Values> {
  const tape = inDoubles(lower(tapeOf(fused, results, dtype)));
  if (tape.nodes.includes(fused.node)) throw new Error(`${fused.title} is not taken apart`);
  // Numbers leave a half as f32, to be compared.
  for (const name of outputsOf(fused)) {
    if (tape.isFloat(name) && dtype === "float16") tape.output(name, tape.op("Cast", [name], { to: OnnxType.FLOAT }));
  }
  const session = await runtime.open(encodeModel(tape.toGraph().model));
  const found = await session.run(feedsOf(fused, numbersOf(fused), dtype));
  await session.close();
  return found;
}

t.test("what a fused node is taken apart into computes the same, in float64 too", { skip }, async (t) => {
  if (typeof runtime === "string") return;
  for (const fused of FUSED) {
    const results = await runFused(runtime, fused, numbersOf(fused));
    for (const dtype of ["float32", "float64"] as const) {
      const found = await runLowered(runtime, fused, results, dtype);
      for (const name of outputsOf(fused)) {
        const [own, other] = [found[name], results[name]];
        t.same(own?.shape, other?.shape, `${fused.title}: shape of ${name}`);
        const worst = distance(Array.from(own?.data ?? [], Number), Array.from(other?.data ?? [], Number));
        t.ok(worst <= ROUNDING, `${fused.title}: ${name} differs by ${worst.toExponential(1)} at most (${dtype})`);
      }
    }
  }
});

/** A half has 11 bits; sums of a few dozen products and what follows them lose some more. */
const HALF_ROUNDING = 1e-2;

t.test("in half precision it computes the same to rounding, statistics in single", { skip }, async (t) => {
  if (typeof runtime === "string") return;
  for (const fused of FUSED) {
    const results = await runFused(runtime, fused, numbersOf(fused));
    const found = await runLowered(runtime, fused, results, "float16");
    const worst = outputsOf(fused).map((name) =>
      distance(Array.from(found[name]?.data ?? [], Number), Array.from(results[name]?.data ?? [], Number)),
    );
    t.ok(
      worst.every((each) => each <= HALF_ROUNDING),
      `${fused.title}: ${worst.map((each) => each.toExponential(1))}`,
    );
  }
});

/** Losses and gradients of a lowered node: of the sum of its float outputs, each number times one drawn at random. */
interface Gradients {
  loss(numbers: Numbers): Promise<number>;
  of(numbers: Numbers): Promise<Values>;
  close(): Promise<void>;
}

async function gradientsOf(runtime: Runtime, fused: FusedCase, results: Values): Promise<Gradients> {
  const type = OnnxType.DOUBLE;
  const tape = lower(tapeOf(fused, results, "float64"));
  const parts = outputsOf(fused)
    .filter((name) => tape.isFloat(name))
    .map((name, at) => {
      const shape = tape.shapeOf(name);
      const factors = tape.constant(drawn(sizeOf(shape), 77 + at), type, shape);
      return tape.op("ReduceSum", [tape.op("Mul", [name, factors])], { keepdims: 0 });
    });
  const loss = parts.reduce((sum, part) => tape.op("Add", [sum, part]));
  for (const name of outputsOf(fused)) tape.withhold(name);
  tape.output("loss", loss);
  for (const [name, gradient] of differentiate(tape, loss, trained(fused))) tape.output(`d ${name}`, gradient);
  const session = await runtime.open(encodeModel(inDoubles(tape).toGraph().model));
  const feeds = (numbers: Numbers): Values => {
    const all = Object.entries(feedsOf(fused, numbers, "float64"));
    return Object.fromEntries(all.filter(([name]) => session.inputs.some((input) => input.name === name)));
  };
  return {
    loss: async (numbers) => Number((await session.run(feeds(numbers), ["loss"])).loss?.data[0]),
    of: (numbers) => session.run(feeds(numbers)),
    close: () => session.close(),
  };
}

function trained(fused: FusedCase): string[] {
  return floatsOf(fused)
    .filter(([, { kind, shape }]) => kind !== "frozen" && sizeOf(shape) > 0)
    .map(([name]) => name);
}

const STEP = 1e-3;
/** Relative error of gradients. */
const BOUND = 1e-8;

/** f'(0) = (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h + O(h⁴) */
async function slope(f: (by: number) => Promise<number>): Promise<number> {
  const near = (await f(STEP)) - (await f(-STEP));
  const far = (await f(2 * STEP)) - (await f(-2 * STEP));
  return (8 * near - far) / (12 * STEP);
}

/** Numbers of an input that are moved one by one; all of them are moved together, in a direction drawn at random. */
const SINGLE_MOVES = 6;

/** Slopes along some directions, beside what the gradient says of them. */
async function slopes({
  loss,
  gradient,
  numbers,
  name,
}: {
  readonly loss: Gradients["loss"];
  readonly gradient: readonly number[];
  readonly numbers: Numbers;
  readonly name: string;
}): Promise<{ readonly said: number[]; readonly measured: number[] }> {
  const values = numbers[name] ?? [];
  const stride = Math.ceil(values.length / SINGLE_MOVES);
  const single = [...values.keys()]
    .filter((at) => at % stride === 0)
    .map((at) => values.map((_, i) => (i === at ? 1 : 0)));
  const all = drawn(values.length, 5).map((value) => value / Math.sqrt(values.length));
  const measured: number[] = [];
  const directions = [...single, all];
  for (const direction of directions) {
    const f = (by: number): Promise<number> =>
      loss({ ...numbers, [name]: values.map((value, at) => value + by * (direction[at] ?? 0)) });
    measured.push(await slope(f));
  }
  const said = directions.map((each) => each.reduce((sum, part, at) => sum + part * (gradient[at] ?? Number.NaN), 0));
  return { said, measured };
}

t.test(
  "gradients through what a fused node is taken apart into are those of central differences",
  { skip },
  async (t) => {
    if (typeof runtime === "string") return;
    let worst = 0;
    for (const fused of FUSED) {
      const numbers = numbersOf(fused);
      const gradients = await gradientsOf(runtime, fused, await runFused(runtime, fused, numbers));
      const found = await gradients.of(numbers);
      for (const name of trained(fused)) {
        const gradient = Array.from(found[`d ${name}`]?.data ?? [], Number);
        const { said, measured } = await slopes({ loss: gradients.loss, gradient, numbers, name });
        const error = gradient.length === numbers[name]?.length ? distance(said, measured) : Number.NaN;
        t.ok(error <= BOUND, `${fused.title}: gradient of ${name} is off by ${error.toExponential(1)}`);
        worst = Math.max(worst, error);
      }
      await gradients.close();
    }
    t.comment(`worst relative error in float64: ${worst.toExponential(1)}`);
  },
);

const EXPORT_AGAIN = "Export the model for whole sequences, without that, and expand it again.";
const FLOATS = "Expand an export of the model with float weights: its copies are float, and can be trained.";
const ELSE = "Freeze the blocks up to them, or export the model with other operators.";

t.test("forms of known operators through which no gradient is known are refused with the reason", (t) => {
  for (const [reason, fused] of REFUSED) {
    const { opType } = fused.node;
    t.throws(
      () => lower(tapeOf(fused, {}, "float32")),
      new ExpandError("unsupported", `1 of the nodes has no gradient: node making "y" (${opType}) ${reason}`, {
        fix: opType === "MatMulNBits" && !reason.startsWith("sets") ? FLOATS : EXPORT_AGAIN,
      }),
      reason,
    );
  }
  t.end();
});

/** v1 = A(v0, w0), v2 = B(v1, w1), ...: values and weights [2, 4]. */
function chainOf(calls: readonly ((from: string, weight: string, to: string) => string)[]): Tape {
  const type = { type: OnnxType.FLOAT, shape: [2, 4] };
  const zeros = new Array<number>(8).fill(0);
  const weights = calls.map((_, at) => [`w${at}`, tensorFrom(`w${at}`, OnnxType.FLOAT, [2, 4], zeros)] as const);
  return new Tape({
    opset: 23,
    domains: new Map(),
    files: new Map(),
    inputs: ["v0"],
    outputs: [`v${calls.length}`],
    initializers: new Map(weights),
    varying: new Set(weights.map(([name]) => name)),
    nodes: calls.map((call, at) => node(call(`v${at}`, `w${at}`, `v${at + 1}`))),
    types: new Map(["v0", ...calls.map((_, at) => `v${at + 1}`)].map((name) => [name, type])),
  });
}

t.test("what no gradient passes on the way to the wanted weights is named in one message, what it passes not", (t) => {
  const odd = (from: string, _: string, to: string) => `${to} = Hardmax(${from})`;
  const extra = (from: string, weight: string, to: string) => `${to} = Mish(${from}, ${weight})`;
  const plain = (from: string, weight: string, to: string) => `${to} = Add(${from}, ${weight})`;
  const step = (from: string, _: string, to: string) => `${to} = Floor(${from})`;
  const error = (message: string, fix: string) => new ExpandError("unsupported", message, { fix });
  t.throws(
    () => lower(chainOf([extra, plain, odd, extra]), ["w1"]),
    error(
      '2 of the nodes between the trainable weights and the loss have no gradient: node making "v3" (Hardmax); ' +
        'node making "v4" (Mish) reads "w3" as its input 1',
      ELSE,
    ),
  );
  t.throws(
    () => lower(chainOf([extra, plain, extra])),
    error(
      '2 of the nodes have no gradient: node making "v1" (Mish) reads "w0" as its input 1; ' +
        'node making "v3" (Mish) reads "w2" as its input 1',
      EXPORT_AGAIN,
    ),
  );
  t.doesNotThrow(() => lower(chainOf([extra, plain, plain]), ["w1"]), "below the wanted weight");
  t.doesNotThrow(() => lower(chainOf([plain, extra, step, plain]), ["w0", "w3"]), "below a step");
  t.end();
});

const QUANTIZED = FUSED.find(({ title }) => title === "MatMulNBits, 4 bits");
const NORM = FUSED.find(({ title }) => title === "RMSNormalization");

t.test("a quantized weight stays frozen", (t) => {
  if (QUANTIZED === undefined) throw new Error("no such case");
  t.throws(
    () => lower(tapeOf(QUANTIZED, {}, "float32"), ["x", "s"]),
    new ExpandError("unsupported", "reads s, which is quantized and was to be trained", {
      at: 'node making "y" (MatMulNBits)',
      fix: FLOATS,
    }),
  );
  t.end();
});

t.test("a node that lacks an input is called damaged", (t) => {
  if (NORM === undefined) throw new Error("no such case");
  const tape = tapeOf({ ...NORM, node: node("y = RMSNormalization(_, g)") }, {}, "float32");
  t.throws(
    () => lower(tape),
    new ExpandError("damaged", "lacks its input 0", {
      at: 'node making "y" (RMSNormalization)',
      fix: "Export the model again.",
    }),
  );
  t.end();
});

t.test("nodes that no gradient passes stay fused", (t) => {
  const [x, y, z] = [1, 2, 3].map((at) => node(`v${at} = RMSNormalization(v${at - 1}, g${at})`));
  if (x === undefined || y === undefined || z === undefined) throw new Error("three nodes were made");
  const type = { type: OnnxType.FLOAT, shape: [2, 4] };
  const gains = [1, 2, 3].map((at) => [`g${at}`, tensorFrom(`g${at}`, OnnxType.FLOAT, [4], [1, 1, 1, 1])] as const);
  const tape = new Tape({
    opset: 23,
    domains: new Map(),
    files: new Map(),
    inputs: ["v0"],
    outputs: ["v3"],
    initializers: new Map(gains),
    varying: new Set(["g2"]),
    nodes: [x, y, z],
    types: new Map([0, 1, 2, 3].map((at) => [`v${at}`, type])),
  });
  const ops = lower(tape, ["g2"]).nodes.map(({ opType }) => opType);
  t.equal(ops.filter((op) => op === "RMSNormalization").length, 1, "the one before the trainable weight");
  t.equal(ops[0], "RMSNormalization");
  t.equal(ops.filter((op) => op === "Sqrt").length, 2, "the others are taken apart");
  const all = lower(tape).nodes.map(({ opType }) => opType);
  t.notOk(all.includes("RMSNormalization"), "and the rest, when all are to be");
  t.end();
});
