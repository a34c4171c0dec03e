// Slopes of attention with linear biases (arXiv 2108.12409), in the three ways that published models compute them. Holds no family.
import type { Alibi } from "../spec.ts";

/** bloom's: a geometric series for the power of two below, then every other term of the series for the next one. */
export function bloomSlopes(heads: number): number[] {
  const power = 2 ** Math.floor(Math.log2(heads));
  const slopes = series(power, power);
  const finer = series(2 * power, 2 * power).filter((_, index) => index % 2 === 0);
  return [...slopes, ...finer.slice(0, heads - power)].map(Math.fround);
}

/** mpt's: the series for the power of two above, its odd terms first. */
export function mptSlopes(heads: number, largest: number): number[] {
  const power = 2 ** Math.ceil(Math.log2(heads));
  const slopes = Array.from({ length: power }, (_, i) => Math.fround(2 ** (-(i + 1) * (largest / power))));
  if (power === heads) return slopes;
  const odd = slopes.filter((_, index) => index % 2 === 1);
  const even = slopes.filter((_, index) => index % 2 === 0);
  return [...odd, ...even].slice(0, heads);
}

/** Bias in f32, added to the scaled score. */
export function plainAlibi(slopes: readonly number[]): Alibi {
  return { slopes, scale: 1, bfloat16: false };
}

/** 2 ^ (-8 / of), and its powers. */
function series(of: number, count: number): number[] {
  const base = Math.fround(2 ** -(2 ** -(Math.log2(of) - 3)));
  return Array.from({ length: count }, (_, index) => base ** (index + 1));
}
