// Attributes of a node by name, with the operator's default where they are absent. Never reads a tensor's data.
import { ExpandError, quote } from "../errors.ts";
import {
  type AttributeProto,
  AttributeProtoSchema,
  AttributeType,
  create,
  type GraphProto,
  type NodeProto,
  type TensorProto,
} from "./onnx.ts";

export function attributeOf(node: NodeProto, name: string): AttributeProto | undefined {
  return node.attribute.find((attribute) => attribute.name === name);
}

/** An INT as a number. Throws "damaged" for one beyond 2^53, and for an attribute of another type. */
export function intAttribute<Absent extends number | undefined>(
  node: NodeProto,
  name: string,
  absent: Absent,
): number | Absent {
  const found = typed(node, name, AttributeType.INT);
  return found === undefined ? absent : exact(node, name, found.i);
}

export function floatAttribute<Absent extends number | undefined>(
  node: NodeProto,
  name: string,
  absent: Absent,
): number | Absent {
  return typed(node, name, AttributeType.FLOAT)?.f ?? absent;
}

export function stringAttribute<Absent extends string | undefined>(
  node: NodeProto,
  name: string,
  absent: Absent,
): string | Absent {
  const found = typed(node, name, AttributeType.STRING);
  return found === undefined ? absent : Buffer.from(found.s).toString("utf8");
}

export function intsAttribute<Absent extends readonly number[] | undefined>(
  node: NodeProto,
  name: string,
  absent: Absent,
): readonly number[] | Absent {
  const found = typed(node, name, AttributeType.INTS);
  return found === undefined ? absent : found.ints.map((value) => exact(node, name, value));
}

export function floatsAttribute<Absent extends readonly number[] | undefined>(
  node: NodeProto,
  name: string,
  absent: Absent,
): readonly number[] | Absent {
  return typed(node, name, AttributeType.FLOATS)?.floats ?? absent;
}

export function tensorAttribute(node: NodeProto, name: string): TensorProto | undefined {
  return typed(node, name, AttributeType.TENSOR)?.t;
}

/** The graphs that a node holds (`If`, `Loop`, `Scan`), in the order of its attributes. */
export function graphAttributes(node: NodeProto): readonly GraphProto[] {
  return node.attribute.flatMap(({ g, graphs }) => (g === undefined ? graphs : [g, ...graphs]));
}

/** An attribute of the type that fits the value: whole numbers and bigints are INT, so say `float` for a FLOAT that may be whole. */
export function attribute(
  name: string,
  value: number | bigint | string | readonly number[] | readonly bigint[] | TensorProto | GraphProto,
  kind?: "float" | "int",
): AttributeProto {
  return create(AttributeProtoSchema, { name, ...fieldsOf(value, kind) });
}

function fieldsOf(value: Parameters<typeof attribute>[1], kind: "float" | "int" | undefined) {
  if (typeof value === "bigint") return { type: AttributeType.INT, i: value };
  if (typeof value === "string") return { type: AttributeType.STRING, s: Uint8Array.from(Buffer.from(value)) };
  if (typeof value === "number") {
    if (kind === "float" || (kind === undefined && !Number.isInteger(value)))
      return { type: AttributeType.FLOAT, f: value };
    return { type: AttributeType.INT, i: BigInt(value) };
  }
  if ("$typeName" in value) {
    if (value.$typeName === "onnx.GraphProto") return { type: AttributeType.GRAPH, g: value };
    return { type: AttributeType.TENSOR, t: value };
  }
  const values = value.map(Number);
  if (kind === "float" || (kind === undefined && values.some((each) => !Number.isInteger(each)))) {
    return { type: AttributeType.FLOATS, floats: values };
  }
  return { type: AttributeType.INTS, ints: value.map(BigInt) };
}

/** IR versions 1 and 2 leave `type` out; the value then says it. */
function typed(node: NodeProto, name: string, type: AttributeType): AttributeProto | undefined {
  const found = attributeOf(node, name);
  if (found === undefined || found.type === type || found.type === AttributeType.UNDEFINED) return found;
  throw new ExpandError(
    "damaged",
    `attribute ${quote(name)} is of type ${AttributeType[found.type] ?? found.type}; ${AttributeType[type]} was expected`,
    { at: nodeLabel(node), fix: "Export the model again." },
  );
}

function exact(node: NodeProto, name: string, value: bigint): number {
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  // INT64_MAX and INT64_MIN say "to the end" in Slice and the like: any number beyond all sizes serves.
  if (value >= 2n ** 62n) return Number.MAX_SAFE_INTEGER;
  if (value <= -(2n ** 62n)) return Number.MIN_SAFE_INTEGER;
  throw new ExpandError("damaged", `attribute ${quote(name)} is ${value}; a number below 2^53 was expected`, {
    at: nodeLabel(node),
    fix: "Export the model again.",
  });
}

/** What errors call a node: its name, else its first output. */
export function nodeLabel(node: NodeProto): string {
  const name =
    node.name === "" ? `making ${quote(node.output.find((output) => output !== "") ?? "")}` : quote(node.name);
  return `node ${name} (${node.opType})`;
}
