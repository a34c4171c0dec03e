// What our own check of a graph refuses: everything that a runtime would take in silence and compute wrongly.
import t from "tap";
import { ExpandError } from "../../src/errors.ts";
import { checkGraph } from "../../src/graph/check.ts";
import { type Graph, referTo, tensorAt } from "../../src/graph/graph.ts";
import { create, ModelProtoSchema, SparseTensorProtoSchema } from "../../src/graph/onnx.ts";
import { memorySource } from "../../src/tensor/source.ts";
import { functionOf, graphOf, modelOf, node, opset, type Parts, weight } from "./models.ts";

function refused(graph: Graph): string {
  try {
    checkGraph(graph);
    return "nothing was refused";
  } catch (error) {
    if (!(error instanceof ExpandError)) throw error;
    return `${error.tag}: ${error.message} / ${error.fix}`;
  }
}

const FIX = "Export the model again.";
const w = weight("w", [1], [1]);
const cond = (then: Parts): ReturnType<typeof node> => node("y = If(x)", { then_branch: graphOf(then, "then") }, "if");

/** [what the graph does, the graph, the refusal without its fix] */
const PARTS: readonly (readonly [string, Parts, string])[] = [
  [
    "defines an initializer and a node's output of one name",
    { initializers: [w], nodes: [node("w = Neg(w)")] },
    'value "w": is defined twice in graph "g"',
  ],
  ["has an initializer twice", { initializers: [w, w] }, 'value "w": is defined twice in graph "g"'],
  [
    "has the default of an input twice",
    { inputs: ["w"], initializers: [w, w] },
    'initializer "w": is there twice in graph "g"',
  ],
  [
    "makes a value in two nodes",
    { inputs: ["x"], nodes: [node("y = Neg(x)"), node("y = Abs(x)")] },
    'value "y": is defined twice in graph "g"',
  ],
  ["has an input twice", { inputs: ["x", "x"] }, 'value "x": is defined twice in graph "g"'],
  ["has an input without a name", { inputs: [""] }, 'graph "g": has an input or an initializer without a name'],
  [
    "hides a value of the graph around",
    { inputs: ["x"], nodes: [cond({ outputs: ["x"], nodes: [node("x = Neg(x)")] })] },
    'value "x": is defined in graph "then" and in a graph around it',
  ],
  [
    "reads what nothing makes",
    { nodes: [node("y = Neg(x)", {}, "n")] },
    'node "n" (Neg): reads "x", which nothing makes',
  ],
  [
    "reads in a branch what nothing makes",
    { inputs: ["x"], nodes: [cond({ outputs: ["z"], nodes: [node("z = Neg(q)")] })] },
    'node making "z" (Neg): reads "q", which nothing makes',
  ],
  [
    "reads a value before it is made",
    { inputs: ["x"], nodes: [node("z = Neg(y)"), node("y = Abs(x)")] },
    'node making "z" (Neg): reads "y" before the node that makes it',
  ],
  [
    "reads in a branch what is made later",
    { inputs: ["x"], nodes: [cond({ outputs: ["z"], nodes: [node("z = Neg(late)")] }), node("late = Abs(x)")] },
    'node making "z" (Neg): reads "late" before the node that makes it',
  ],
  [
    "goes round in a circle",
    { inputs: ["x"], nodes: [node("z = Add(x, y)"), node("y = Abs(z)")] },
    'node making "y" (Abs): reads what is made from its own output: the graph has a cycle',
  ],
  ["hands out what nothing makes", { outputs: ["y"] }, 'output "y": is made by nothing in graph "g"'],
  [
    "hands out of a branch what nothing makes",
    { inputs: ["x"], nodes: [cond({ outputs: ["q"] })] },
    'output "q": is made by nothing in graph "then"',
  ],
  [
    "reads in the graph around what a branch makes",
    { inputs: ["x"], outputs: ["z"], nodes: [cond({ outputs: ["z"], nodes: [node("z = Neg(x)")] })] },
    'output "z": is made by nothing in graph "g"',
  ],
  [
    "uses a domain that is not imported",
    { inputs: ["x"], nodes: [node("y = com.example.Op(x)")] },
    'node making "y" (Op): is of domain "com.example", which is not imported',
  ],
  [
    "uses one in a branch",
    { inputs: ["x"], nodes: [cond({ outputs: ["z"], nodes: [node("z = other.Op(x)")] })] },
    'node making "z" (Op): is of domain "other", which is not imported',
  ],
];

t.test("each fault of a graph is refused with its own message", async (t) => {
  for (const [title, parts, message] of PARTS)
    t.equal(refused(modelOf(parts)), `damaged: ${message} / ${FIX}`, `a graph that ${title}`);
});

t.test("so is each fault of a model", async (t) => {
  const body = (name: string) => functionOf(`y = local.${name}(x)`, [node("y = Neg(x)")]);
  const cases: readonly (readonly [Graph, string])[] = [
    [{ model: create(ModelProtoSchema, {}), files: new Map() }, "the model: has no graph"],
    [
      modelOf({}, { opsetImport: [opset(1), opset(2, "ai.onnx")] }),
      'the model: imports operators of domain "ai.onnx" twice',
    ],
    [modelOf({}, { functions: [body("F"), body("F")] }), 'function "F": is there twice'],
    [
      modelOf({}, { functions: [functionOf("y = local.F(x)", [node("y = Neg(w)")])] }),
      'node making "y" (Neg): reads "w", which nothing makes',
    ],
    [
      modelOf({}, { functions: [functionOf("y = local.F(x)", [node("y = Neg(x)")], { opsetImport: [] })] }),
      'node making "y" (Neg): is of domain "ai.onnx", which is not imported',
    ],
  ];
  for (const [graph, message] of cases) t.equal(refused(graph), `damaged: ${message} / ${FIX}`);
});

t.test("external data must lie inside the directory and inside its file", async (t) => {
  const files = new Map([["data", memorySource("data", new Uint8Array(8))]]);
  const at = (location: string, offset: number) =>
    tensorAt("w", { dtype: "F32", shape: [1], bytes: 4 }, location, offset);
  t.equal(refused(modelOf({ initializers: [at("data", 4)] }, {}, files)), "nothing was refused");
  t.equal(
    refused(modelOf({ initializers: [at("data", 5)] }, {}, files)),
    'damaged: tensor "w": ends at byte 9 of "data", but the file has 8 / Download the file again; it is cut short.',
  );
  t.equal(
    refused(modelOf({ initializers: [at("../data", 0)] }, {}, files)),
    `damaged: tensor "w": is in "../data", which is not a plain path inside the directory / ${FIX}`,
  );
  const constant = weight("c", [1], [1]);
  referTo(constant, "data", 0, 3);
  t.equal(
    refused(modelOf({ nodes: [node("y = Constant()", { value: constant })] }, {}, files)),
    'damaged: tensor "c": has 3 bytes of data; F32 [1] takes 4 / Download or export the model again.',
    "also in a Constant",
  );
});

t.test(
  "what ONNX allows passes: defaults of inputs, branches that share names, outer values, left-out inputs, sparse weights",
  async (t) => {
    const branch = () => graphOf({ outputs: ["z"], nodes: [node("z = Add(x, w)")] });
    const graph = modelOf(
      {
        inputs: ["x", "w"],
        outputs: ["y", "s"],
        initializers: [w],
        nodes: [
          node("y = If(x)", { then_branch: branch(), else_branch: branch() }),
          node("s, _ = ai.onnx.Op(x, _, w)"),
        ],
      },
      { functions: [functionOf("y = local.F(x)", [node("y = Neg(x)")])] },
    );
    graph.model.graph?.sparseInitializer.push(
      create(SparseTensorProtoSchema, { values: weight("sparse", [1], [1]), dims: [4n] }),
    );
    t.equal(refused(graph), "nothing was refused");
    const merged = node("z = If(x)", { then_branch: branch(), else_branch: branch() });
    t.equal(
      refused(modelOf({ inputs: ["x"], initializers: [w], outputs: ["z"], nodes: [merged] })),
      "nothing was refused",
      "a branch may name its output as the node around it does",
    );
    const nodes = Array.from({ length: 50_000 }, (_, index) => node(`v${index + 1} = Neg(v${index})`));
    t.equal(
      refused(modelOf({ inputs: ["v0"], outputs: ["v50000"], nodes })),
      "nothing was refused",
      "50,000 nodes are no recursion",
    );
  },
);
