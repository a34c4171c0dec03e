// Graphs as messages: where tensors are, what attributes say, order, text, and functions put where they are called.
import t from "tap";
import { ExpandError } from "../../src/errors.ts";
import {
  attribute,
  floatAttribute,
  floatsAttribute,
  graphAttributes,
  intAttribute,
  intsAttribute,
  stringAttribute,
  tensorAttribute,
} from "../../src/graph/attributes.ts";
import { checkGraph } from "../../src/graph/check.ts";
import {
  cloneGraph,
  inlineTensor,
  putInside,
  referTo,
  tensorAt,
  tensorOf,
  ZEROS,
  zeroTensor,
} from "../../src/graph/graph.ts";
import { inlineFunctions } from "../../src/graph/inline.ts";
import { AttributeProtoSchema, AttributeType, create, OnnxType, TensorProtoSchema } from "../../src/graph/onnx.ts";
import { printGraph } from "../../src/graph/print.ts";
import { sortGraph, sortNodes } from "../../src/graph/sort.ts";
import { dtypeOf, onnxTypeOf, typeName } from "../../src/graph/types.ts";
import { outerReads, readsOf, tensorsOf } from "../../src/graph/walk.ts";
import { memorySource } from "../../src/tensor/source.ts";
import { functionOf, graphOf, modelOf, node, opset, value, weight } from "./models.ts";

function refused(work: () => unknown): string {
  try {
    work();
    return "nothing was refused";
  } catch (error) {
    if (!(error instanceof ExpandError)) throw error;
    return `${error.tag}: ${error.message} / ${error.fix}`;
  }
}

t.test("every numeric ONNX type has one of ours and the other way round", async (t) => {
  for (const type of Object.values(OnnxType)) {
    if (typeof type === "string" || type === OnnxType.STRING || type === OnnxType.UNDEFINED) continue;
    const dtype = dtypeOf(type);
    if (dtype === undefined) t.fail(`${typeName(type)} has none`);
    else t.equal(onnxTypeOf(dtype), type, typeName(type));
  }
  t.equal(dtypeOf(OnnxType.STRING), undefined);
  t.equal(onnxTypeOf("Q4_K"), undefined);
  t.equal(typeName(99), "type 99");
});

t.test("values in typed fields are the bytes that raw data would hold", async (t) => {
  const cases = [
    [OnnxType.FLOAT, { floatData: [1.5] }, "0000c03f"],
    [OnnxType.COMPLEX64, { floatData: [1.5, -2] }, "0000c03f000000c0"],
    [OnnxType.DOUBLE, { doubleData: [1.5] }, "000000000000f83f"],
    [OnnxType.INT64, { int64Data: [-2n] }, "feffffffffffffff"],
    [OnnxType.UINT64, { uint64Data: [2n ** 64n - 1n] }, "ffffffffffffffff"],
    [OnnxType.UINT32, { uint64Data: [2n ** 32n - 1n] }, "ffffffff"],
    [OnnxType.INT32, { int32Data: [-2] }, "feffffff"],
    [OnnxType.INT16, { int32Data: [-2] }, "feff"],
    [OnnxType.UINT16, { int32Data: [65535] }, "ffff"],
    [OnnxType.FLOAT16, { int32Data: [0x3c00] }, "003c"],
    [OnnxType.BFLOAT16, { int32Data: [0x3f80] }, "803f"],
    [OnnxType.BOOL, { int32Data: [1] }, "01"],
    [OnnxType.INT8, { int32Data: [-1] }, "ff"],
    [OnnxType.UINT8, { int32Data: [255] }, "ff"],
    [OnnxType.INT4, { int32Data: [0x21] }, "21"],
  ] as const;
  for (const [dataType, data, hex] of cases) {
    const tensor = create(TensorProtoSchema, { dataType, dims: [1n] });
    Object.assign(tensor, data);
    const ref = tensorOf(modelOf({}), tensor);
    t.equal(
      ref.kind === "stored" && Buffer.from(await ref.source.read(0, ref.bytes)).toString("hex"),
      hex,
      typeName(dataType),
    );
  }
});

t.test("a tensor refers to a file, to zeros, or holds its data; four-bit types pad their last byte", async (t) => {
  const graph = modelOf({}, {}, new Map([["data", memorySource("data", new Uint8Array(100))]]));
  const external = tensorAt("w", { dtype: "F32", shape: [2, 3], bytes: 24 }, "data", 8);
  t.match(tensorOf(graph, external), { kind: "stored", dtype: "F32", shape: [2, 3], bytes: 24, offset: 8 });
  t.match(tensorOf(graph, zeroTensor("z", OnnxType.FLOAT, [256n])), { kind: "fill", bytes: 1024 });
  t.match(tensorOf(graph, zeroTensor("z", OnnxType.FLOAT, [255n])), { kind: "stored", bytes: 1020 });
  t.match(tensorOf(graph, inlineTensor("i", "I4", [3], Uint8Array.of(1, 2))), { dtype: "I4", bytes: 2 });
  putInside(external, new Uint8Array(24));
  t.match(tensorOf(graph, external), { kind: "stored", bytes: 24, offset: 0 });
  referTo(external, ZEROS, 0, 24);
  t.match(tensorOf(graph, external), { kind: "fill" });
  const copy = cloneGraph(modelOf({ initializers: [weight("w", [1], [1])] }));
  t.not(copy.model, graph.model);
});

t.test("each fault of a tensor is refused with its own message", async (t) => {
  const graph = modelOf({}, {}, new Map([["data", memorySource("data", new Uint8Array(10))]]));
  const float = { name: "w", dataType: OnnxType.FLOAT, dims: [2n] };
  const entry = (key: string, text: string) => ({ key, value: text });
  const at = (...externalData: { key: string; value: string }[]) => ({ ...float, dataLocation: 1, externalData });
  const again = "Download or export the model again.";
  const plain = "Export the model anew with plain tensors.";
  const cases = [
    [{ ...float, rawData: new Uint8Array(7) }, `damaged: tensor "w": has 7 bytes of data; F32 [2] takes 8 / ${again}`],
    [float, `damaged: tensor "w": has 0 bytes of data; F32 [2] takes 8 / ${again}`],
    [{ ...float, dims: [-1n] }, `damaged: tensor "w": has the impossible shape [-1] of F32 / ${again}`],
    [
      { ...float, dims: [2n ** 40n, 2n ** 40n] },
      `damaged: tensor "w": has the impossible shape [1099511627776,1099511627776] of F32 / ${again}`,
    ],
    [{ ...float, dataType: 8 }, `unsupported: tensor "w": is of STRING, which is no type of numbers / ${plain}`],
    [{ ...float, dataType: 77 }, `unsupported: tensor "w": is of type 77, which is no type of numbers / ${plain}`],
    [{ ...float, segment: { begin: 0n, end: 1n } }, `unsupported: tensor "w": is stored in segments / ${plain}`],
    [at(), `damaged: tensor "w": is external, but names no location / ${again}`],
    [
      at(entry("location", "data"), entry("location", "data")),
      `damaged: tensor "w": says "location" twice in its external_data / ${again}`,
    ],
    [
      at(entry("location", "data"), entry("offset", "-1")),
      `damaged: tensor "w": has the offset "-1"; a whole number below 2^53 was expected / ${again}`,
    ],
    [
      at(entry("location", "data"), entry("offset", "9007199254740993")),
      `damaged: tensor "w": has the offset "9007199254740993"; a whole number below 2^53 was expected / ${again}`,
    ],
    [
      at(entry("location", "data"), entry("length", "4")),
      `damaged: tensor "w": has 4 bytes of data; F32 [2] takes 8 / ${again}`,
    ],
    [
      at(entry("location", "data"), entry("offset", "3")),
      `damaged: tensor "w": ends at byte 11 of "data", but the file has 10 / Download the file again; it is cut short.`,
    ],
    [
      at(entry("location", "other")),
      `damaged: tensor "w": is in "other", which is not one of the model's files / ${again}`,
    ],
  ] as const;
  for (const [init, message] of cases)
    t.equal(
      refused(() => tensorOf(graph, create(TensorProtoSchema, Object.assign({}, init) as never))),
      message,
    );
  t.equal(
    refused(() => tensorAt("q", { dtype: "Q4_K", shape: [256], bytes: 144 }, "data", 0)),
    'unsupported: tensor "q": has the type Q4_K, which ONNX does not have / Decode it first.',
  );
});

t.test("attributes are read by type, with the operator's default where they are absent", async (t) => {
  const w = weight("w", [1], [1]);
  const inner = graphOf({});
  const one = node(
    "y = Op(x)",
    {
      i: 3,
      f: 0.5,
      s: "words",
      is: [1, 2],
      fs: [0.5],
      w,
      g: inner,
      end: 2n ** 63n - 1n,
      low: -(2n ** 63n),
      big: 2n ** 60n,
    },
    "n",
  );
  t.equal(intAttribute(one, "i", -1), 3);
  t.equal(intAttribute(one, "absent", -1), -1);
  t.equal(intAttribute(one, "end", 0), Number.MAX_SAFE_INTEGER, "INT64_MAX says: to the end");
  t.equal(intAttribute(one, "low", 0), Number.MIN_SAFE_INTEGER);
  t.equal(floatAttribute(one, "f", 1), 0.5);
  t.equal(stringAttribute(one, "s", undefined), "words");
  t.same(intsAttribute(one, "is", []), [1, 2]);
  t.same(floatsAttribute(one, "fs", []), [0.5]);
  t.equal(tensorAttribute(one, "w"), w);
  t.same(graphAttributes(one), [inner]);
  t.equal(attribute("a", 1, "float").type, AttributeType.FLOAT);
  t.equal(attribute("a", [1], "float").type, AttributeType.FLOATS);
  const fix = "Export the model again.";
  t.equal(
    refused(() => intAttribute(one, "s", 0)),
    `damaged: node "n" (Op): attribute "s" is of type STRING; INT was expected / ${fix}`,
  );
  t.equal(
    refused(() => intAttribute(one, "big", 0)),
    `damaged: node "n" (Op): attribute "big" is 1152921504606846976; a number below 2^53 was expected / ${fix}`,
  );
  t.equal(
    refused(() => floatAttribute(node("_, y = Op(x)", { a: 1 }), "a", 0)),
    `damaged: node making "y" (Op): attribute "a" is of type INT; FLOAT was expected / ${fix}`,
  );
});

t.test("nodes are sorted by what they read, subgraphs included; those in order stay as they are", async (t) => {
  const body = graphOf({ outputs: ["t"], nodes: [node("t = Add(late, u)"), node("u = Neg(x)")] });
  const nodes = [
    node("z = If(x)", { then_branch: body }),
    node("late = Neg(mid)"),
    node("mid = Abs(x)"),
    node("free = Abs(x)"),
  ];
  t.same(
    sortNodes(nodes).map(({ output }) => output[0]),
    ["mid", "late", "z", "free"],
  );
  const sorted = sortNodes(nodes);
  t.same(sortNodes(sorted), sorted);
  const graph = graphOf({ nodes });
  sortGraph(graph);
  t.same(
    graphAttributes(graph.node[2] ?? node(""))[0]?.node.map(({ output }) => output[0]),
    ["u", "t"],
  );
  t.same([...outerReads(body)], ["x", "late"]);
  t.same(readsOf(nodes[0] ?? node("")), ["x", "x", "late"]);
  t.equal(
    refused(() => sortNodes([node("a = Neg(b)"), node("b = Neg(a)")])),
    'damaged: node making "b" (Neg): reads what is made from its own output: the graph has a cycle / Export the model again.',
  );
  const chain = Array.from({ length: 50_000 }, (_, at) => node(`v${at} = Neg(v${at + 1})`));
  t.equal(sortNodes(chain)[0]?.output[0], "v49999", "50,000 nodes in reverse are no recursion");
});

t.test("a graph prints as one line a node, and can leave out where its weights are", async (t) => {
  const big = tensorAt("big", { dtype: "F16", shape: [1024], bytes: 2048 }, "model.onnx", 64);
  const graph = modelOf(
    {
      inputs: [value("x", ["batch", 4])],
      outputs: [value("y", ["batch", 4])],
      initializers: [weight("w", [2], [1, 0.1]), big, zeroTensor("none", OnnxType.FLOAT, [512n])],
      nodes: [
        node("h, _ = com.example.Op(x, _, w)", {
          axis: -1,
          eps: 1e-5,
          mode: "fast",
          list: [1, 2],
          c: weight("", [1], [7]),
        }),
        node("y = If(h)", { then_branch: graphOf({ outputs: ["h2"], nodes: [node("h2 = Neg(h)")] }, "then") }),
      ],
    },
    { opsetImport: [opset(17), opset(1, "com.example")] },
  );
  const text = `onnx ir 8, ai.onnx 17, com.example 1
graph g
input x: F32 [batch, 4]
initializer w: F32 [2] [1, 0.1]
initializer big: F16 [1024] model.onnx+64
initializer none: F32 [512] zeros
h, _ = com.example.Op(x, _, w) axis=-1 c=F32 [1] [7] eps=0.00001 list=[1, 2] mode="fast"
y = If(h)
  then_branch:
    graph then
    h2 = Neg(h)
    output h2: F32 []
output y: F32 [batch, 4]
`;
  t.equal(printGraph(graph), text);
  t.equal(printGraph(graph, { places: false }), text.replace(" model.onnx+64", ""));
});

t.test(
  "functions are put where they are called: fresh names, the call's attributes or the function's defaults",
  async (t) => {
    const ref = (name: string, from: string) =>
      create(AttributeProtoSchema, { name, refAttrName: from, type: AttributeType.INT });
    const branch = graphOf({ outputs: ["inner"], nodes: [node("inner = Softmax(h)", [ref("axis", "axis")])] });
    const outer = functionOf(
      "out, again, through = local.Outer(a, b)",
      [
        node("h = local.Inner(a)", [ref("axis", "axis")], "call"),
        node("out = If(b)", { then_branch: branch }),
        node("again = Sum(h, b)", [ref("gone", "gone")]),
      ],
      {
        output: ["out", "again", "a"],
        attributeProto: [attribute("axis", 5)],
        attribute: ["gone"],
        opsetImport: [opset(17), opset(1, "local")],
      },
    );
    const inner = functionOf("r = local.Inner(p)", [node("t = Neg(p)"), node("r = Softmax(t)", [ref("axis", "axis")])]);
    const graph = modelOf(
      {
        inputs: ["x", "c", "one/t"],
        outputs: ["y", "z", "same"],
        nodes: [node("y, _, same = local.Outer(x, c)", { axis: 2 }, "one"), node("_, z = local.Outer(y, _)")],
      },
      { functions: [outer, inner], opsetImport: [opset(17), opset(1, "local")] },
    );
    checkGraph(graph);
    const inlined = inlineFunctions(graph);
    checkGraph(inlined);
    t.equal(
      printGraph(inlined),
      `onnx ir 8, ai.onnx 17
graph g
input x: F32 []
input c: F32 []
input one/t: F32 []
one/call/t = Neg(x)
one/h = Softmax(one/call/t) axis=2
y = If(c)
  then_branch:
    graph g
    one/inner = Softmax(one/h) axis=2
    output one/inner: F32 []
one/again = Sum(one/h, c)
same = Identity(x)
Outer/call/t = Neg(y)
Outer/h = Softmax(Outer/call/t) axis=5
Outer/out = If(_)
  then_branch:
    graph g
    Outer/inner = Softmax(Outer/h) axis=5
    output Outer/inner: F32 []
z = Sum(Outer/h, _)
output y: F32 []
output z: F32 []
output same: F32 []
`,
    );
    t.equal(graph.model.functions.length, 2, "the graph that was given is as it was");
    t.equal(inlineFunctions(inlined), inlined);
  },
);

t.test("functions that call themselves, grow without end or need other operators are refused", async (t) => {
  const call = (name: string) => node(`y = local.${name}(x)`, {}, "n");
  const model = (...functions: ReturnType<typeof functionOf>[]) =>
    modelOf(
      { inputs: ["x"], outputs: ["y"], nodes: [call("F0")] },
      { functions, opsetImport: [opset(17), opset(1, "local")] },
    );
  const fix = "Inline the functions with onnx.inliner first.";
  t.equal(
    refused(() =>
      inlineFunctions(model(functionOf("y = local.F0(x)", [call("F1")]), functionOf("y = local.F1(x)", [call("F0")]))),
    ),
    `damaged: node "n" (F0): calls function "F0" from inside itself / ${fix}`,
  );
  const twice = Array.from({ length: 40 }, (_, at) =>
    functionOf(`y = local.F${at}(x)`, [node(`a = local.F${at + 1}(x)`), node(`y = local.F${at + 1}(a)`)]),
  );
  t.match(
    refused(() => inlineFunctions(model(...twice))),
    /^unsupported: graph "g": makes more than 1000000 nodes when its functions are inlined/,
  );
  const deep = Array.from({ length: 200 }, (_, at) =>
    functionOf(`y = local.F${at}(x)`, [node(`y = local.F${at + 1}(x)`)]),
  );
  t.match(
    refused(() => inlineFunctions(model(...deep))),
    /^unsupported: node .*: is inside 100 functions; no more are supported/,
  );
  t.equal(
    refused(() =>
      inlineFunctions(model(functionOf("y = local.F0(x)", [node("y = Neg(x)")], { opsetImport: [opset(18)] }))),
    ),
    'unsupported: function "F0": uses version 18 of ai.onnx, but the model uses 17 / Inline the functions with onnx.inliner (convert_version=True) first.',
  );
  t.equal(
    refused(() => inlineFunctions(model(functionOf("y = local.F0()", [node("y = Neg(x)")])))),
    `damaged: node "n" (F0): has 1 inputs and 1 outputs; the function has 0 inputs and 1 outputs / ${fix}`,
  );
  t.equal(
    refused(() => inlineFunctions(model(functionOf("y = local.F0(x)", [node("y = Neg(w)")])))),
    'damaged: node "n" (F0): function "F0" reads "w", which nothing makes / Export the model again.',
  );
});

t.test("tensors are found wherever a model keeps them", async (t) => {
  const graph = modelOf(
    {
      initializers: [weight("a", [1], [1])],
      nodes: [
        node("x = Constant()", { value: weight("b", [1], [1]) }),
        node("y = If(x)", { then_branch: graphOf({ initializers: [weight("c", [1], [1])] }) }),
      ],
    },
    { functions: [functionOf("y = local.F(x)", [node("x = Constant()", { value: weight("d", [1], [1]) })])] },
  );
  t.same(
    [...tensorsOf(graph.model)].map(({ name }) => name),
    ["a", "b", "c", "d"],
  );
});
