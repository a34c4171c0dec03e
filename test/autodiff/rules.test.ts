// Every rule of differentiation against central differences, in float64 on onnxruntime. Operators that it has in f32 only are replaced by
// their definitions.
import t from "tap";
import { differentiate } from "../../src/autodiff/differentiate.ts";
import { RULES } from "../../src/autodiff/rules/index.ts";
import type { Attributes } from "../../src/autodiff/tape.ts";
import { Tape } from "../../src/autodiff/tape.ts";
import { encodeModel, OnnxType } from "../../src/graph/onnx.ts";
import { openRuntime, type Session } from "../../src/runtime/runtime.ts";
import type { Values } from "../../src/runtime/values.ts";
import { inDoubles } from "./definitions.ts";

const runtime = await openRuntime({ device: "cpu", threads: 1, optimization: "disabled" });
t.teardown(() => runtime.close());

const FUSED = "com.microsoft.FusedMatMul";
/** Relative to the greatest gradient of the input. */
const BOUND = 1e-8;
/** Of f32 kernels, relative to their greatest value: a few roundings, and the runtime's approximations. */
const SINGLE_BOUND = 3e-6;

/** Numbers that are differentiated by: from `low` to `high`, never within 0.02 of a multiple of 1/2, where functions may have corners. */
interface Varying {
  readonly shape: readonly number[];
  readonly low?: number;
  readonly high?: number;
}

interface Fixed {
  readonly values: number | readonly number[];
  readonly shape?: readonly number[];
  readonly type?: OnnxType;
  /** A node makes it: it is no constant. */
  readonly isMade?: true;
}

interface Case {
  readonly op: string;
  readonly what?: string;
  readonly inputs: readonly (Varying | Fixed | undefined)[];
  readonly attributes?: Attributes;
  readonly outputs?: number;
}

const of = (shape: readonly number[], low = -2, high = 2): Varying => ({ shape, low, high });
const positive = (shape: readonly number[]): Varying => of(shape, 0.4, 3);
const ints = (values: number | readonly number[], shape?: readonly number[]): Fixed => ({
  values,
  type: OnnxType.INT64,
  ...(shape === undefined ? {} : { shape }),
});
const bools = (values: readonly number[], shape: readonly number[]): Fixed => ({ values, shape, type: OnnxType.BOOL });
const fixed = (values: number | readonly number[], shape?: readonly number[]): Fixed => ({
  values,
  ...(shape === undefined ? {} : { shape }),
});
const float = (value: number): { readonly float: number } => ({ float: value });

const pair = (op: string): readonly Case[] => [
  { op, what: "of one shape", inputs: [of([2, 3]), positive([2, 3])] },
  { op, what: "a row, stretched", inputs: [of([2, 3]), positive([3])] },
  { op, what: "both stretched", inputs: [of([2, 1, 3]), positive([4, 1])] },
  { op, what: "a scalar", inputs: [of([]), positive([2, 2])] },
];
const unary = (op: string, input: Varying = of([2, 5])): Case => ({ op, inputs: [input] });
const folds = (op: string): readonly Case[] => [
  { op, what: "the last axis, kept", inputs: [of([2, 3, 4]), ints([-1])], attributes: { keepdims: 1 } },
  { op, what: "two axes, dropped", inputs: [of([2, 3, 4]), ints([0, 2])], attributes: { keepdims: 0 } },
  { op, what: "everything", inputs: [of([2, 3])], attributes: { keepdims: 0 } },
];

/** Factors [2, 3] and [3, 4], each turned or not. */
const flagged = (
  op: string,
  what: string,
  batchA: readonly number[],
  batchB: readonly number[],
  others: readonly Varying[] = [],
  more: Attributes = {},
): readonly Case[] =>
  [0, 1].flatMap((transA) =>
    [0, 1].map((transB) => ({
      op,
      what: `${what} transA=${transA} transB=${transB}`,
      inputs: [
        of([...batchA, ...(transA ? [3, 2] : [2, 3])]),
        of([...batchB, ...(transB ? [4, 3] : [3, 4])]),
        ...others,
      ],
      attributes: { transA, transB, alpha: float(0.5), ...more },
    })),
  );

const CASES: readonly Case[] = [
  ...["Add", "Sub", "Mul", "Div"].flatMap(pair),
  { op: "Sum", inputs: [of([2, 3]), of([3]), of([])] },
  ...["Neg", "Exp", "Sigmoid", "Tanh", "Relu", "Abs", "Sin", "Cos", "Identity"].map((op) => unary(op)),
  ...["Sqrt", "Log", "Reciprocal"].map((op) => unary(op, positive([2, 5]))),
  { op: "Mul", what: "a value with itself, twice", inputs: [of([3])] },
  { op: "Pow", what: "to 2", inputs: [of([2, 3]), fixed(2)] },
  { op: "Pow", what: "to 3, of another type", inputs: [of([2, 3]), ints(3)] },
  { op: "Pow", what: "to 1", inputs: [of([2, 3]), fixed(1)] },
  { op: "Pow", what: "to -0.5", inputs: [positive([2, 3]), fixed(-0.5)] },
  { op: "Pow", what: "to one exponent a column", inputs: [positive([2, 3]), fixed([0.5, 0, 1.5])] },
  {
    op: "Pow",
    what: "to exponents that are made",
    inputs: [positive([2, 3]), { ...fixed([0.5, 0, 2]), isMade: true }],
  },
  { op: "Pow", what: "to one of another type that is made", inputs: [of([2, 3]), { ...ints(3), isMade: true }] },
  unary("Erf"),
  { op: "Gelu", what: "exact", inputs: [of([2, 5])] },
  { op: "Gelu", what: "by tanh", inputs: [of([2, 5])], attributes: { approximate: "tanh" } },
  unary("LeakyRelu"),
  { op: "LeakyRelu", what: "steeper", inputs: [of([2, 5])], attributes: { alpha: float(0.25) } },
  unary("Elu"),
  { op: "Elu", what: "to another limit", inputs: [of([2, 5])], attributes: { alpha: float(0.5) } },
  unary("Softplus"),
  unary("Softsign"),
  unary("HardSigmoid", of([2, 5], -4, 4)),
  { op: "HardSigmoid", what: "steeper", inputs: [of([2, 5])], attributes: { alpha: float(0.5), beta: float(0.25) } },
  unary("HardSwish", of([2, 8], -5, 5)),
  { op: "Softmax", what: "the last axis", inputs: [of([2, 5])] },
  { op: "Softmax", what: "the first axis", inputs: [of([4, 3])], attributes: { axis: 0 } },
  { op: "LogSoftmax", inputs: [of([2, 5])] },
  ...[
    "ReduceSum",
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceSumSquare",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSumExp",
  ].flatMap(folds),
  { op: "ReduceSum", what: "no axes", inputs: [of([2, 3])], attributes: { noop_with_empty_axes: 1 } },
  { op: "CumSum", inputs: [of([2, 4]), ints(1)] },
  {
    op: "CumSum",
    what: "exclusive, in reverse",
    inputs: [of([4, 2]), ints(0)],
    attributes: { exclusive: 1, reverse: 1 },
  },
  { op: "TopK", inputs: [of([3, 5]), ints([2])], outputs: 2 },
  ...["Max", "Min"].flatMap((op): Case[] => [
    { op, what: "of two", inputs: [of([2, 3]), of([3])] },
    { op, what: "of three", inputs: [of([2, 3]), of([3]), of([2, 1])] },
    { op, what: "of one", inputs: [of([4])] },
  ]),
  { op: "Clip", what: "both ends", inputs: [of([2, 5]), fixed(-0.5), fixed(1)] },
  { op: "Clip", what: "from above", inputs: [of([2, 5]), undefined, fixed(0.5)] },
  { op: "MatMul", what: "two matrices", inputs: [of([2, 3]), of([3, 4])] },
  { op: "MatMul", what: "rows of a batch with one matrix", inputs: [of([2, 2, 3]), of([3, 4])] },
  { op: "MatMul", what: "two batches", inputs: [of([2, 2, 3]), of([2, 3, 2])] },
  { op: "MatMul", what: "a batch that is stretched", inputs: [of([2, 1, 2, 3]), of([3, 3, 2])] },
  { op: "MatMul", what: "one matrix with a batch", inputs: [of([2, 3]), of([2, 3, 2])] },
  { op: "MatMul", what: "a matrix and a vector", inputs: [of([2, 3]), of([3])] },
  { op: "MatMul", what: "a vector and a matrix", inputs: [of([3]), of([3, 2])] },
  { op: "MatMul", what: "a vector and a batch", inputs: [of([3]), of([2, 3, 2])] },
  { op: "MatMul", what: "a batch and a vector", inputs: [of([2, 2, 3]), of([3])] },
  ...flagged("Gemm", "", [], [], [of([4])], { beta: float(2) }),
  ...flagged(FUSED, "of matrices", [], []),
  ...flagged(FUSED, "of a batch and one matrix", [2], []),
  ...flagged(FUSED, "of two batches, stretched", [2, 1], [3]),
  { op: "Reshape", inputs: [of([2, 6]), ints([3, -1])] },
  { op: "Flatten", inputs: [of([2, 3, 2])], attributes: { axis: 2 } },
  { op: "Squeeze", inputs: [of([2, 1, 3]), ints([1])] },
  { op: "Unsqueeze", inputs: [of([2, 3]), ints([0, -1])] },
  { op: "Transpose", inputs: [of([2, 3, 4])], attributes: { perm: [2, 0, 1] } },
  { op: "Transpose", what: "without a permutation", inputs: [of([2, 3])] },
  { op: "Expand", inputs: [of([2, 1, 3]), ints([4, 1, 5, 1])] },
  { op: "Tile", inputs: [of([2, 3]), ints([2, 3])] },
  { op: "Concat", inputs: [of([2, 1]), of([2, 3]), of([2, 2])], attributes: { axis: -1 } },
  { op: "Split", what: "by lengths", inputs: [of([2, 6]), ints([1, 3, 2])], attributes: { axis: 1 }, outputs: 3 },
  { op: "Split", what: "evenly", inputs: [of([6, 2])], attributes: { num_outputs: 3 }, outputs: 3 },
  { op: "Slice", what: "the middle", inputs: [of([5, 4]), ints([1, 1]), ints([4, 3]), ints([0, 1])] },
  { op: "Slice", what: "every second", inputs: [of([2, 7]), ints([1]), ints([7]), ints([1]), ints([2])] },
  { op: "Slice", what: "in reverse", inputs: [of([2, 4]), ints([-1]), ints([-100]), ints([1]), ints([-1])] },
  { op: "Slice", what: "all of it", inputs: [of([2, 3]), ints([0]), ints([100]), ints([1])] },
  { op: "Pad", inputs: [of([2, 3]), ints([1, 0, 0, 2])] },
  { op: "Pad", what: "some axes", inputs: [of([2, 3]), ints([1, 2]), fixed(7), ints([1])] },
  { op: "Pad", what: "shifted by one", inputs: [of([2, 4, 2]), ints([0, 1, 0, 0, -1, 0])] },
  { op: "Pad", what: "cut in front, longer behind", inputs: [of([3, 4]), ints([-1, -2, 2, 1])] },
  { op: "Pad", what: "cut at both ends", inputs: [of([2, 5]), ints([0, -1, 0, -2])] },
  { op: "Trilu", what: "upper", inputs: [of([3, 3])] },
  { op: "Trilu", what: "lower, shifted", inputs: [of([2, 3, 4]), ints(1)], attributes: { upper: 0 } },
  { op: "Where", inputs: [bools([1, 0, 1, 1, 0, 0], [2, 3]), of([3]), of([2, 1])] },
  { op: "Cast", inputs: [of([2, 3])], attributes: { to: OnnxType.DOUBLE } },
  { op: "Dropout", inputs: [of([2, 3])] },
  {
    op: "Gather",
    what: "rows, one twice",
    inputs: [
      of([4, 3]),
      ints(
        [
          [2, 0],
          [2, 3],
        ].flat(),
        [2, 2],
      ),
    ],
  },
  { op: "Gather", what: "columns", inputs: [of([2, 4, 2]), ints([1, -1, 1])], attributes: { axis: 1 } },
  {
    op: "Gather",
    what: "the last of three axes",
    inputs: [of([2, 3, 4]), ints([-1, 0, 3, -1], [2, 2])],
    attributes: { axis: -1 },
  },
  { op: "Gather", what: "one of them", inputs: [of([3, 4]), ints(2)], attributes: { axis: 1 } },
  { op: "GatherElements", inputs: [of([3, 4]), ints([0, 1, 1, 3, 3, 3], [3, 2])], attributes: { axis: 1 } },
  { op: "GatherND", inputs: [of([3, 4, 2]), ints([0, 1, 2, 3, 0, 1], [3, 2])] },
  {
    op: "ScatterElements",
    what: "over",
    inputs: [of([3, 4]), ints([0, 2, 1, 3, 3, 0], [3, 2]), of([3, 2])],
    attributes: { axis: 1 },
  },
  {
    op: "ScatterElements",
    what: "added",
    inputs: [of([3, 4]), ints([0, 0, 1, 3, 3, 3], [3, 2]), of([3, 2])],
    attributes: { axis: 1, reduction: "add" },
  },
  { op: "ScatterND", what: "over", inputs: [of([4, 3]), ints([2, 0], [2, 1]), of([2, 3])] },
  {
    op: "ScatterND",
    what: "added",
    inputs: [of([4, 3]), ints([2, 2, 0], [3, 1]), of([3, 3])],
    attributes: { reduction: "add" },
  },
];

/** Park and Miller: the same numbers at every run. */
function numbersFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 48271) % 2147483647;
    return state / 2147483647;
  };
}

function drawn({ shape, low = -2, high = 2 }: Varying, next: () => number): Float64Array {
  const count = shape.reduce((product, size) => product * size, 1);
  return Float64Array.from({ length: count }, () => {
    for (;;) {
      const value = low + (high - low) * next();
      if (Math.abs(value * 2 - Math.round(value * 2)) > 0.04) return value;
    }
  });
}

function nothing(): Tape {
  const none = { opset: 23, domains: new Map(), files: new Map(), inputs: [], outputs: [] };
  return new Tape({ ...none, initializers: new Map(), varying: new Set(), nodes: [], types: new Map() });
}

interface Built {
  readonly tape: Tape;
  /** Name and numbers of what is differentiated by. */
  readonly inputs: ReadonlyMap<string, Float64Array>;
}

/** loss = Σ outputs times fixed numbers; outputs: those of the operator, loss, and the gradient of each input as d_NAME. */
function build(each: Case, type: OnnxType): Built {
  const next = numbersFrom(1 + each.op.length);
  const tape = nothing();
  const inputs = new Map<string, Float64Array>();
  const names = each.inputs.map((input, at) => {
    if (input === undefined) return "";
    if ("values" in input) {
      const constant = tape.constant(input.values, input.type ?? type, input.shape);
      return input.isMade ? tape.op("Identity", [constant]) : constant;
    }
    inputs.set(`x${at}`, drawn(input, next));
    return tape.input(`x${at}`, { type, shape: input.shape });
  });
  const [first = ""] = names;
  const isTwice = each.what?.startsWith("a value with itself") ?? false;
  const outputs = tape.ops(each.op, isTwice ? [first, first] : names, each.outputs ?? 1, each.attributes);
  const terms = outputs
    .filter((name) => tape.isFloat(name))
    .map((name) => {
      const { type, shape } = tape.typeOf(name);
      const factors = tape.constant([...drawn({ shape, low: 0.2, high: 1 }, next)], type, shape);
      const product = tape.op("Mul", [name, factors]);
      return shape.length === 0 ? product : tape.op("ReduceSum", [product], { keepdims: 0 });
    });
  const loss = terms.reduce((sum, term) => tape.op("Add", [sum, term]));
  for (const [at, name] of outputs.entries()) tape.output(`y${at}`, name);
  tape.output("loss", loss);
  for (const [name, gradient] of differentiate(tape, loss, [...inputs.keys()])) tape.output(`d_${name}`, gradient);
  return { tape: inDoubles(tape), inputs };
}

function valuesOf(built: Built, changed?: { name: string; at: number; by: number }): Values {
  return Object.fromEntries(
    [...built.inputs].map(([name, numbers]) => {
      const { type, shape } = built.tape.typeOf(name);
      const data = Float64Array.from(numbers);
      if (changed?.name === name) data[changed.at] = (data[changed.at] ?? 0) + changed.by;
      if (type === OnnxType.DOUBLE) return [name, { dtype: "float64", shape, data }];
      return [name, { dtype: "float32", shape, data: Float32Array.from(data) }];
    }),
  );
}

/** Fourth order: the error is h⁴ f⁽⁵⁾ / 30. */
const STEP = 1e-3;
const STENCIL = [
  [1, 8],
  [-1, -8],
  [2, -1],
  [-2, 1],
] as const;

async function differences(session: Session, built: Built, name: string): Promise<readonly number[]> {
  const slopes: number[] = [];
  for (const at of built.inputs.get(name)?.keys() ?? []) {
    let slope = 0;
    for (const [steps, factor] of STENCIL)
      slope += factor * (await lossAt(session, built, { name, at, by: steps * STEP }));
    slopes.push(slope / (12 * STEP));
  }
  return slopes;
}

type Change = NonNullable<Parameters<typeof valuesOf>[1]>;

async function lossAt(session: Session, built: Built, changed: Change): Promise<number> {
  const { loss } = await session.run(feedsOf(session, built, changed), ["loss"]);
  return Number(loss?.data[0]);
}

/** Of the inputs that the graph reads. */
function feedsOf(session: Session, built: Built, changed?: Change): Values {
  const given = new Set(session.inputs.map(({ name }) => name));
  return Object.fromEntries(Object.entries(valuesOf(built, changed)).filter(([name]) => given.has(name)));
}

function numbersOf(values: Values, name: string): readonly number[] {
  return Array.from(values[name]?.data ?? [], Number);
}

/** The greatest difference by the greatest number expected. */
function distance(found: readonly number[], expected: readonly number[]): number {
  if (found.length !== expected.length || found.length === 0) return Number.NaN;
  const scale = Math.max(...expected.map(Math.abs), 1e-3);
  return Math.max(...expected.map((value, at) => Math.abs((found[at] ?? Number.NaN) - value))) / scale;
}

interface Errors {
  /** Of the gradients in f64, by central differences. */
  readonly double: number;
  /** Of values and gradients on the runtime's own kernels for f32, by those in f64. */
  readonly single: number;
}

async function errorsOf(each: Case): Promise<Errors> {
  const built = build(each, OnnxType.DOUBLE);
  const session = await runtime.open(encodeModel(built.tape.toGraph(each.op).model), { name: each.op });
  const results = await session.run(feedsOf(session, built));
  const double: number[] = [];
  for (const name of built.inputs.keys()) {
    double.push(distance(numbersOf(results, `d_${name}`), await differences(session, built, name)));
  }
  await session.close();
  const single = await inSingle(each);
  const singles = Object.keys(results).map((name) => distance(numbersOf(single, name), numbersOf(results, name)));
  return { double: Math.max(...double), single: Math.max(...singles) };
}

async function inSingle(each: Case): Promise<Values> {
  const built = build(each, OnnxType.FLOAT);
  const session = await runtime.open(encodeModel(built.tape.toGraph(each.op).model), { name: each.op });
  const results = await session.run(feedsOf(session, built));
  await session.close();
  return results;
}

t.test("every rule gives the slope that central differences give; in f32 it comes to the same", async (t) => {
  const worst = { double: 0, single: 0 };
  for (const op of Object.keys(RULES)) {
    const errors: Errors[] = [];
    for (const each of CASES.filter((one) => one.op === op)) {
      const { double, single } = await errorsOf(each);
      if (!(double <= BOUND)) t.fail(`${op} ${each.what ?? ""}: relative error ${double.toExponential(1)}`);
      if (!(single <= SINGLE_BOUND)) t.fail(`${op} ${each.what ?? ""}: in f32 off by ${single.toExponential(1)}`);
      errors.push({ double, single });
    }
    t.ok(errors.length > 0, `${op} has a case`);
    const [double, single] = [
      Math.max(...errors.map((each) => each.double)),
      Math.max(...errors.map((each) => each.single)),
    ];
    t.comment(`${op.padEnd(26)} ${double.toExponential(1)}, in f32 ${single.toExponential(1)}`);
    worst.double = Math.max(worst.double, double);
    worst.single = Math.max(worst.single, single);
  }
  t.comment(
    `worst relative error in float64: ${worst.double.toExponential(1)} (in f32: ${worst.single.toExponential(1)})`,
  );
  t.ok(worst.single > 0, "f32 rounds");
});

t.test("every case is of an operator that has a rule", async (t) => {
  t.same(
    [...new Set(CASES.map(({ op }) => op))].filter((op) => RULES[op] === undefined),
    [],
  );
});

/** Where a function has a corner there are several slopes; these are PyTorch's. */
const CORNERS: readonly (readonly [
  what: string,
  values: readonly (readonly number[])[],
  gradients: readonly (readonly number[])[],
  emit: (tape: Tape, names: readonly string[]) => string,
])[] = [
  [
    "Max",
    [
      [1, 2, 0],
      [1, 1, 3],
    ],
    [
      [0.5, 1, 0],
      [0.5, 0, 1],
    ],
    (tape, names) => tape.op("Max", names),
  ],
  [
    "Min",
    [
      [1, 2, 0],
      [1, 1, 3],
    ],
    [
      [0.5, 0, 1],
      [0.5, 1, 0],
    ],
    (tape, names) => tape.op("Min", names),
  ],
  ["ReduceMax", [[3, 1, 3]], [[0.5, 0, 0.5]], (tape, names) => tape.op("ReduceMax", names)],
  [
    "Clip",
    [[-1, -2, 2]],
    [[1, 0, 1]],
    (tape, [x = ""]) => tape.op("Clip", [x, tape.constant(-1, OnnxType.FLOAT), tape.constant(2, OnnxType.FLOAT)]),
  ],
  ["ReduceL2", [[0, 0]], [[0, 0]], (tape, names) => tape.op("ReduceL2", names)],
  ["Pow", [[0, 0, 2]], [[0, 0, 0]], (tape, [x = ""]) => tape.op("Pow", [x, tape.constant([0, 2, 0], OnnxType.FLOAT)])],
  [
    "Pow of an exponent that is made",
    [[0, 0, 2]],
    [[0, 0, 0]],
    (tape, [x = ""]) => tape.op("Pow", [x, tape.op("Neg", [tape.constant([-0, -2, -0], OnnxType.FLOAT)])]),
  ],
  ["Relu", [[0, 1, -1]], [[0, 1, 0]], (tape, names) => tape.op("Relu", names)],
  ["Abs", [[0, 1, -1]], [[0, 1, -1]], (tape, names) => tape.op("Abs", names)],
];

t.test("where values are equal, and at the ends of a range, the slope is the one that PyTorch takes", async (t) => {
  for (const [what, values, expected, emit] of CORNERS) {
    const tape = nothing();
    const names = values.map((each, at) => tape.input(`x${at}`, { type: OnnxType.FLOAT, shape: [each.length] }));
    const value = emit(tape, names);
    for (const [name, gradient] of differentiate(tape, value, names)) tape.output(`d_${name}`, gradient);
    const session = await runtime.open(encodeModel(tape.toGraph().model));
    const feeds = values.map(
      (each, at) => [names[at], { dtype: "float32", shape: [each.length], data: Float32Array.from(each) }] as const,
    );
    const results = await session.run(Object.fromEntries(feeds));
    t.same(
      names.map((name) => [...(results[`d_${name}`]?.data ?? [])]),
      expected,
      what,
    );
    await session.close();
  }
});
