// Operators that move values and compute none: their gradients move them back.
import { intAttribute, intsAttribute, stringAttribute } from "../../graph/attributes.ts";
import { OnnxType } from "../../graph/onnx.ts";
import { type Cut, cutsOf, padsOf, splitLengths } from "../types/movement.ts";
import { frontAxis, type Typing } from "../types/type.ts";
import type { Backward, Rules } from "./rule.ts";

const back = {
  mathematics: "dx = dy, in x's shape",
  inputs: [0],
  gradient: (at: Backward) => at.reshape(at.dy(), at.shapeOf()),
};

export const MOVEMENT: Rules = {
  Identity: { mathematics: "dx = dy", gradient: (at) => at.dy() },
  Reshape: back,
  Flatten: back,
  Squeeze: back,
  Unsqueeze: back,
  Transpose: {
    mathematics: "dx = dy, turned back",
    gradient: (at) => {
      const rank = at.shapeOf().length;
      const perm =
        intsAttribute(at.node, "perm", undefined) ?? Array.from({ length: rank }, (_, axis) => rank - 1 - axis);
      return at.op("Transpose", [at.dy()], { perm: perm.map((_, axis) => perm.indexOf(axis)) });
    },
  },
  // Whoever asks sums over what was stretched.
  Expand: { mathematics: "dx = dy, summed over what was stretched", inputs: [0], gradient: (at) => at.dy() },
  Tile: { mathematics: "dx = dy, summed over the repetitions", inputs: [0], gradient: tiled },
  Concat: { mathematics: "dx_i = its part of dy", gradient: part },
  Split: { mathematics: "dx = dy_1, dy_2, ... joined", inputs: [0], gradient: joined },
  Slice: { mathematics: "dx = dy, and 0 where x was cut", inputs: [0], gradient: sliced },
  Pad: {
    mathematics: "dx = dy without the padding, and 0 where x was cut",
    inputs: [0],
    holds: (node) => stringAttribute(node, "mode", "constant") === "constant",
    gradient: padded,
  },
  Trilu: {
    mathematics: "dx = the same triangle of dy",
    inputs: [0],
    gradient: (at) => at.op("Trilu", [at.dy(), ...(at.has(1) ? [at.x(1)] : [])], { upper: at.int("upper", 1) }),
  },
  Where: {
    mathematics: "da = dy where the condition holds, db = dy where not",
    inputs: [1, 2],
    gradient: (at, input) => {
      const zero = at.number(0, at.dy());
      return at.op("Where", input === 1 ? [at.x(0), at.dy(), zero] : [at.x(0), zero, at.dy()]);
    },
  },
  Cast: { mathematics: "dx = dy in x's type", gradient: (at) => at.op("Cast", [at.dy()], { to: at.typeOf().type }) },
  Dropout: {
    mathematics: "dx = dy: nothing is dropped",
    inputs: [0],
    holds: ({ input }, tape) => (input[2] ?? "") === "" || tape.numbersOf(input[2] ?? "")?.[0] === 0,
    gradient: (at) => at.dy(),
  },
};

function typing(at: Backward): Pick<Typing, "node" | "type" | "has" | "numbers"> {
  return {
    node: at.node,
    type: (index) => at.typeOf(index),
    has: (index) => at.has(index),
    numbers: (index) => at.numbers(index),
  };
}

function cut(at: Backward, value: string, axis: number, start: number, end: number): string {
  const isWhole = start === 0 && end === at.tape.shapeOf(value)[axis];
  return isWhole ? value : at.op("Slice", [value, ...[start, end, axis].map((each) => at.tape.ints([each]))]);
}

function part(at: Backward, input: number): string {
  const axis = frontAxis(intAttribute(at.node, "axis", 0), at.shapeOf().length);
  const sizes = at.node.input.map((_, index) => at.shapeOf(index)[axis] ?? 0);
  const start = sizes.slice(0, input).reduce((sum, size) => sum + size, 0);
  return cut(at, at.dy(), axis, start, start + (sizes[input] ?? 0));
}

function joined(at: Backward): string {
  const axis = frontAxis(intAttribute(at.node, "axis", 0), at.shapeOf().length);
  const parts = splitLengths(typing(at)).map((_, output) => at.dy(output));
  return parts.length === 1 ? (parts[0] ?? "") : at.op("Concat", parts, { axis });
}

function tiled(at: Backward): string {
  const repeats = at.numbers(1);
  const shape = at.shapeOf().flatMap((size, axis) => [repeats[axis] ?? 1, size]);
  const axes = at.shapeOf().flatMap((_, axis) => ((repeats[axis] ?? 1) === 1 ? [] : [2 * axis]));
  return at.reshape(at.sum(at.reshape(at.dy(), shape), axes), at.shapeOf());
}

function padded(at: Backward): string {
  let gradient = at.dy();
  for (const [axis, [before, after]] of padsOf(typing(at)).entries()) {
    if (before === 0 && after === 0) continue;
    // Less than none is cut off.
    const [start, end] = [Math.max(before, 0), (at.tape.shapeOf(gradient)[axis] ?? 0) - Math.max(after, 0)];
    const inner = cut(at, gradient, axis, start, end);
    gradient = uncut(at, inner, { axis, start: Math.max(-before, 0), step: 1, count: Math.max(end - start, 0) });
  }
  return gradient;
}

/** Zeros are joined to both ends: Pad has no kernel for bf16 on CUDA. */
function sliced(at: Backward): string {
  let gradient = at.dy();
  for (const each of cutsOf(typing(at))) gradient = uncut(at, gradient, each);
  return gradient;
}

function uncut(at: Backward, value: string, { axis, start, step, count }: Cut): string {
  const size = at.shapeOf()[axis] ?? 0;
  const { type, shape } = at.tape.typeOf(value);
  const zeros = (length: number): string =>
    at.zeros({ type, shape: shape.map((each, index) => (index === axis ? length : each)) });
  if (count === 0) return zeros(size);
  if (step !== 1) {
    // Position in dy of every place of x; where it has none, the row of zeros behind its last.
    const places = new Array<number>(size).fill(count);
    for (let index = 0; index < count; index++) places[start + index * step] = index;
    return at.op("Gather", [at.op("Concat", [value, zeros(1)], { axis }), at.tape.constant(places, OnnxType.INT64)], {
      axis,
    });
  }
  const behind = size - start - count;
  const parts = [...(start > 0 ? [zeros(start)] : []), value, ...(behind > 0 ? [zeros(behind)] : [])];
  return parts.length === 1 ? value : at.op("Concat", parts, { axis });
}
