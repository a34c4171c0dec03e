// Means over tokens and how sure they are. What is drawn is documents, or windows where there are few: tokens of one are not independent.
import { IGNORED } from "../corpus/batch.ts";
import { documentsIn, type Window } from "./window.ts";

/** Sums of losses, in nats, and counts of tokens, by what is drawn. */
export interface Tally {
  readonly sums: Float64Array;
  readonly counts: Int32Array;
}

/** What intervals take as drawn at random, one independent of the other. */
export type Unit = "documents" | "windows";

/** Of fewer, an error says little: Student's t is above 2.4. */
const LEAST_DOCUMENTS = 8;

/** The losses of one corpus, as its windows are read one after the other. */
export class Losses implements Tally {
  readonly unit: Unit;
  /** With a token that is predicted. */
  readonly documents: number;
  readonly windows: number;
  readonly sums: Float64Array;
  readonly counts: Int32Array;
  #notFinite = 0;
  #read = 0;

  constructor(windows: readonly Window[]) {
    const documents = countsBy("documents", windows);
    this.documents = documents.reduce((sum, count) => sum + (count > 0 ? 1 : 0), 0);
    this.windows = windows.length;
    this.unit = this.documents >= LEAST_DOCUMENTS ? "documents" : "windows";
    this.counts = this.unit === "documents" ? documents : countsBy("windows", windows);
    this.sums = new Float64Array(this.counts.length);
  }

  /** Tokens whose loss is NaN or infinite. */
  get notFinite(): number {
    return this.#notFinite;
  }

  /** The next window, and the loss at each of its positions. */
  add(window: Window, lossAt: (position: number) => number): void {
    for (const [unit, position] of placesIn(window, this.#read++, this.unit)) {
      const loss = lossAt(position);
      if (!Number.isFinite(loss)) this.#notFinite++;
      this.sums[unit] = (this.sums[unit] ?? 0) + loss;
    }
  }
}

function countsBy(unit: Unit, windows: readonly Window[]): Int32Array {
  const last = windows.reduce((most, { documents }) => documents.reduce((max, each) => Math.max(max, each), most), -1);
  const counts = new Int32Array(unit === "documents" ? last + 1 : windows.length);
  for (const [number, window] of windows.entries()) {
    for (const [at] of placesIn(window, number, unit)) counts[at] = (counts[at] ?? 0) + 1;
  }
  return counts;
}

/** Positions where a token is predicted, each with its unit. */
function* placesIn(window: Window, number: number, unit: Unit): Generator<readonly [unit: number, position: number]> {
  let position = 0;
  for (const document of documentsIn(window)) {
    const at = unit === "documents" ? document : number;
    if (window.labels[position] !== IGNORED && at !== undefined) yield [at, position];
    position++;
  }
}

/** A mean over tokens. */
export interface Mean {
  readonly mean: number;
  /** Standard error; absent for fewer than two units. */
  readonly error?: number;
  /** Half of the width of the 95 % interval: the error times Student's t. */
  readonly margin?: number;
}

/**
 * L = sum l_u / sum n_u over units u with losses l_u and tokens n_u. Its standard error is that of a ratio of sums over U units (Cochran,
 * Sampling Techniques, 6.3; for evaluations: clustered standard errors, arXiv 2411.00640), sqrt(U / (U - 1) * sum (l_u - L n_u)^2) / sum n_u.
 */
export function meanOf({ sums, counts }: Tally): Mean {
  const tokens = counts.reduce((sum, each) => sum + each, 0);
  const mean = sums.reduce((sum, each) => sum + each, 0) / tokens;
  const units = counts.reduce((sum, each) => sum + (each > 0 ? 1 : 0), 0);
  if (units < 2) return { mean };
  let squares = 0;
  for (const [at, sum] of sums.entries()) squares += (sum - mean * (counts[at] ?? 0)) ** 2;
  const error = Math.sqrt((units / (units - 1)) * squares) / tokens;
  return { mean, error, margin: error * studentT(units - 1) };
}

/** Of the same text, read by two models: what they have in common drops out, so that small changes can be told from chance. */
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
