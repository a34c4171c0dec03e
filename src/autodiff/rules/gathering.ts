// Operators that read and write at places that other values name. What is read twice gets the sum of both gradients.
import { stringAttribute } from "../../graph/attributes.ts";
import { type NodeProto, OnnxType } from "../../graph/onnx.ts";
import type { Attributes, ValueType } from "../tape.ts";
import { frontAxis, sizeOf } from "../types/type.ts";
import type { Backward, Rules } from "./rule.ts";

const isPlainOrSum = (node: NodeProto): boolean => ["none", "add"].includes(stringAttribute(node, "reduction", "none"));
const isSum = (at: Backward): boolean => stringAttribute(at.node, "reduction", "none") === "add";

export const GATHERING: Rules = {
  Gather: { mathematics: "dx[i] = sum of the dy that were read at i", inputs: [0], gradient: gathered },
  GatherElements: {
    mathematics: "dx[i] = sum of the dy that were read at i",
    inputs: [0],
    gradient: (at) => added(at, "ScatterElements", at.typeOf(), at.x(1), at.dy(), { axis: at.int("axis", 0) }),
  },
  GatherND: {
    mathematics: "dx[i] = sum of the dy that were read at i",
    inputs: [0],
    holds: (node) => !node.attribute.some(({ name, i }) => name === "batch_dims" && i !== 0n),
    gradient: (at) => added(at, "ScatterND", at.typeOf(), at.x(1), at.dy()),
  },
  ScatterElements: {
    mathematics: "dx = dy where nothing was written over it, du = dy at the places written",
    inputs: [0, 2],
    holds: isPlainOrSum,
    gradient: (at, input) => {
      const axis = at.int("axis", 0);
      if (input === 2) return at.op("GatherElements", [at.dy(), at.x(1)], { axis });
      return isSum(at) ? at.dy() : at.op("ScatterElements", [at.dy(), at.x(1), at.zeros(at.typeOf(2))], { axis });
    },
  },
  ScatterND: {
    mathematics: "dx = dy where nothing was written over it, du = dy at the places written",
    inputs: [0, 2],
    holds: isPlainOrSum,
    gradient: (at, input) => {
      if (input === 2) return at.op("GatherND", [at.dy(), at.x(1)]);
      return isSum(at) ? at.dy() : at.op("ScatterND", [at.dy(), at.x(1), at.zeros(at.typeOf(2))]);
    },
  },
};

/** Zeros of this type, and at their places the sums of the values: in f32 where the type is of 16 bits, which the CPU does not add in. */
function added(
  at: Backward,
  operator: "ScatterElements" | "ScatterND",
  { type, shape }: ValueType,
  places: string,
  values: string,
  attributes: Attributes = {},
): string {
  const isHalf = type === OnnxType.FLOAT16 || type === OnnxType.BFLOAT16;
  const sums = at.op(
    operator,
    [
      at.zeros({ type: isHalf ? OnnxType.FLOAT : type, shape }),
      places,
      isHalf ? at.op("Cast", [values], { to: OnnxType.FLOAT }) : values,
    ],
    { ...attributes, reduction: "add" },
  );
  return isHalf ? at.op("Cast", [sums], { to: type }) : sums;
}

/** Sums of rows: the axis is brought to the front for it, and taken back. */
function gathered(at: Backward): string {
  const shape = at.shapeOf();
  const axis = frontAxis(at.int("axis", 0), shape.length);
  const count = sizeOf(at.shapeOf(1));
  const [before, after] = [shape.slice(0, axis), shape.slice(axis + 1)];
  const places = at.reshape(at.x(1), [count, 1]);
  const rows = at.reshape(at.dy(), [...before, count, ...after]);
  const order = shape.map((_, at) => at);
  const front = [axis, ...order.slice(0, axis), ...order.slice(axis + 1)];
  const moved = axis === 0 ? rows : at.op("Transpose", [rows], { perm: front });
  const turned = { type: at.typeOf().type, shape: [shape[axis] ?? 0, ...before, ...after] };
  const sums = added(at, "ScatterND", turned, places, moved);
  return axis === 0 ? sums : at.op("Transpose", [sums], { perm: order.map((each) => front.indexOf(each)) });
}
