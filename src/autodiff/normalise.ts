// What specialisation starts from: functions inlined, constants as tensors, inputs of fixed shapes, one version of the operators.
// Reads no weights.
import { ExpandError, quote } from "../errors.ts";
import { attributeOf, nodeLabel } from "../graph/attributes.ts";
import { externalRange, type Graph } from "../graph/graph.ts";
import { inlineFunctions } from "../graph/inline.ts";
import { clone, type NodeProto, OnnxType, type TensorProto, TensorProtoSchema } from "../graph/onnx.ts";
import { sortNodes } from "../graph/sort.ts";
import { definitionsOf, domainOf, readsOf } from "../graph/walk.ts";
import type { Value, Values } from "../runtime/values.ts";
import type { ByteSource } from "../tensor/source.ts";
import { chosenBranches } from "./branches.ts";
import { tensorOf } from "./evaluate.ts";
import { numbersIn, tensorFrom } from "./numbers.ts";
import { RAISED, raised } from "./raise.ts";
import type { ValueType } from "./types/type.ts";

export interface Plain {
  readonly opset: number;
  readonly domains: ReadonlyMap<string, number>;
  readonly files: ReadonlyMap<string, ByteSource>;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Nodes that the outputs need, in topological order. */
  readonly nodes: readonly NodeProto[];
  /** Initializers that are not known: in files, or said to vary. */
  readonly weights: ReadonlyMap<string, TensorProto>;
  readonly constants: ReadonlyMap<string, TensorProto>;
  /** Of inputs that vary, and of weights. */
  readonly types: ReadonlyMap<string, ValueType>;
}

export interface Fixing {
  readonly feeds: Values;
  readonly varying: ReadonlySet<string>;
  readonly wanted: readonly string[];
}

/** Throws "unsupported" for operators of versions before 13, "input" where an input has no example. */
export function normalise(source: Graph, { feeds, varying, wanted }: Fixing): Plain {
  const { model, files } = inlineFunctions(source);
  const { graph } = model;
  if (graph === undefined)
    throw new ExpandError("damaged", "has no graph", { at: "the model", fix: "Export the model again." });
  const domains = new Map(model.opsetImport.map(({ domain, version }) => [domainOf(domain), Number(version)]));
  const opset = domains.get("") ?? 1;
  domains.delete("");
  const split: Split = { weights: new Map(), constants: new Map(), types: new Map() };
  for (const tensor of graph.initializer) sortIn(split, tensor, varying);
  const inputs = graph.input.flatMap(({ name }) => (takeInput(split, name, feeds[name], varying) ? [name] : []));
  const plain = withoutConstants(split, graph.node, varying);
  const branches = chosenBranches(plain, new Set(definitionsOf(graph)), (name) => holds(split.constants.get(name)));
  for (const tensor of branches.initializers) sortIn(split, tensor, varying);
  const nodes = sortNodes(withoutConstants(split, branches.nodes, varying));
  const outputs = new Set(graph.output.map(({ name }) => name));
  for (const name of wanted)
    if (!outputs.has(name)) throw new ExpandError("bug", `the graph has no output ${quote(name)}`);
  const needed = raised(neededBy(nodes, wanted), opset, split.constants);
  return { opset: Math.max(opset, RAISED), domains, files, inputs, outputs: wanted, nodes: needed, ...split };
}

/** True for an input that stays one. */
function takeInput(split: Split, name: string, value: Value | undefined, varying: ReadonlySet<string>): boolean {
  // Before IR version 4 weights are inputs, too.
  if (value === undefined && (split.weights.has(name) || split.constants.has(name))) return false;
  if (value === undefined) {
    throw new ExpandError("input", "has no example value", {
      at: `input ${quote(name)}`,
      fix: "Give a value of the type and shape that the model is to run with.",
    });
  }
  const tensor = tensorOf(name, value);
  if (varying.has(name)) split.types.set(name, { type: tensor.dataType, shape: value.shape });
  else split.constants.set(name, tensor);
  return varying.has(name);
}

function withoutConstants(split: Split, nodes: readonly NodeProto[], varying: ReadonlySet<string>): NodeProto[] {
  return nodes.filter((node) => !takeConstant(split, node, varying));
}

function holds(condition: TensorProto | undefined): boolean | undefined {
  const value = condition === undefined ? undefined : numbersIn(condition)?.[0];
  return value === undefined ? undefined : value !== 0;
}

interface Split {
  readonly weights: Map<string, TensorProto>;
  readonly constants: Map<string, TensorProto>;
  readonly types: Map<string, ValueType>;
}

function sortIn({ weights, constants, types }: Split, tensor: TensorProto, varying: ReadonlySet<string>): void {
  const isKnown = externalRange(tensor) === undefined && tensor.dataType !== OnnxType.BFLOAT16;
  if (isKnown && !varying.has(tensor.name)) {
    constants.set(tensor.name, clone(TensorProtoSchema, tensor));
    return;
  }
  weights.set(tensor.name, tensor);
  types.set(tensor.name, { type: tensor.dataType, shape: tensor.dims.map(Number) });
}

/** A Constant node becomes an initializer of its output's name. */
function takeConstant(split: Split, node: NodeProto, varying: ReadonlySet<string>): boolean {
  if (node.opType !== "Constant" || domainOf(node.domain) !== "") return false;
  const tensor = constantTensor(node);
  if (tensor === undefined) return false;
  tensor.name = node.output[0] ?? "";
  sortIn(split, tensor, varying);
  return true;
}

function constantTensor(node: NodeProto): TensorProto | undefined {
  const [name, float] = [node.output[0] ?? "", OnnxType.FLOAT];
  const value = attributeOf(node, "value")?.t;
  if (value !== undefined) return clone(TensorProtoSchema, value);
  const [f, i] = [attributeOf(node, "value_float"), attributeOf(node, "value_int")];
  if (f !== undefined) return tensorFrom(name, float, [], [f.f]);
  if (i !== undefined) return tensorFrom(name, OnnxType.INT64, [], [Number(i.i)]);
  const [fs, is] = [attributeOf(node, "value_floats"), attributeOf(node, "value_ints")];
  if (fs !== undefined) return tensorFrom(name, float, [fs.floats.length], fs.floats);
  if (is !== undefined) return tensorFrom(name, OnnxType.INT64, [is.ints.length], is.ints.map(Number));
  throw new ExpandError("unsupported", "holds no tensor of numbers", {
    at: nodeLabel(node),
    fix: "Export the model again.",
  });
}

function neededBy(nodes: readonly NodeProto[], outputs: readonly string[]): readonly NodeProto[] {
  const needed = new Set(outputs);
  const kept: NodeProto[] = [];
  for (const node of [...nodes].reverse()) {
    if (!node.output.some((name) => needed.has(name))) continue;
    kept.push(node);
    for (const name of readsOf(node)) needed.add(name);
  }
  return kept.reverse();
}
