// Operators that fold axes, and those that choose among values.
import { reducedAxes } from "../types/reduction.ts";
import { frontAxis, sizeOf } from "../types/type.ts";
import type { Backward, Rules } from "./rule.ts";

export const REDUCTION: Rules = {
  ReduceSum: { mathematics: "dx = dy, stretched", inputs: [0], gradient: (at) => stretched(at, at.dy()) },
  ReduceMean: {
    mathematics: "dx = dy / n, stretched",
    inputs: [0],
    gradient: (at) => stretched(at, at.scaled(at.dy(), 1 / foldedCount(at))),
  },
  ReduceMax: { mathematics: "dx = dy / k at the k places where x = y", inputs: [0], gradient: extreme },
  ReduceMin: { mathematics: "dx = dy / k at the k places where x = y", inputs: [0], gradient: extreme },
  ReduceSumSquare: {
    mathematics: "dx = 2 x dy",
    inputs: [0],
    gradient: (at) => at.mul(at.scaled(at.x(), 2), kept(at, at.dy())),
  },
  ReduceL1: {
    mathematics: "dx = sign(x) dy",
    inputs: [0],
    gradient: (at) => at.mul(at.op("Sign", [at.x()]), kept(at, at.dy())),
  },
  ReduceL2: {
    mathematics: "dx = x dy / y, and 0 where y = 0",
    inputs: [0],
    gradient: (at) => {
      const isSome = at.compare("Greater", at.y(), at.number(0, at.y()));
      return at.mul(at.x(), kept(at, at.masked(isSome, at.div(at.dy(), at.y()))));
    },
  },
  ReduceLogSumExp: {
    mathematics: "dx = exp(x - y) dy",
    inputs: [0],
    gradient: (at) => at.mul(at.op("Exp", [at.sub(at.x(), kept(at, at.y()))]), kept(at, at.dy())),
  },
  CumSum: {
    mathematics: "dx = sum of dy over what follows",
    inputs: [0],
    gradient: (at) =>
      at.op("CumSum", [at.dy(), at.x(1)], { exclusive: at.int("exclusive", 0), reverse: 1 - at.int("reverse", 0) }),
  },
  TopK: {
    mathematics: "dx = dy at the chosen places",
    inputs: [0],
    gradient: (at) => {
      const axis = frontAxis(at.int("axis", -1), at.shapeOf().length);
      return at.op("ScatterElements", [at.zeros(at.typeOf()), at.y(1), at.dy()], { axis });
    },
  },
  Max: {
    mathematics: "dx_i = dy where x_i is the greatest, shared by two that are equal",
    gradient: (at, input) => among(at, input, "Max"),
  },
  Min: {
    mathematics: "dx_i = dy where x_i is the least, shared by two that are equal",
    gradient: (at, input) => among(at, input, "Min"),
  },
  Abs: { mathematics: "dx = sign(x) dy", gradient: (at) => at.mul(at.op("Sign", [at.x()]), at.dy()) },
  Clip: { mathematics: "dx = dy where low <= x <= high", inputs: [0], gradient: clipped },
};

/** A value of the output's shape with the folded axes back, of size 1. */
function kept(at: Backward, value: string): string {
  const axes = new Set(axesOf(at));
  return at.reshape(
    value,
    at.shapeOf().map((size, axis) => (axes.has(axis) ? 1 : size)),
  );
}

function stretched(at: Backward, value: string): string {
  return at.expand(kept(at, value), at.shapeOf());
}

function axesOf(at: Backward): readonly number[] {
  return reducedAxes({
    node: at.node,
    type: (index) => at.typeOf(index),
    has: (index) => at.has(index),
    numbers: (index) => at.numbers(index),
  });
}

function foldedCount(at: Backward): number {
  return sizeOf(axesOf(at).map((axis) => at.shapeOf()[axis] ?? 1));
}

function extreme(at: Backward): string {
  const dy = kept(at, at.dy());
  const isIt = at.compare("Equal", at.x(), kept(at, at.y()));
  const places = at.op("Cast", [isIt], { to: at.typeOf().type });
  return at.mul(places, at.div(dy, at.sum(places, axesOf(at))));
}

/** As nested pairs, max(max(a, b), c): where two are equal, each gets half. */
function among(at: Backward, input: number, operator: "Max" | "Min"): string {
  const inputs = at.node.input.map((_, index) => at.x(index));
  const beats = operator === "Max" ? "Greater" : "Less";
  let gradient = at.dy();
  for (let last = inputs.length - 1; last >= Math.max(input, 1); last--) {
    const own = inputs[last] ?? "";
    const rest = last === 1 ? (inputs[0] ?? "") : at.op(operator, inputs.slice(0, last));
    const [winner, loser] = last === input ? [own, rest] : [rest, own];
    const tie = at.masked(at.compare("Equal", winner, loser), at.scaled(gradient, 0.5));
    gradient = at.op("Where", [at.compare(beats, winner, loser), gradient, tie]);
  }
  return gradient;
}

function clipped(at: Backward): string {
  const x = at.x();
  let gradient = at.dy();
  if (at.has(1)) gradient = at.masked(at.compare("GreaterOrEqual", x, at.x(1)), gradient);
  if (at.has(2)) gradient = at.masked(at.compare("LessOrEqual", x, at.x(2)), gradient);
  return gradient;
}
