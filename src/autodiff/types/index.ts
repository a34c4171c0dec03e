// The table of operators whose types are computed here: those that rules and lowerings emit, and the common composites. Never runs one.
import type { NodeProto } from "../../graph/onnx.ts";
import { domainOf } from "../../graph/walk.ts";
import { COMPOSITES } from "./composites.ts";
import { ELEMENTWISE } from "./elementwise.ts";
import { MATRIX } from "./matrix.ts";
import { MOVEMENT } from "./movement.ts";
import { REDUCTION } from "./reduction.ts";
import { NeedsConstant, type TypeRow, type ValueType } from "./type.ts";

const ROWS: ReadonlyMap<string, TypeRow> = new Map(
  Object.entries({ ...ELEMENTWISE, ...MATRIX, ...MOVEMENT, ...REDUCTION, ...COMPOSITES }),
);

/** "Add", or "com.microsoft.FusedMatMul". */
export function operatorOf({ domain, opType }: NodeProto): string {
  return domainOf(domain) === "" ? opType : `${domain}.${opType}`;
}

/** What is known of values when a node's types are asked for. */
export interface Lookup {
  /** Type of a value; throws for one that there is none. */
  typeOf(value: string): ValueType;
  /** Values of a constant; undefined for what is none. */
  numbersOf(value: string): readonly number[] | undefined;
}

/** Types of a node's outputs; undefined for an operator that is not in the table. Throws `NeedsConstant`. */
export function typesOf(
  node: NodeProto,
  opset: number,
  { typeOf, numbersOf }: Lookup,
): readonly ValueType[] | undefined {
  const name = (index: number): string => node.input[index] ?? "";
  return ROWS.get(operatorOf(node))?.({
    node,
    opset,
    type: (index) => typeOf(name(index)),
    has: (index) => name(index) !== "",
    numbers: (index) => {
      const values = numbersOf(name(index));
      if (values === undefined) throw new NeedsConstant(index);
      return values;
    },
  });
}
