// What is known of a value before anything runs: element type and static shape. Knows no operator.
import type { NodeProto, OnnxType } from "../../graph/onnx.ts";

/** Element type and static shape of a value. */
export interface ValueType {
  readonly type: OnnxType;
  readonly shape: readonly number[];
}

/** What a row of the table of operators may look at. */
export interface Typing {
  readonly node: NodeProto;
  /** Version of ai.onnx. */
  readonly opset: number;
  /** Type of an input that is there. */
  type(index: number): ValueType;
  has(index: number): boolean;
  /** Values of a constant input; throws `NeedsConstant` for any other. */
  numbers(index: number): readonly number[];
}

/** Types of a node's outputs, in their order. */
export type TypeRow = (typing: Typing) => readonly ValueType[];

/** A shape follows from the values of this input, and they are not known. */
export class NeedsConstant {
  readonly input: number;

  constructor(input: number) {
    this.input = input;
  }
}

export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** An axis counted from the front. */
export function frontAxis(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis;
}

/** The shape that both are stretched to, by ONNX's (NumPy's) rule; undefined where they do not fit. */
export function broadcast(a: readonly number[], b: readonly number[]): readonly number[] | undefined {
  const rank = Math.max(a.length, b.length);
  const shape: number[] = [];
  for (let at = 0; at < rank; at++) {
    const left = a[at - rank + a.length] ?? 1;
    const right = b[at - rank + b.length] ?? 1;
    if (left !== right && left !== 1 && right !== 1) return undefined;
    shape.push(left === 1 ? right : left);
  }
  return shape;
}
