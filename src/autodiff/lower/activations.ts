// Activations in terms of others for which gradients are known; in f32 or wider, so that no power of a half-precision value overflows.
import type { Lowering, Primitives } from "./primitives.ts";

export const ACTIVATIONS: Readonly<Record<string, Lowering>> = {
  Gelu: (at) => (at.node.domain === "com.microsoft" || isHalf(at) ? gelu(at, approximation(at)) : undefined),
  BiasGelu: (at) => gelu(at, "none"),
  FastGelu: (at) => gelu(at, "tanh"),
  QuickGelu: (at) => gated(at, at.float("alpha", 1.702)),
  Swish: (at) => gated(at, at.float("alpha", 1)),
  // x tanh(softplus(x))
  Mish: (at) => mapped(at, (x) => at.op("Mul", [x, at.op("Tanh", [at.op("Softplus", [x])])])),
  // alpha elu(x / alpha)
  Celu: (at) => {
    const alpha = at.float("alpha", 1);
    return mapped(at, (x) => times(at, elu(at, times(at, x, 1 / alpha), 1), alpha));
  },
  // gamma elu(x)
  Selu: (at) => mapped(at, (x) => times(at, elu(at, x, at.float("alpha", SELU_ALPHA)), at.float("gamma", SELU_GAMMA))),
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

/** com.microsoft's has no such attribute. */
function approximation(at: Primitives): string {
  return at.string("approximate", "none");
}

/** x sigmoid(alpha x) */
function gated(at: Primitives, alpha: number): readonly string[] {
  return mapped(at, (x) => at.op("Mul", [x, at.op("Sigmoid", [times(at, x, alpha)])]));
}

function elu(at: Primitives, x: string, alpha: number): string {
  return at.op("Elu", [x], { alpha: { float: alpha } });
}

function isHalf(at: Primitives): boolean {
  return at.wideType(at.value(0)) !== at.type(at.value(0));
}

function times(at: Primitives, x: string, factor: number): string {
  return factor === 1 ? x : at.op("Mul", [x, at.number(factor, x)]);
}
