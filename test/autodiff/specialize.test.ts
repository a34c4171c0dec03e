// Graphs on inputs of known shapes: what is computed away, what stays, what is refused; and the tape that comes of it.
import path from "node:path";
import t from "tap";
import { tinyOnnx } from "../../fixtures/onnx.ts";
import { differentiate } from "../../src/autodiff/differentiate.ts";
import { numbersIn, tensorFrom } from "../../src/autodiff/numbers.ts";
import { specialize } from "../../src/autodiff/specialize.ts";
import type { Tape } from "../../src/autodiff/tape.ts";
import { buildDecoder } from "../../src/decoder/build.ts";
import { readSpec } from "../../src/decoder/read.ts";
import { openCheckpoint } from "../../src/formats/open.ts";
import { checkGraph } from "../../src/graph/check.ts";
import { externalRange, type Graph } from "../../src/graph/graph.ts";
import { encodeModel, type GraphProto, OnnxType } from "../../src/graph/onnx.ts";
import { openRuntime } from "../../src/runtime/runtime.ts";
import type { Value, Values } from "../../src/runtime/values.ts";
import { graphOf, modelOf, node, opset, value, weight } from "../graph/models.ts";

const fixtures = path.resolve(import.meta.dirname, "../../fixtures");
const runtime = await openRuntime({ device: "cpu", threads: 1, optimization: "disabled" });
t.teardown(() => runtime.close());
const open = (model: Uint8Array) => runtime.open(model);

const x: Value = { dtype: "float32", shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) };

const BATCH = 2;
const TOKENS = 5;

/** Tokens that differ, a mask of ones, positions from 0, no past: by what exporters call them. */
function feedsFor(graph: Graph): Values {
  const sizes: Readonly<Record<string, number>> = { past: 0, past_sequence_length: 0, batch: BATCH, batch_size: BATCH };
  const feeds: Record<string, Value> = {};
  for (const { name, type } of graph.model.graph?.input ?? []) {
    if (type?.value.case !== "tensorType") continue;
    const { elemType, shape: given } = type.value.value;
    const shape = (given?.dim ?? []).map(({ value: size }) =>
      size.case === "dimValue" ? Number(size.value) : (sizes[size.value ?? ""] ?? TOKENS),
    );
    const count = shape.reduce((product, size) => product * size, 1);
    const ints = Array.from({ length: count }, (_, at) =>
      name.includes("mask") ? 1n : BigInt(name.includes("position") ? at % TOKENS : (at * 7) % 23),
    );
    if (elemType === OnnxType.INT64) feeds[name] = { dtype: "int64", shape, data: BigInt64Array.from(ints) };
    else if (elemType === OnnxType.BOOL) feeds[name] = { dtype: "bool", shape, data: new Uint8Array(count) };
    else feeds[name] = { dtype: "float32", shape, data: new Float32Array(count) };
  }
  return feeds;
}

/** The logits of both, and the operators that are left. */
async function bothRun(
  graph: Graph,
  folder: string,
): Promise<{ before: Value | undefined; after: Value | undefined; operators: Set<string>; tape: Tape }> {
  const feeds = feedsFor(graph);
  const tape = await specialize(graph, { feeds, varying: new Set(["input_ids"]), wanted: ["logits"], open });
  const small = tape.toGraph();
  checkGraph(small);
  const [original, made] = [
    await runtime.open(encodeModel(graph.model), { folder }),
    await runtime.open(encodeModel(small.model), { folder }),
  ];
  const { input_ids } = feeds;
  const { logits: before } = await original.run(feeds, ["logits"]);
  const { logits: after } = await made.run(input_ids === undefined ? {} : { input_ids }, ["logits"]);
  await original.close();
  await made.close();
  return { before, after, tape, operators: new Set(small.model.graph?.node.map(({ opType }) => opType)) };
}

/** What shapes, positions and masks are made of. */
const ARITHMETIC = ["Shape", "Range", "Cos", "Sin", "Less", "LessOrEqual", "ConstantOfShape", "Equal", "And", "Trilu"];

t.test(
  "a decoder keeps what tokens and weights pass, on the weights' own bytes, and computes the same bits",
  async (t) => {
    for (const name of ["llama", "gemma2"]) {
      const folder = path.join(fixtures, name);
      const graph = buildDecoder(readSpec(await openCheckpoint(folder)));
      const { before, after, operators, tape } = await bothRun(graph, folder);
      t.same(after, before, name);
      t.same(
        ARITHMETIC.filter((operator) => operators.has(operator)),
        [],
        "no arithmetic of shapes and positions is left",
      );
      t.same(tape.shapeOf("logits"), after?.shape);
      t.same([...tape.inputs], ["input_ids"]);
      const weights = [...tape.initializers.values()].filter((tensor) => externalRange(tensor) !== undefined);
      const own = graph.model.graph?.initializer.filter((tensor) => externalRange(tensor) !== undefined) ?? [];
      t.same(new Set(weights.map((tensor) => tensor.name)), new Set(own.map((tensor) => tensor.name)));
    }
  },
);

t.test(
  "exported models do, with shapes computed by node after node, norms of opset 17, and a branch for the cache",
  async (t) => {
    const traced = await openCheckpoint(path.join(fixtures, "onnx-traced"));
    t.ok(traced.graph);
    const cases: readonly (readonly [string, Graph | undefined, string])[] = [
      ["traced", traced.graph, path.join(fixtures, "onnx-traced")],
      ["merged", { model: tinyOnnx("merged", { blocks: 2 }), files: new Map() }, fixtures],
      ["functions", { model: tinyOnnx("functions", { blocks: 2 }), files: new Map() }, fixtures],
    ];
    for (const [name, graph, folder] of cases) {
      if (graph === undefined) continue;
      const { before, after, operators, tape } = await bothRun(graph, folder);
      t.same(after, before, name);
      t.same(
        ARITHMETIC.filter((operator) => operators.has(operator)),
        [],
        name,
      );
      t.equal(tape.opset, 21, "raised");
    }
  },
);

t.test(
  "an If whose condition is known becomes the branch it takes, nested ones too; names inside give way to those outside",
  async (t) => {
    const leaf = (made: string, from: string): GraphProto =>
      graphOf({ nodes: [node(`${made} = Neg(${from})`, {}, `negate ${from}`)], outputs: [made] }, made);
    const nested = graphOf(
      {
        nodes: [
          node("inner = Exp(x)", {}, "exp"),
          node("same = If(no)", { then_branch: leaf("left", "x"), else_branch: leaf("right", "inner") }, "deep"),
        ],
        outputs: ["same"],
      },
      "nested",
    );
    const nodes = [
      node("picked = If(yes)", { then_branch: nested, else_branch: graphOf({ outputs: ["x"] }, "none") }, "choose"),
      node("inner = Add(picked, x)", {}, "add"),
      node(
        "through = If(no)",
        { then_branch: leaf("kept", "x"), else_branch: graphOf({ outputs: ["inner"] }, "hand") },
        "skip",
      ),
      node("y = Abs(through)", {}, "end"),
    ];
    const initializers = [tensorFrom("yes", OnnxType.BOOL, [], [1]), tensorFrom("no", OnnxType.BOOL, [], [0])];
    const graph = modelOf({ inputs: [value("x", ["n", 3])], outputs: ["y"], nodes, initializers });
    const tape = await specialize(graph, { feeds: { x }, varying: new Set(["x"]), wanted: ["y"], open });
    t.same(
      tape.nodes.map(({ opType, input, output }) => `${output} = ${opType}(${input})`),
      ["choose/inner = Exp(x)", "picked = Neg(choose/inner)", "inner = Add(picked,x)", "y = Abs(inner)"],
    );
    checkGraph(tape.toGraph());
  },
);

t.test("older operators are given the words of version 21", async (t) => {
  const nodes = [
    node("a, b, c = Split(x)", { axis: 1 }, "even"),
    node("m = ReduceMean(b)", { axes: [1], keepdims: 1 }, "mean"),
    node("y = Add(a, m)", {}, "add"),
  ];
  const graph = modelOf({ inputs: [value("x", ["n", 3])], outputs: ["y"], nodes }, { opsetImport: [opset(13)] });
  const tape = await specialize(graph, { feeds: { x }, varying: new Set(["x"]), wanted: ["y"], open });
  const session = await open(encodeModel(tape.toGraph().model));
  t.same((await session.run({ x })).y?.data, Float32Array.of(1 + 2, 4 + 5));
  await session.close();
});

t.test("older operators inside of nodes are, too", async (t) => {
  const body = (operator: string): GraphProto =>
    graphOf(
      { nodes: [node(`${operator} = ${operator}(x)`, { axes: [1], keepdims: 0 })], outputs: [operator] },
      operator,
    );
  const branches = { then_branch: body("ReduceMean"), else_branch: body("ReduceMax") };
  const nodes = [
    node("n = ReduceSum(x)", { keepdims: 0 }),
    node("isLess = Less(n, zero)"),
    node("y = If(isLess)", branches),
  ];
  const graph = modelOf(
    { inputs: [value("x", ["n", 3])], outputs: ["y"], nodes, initializers: [weight("zero", [], [0])] },
    { opsetImport: [opset(17)] },
  );
  const tape = await specialize(graph, { feeds: { x }, varying: new Set(["x"]), wanted: ["y"], open });
  const session = await open(encodeModel(tape.toGraph().model));
  t.same((await session.run({ x })).y?.data, Float32Array.of(3, 6));
  await session.close();
  t.same(branches.then_branch.node[0]?.input, ["x"], "the model that was given stays as it is");
});

t.test("a cast to the type of another value reads that value no longer", async (t) => {
  const nodes = [
    node("one = CastLike(w, x)"),
    node("two = CastLike(n, x)"),
    node("a = Mul(one, x)"),
    node("y = Add(a, two)"),
  ];
  const graph = modelOf({
    inputs: [value("x", ["n", 3]), value("n")],
    outputs: ["y"],
    nodes,
    initializers: [weight("w", [], [2])],
  });
  const feeds = { x, n: { dtype: "int64", shape: [], data: BigInt64Array.of(1n) } } as const;
  const tape = await specialize(graph, { feeds, varying: new Set(["x", "n", "w"]), wanted: ["y"], open });
  t.same(
    tape.nodes.map(({ opType, input }) => `${opType}(${input})`),
    ["Cast(n)", "Mul(w,x)", "Add(a,@Cast)"],
  );
  t.same([...differentiate(tape, "y", ["x"]).keys()], ["x"]);
});

t.test("small initializers are constants unless they are said to vary", async (t) => {
  const nodes = [node("gain = Add(w, one)", {}, "shift"), node("y = Mul(x, gain)", {}, "scale")];
  const initializers = [weight("w", [3], [1, 2, 3]), weight("one", [], [1])];
  const graph = modelOf({ inputs: [value("x", ["n", 3])], outputs: ["y"], nodes, initializers });
  const of = async (...varying: string[]): Promise<readonly string[]> => {
    const tape = await specialize(graph, { feeds: { x }, varying: new Set(varying), wanted: ["y"], open });
    return tape.nodes.map(({ name }) => name);
  };
  t.same(await of("x"), ["scale"], "the sum of constants is one");
  t.same(await of("x", "w"), ["shift", "scale"], "a trainable weight is never folded");
  t.same(await of(), [], "nothing varies: the whole graph is a constant");
});

t.test(
  "what only hands a value on is gone: Identity, Dropout at rest, Cast to the same type, Concat with nothing",
  async (t) => {
    const nodes = [
      node("a = Identity(x)"),
      node("b = Dropout(a)"),
      node("c = Cast(b)", { to: OnnxType.FLOAT }),
      node("d = Concat(none, c)", { axis: 0 }),
      node("y = Neg(d)"),
    ];
    const graph = modelOf({
      inputs: [value("x", ["n", 3])],
      outputs: ["y"],
      nodes,
      initializers: [weight("none", [0, 3], [])],
    });
    const tape = await specialize(graph, { feeds: { x }, varying: new Set(["x"]), wanted: ["y"], open });
    t.same(
      tape.nodes.map(({ opType, input, output }) => [opType, input, output]),
      [["Neg", ["x"], ["y"]]],
    );
  },
);

t.test("a large value that nothing touches is left to the graph, its small inputs are constants", async (t) => {
  const nodes = [
    node("size = Shape(x)"),
    node("square = Concat(size, size)", { axis: 0 }),
    node("wide = Mul(w, w)"),
    node("bias = Expand(wide, square)", {}, "stretch"),
    node("half = Mul(bias, w)", {}, "scale"),
    node("part = Slice(half, zero, one)", {}, "cut"),
    node("y = Add(part, x)", {}, "add"),
  ];
  const [zero, one] = ["zero", "one"].map((name, at) => tensorFrom(name, OnnxType.INT64, [1], [at]));
  const long: Value = { dtype: "float32", shape: [2500], data: new Float32Array(2500) };
  const initializers = [weight("w", [], [3]), ...(zero && one ? [zero, one] : [])];
  const graph = modelOf({ inputs: [value("x", ["n"])], outputs: ["y"], nodes, initializers });
  const tape = await specialize(graph, { feeds: { x: long }, varying: new Set(["x"]), wanted: ["y"], open });
  t.same(
    tape.nodes.map(({ name }) => name),
    ["add"],
    "what is read of it is small",
  );
  const whole = modelOf({ inputs: [value("x", ["n"])], outputs: ["half", "y"], nodes, initializers });
  const both = await specialize(whole, { feeds: { x: long }, varying: new Set(["x"]), wanted: ["half", "y"], open });
  t.same(
    both.nodes.map(({ name }) => name),
    ["stretch", "scale", "add"],
  );
  t.same(both.numbersOf("wide"), [9]);
  checkGraph(both.toGraph());
});

t.test("operators that nobody here knows are asked of the runtime, without a weight", async (t) => {
  const nodes = [node("y = Conv(x, w)", { kernel_shape: [1], strides: [2] })];
  const image: Value = { dtype: "float32", shape: [1, 2, 7], data: new Float32Array(14) };
  const graph = modelOf({
    inputs: [value("x", ["n", 2, "t"])],
    outputs: ["y"],
    nodes,
    initializers: [weight("w", [4, 2, 1], new Array(8).fill(1))],
  });
  const tape = await specialize(graph, { feeds: { x: image }, varying: new Set(["x", "w"]), wanted: ["y"], open });
  t.same(tape.typeOf("y"), { type: OnnxType.FLOAT, shape: [1, 4, 4] });
});

t.test("what cannot be known before a run is refused, with the node", async (t) => {
  const cases = [
    {
      nodes: [node("places = NonZero(x)", {}, "find"), node("y = Cast(places)", { to: OnnxType.FLOAT })],
      message: 'node "find" (NonZero): makes "places", whose shape nothing tells before the model runs',
      fix: "Export the model without operators whose shapes depend on data.",
    },
    {
      nodes: [
        node("n = ReduceSum(x)", { keepdims: 0 }),
        node("m = Cast(n)", { to: OnnxType.INT64 }),
        node("k = Reshape(m, one)"),
        node("y = Expand(x, k)", {}, "grow"),
      ],
      message: 'node "grow" (Expand): takes its shape from "k", which depends on data or on weights',
      fix: "Export the model without operators whose shapes depend on data.",
    },
    {
      nodes: [node("y = GroupNormalization(x, x, x)", { num_groups: 1 }, "norm")],
      message: 'node "norm" (GroupNormalization): changed between version 17 and 21 of ai.onnx',
      fix: "Convert the model with onnx.version_converter first.",
    },
  ];
  const one = tensorFrom("one", OnnxType.INT64, [1], [1]);
  for (const { nodes, message, fix } of cases) {
    const graph = modelOf({ inputs: [value("x", ["n", 3])], outputs: ["y"], nodes, initializers: [one] });
    await t.rejects(specialize(graph, { feeds: { x }, varying: new Set(["x"]), wanted: ["y"], open }), {
      tag: "unsupported",
      message,
      fix,
    });
  }
  const graph = modelOf(
    { inputs: [value("x", ["n", 3])], outputs: ["y"], nodes: [node("y = Neg(x)")] },
    { opsetImport: [opset(12)] },
  );
  const wanted = ["y"];
  await t.rejects(specialize(graph, { feeds: { x }, varying: new Set(["x"]), wanted, open }), {
    tag: "unsupported",
    message: "the model: is of version 12 of ai.onnx; 13 or later is needed",
    fix: "Convert it with onnx.version_converter first.",
  });
  await t.rejects(specialize(graph, { feeds: {}, varying: new Set(["x"]), wanted, open }), {
    tag: "input",
    message: 'input "x": has no example value',
    fix: "Give a value of the type and shape that the model is to run with.",
  });
  const odd = modelOf({
    inputs: [value("x", ["n", 3])],
    outputs: ["y"],
    nodes: [node("y = MatMul(x, x)", {}, "product")],
  });
  await t.rejects(specialize(odd, { feeds: { x }, varying: new Set(["x"]), wanted, open }), {
    tag: "damaged",
    message: 'node "product" (MatMul): multiplies [2,3] and [2,3], which do not fit',
  });
});

t.test("constants of every float type hold what they are given, to the nearest", async (t) => {
  const cases = [
    [
      OnnxType.FLOAT16,
      [0, -0, 1, -2.5, 65504, 65520, 2 ** -24, 2 ** -25, 1 + 2 ** -11, 1 + 3 * 2 ** -11, -1e9, 1023.9999 * 2 ** -24],
    ],
    [OnnxType.BFLOAT16, [0, -0, 1, -2.5, 1 + 2 ** -8, 1 + 3 * 2 ** -8, 3.3895313892515355e38, 1e-40]],
  ] as const;
  const expected = [
    [0, -0, 1, -2.5, 65504, Infinity, 2 ** -24, 0, 1, 1 + 2 ** -9, -Infinity, 2 ** -14],
    [0, -0, 1, -2.5, 1, 1 + 2 ** -6, 3.3895313892515355e38, 2 ** -133],
  ];
  for (const [at, [type, values]] of cases.entries()) {
    t.same(numbersIn(tensorFrom("c", type, [values.length], values)), expected[at]);
  }
});

t.test("a tape is rewritten in place: readers and outputs follow, names stay apart", async (t) => {
  const f32 = { type: OnnxType.FLOAT, shape: [2] };
  const graph = modelOf(
    {
      inputs: [value("x", [2])],
      outputs: ["y"],
      nodes: [node("h = Gelu(x)"), node("y = Mul(h, w)")],
      initializers: [weight("w", [2], [1, 2])],
    },
    { opsetImport: [opset(21)] },
  );
  const two: Value = { dtype: "float32", shape: [2], data: Float32Array.of(1, 2) };
  const tape = await specialize(graph, { feeds: { x: two }, varying: new Set(["x", "w"]), wanted: ["y"], open });
  tape.rewrite(({ opType, input: [value = ""] }) => (opType === "Gelu" ? [tape.op("Relu", [value])] : undefined));
  tape.rewrite(({ opType, input }) => (opType === "Mul" ? [tape.op("Add", input)] : undefined));
  tape.feed("w");
  tape.input("seed", f32);
  const { node: nodes = [], input, output } = tape.toGraph().model.graph ?? {};
  t.same(
    nodes.map(({ opType, input, output }) => `${output} = ${opType}(${input})`),
    ["@Relu = Relu(x)", "@Add = Add(@Relu,w)", "y = Identity(@Add)"],
  );
  t.same(
    input?.map(({ name }) => name),
    ["x", "w"],
    "an input that nothing reads is not in the graph",
  );
  t.same(
    output?.map(({ name }) => name),
    ["y"],
  );
  t.equal(tape.resolve("h"), "@Relu");
  t.same(tape.typeOf("h"), f32);
  t.throws(() => tape.typeOf("nothing"), { tag: "bug", message: 'no value of the tape is called "nothing"' });
  t.throws(() => tape.input("x", f32), { tag: "bug", message: 'two values are called "x"' });
  t.throws(() => tape.feed("x"), { tag: "bug", message: '"x" is no initializer' });
  t.throws(() => tape.op("Nonsense", ["x"]), {
    tag: "bug",
    message: 'node "@Nonsense" (Nonsense): is of an operator whose types nobody knows',
  });
});
