// AdamW on the host: one pass over a weight, its two moments and its gradient, in place. Every operation is rounded to f32, in the order
// of torch.optim.AdamW: the same numbers come out of the graph of step/update.ts, bit for bit.
import { type Kernel, newKernel, WINDOW } from "./kernel.ts";

export interface Adam {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** Decoupled: a weight shrinks by rate * decay, whatever its gradient. Applied to every trainable tensor, norms and biases too. */
  readonly decay: number;
}

/** What depends on the step, each rounded to f32. */
export interface Coefficients {
  /** 1 - rate * decay. */
  readonly keep: number;
  /** rate / (1 - beta1^t). */
  readonly size: number;
  /** sqrt(1 - beta2^t). */
  readonly root: number;
}

/** `update` counts from 1; skipped steps are not counted. */
export function coefficientsOf({ beta1, beta2, decay }: Adam, rate: number, update: number): Coefficients {
  return {
    keep: Math.fround(1 - rate * decay),
    size: Math.fround(rate / (1 - beta1 ** update)),
    root: Math.fround(Math.sqrt(1 - beta2 ** update)),
  };
}

export interface AdamTensor {
  readonly weight: Float32Array;
  /** First moment. */
  readonly m: Float32Array;
  /** Second moment. */
  readonly v: Float32Array;
}

let shared: Kernel | undefined;

/**
 * g = scale * gradient; m += (1 - beta1) (g - m); v = beta2 v + (1 - beta2) g g;
 * weight = keep * weight - size * m / (sqrt(v) / root + epsilon).
 */
export function updateTensor(
  tensor: AdamTensor,
  gradient: Float32Array,
  scale: number,
  adam: Adam,
  coefficients: Coefficients,
): void {
  shared ??= newKernel();
  const kernel = shared;
  const { keep, size, root } = coefficients;
  const arrays = ["weight", "m", "v"] as const;
  for (const [from, to] of windows(gradient.length)) {
    for (const name of arrays) kernel[name].set(tensor[name].subarray(from, to));
    kernel.gradient.set(gradient.subarray(from, to));
    kernel.update(
      bytesOf(to - from),
      scale,
      keep,
      size,
      root,
      1 - adam.beta1,
      adam.beta2,
      1 - adam.beta2,
      adam.epsilon,
    );
    for (const name of arrays) tensor[name].set(kernel[name].subarray(0, to - from), from);
  }
}

/** In f64 and in a fixed order; not finite exactly where a value is not (f64 holds the sum of any f32 squares). */
export function sumOfSquares(values: Float32Array): number {
  shared ??= newKernel();
  const { gradient, squares } = shared;
  let sum = 0;
  for (const [from, to] of windows(values.length)) {
    gradient.set(values.subarray(from, to));
    gradient.fill(0, to - from, Math.min(WINDOW, to - from + 3));
    sum += squares(bytesOf(to - from));
  }
  return sum;
}

function* windows(length: number): Generator<readonly [from: number, to: number]> {
  for (let from = 0; from < length; from += WINDOW) yield [from, Math.min(length, from + WINDOW)];
}

/** Whole groups of four lanes. */
function bytesOf(count: number): number {
  return Math.ceil(count / 4) * 16;
}
