// Types of operators that fold axes.
import { intAttribute, intsAttribute } from "../../graph/attributes.ts";
import { OnnxType } from "../../graph/onnx.ts";
import { frontAxis, type TypeRow, type Typing } from "./type.ts";

/** Axes of a reduction, counted from the front: an attribute or an input, as its version has it. */
export function reducedAxes({
  node,
  type,
  has,
  numbers,
}: Pick<Typing, "node" | "type" | "has" | "numbers">): readonly number[] {
  const rank = type(0).shape.length;
  const given = intsAttribute(node, "axes", undefined) ?? (has(1) ? numbers(1) : []);
  if (given.length > 0) return given.map((axis) => frontAxis(axis, rank));
  return intAttribute(node, "noop_with_empty_axes", 0) === 1 ? [] : Array.from({ length: rank }, (_, axis) => axis);
}

const reduced: TypeRow = (typing) => {
  const { node, type } = typing;
  const axes = new Set(reducedAxes(typing));
  const kept = intAttribute(node, "keepdims", 1) === 1;
  const shape = type(0).shape.flatMap((size, axis) => (axes.has(axis) ? (kept ? [1] : []) : [size]));
  return [{ type: type(0).type, shape }];
};

const chosen: TypeRow = ({ node, type }) => {
  const { shape } = type(0);
  const axis = frontAxis(intAttribute(node, "axis", 0), shape.length);
  const kept = intAttribute(node, "keepdims", 1) === 1;
  return [{ type: OnnxType.INT64, shape: shape.flatMap((size, at) => (at === axis ? (kept ? [1] : []) : [size])) }];
};

const NAMES =
  "ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceSumSquare";

export const REDUCTION: Readonly<Record<string, TypeRow>> = {
  ...Object.fromEntries(NAMES.split(" ").map((op) => [op, reduced])),
  ArgMax: chosen,
  ArgMin: chosen,
  TopK: ({ node, type, numbers }) => {
    const { type: element, shape } = type(0);
    const axis = frontAxis(intAttribute(node, "axis", -1), shape.length);
    const best = shape.map((size, at) => (at === axis ? (numbers(1)[0] ?? 1) : size));
    return [
      { type: element, shape: best },
      { type: OnnxType.INT64, shape: best },
    ];
  },
};
