// Goes through a model: its graphs, its tensors, the names that a node reads. Recursion goes over nested graphs only, never over nodes.
import { graphAttributes } from "./attributes.ts";
import type { FunctionProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto } from "./onnx.ts";

/** Graphs nested deeper than this are refused when a file is read. */
export const MAX_NESTING = 100;

/** The names of domain "" and "ai.onnx" are one. */
export function domainOf(domain: string): string {
  return domain === "ai.onnx" ? "" : domain;
}

/** Every node of a list, and after it the nodes of its subgraphs. */
export function* nodesIn(nodes: readonly NodeProto[]): Generator<NodeProto, void, void> {
  for (const node of nodes) {
    yield node;
    for (const graph of graphAttributes(node)) yield* nodesIn(graph.node);
  }
}

/** The graphs of a model that are not in a node: the main one, and those of its training information. */
export function topGraphs(model: ModelProto): readonly GraphProto[] {
  const training = model.trainingInfo.flatMap(({ initialization, algorithm }) => [initialization, algorithm]);
  return [model.graph, ...training].filter((graph) => graph !== undefined);
}

/** Every tensor of a model: initializers, values and indices of sparse ones, and those of attributes, at any depth. */
export function* tensorsOf(model: ModelProto): Generator<TensorProto, void, void> {
  for (const graph of topGraphs(model)) yield* tensorsOfGraph(graph);
  for (const { node, attributeProto } of model.functions) yield* tensorsOfNodes(node, attributeProto);
}

function* tensorsOfGraph(graph: GraphProto): Generator<TensorProto, void, void> {
  yield* graph.initializer;
  yield* sparse(graph.sparseInitializer);
  yield* tensorsOfNodes(graph.node, []);
}

function* tensorsOfNodes(
  nodes: readonly NodeProto[],
  defaults: NodeProto["attribute"],
): Generator<TensorProto, void, void> {
  for (const attributes of [defaults, ...nodes.map(({ attribute }) => attribute)]) {
    for (const { t, tensors, sparseTensor, sparseTensors, g, graphs } of attributes) {
      if (t !== undefined) yield t;
      yield* tensors;
      if (sparseTensor !== undefined) yield* sparse([sparseTensor]);
      yield* sparse(sparseTensors);
      for (const graph of g === undefined ? graphs : [g, ...graphs]) yield* tensorsOfGraph(graph);
    }
  }
}

function* sparse(tensors: readonly SparseTensorProto[]): Generator<TensorProto, void, void> {
  for (const { values, indices } of tensors) {
    if (values !== undefined) yield values;
    if (indices !== undefined) yield indices;
  }
}

/** Names that a node reads: its inputs, then what its subgraphs take from outside. Left-out inputs ("") are not among them. */
export function readsOf(node: NodeProto): readonly string[] {
  const graphs = graphAttributes(node);
  const own = node.input.filter((name) => name !== "");
  return graphs.length === 0 ? own : [...own, ...graphs.flatMap((graph) => [...outerReads(graph)])];
}

/** Names that a subgraph takes from the graphs around it. */
export function outerReads(graph: GraphProto): ReadonlySet<string> {
  const reads = new Set(graph.node.flatMap(readsOf));
  for (const { name } of graph.output) reads.add(name);
  for (const name of definitionsOf(graph)) reads.delete(name);
  return reads;
}

/** Names that a graph or a function's body defines: inputs, initializers, outputs of nodes. A name comes as often as it is defined. */
export function* definitionsOf(body: GraphProto | FunctionProto): Generator<string, void, void> {
  if (body.$typeName === "onnx.FunctionProto") {
    yield* body.input;
  } else {
    const inputs = new Set(body.input.map(({ name }) => name));
    for (const { name } of body.input) yield name;
    // An initializer of an input's name is that input's default (IR 3 demands the pair), not a second definition.
    for (const { name } of body.initializer) if (!inputs.has(name)) yield name;
    for (const { values } of body.sparseInitializer) if (!inputs.has(values?.name ?? "")) yield values?.name ?? "";
  }
  for (const { output } of body.node) for (const name of output) if (name !== "") yield name;
}
