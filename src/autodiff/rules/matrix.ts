// Products of matrices. A factor is turned by the flags of Gemm and FusedMatMul, never by a Transpose: that would copy frozen weights.
import { sizeOf } from "../types/type.ts";
import type { Backward, Rules } from "./rule.ts";

export const MATRIX: Rules = {
  MatMul: {
    mathematics: "Y = A B: dA = dY Bᵀ, dB = Aᵀ dY",
    gradient: (at, input) => factor(at, input, { a: false, b: false, alpha: 1 }),
  },
  Gemm: {
    mathematics: "Y = alpha A' B' + beta C: dA' = alpha dY B'ᵀ, dB' = alpha A'ᵀ dY, dC = beta dY",
    gradient: (at, input) => {
      if (input === 2) return at.scaled(at.dy(), at.float("beta", 1));
      return factor(at, input, {
        a: at.int("transA", 0) === 1,
        b: at.int("transB", 0) === 1,
        alpha: at.float("alpha", 1),
      });
    },
  },
  "com.microsoft.FusedMatMul": {
    mathematics: "Y = alpha A' B': dA' = alpha dY B'ᵀ, dB' = alpha A'ᵀ dY",
    holds: (node) => !node.attribute.some(({ name, i }) => name.startsWith("transBatch") && i !== 0n),
    gradient: (at, input) =>
      factor(at, input, { a: at.int("transA", 0) === 1, b: at.int("transB", 0) === 1, alpha: at.float("alpha", 1) }),
  },
};

/** Which factors were turned, and by what the product was multiplied. */
interface Form {
  readonly a: boolean;
  readonly b: boolean;
  readonly alpha: number;
}

/** The gradient of a factor; sums over batches that it was stretched to are left to the caller. */
function factor(at: Backward, input: number, { a, b, alpha }: Form): string {
  const [left, right] = [matrixShape(at.shapeOf(0), "row"), matrixShape(at.shapeOf(1), "column")];
  const isFlat = right.length === 2 && left.length > 2 && !a;
  // [..., m, k] times one matrix is a product of two: [... m, k] and [k, n].
  const rows = isFlat ? [sizeOf(left.slice(0, -1)), left.at(-1) ?? 1] : left;
  const x = at.reshape(at.x(0), rows);
  const w = at.reshape(at.x(1), right);
  const dy = at.reshape(at.dy(), productShape(rows, right, a, b));
  if (input === 0) {
    const dx = a ? multiplied(at, w, dy, b, true, alpha) : multiplied(at, dy, w, false, !b, alpha);
    return isFlat ? at.reshape(dx, at.shapeOf(0)) : dx;
  }
  return b ? multiplied(at, dy, x, true, a, alpha) : multiplied(at, x, dy, !a, false, alpha);
}

/** A vector is a row on the left and a column on the right. */
function matrixShape(shape: readonly number[], vector: "row" | "column"): readonly number[] {
  if (shape.length !== 1) return shape;
  return vector === "row" ? [1, ...shape] : [...shape, 1];
}

function productShape(left: readonly number[], right: readonly number[], a: boolean, b: boolean): readonly number[] {
  const rows = (a ? left.at(-1) : left.at(-2)) ?? 1;
  const columns = (b ? right.at(-2) : right.at(-1)) ?? 1;
  const rank = Math.max(left.length, right.length) - 2;
  const batch = Array.from({ length: rank }, (_, at) => {
    const size = (shape: readonly number[]): number => shape.slice(0, -2)[at - rank + shape.length - 2] ?? 1;
    return Math.max(size(left), size(right));
  });
  return [...batch, rows, columns];
}

function multiplied(at: Backward, a: string, b: string, transA: boolean, transB: boolean, alpha: number): string {
  const attributes = {
    ...(transA ? { transA: 1 } : {}),
    ...(transB ? { transB: 1 } : {}),
    ...(alpha === 1 ? {} : { alpha: { float: alpha } }),
  };
  const isPlain = at.tape.shapeOf(a).length === 2 && at.tape.shapeOf(b).length === 2;
  return at.op(isPlain ? "Gemm" : "com.microsoft.FusedMatMul", [a, b], attributes);
}
