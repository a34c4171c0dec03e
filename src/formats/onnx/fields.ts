// What the scan must know of each field of the ONNX schema: its wire types, and how to go through its contents. Reads no bytes.
import { type DescField, type DescMessage, ScalarType, TensorProtoSchema } from "../../graph/onnx.ts";
import { WIRE } from "./wire.ts";

export type FieldRule =
  | { readonly kind: "message"; readonly message: DescMessage }
  | { readonly kind: "text" }
  | { readonly kind: "raw" }
  | { readonly kind: "location" }
  | { readonly kind: "bytes" }
  /** Numbers; also packed, many in one field, where the field is repeated. `width` of a varint is 0. */
  | { readonly kind: "number"; readonly wire: number; readonly width: 0 | 4 | 8; readonly packable: boolean };

const RULES = new WeakMap<DescMessage, ReadonlyMap<number, FieldRule>>();

/** The fields of a message by number. */
export function rulesOf(message: DescMessage): ReadonlyMap<number, FieldRule> {
  const known = RULES.get(message);
  if (known !== undefined) return known;
  const rules = new Map(message.fields.map((field) => [field.number, ruleOf(message, field)]));
  RULES.set(message, rules);
  return rules;
}

function ruleOf(message: DescMessage, field: DescField): FieldRule {
  if (message === TensorProtoSchema && field.localName === "rawData") return { kind: "raw" };
  if (message === TensorProtoSchema && field.localName === "dataLocation") return { kind: "location" };
  const inner = "message" in field ? field.message : undefined;
  if (inner !== undefined) return { kind: "message", message: inner };
  const scalar = "scalar" in field ? field.scalar : undefined;
  switch (scalar) {
    case ScalarType.STRING:
      return { kind: "text" };
    case ScalarType.BYTES:
      return { kind: "bytes" };
    case ScalarType.FLOAT:
      return { kind: "number", wire: WIRE.fixed32, width: 4, packable: field.fieldKind === "list" };
    case ScalarType.DOUBLE:
      return { kind: "number", wire: WIRE.fixed64, width: 8, packable: field.fieldKind === "list" };
    default:
      return { kind: "number", wire: WIRE.varint, width: 0, packable: field.fieldKind === "list" };
  }
}
