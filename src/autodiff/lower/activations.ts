// Activations in terms of others for which gradients are known; in f32 or wider, so that no power of a half-precision value overflows.
import type { Lowerings, Primitives } from "./primitives.ts";

export const ACTIVATIONS: Lowerings = {
  Gelu: { inputs: 1, attributes: "approximate", emit: (at) => gelu(at, at.string("approximate", "none")) },
  "com.microsoft.Gelu": { inputs: 1, emit: (at) => gelu(at, "none") },
  "com.microsoft.BiasGelu": { inputs: 2, emit: (at) => gelu(at, "none") },
  "com.microsoft.FastGelu": { inputs: 2, emit: (at) => gelu(at, "tanh") },
  "com.microsoft.QuickGelu": { inputs: 1, attributes: "alpha", emit: (at) => gated(at, at.float("alpha", 1.702)) },
  Swish: { inputs: 1, attributes: "alpha", emit: (at) => gated(at, at.float("alpha", 1)) },
  // x tanh(softplus(x))
  Mish: {
    inputs: 1,
    emit: (at) => mapped(at, (x) => at.op("Mul", [x, at.op("Tanh", [at.op("Softplus", [x])])])),
  },
  // alpha elu(x / alpha)
  Celu: {
    inputs: 1,
    attributes: "alpha",
    emit: (at) => {
      const alpha = at.float("alpha", 1);
      return mapped(at, (x) => times(at, elu(at, times(at, x, 1 / alpha), 1), alpha));
    },
  },
  // gamma elu(x)
  Selu: {
    inputs: 1,
    attributes: "alpha gamma",
    emit: (at) =>
      mapped(at, (x) => times(at, elu(at, x, at.float("alpha", SELU_ALPHA)), at.float("gamma", SELU_GAMMA))),
  },
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

function gelu(at: Primitives, approximate: string): readonly string[] {
  return mapped(at, (x) => at.op("Gelu", [x], { approximate }));
}

/** x sigmoid(alpha x) */
function gated(at: Primitives, alpha: number): readonly string[] {
  return mapped(at, (x) => at.op("Mul", [x, at.op("Sigmoid", [times(at, x, alpha)])]));
}

function elu(at: Primitives, x: string, alpha: number): string {
  return at.op("Elu", [x], { alpha: { float: alpha } });
}

function times(at: Primitives, x: string, factor: number): string {
  return factor === 1 ? x : at.op("Mul", [x, at.number(factor, x)]);
}
