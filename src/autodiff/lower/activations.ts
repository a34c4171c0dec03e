// Activations in elementary steps, one line of mathematics each; in f32 or wider, so that a power of a half-precision value cannot overflow.
import type { Lowering, Primitives } from "./primitives.ts";

export const ACTIVATIONS: Readonly<Record<string, Lowering>> = {
  Gelu: (at) => mapped(at, (x) => (at.string("approximate", "none") === "tanh" ? geluTanh(at, x) : gelu(at, x))),
  BiasGelu: (at) => mapped(at, (x) => gelu(at, x)),
  FastGelu: (at) => mapped(at, (x) => geluTanh(at, x)),
  QuickGelu: (at) => mapped(at, (x) => gated(at, x, at.float("alpha", 1.702))),
  Swish: (at) => mapped(at, (x) => gated(at, x, at.float("alpha", 1))),
  Softplus: (at) => mapped(at, (x) => softplus(at, x)),
  // x tanh(softplus(x))
  Mish: (at) => mapped(at, (x) => at.op("Mul", [x, at.op("Tanh", [softplus(at, x)])])),
  HardSigmoid: (at) => mapped(at, (x) => ramp(at, x, at.float("alpha", 0.2), at.float("beta", 0.5))),
  // x clip(x/6 + 1/2, 0, 1)
  HardSwish: (at) => mapped(at, (x) => at.op("Mul", [x, ramp(at, x, 1 / 6, 0.5)])),
  LeakyRelu: (at) =>
    mapped(at, (x) => at.op("Sub", [at.op("Relu", [x]), times(at, below(at, x), at.float("alpha", 0.01))])),
  Elu: (at) => mapped(at, (x) => elu(at, x, at.float("alpha", 1), 1)),
  Celu: (at) => mapped(at, (x) => elu(at, x, at.float("alpha", 1), 1 / at.float("alpha", 1))),
  Selu: (at) =>
    mapped(at, (x) => times(at, elu(at, x, at.float("alpha", SELU_ALPHA), 1), at.float("gamma", SELU_GAMMA))),
  // x / (1 + |x|)
  Softsign: (at) => mapped(at, (x) => at.op("Div", [x, at.op("Add", [at.op("Abs", [x]), at.number(1, x)])])),
};

/** Defaults of the operator, which its text has in f32. */
const SELU_ALPHA = 1.6732631921768188;
const SELU_GAMMA = 1.0507010221481323;

/** `make` of the first input, a bias added where there is a second. */
function mapped(at: Primitives, make: (x: string) => string): readonly string[] {
  const x = at.value(0);
  const bias = at.input(1);
  const sum = bias === undefined ? x : at.op("Add", [x, bias]);
  return [at.like(make(at.wide(sum)), x)];
}

/** x (1 + erf(x / sqrt 2)) / 2 */
function gelu(at: Primitives, x: string): string {
  const bell = at.op("Erf", [times(at, x, Math.SQRT1_2)]);
  return at.op("Mul", [times(at, x, 0.5), at.op("Add", [bell, at.number(1, x)])]);
}

/** x (1 + tanh(u)) / 2 = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x³) */
function geluTanh(at: Primitives, x: string): string {
  const slope = 2 * Math.sqrt(2 / Math.PI);
  const curve = at.op("Add", [times(at, at.op("Mul", [x, x]), slope * 0.044715), at.number(slope, x)]);
  return at.op("Mul", [x, at.op("Sigmoid", [at.op("Mul", [x, curve])])]);
}

/** x sigmoid(alpha x) */
function gated(at: Primitives, x: string, alpha: number): string {
  return at.op("Mul", [x, at.op("Sigmoid", [times(at, x, alpha)])]);
}

/** log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)) */
function softplus(at: Primitives, x: string): string {
  const small = at.op("Exp", [at.op("Neg", [at.op("Abs", [x])])]);
  return at.op("Add", [at.op("Relu", [x]), at.op("Log", [at.op("Add", [small, at.number(1, x)])])]);
}

/** clip(alpha x + beta, 0, 1) */
function ramp(at: Primitives, x: string, alpha: number, beta: number): string {
  const line = at.op("Add", [times(at, x, alpha), at.number(beta, x)]);
  return at.op("Clip", [line, at.number(0, x), at.number(1, x)]);
}

/** max(x, 0) + alpha (exp(inner min(x, 0)) - 1) */
function elu(at: Primitives, x: string, alpha: number, inner: number): string {
  const power = at.op("Exp", [times(at, below(at, x), -inner)]);
  return at.op("Add", [at.op("Relu", [x]), times(at, at.op("Sub", [power, at.number(1, x)]), alpha)]);
}

/** max(-x, 0) */
function below(at: Primitives, x: string): string {
  return at.op("Relu", [at.op("Neg", [x])]);
}

function times(at: Primitives, x: string, factor: number): string {
  return factor === 1 ? x : at.op("Mul", [x, at.number(factor, x)]);
}
