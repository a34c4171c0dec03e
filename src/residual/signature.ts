// Digests of a graph's segments that are equal when the segments do the same to their input, whatever their names and weights.
import { createHash } from "node:crypto";
import {
  type AttributeProto,
  AttributeType,
  type GraphProto,
  type NodeProto,
  OnnxType,
  type TensorProto,
} from "../graph/onnx.ts";
import { definitionsOf, domainOf } from "../graph/walk.ts";
import type { Body } from "./body.ts";
import { type Chain, SHARED } from "./chain.ts";
import { inlineBytes, sizeOf } from "./values.ts";

/** "structure": weights count by type and shape. "exact": numbers of up to 4 elements, and which shared values are read, count too. */
export type Detail = "structure" | "exact";

const COMMUTATIVE: ReadonlySet<string> = new Set([
  "Add",
  "Mul",
  "Sum",
  "And",
  "Or",
  "Xor",
  "Equal",
  "Max",
  "Min",
  "Mean",
]);
/** Norms come from ai.onnx or from com.microsoft, with or without what is the default anyway. */
const NORM = /(?:Layer|RMS)Normalization$/;
const NORM_DEFAULTS: ReadonlyMap<string, string> = new Map([
  ["axis", "axis=-1"],
  ["stash_type", "stash_type=1"],
  ["epsilon", `epsilon=${Math.fround(1e-5)}`],
]);
/** Integers this few are axes and shapes, and count by value. */
const FEW_INTEGERS = 16;
const FEW_FLOATS = 4;

/** What a node does to what it reads. */
export function operation(node: NodeProto): string {
  const norm = NORM.test(node.opType);
  const attributes = node.attribute.map((each) => attributeText(each, new Map()));
  const plain = norm ? attributes.filter((text) => ![...NORM_DEFAULTS.values()].includes(text)) : attributes;
  return [norm ? "" : domainOf(node.domain), node.opType, node.overload, node.output.length, ...plain.sort()].join(" ");
}

/** One digest a segment. */
export function signatures(body: Body, chain: Chain, detail: Detail): readonly string[] {
  const values = valueDigests(body, chain, detail);
  return chain.segments.map((nodes, segment) => {
    const made = nodes.flatMap((node) => body.nodes[node]?.output ?? []);
    const outputs = made.filter((name) => body.outputs.has(name)).map((name) => values.get(name) ?? "");
    return digest([values.get(chain.cuts[segment + 1] ?? "") ?? "", ...outputs.sort()]);
  });
}

/** For each value made in a segment, a digest of how it is made from the segment's input. */
export function valueDigests(body: Body, chain: Chain, detail: Detail): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  for (const [index, node] of body.nodes.entries()) {
    const segment = chain.segmentOf[index] ?? SHARED;
    if (segment === SHARED) continue;
    const input = chain.cuts[segment];
    const own = (name: string): boolean => chain.segmentOf[body.makers.get(name) ?? -1] === segment;
    const text = (name: string): string => {
      if (name === "" || name === input) return name === "" ? "" : "input";
      return own(name) ? (values.get(name) ?? "") : foreign(body, name, detail);
    };
    // Inputs by slot, then what subgraphs take from outside.
    const captured = (body.reads[index] ?? []).slice(node.input.filter((name) => name !== "").length);
    const operands = [...node.input, ...captured].map(text);
    if (COMMUTATIVE.has(node.opType)) operands.sort();
    const made = digest([operation(node), ...operands]);
    for (const [slot, name] of node.output.entries()) if (name !== "") values.set(name, `${made}.${slot}`);
  }
  return values;
}

/** A value that a segment reads and does not make. */
function foreign(body: Body, name: string, detail: Detail): string {
  const tensor = body.initializers.get(name);
  if (tensor !== undefined) return constantText(tensor, detail);
  if (body.inputs.has(name)) return `graph input ${name.replace(/\d+/g, "#")}`;
  return detail === "exact" ? `shared ${name}` : "shared";
}

function constantText(tensor: TensorProto, detail: Detail): string {
  const { dataType, dims } = tensor;
  const integer = dataType === OnnxType.INT64 || dataType === OnnxType.INT32 || dataType === OnnxType.BOOL;
  const few = integer ? FEW_INTEGERS : detail === "exact" ? FEW_FLOATS : 0;
  const bytes = sizeOf(tensor) <= few ? inlineBytes(tensor) : undefined;
  return `constant ${dataType} [${dims}] ${bytes === undefined ? "" : Buffer.from(bytes).toString("hex")}`;
}

/** `locals`: names inside of a subgraph, as numbers. */
function attributeText(attribute: AttributeProto, locals: ReadonlyMap<string, string>): string {
  const { name, type, i, f, s, t, ints, floats, strings } = attribute;
  if (type === AttributeType.INT) return `${name}=${i}`;
  if (type === AttributeType.FLOAT) return `${name}=${f}`;
  if (type === AttributeType.STRING) return `${name}=${Buffer.from(s).toString("hex")}`;
  if (type === AttributeType.INTS) return `${name}=${ints}`;
  if (type === AttributeType.FLOATS) return `${name}=${floats}`;
  if (type === AttributeType.STRINGS) return `${name}=${strings.map((each) => Buffer.from(each).toString("hex"))}`;
  if (t !== undefined) return `${name}=${constantText(t, "exact")}`;
  const graphs = attribute.g === undefined ? attribute.graphs : [attribute.g, ...attribute.graphs];
  return `${name}=${graphs.map((graph) => subgraphText(graph, locals))}`;
}

/** Names of a subgraph are its own business; those from outside are told apart by the order in which they are read. */
function subgraphText(graph: GraphProto, outer: ReadonlyMap<string, string>): string {
  const names = new Map(outer);
  for (const name of definitionsOf(graph)) names.set(name, `%${names.size}`);
  const label = (name: string): string => {
    if (name === "") return "";
    if (!names.has(name)) names.set(name, `^${names.size}`);
    return names.get(name) ?? "";
  };
  const nodes = graph.node.map((node) => {
    const attributes = node.attribute.map((each) => attributeText(each, names)).sort();
    return `${node.output.map(label)}=${domainOf(node.domain)} ${node.opType}(${node.input.map(label)}) ${attributes}`;
  });
  const constants = graph.initializer.map((tensor) => `${label(tensor.name)}:${constantText(tensor, "exact")}`);
  return `{${graph.input.map(({ name }) => label(name))};${constants};${nodes.join(";")};${graph.output.map(({ name }) => label(name))}}`;
}

export function digest(parts: readonly string[]): string {
  return createHash("sha1").update(parts.join("\n")).digest("base64");
}
