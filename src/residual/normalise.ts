// Brings a graph into the form that analysis needs: functions inlined, Constant nodes and Identity of an initializer turned into plain
// initializers. Computes the same; what is neither stays exactly as it was.

import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ExpandError } from "../errors.ts";
import { attributeOf, graphAttributes } from "../graph/attributes.ts";
import { cloneGraph, type Graph, tensorOf } from "../graph/graph.ts";
import { inlineFunctions } from "../graph/inline.ts";
import {
  AttributeType,
  clone,
  create,
  type GraphProto,
  type NodeProto,
  OnnxType,
  type TensorProto,
  TensorProtoSchema,
} from "../graph/onnx.ts";
import { domainOf } from "../graph/walk.ts";
import { renameValues } from "./rename.ts";

/** A new graph; the given one is not changed. A graph in this form already comes back equal. */
export function normaliseGraph(graph: Graph): Graph {
  const normal = inlineFunctions(cloneGraph(graph));
  const main = mainGraph(normal);
  const known = hoist(main, new Set());
  // Branches of a merged decoder hold whole models.
  for (const node of main.node)
    if (node.opType === "If") for (const inner of graphAttributes(node)) hoist(inner, known);
  return normal;
}

/** The same checkpoint with its graph in normal form, and the tensors of that graph. */
export function normaliseCheckpoint(checkpoint: Checkpoint): Checkpoint {
  if (checkpoint.graph === undefined) return checkpoint;
  const graph = normaliseGraph(checkpoint.graph);
  const tensors = new Map(
    mainGraph(graph)
      .initializer.filter(({ dataType }) => dataType !== OnnxType.STRING)
      .map((tensor) => [tensor.name, tensorOf(graph, tensor)]),
  );
  return { ...checkpoint, graph, tensors };
}

export function mainGraph({ model }: Graph): GraphProto {
  if (model.graph !== undefined) return model.graph;
  throw new ExpandError("damaged", "the model has no graph", { fix: "Export the model again." });
}

/** Returns the names of initializers that the graph and those around it have. */
function hoist(graph: GraphProto, outer: ReadonlySet<string>): ReadonlySet<string> {
  const outputs = new Set(graph.output.map(({ name }) => name));
  const inputs = new Set(graph.input.map(({ name }) => name));
  const initializers = new Set([...outer, ...graph.initializer.map(({ name }) => name)]);
  // A default of an input is no constant.
  for (const name of inputs) initializers.delete(name);
  const renamed = new Map<string, string>();
  const kept: NodeProto[] = [];
  for (const node of graph.node) {
    if (renamed.size > 0) renameValues(node, (name) => renamed.get(name) ?? name);
    const [input = "", [output = ""]] = [node.input[0], node.output];
    const plain = domainOf(node.domain) === "" && !outputs.has(output);
    const tensor = plain && node.opType === "Constant" ? constantTensor(node) : undefined;
    if (tensor !== undefined) {
      graph.initializer.push(tensor);
      initializers.add(output);
    } else if (plain && node.opType === "Identity" && initializers.has(input)) renamed.set(output, input);
    else kept.push(node);
  }
  graph.node = kept;
  return initializers;
}

/** The value of a Constant node under the name of its output; undefined for texts and sparse tensors. */
function constantTensor(node: NodeProto): TensorProto | undefined {
  const name = node.output[0] ?? "";
  const value = attributeOf(node, "value")?.t;
  if (value !== undefined) return Object.assign(clone(TensorProtoSchema, value), { name });
  const [attribute] = node.attribute;
  if (attribute === undefined) return undefined;
  const { type, i, f, ints, floats } = attribute;
  const make = (dataType: OnnxType, dims: bigint[], data: { int64Data: bigint[] } | { floatData: number[] }) =>
    create(TensorProtoSchema, { name, dataType, dims, ...data });
  if (type === AttributeType.INT) return make(OnnxType.INT64, [], { int64Data: [i] });
  if (type === AttributeType.FLOAT) return make(OnnxType.FLOAT, [], { floatData: [f] });
  if (type === AttributeType.INTS) return make(OnnxType.INT64, [BigInt(ints.length)], { int64Data: ints });
  if (type === AttributeType.FLOATS) return make(OnnxType.FLOAT, [BigInt(floats.length)], { floatData: floats });
  return undefined;
}
