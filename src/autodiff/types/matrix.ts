// Types of products of matrices.
import { ExpandError } from "../../errors.ts";
import { intAttribute, nodeLabel } from "../../graph/attributes.ts";
import type { NodeProto } from "../../graph/onnx.ts";
import { broadcast, type TypeRow } from "./type.ts";

/** [..., m, k] and [..., k, n] to [..., m, n]; a vector is a row on the left and a column on the right, and leaves no axis. */
function product(node: NodeProto, a: readonly number[], b: readonly number[]): readonly number[] {
  const [rows, inner] = a.length === 1 ? [[], a[0]] : [[a.at(-2) ?? 1], a.at(-1)];
  const [columns, outer] = b.length === 1 ? [[], b[0]] : [[b.at(-1) ?? 1], b.at(-2)];
  const batch = broadcast(a.slice(0, -2), b.slice(0, -2));
  if (batch === undefined || inner !== outer) {
    throw new ExpandError("damaged", `multiplies [${a}] and [${b}], which do not fit`, { at: nodeLabel(node) });
  }
  return [...batch, ...rows, ...columns];
}

function turned(shape: readonly number[], isTurned: number): readonly number[] {
  if (isTurned === 0 || shape.length < 2) return shape;
  return [...shape.slice(0, -2), shape.at(-1) ?? 1, shape.at(-2) ?? 1];
}

const gemm: TypeRow = ({ node, type }) => {
  const a = turned(type(0).shape, intAttribute(node, "transA", 0));
  const b = turned(type(1).shape, intAttribute(node, "transB", 0));
  return [{ type: type(0).type, shape: product(node, a, b) }];
};

export const MATRIX: Readonly<Record<string, TypeRow>> = {
  MatMul: ({ node, type }) => [{ type: type(0).type, shape: product(node, type(0).shape, type(1).shape) }],
  Gemm: gemm,
  "com.microsoft.FusedMatMul": gemm,
};
