// Repetition in a row of digests. Arithmetic on texts and numbers only.

/** `repeats` stretches of `period` elements each, all equal, from `start`. */
export interface Run {
  readonly start: number;
  readonly period: number;
  readonly repeats: number;
  readonly weight: number;
}

/** Longest pattern that is looked for, in segments: eight blocks of attention and MLP, with casts and the like between them. */
const LONGEST_PERIOD = 64;

/** Every run of two repeats or more, heaviest first; of equal ones the shorter period first, then the earlier start. */
export function runsOf(digests: readonly string[], weights: readonly number[]): readonly Run[] {
  const sums = [0];
  for (const weight of weights) sums.push((sums.at(-1) ?? 0) + weight);
  const runs: Run[] = [];
  for (let period = 1; period <= Math.min(LONGEST_PERIOD, digests.length / 2); period++) {
    // How many elements from here on equal the one a period later.
    let length = 0;
    for (let start = digests.length - period - 1; start >= 0; start--) {
      length = digests[start] === digests[start + period] ? length + 1 : 0;
      const repeats = Math.floor(length / period) + 1;
      if (repeats < 2) continue;
      const weight = (sums[start + repeats * period] ?? 0) - (sums[start] ?? 0);
      runs.push({ start, period, repeats, weight });
    }
  }
  return runs.sort((a, b) => b.weight - a.weight || a.period - b.period || a.start - b.start);
}

/** The smallest period of a list, or its length when nothing repeats: a b a b a has period 2. */
export function periodOf(items: readonly string[]): number {
  for (let period = 1; period < items.length; period++) {
    if (items.every((item, at) => at < period || item === items[at - period])) return period;
  }
  return Math.max(1, items.length);
}
