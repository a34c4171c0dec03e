// Parts of a tape as bodies of Loops: nodes, and the values that go in and out of them. Constants stay in the main graph, which bodies read.
import { valueInfo } from "../../autodiff/message.ts";
import type { Tape, ValueType } from "../../autodiff/tape.ts";
import { attribute } from "../../graph/attributes.ts";
import type { Graph } from "../../graph/graph.ts";
import {
  create,
  type GraphProto,
  GraphProtoSchema,
  type ModelProto,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  OnnxType,
  OperatorSetIdProtoSchema,
} from "../../graph/onnx.ts";
import { domainOf, nodesIn, readsOf } from "../../graph/walk.ts";

/** Nodes in order, that make `outputs` of `inputs` and of what is outside. */
export interface Region {
  readonly nodes: readonly NodeProto[];
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
}

export const BOOL: ValueType = { type: OnnxType.BOOL, shape: [] };
export const COUNT: ValueType = { type: OnnxType.INT64, shape: [] };
export const NUMBER: ValueType = { type: OnnxType.FLOAT, shape: [] };

/** The nodes that these values need, in their order. */
export function neededFor(nodes: readonly NodeProto[], outputs: readonly string[]): readonly NodeProto[] {
  const needed = new Set(outputs);
  const found: NodeProto[] = [];
  for (const node of [...nodes].reverse()) {
    if (!node.output.some((output) => needed.has(output))) continue;
    found.push(node);
    for (const read of readsOf(node)) needed.add(read);
  }
  return found.reverse();
}

export function nodeOf(opType: string, input: readonly string[], output: readonly string[], axis?: number): NodeProto {
  const attributes = axis === undefined ? [] : [attribute("axis", axis)];
  const [name = ""] = output;
  return create(NodeProtoSchema, { name, opType, input: [...input], output: [...output], attribute: attributes });
}

/** Every name of an input or output is on the tape. */
export function graphProto(tape: Tape, name: string, { nodes, inputs, outputs }: Region): GraphProto {
  const info = (value: string) => valueInfo(value, tape.typeOf(value));
  return create(GraphProtoSchema, { name, node: [...nodes], input: inputs.map(info), output: outputs.map(info) });
}

/** A Loop without a condition of its own runs `trips` times; its outputs are those of the body but for the condition. */
export function loopNode(
  name: string,
  inputs: readonly string[],
  outputs: readonly string[],
  body: GraphProto,
): NodeProto {
  return create(NodeProtoSchema, {
    name,
    opType: "Loop",
    input: [...inputs],
    output: [...outputs],
    attribute: [attribute("body", body)],
  });
}

/** The region as a whole model, with the weights and constants of the tape. */
export function modelOf(tape: Tape, name: string, region: Region): Graph {
  const template: ModelProto = tape.toGraph(name).model;
  const read = new Set(region.nodes.flatMap(readsOf));
  const domains = new Set([...nodesIn(region.nodes)].map(({ domain }) => domainOf(domain)));
  const opsetImport = ["", ...[...domains].filter((domain) => domain !== "")].map((domain) =>
    create(OperatorSetIdProtoSchema, {
      domain,
      version: BigInt(domain === "" ? tape.opset : (tape.domains.get(domain) ?? 1)),
    }),
  );
  const graph = graphProto(tape, name, region);
  graph.initializer = [...tape.initializers.values()].filter((tensor) => read.has(tensor.name));
  return { model: create(ModelProtoSchema, { ...template, graph, opsetImport }), files: tape.files };
}
