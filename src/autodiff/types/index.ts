// The table of operators whose types are computed here: those that rules and lowerings emit, and the common composites. Never runs one.
import type { NodeProto } from "../../graph/onnx.ts";
import { domainOf } from "../../graph/walk.ts";
import { COMPOSITES } from "./composites.ts";
import { ELEMENTWISE } from "./elementwise.ts";
import { MATRIX } from "./matrix.ts";
import { MOVEMENT } from "./movement.ts";
import { REDUCTION } from "./reduction.ts";
import type { TypeRow } from "./type.ts";

const ROWS: ReadonlyMap<string, TypeRow> = new Map(
  Object.entries({ ...ELEMENTWISE, ...MATRIX, ...MOVEMENT, ...REDUCTION, ...COMPOSITES }),
);

/** "Add", or "com.microsoft.FusedMatMul". */
export function operatorOf({ domain, opType }: NodeProto): string {
  return domainOf(domain) === "" ? opType : `${domain}.${opType}`;
}

/** How the types of the outputs of a node follow; undefined for an operator that is not in the table. */
export function typeRowOf(node: NodeProto): TypeRow | undefined {
  return ROWS.get(operatorOf(node));
}
