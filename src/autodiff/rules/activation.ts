// Functions of one value, and Softmax. Derivatives are written in y wherever that is shorter.
import { stringAttribute } from "../../graph/attributes.ts";
import { frontAxis } from "../types/type.ts";
import type { Backward, Rules } from "./rule.ts";

const SQRT_2 = Math.SQRT2;
/** Of the standard normal density at 0. */
const PEAK = 1 / Math.sqrt(2 * Math.PI);
/** gelu_tanh(x) = x/2 (1 + tanh u), u = SLOPE (x + CUBIC x³). */
const SLOPE = Math.sqrt(2 / Math.PI);
const CUBIC = 0.044715;

export const ACTIVATION: Rules = {
  Sigmoid: { mathematics: "dx = dy y (1 - y)", gradient: (at) => at.mul(at.dy(), logistic(at, at.y())) },
  Tanh: { mathematics: "dx = dy (1 - y²)", gradient: (at) => at.mul(at.dy(), oneMinusSquare(at, at.y())) },
  Erf: {
    mathematics: "dx = dy 2/sqrt(pi) exp(-x²)",
    gradient: (at) =>
      at.mul(at.dy(), at.scaled(at.op("Exp", [at.neg(at.mul(at.x(), at.x()))]), 2 / Math.sqrt(Math.PI))),
  },
  Relu: { mathematics: "dx = dy where y > 0", gradient: (at) => where(at, "Greater", at.y(), 0) },
  LeakyRelu: {
    mathematics: "dx = dy where x > 0, else alpha dy",
    gradient: (at) => {
      const isPositive = at.compare("Greater", at.x(), at.number(0, at.x()));
      return at.op("Where", [isPositive, at.dy(), at.scaled(at.dy(), at.float("alpha", 0.01))]);
    },
  },
  Elu: {
    mathematics: "dx = dy where x > 0, else dy (y + alpha)",
    gradient: (at) => {
      const isPositive = at.compare("Greater", at.x(), at.number(0, at.x()));
      const below = at.mul(at.dy(), at.add(at.y(), at.number(at.float("alpha", 1), at.y())));
      return at.op("Where", [isPositive, at.dy(), below]);
    },
  },
  Softplus: { mathematics: "dx = dy sigmoid(x)", gradient: (at) => at.mul(at.dy(), at.op("Sigmoid", [at.x()])) },
  Softsign: {
    mathematics: "dx = dy / (1 + |x|)²",
    gradient: (at) => {
      const size = at.add(at.op("Abs", [at.x()]), at.number(1, at.x()));
      return at.div(at.dy(), at.mul(size, size));
    },
  },
  HardSigmoid: {
    mathematics: "dx = alpha dy where 0 < y < 1",
    gradient: (at) => at.scaled(between(at, at.y(), 0, 1, at.dy()), at.float("alpha", 0.2)),
  },
  HardSwish: {
    mathematics: "y = x h(x), h = clip(x/6 + 1/2, 0, 1): dx = dy (h + x/6 where 0 < h < 1)",
    gradient: (at) => {
      const x = at.x();
      const hard = at.op("HardSigmoid", [x], { alpha: { float: 1 / 6 }, beta: { float: 0.5 } });
      return at.mul(at.dy(), at.add(hard, between(at, hard, 0, 1, at.scaled(x, 1 / 6))));
    },
  },
  Gelu: {
    mathematics: "y = x P(x): dx = dy (P(x) + x p(x)), p the normal density, or its tanh form",
    gradient: (at) => {
      const isTanh = stringAttribute(at.node, "approximate", "none") === "tanh";
      return at.mul(at.dy(), isTanh ? geluTanhSlope(at) : geluSlope(at));
    },
  },
  Softmax: {
    mathematics: "dx = y (dy - sum(dy y))",
    gradient: (at) => at.mul(at.y(), at.sub(at.dy(), at.sum(at.mul(at.dy(), at.y()), axisOf(at)))),
  },
  LogSoftmax: {
    mathematics: "dx = dy - exp(y) sum(dy)",
    gradient: (at) => at.sub(at.dy(), at.mul(at.op("Exp", [at.y()]), at.sum(at.dy(), axisOf(at)))),
  },
};

function axisOf(at: Backward): readonly number[] {
  return [frontAxis(at.int("axis", -1), at.shapeOf().length)];
}

/** v (1 - v) */
function logistic(at: Backward, value: string): string {
  return at.mul(value, at.sub(at.number(1, value), value));
}

function oneMinusSquare(at: Backward, value: string): string {
  return at.sub(at.number(1, value), at.mul(value, value));
}

function where(at: Backward, operator: "Greater" | "Less", value: string, bound: number): string {
  return at.masked(at.compare(operator, value, at.number(bound, value)), at.dy());
}

/** `what` where low < value < high, else 0. */
function between(at: Backward, value: string, low: number, high: number, what: string): string {
  const above = at.compare("Greater", value, at.number(low, value));
  const below = at.compare("Less", value, at.number(high, value));
  return at.masked(at.op("And", [above, below]), what);
}

function geluSlope(at: Backward): string {
  const x = at.x();
  const half = at.number(0.5, x);
  const probability = at.add(at.scaled(at.op("Erf", [at.scaled(x, 1 / SQRT_2)]), 0.5), half);
  const density = at.scaled(at.op("Exp", [at.scaled(at.mul(x, x), -0.5)]), PEAK);
  return at.add(probability, at.mul(x, density));
}

/** (1 + t)/2 + x/2 (1 - t²) SLOPE (1 + 3 CUBIC x²), t = tanh u */
function geluTanhSlope(at: Backward): string {
  const x = at.x();
  const square = at.mul(x, x);
  const one = at.number(1, x);
  const inner = at.mul(at.scaled(x, SLOPE), at.add(at.scaled(square, CUBIC), one));
  const t = at.op("Tanh", [inner]);
  const slope = at.scaled(at.add(at.scaled(square, 3 * CUBIC), one), SLOPE);
  const rising = at.mul(at.mul(at.scaled(x, 0.5), oneMinusSquare(at, t)), slope);
  return at.add(at.scaled(at.add(t, one), 0.5), rising);
}
