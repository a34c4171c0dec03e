// A tape as a model: what its outputs need and nothing else. Never changes the tape.
import { attribute } from "../graph/attributes.ts";
import type { Graph } from "../graph/graph.ts";
import {
  create,
  type GraphProto,
  GraphProtoSchema,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  OperatorSetIdProtoSchema,
  type TensorProto,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from "../graph/onnx.ts";
import { domainOf, readsOf } from "../graph/walk.ts";
import type { ValueType } from "./types/type.ts";

/** A number is an INT where it is whole and no `{ float }` says otherwise. */
export type Attributes = Readonly<
  Record<string, number | string | readonly number[] | { readonly float: number } | GraphProto>
>;

/** The oldest IR version whose readers must know opset 23. */
const IR_VERSION = 11n;

/** What of a tape becomes a model. */
interface Recorded {
  readonly opset: number;
  readonly domains: ReadonlyMap<string, number>;
  readonly files: Graph["files"];
  readonly inputs: ReadonlySet<string>;
  readonly outputs: ReadonlyMap<string, string>;
  readonly initializers: ReadonlyMap<string, TensorProto>;
  readonly nodes: readonly NodeProto[];
  typeOf(value: string): ValueType;
}

export function graphOf(tape: Recorded, name: string): Graph {
  const needed = new Set(tape.outputs.values());
  const nodes: NodeProto[] = [];
  for (const node of [...tape.nodes].reverse()) {
    if (!node.output.some((output) => needed.has(output))) continue;
    nodes.push(node);
    for (const read of readsOf(node)) needed.add(read);
  }
  nodes.reverse();
  const made = new Set(nodes.flatMap(({ output }) => output));
  for (const [output, value] of tape.outputs) {
    if (output === value && made.has(value)) continue;
    nodes.push(
      create(NodeProtoSchema, { opType: "Identity", name: `@output/${output}`, input: [value], output: [output] }),
    );
  }
  const graph = create(GraphProtoSchema, {
    name,
    node: nodes,
    initializer: [...tape.initializers.values()].filter((tensor) => needed.has(tensor.name)),
    input: [...tape.inputs].filter((input) => needed.has(input)).map((input) => valueInfo(input, tape.typeOf(input))),
    output: [...tape.outputs].map(([output, value]) => valueInfo(output, tape.typeOf(value))),
  });
  const used = new Set(nodes.map(({ domain }) => domainOf(domain)).filter((domain) => domain !== ""));
  const opset = (domain: string, version: number) =>
    create(OperatorSetIdProtoSchema, { domain, version: BigInt(version) });
  const opsetImport = [opset("", tape.opset), ...[...used].map((each) => opset(each, tape.domains.get(each) ?? 1))];
  const model = create(ModelProtoSchema, {
    irVersion: IR_VERSION,
    producerName: "expand-checkpoint",
    graph,
    opsetImport,
  });
  return { model, files: tape.files };
}

/** An input or output of static shape. */
export function valueInfo(name: string, { type, shape }: ValueType): ValueInfoProto {
  const dim = shape.map((size) =>
    create(TensorShapeProto_DimensionSchema, { value: { case: "dimValue", value: BigInt(size) } }),
  );
  const value = create(TypeProto_TensorSchema, { elemType: type, shape: create(TensorShapeProtoSchema, { dim }) });
  return create(ValueInfoProtoSchema, {
    name,
    type: create(TypeProtoSchema, { value: { case: "tensorType", value } }),
  });
}

/** The same node with some of its fields changed; attributes are shared. A spread would lose the defaults, which stand on the prototype. */
export function nodeLike(
  node: NodeProto,
  changes: Partial<Pick<NodeProto, "name" | "input" | "output" | "attribute">>,
): NodeProto {
  const { name, opType, domain, overload, docString, input, output, attribute } = node;
  return create(NodeProtoSchema, { name, opType, domain, overload, docString, input, output, attribute, ...changes });
}

/** A node that is called as its first output. */
export function nodeOf(
  { domain, opType }: { readonly domain: string; readonly opType: string },
  input: readonly string[],
  output: readonly string[],
  attributes: Attributes,
): NodeProto {
  return create(NodeProtoSchema, {
    name: output.find((name) => name !== "") ?? "",
    domain,
    opType,
    input: [...input],
    output: [...output],
    attribute: Object.entries(attributes).map(([key, value]) => {
      const isFloat = typeof value === "object" && "float" in value;
      return isFloat ? attribute(key, value.float, "float") : attribute(key, value);
    }),
  });
}
