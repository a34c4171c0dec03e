// Means over tokens and how sure they are. Windows are the units that are drawn: tokens of one window are not independent.

/** Sums of losses, in nats, and counts of tokens, by window. */
export interface Tally {
  readonly sums: Float64Array;
  readonly counts: Int32Array;
}

/** A mean over tokens. */
export interface Mean {
  readonly mean: number;
  /** Standard error; absent for fewer than two windows. */
  readonly error?: number;
  /** Half of the width of the 95 % interval: the error times Student's t. */
  readonly margin?: number;
}

/**
 * L = sum l_w / sum n_w over windows w with losses l_w and tokens n_w. Its standard error is that of a ratio of sums over W windows,
 * sqrt(W / (W - 1) * sum (l_w - L n_w)^2) / sum n_w. Neighbouring windows of one document resemble each other, which it does not know of.
 */
export function meanOf({ sums, counts }: Tally): Mean {
  const tokens = counts.reduce((sum, each) => sum + each, 0);
  const mean = sums.reduce((sum, each) => sum + each, 0) / tokens;
  const windows = counts.reduce((sum, each) => sum + (each > 0 ? 1 : 0), 0);
  if (windows < 2) return { mean };
  let squares = 0;
  for (const [at, sum] of sums.entries()) squares += (sum - mean * (counts[at] ?? 0)) ** 2;
  const error = Math.sqrt((windows / (windows - 1)) * squares) / tokens;
  return { mean, error, margin: error * studentT(windows - 1) };
}

/** Of the same windows, read by two models: what they have in common drops out, so that small changes can be told from chance. */
export function differenceOf(tally: Tally, base: Tally): Mean {
  return meanOf({ sums: tally.sums.map((sum, at) => sum - (base.sums[at] ?? 0)), counts: tally.counts });
}

/** exp(mean) with its interval, less `minus`. */
export function exponential(
  { mean, margin }: Mean,
  minus = 0,
): { readonly value: number; readonly interval?: readonly [number, number] } {
  const value = Math.exp(mean) - minus;
  if (margin === undefined) return { value };
  return { value, interval: [Math.exp(mean - margin) - minus, Math.exp(mean + margin) - minus] };
}

const Z = 1.959963984540054;
/** Where the series below is too rough. */
const FEW: Readonly<Record<number, number>> = { 1: 12.706204736, 2: 4.30265273, 3: 3.182446305, 4: 2.776445105 };

/** The 97.5 % point of Student's t, by the Cornish-Fisher series (Abramowitz and Stegun 26.7.5): within 1e-3 from 5 degrees of freedom up. */
export function studentT(freedom: number): number {
  const known = FEW[freedom];
  if (known !== undefined) return known;
  const terms = [
    Z,
    (Z ** 3 + Z) / 4,
    (5 * Z ** 5 + 16 * Z ** 3 + 3 * Z) / 96,
    (3 * Z ** 7 + 19 * Z ** 5 + 17 * Z ** 3 - 15 * Z) / 384,
    (79 * Z ** 9 + 776 * Z ** 7 + 1482 * Z ** 5 - 1920 * Z ** 3 - 945 * Z) / 92160,
  ];
  return terms.reduce((sum, term, power) => sum + term / freedom ** power, 0);
}
