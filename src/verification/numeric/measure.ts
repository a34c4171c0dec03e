// How far two arrays of numbers are apart. Compares numbers, not bits: -0 equals 0; what is not finite is counted, never averaged away.

/** Adds up over any number of pieces. */
export interface Measure {
  /** Largest |a - b| where both are finite. */
  readonly maxAbs: number;
  /** Largest |a| and |b| among finite values. */
  readonly largest: number;
  /** Values that are not equal: `===`, and two NaN count as equal. */
  readonly differing: number;
  readonly total: number;
  /** NaN and infinities of the first operand, and of the second. */
  readonly nonFinite: number;
  readonly nonFiniteExpected: number;
  /** Values of which one is finite and the other is not, or which are different infinities. */
  readonly torn: number;
  /** Sum of (a - b)^2 over finite pairs. */
  readonly squares: number;
}

export const NOTHING: Measure = {
  maxAbs: 0,
  largest: 0,
  differing: 0,
  total: 0,
  nonFinite: 0,
  nonFiniteExpected: 0,
  torn: 0,
  squares: 0,
};

/** `found` against `expected`, of equal length. */
export function measure(found: Float32Array, expected: Float32Array): Measure {
  let [maxAbs, largest, squares, differing] = [0, 0, 0, 0];
  let [nonFinite, nonFiniteExpected, torn] = [0, 0, 0];
  for (let at = 0; at < found.length; at++) {
    const a = found[at] ?? 0;
    const b = expected[at] ?? 0;
    const distance = Math.abs(a - b);
    // Finite exactly when both are: infinities and NaN make it NaN or infinite.
    if (distance < Number.POSITIVE_INFINITY) {
      if (distance > 0) {
        differing++;
        squares += distance * distance;
        if (distance > maxAbs) maxAbs = distance;
      }
      const size = Math.max(Math.abs(a), Math.abs(b));
      if (size > largest) largest = size;
      continue;
    }
    if (!Number.isFinite(a)) nonFinite++;
    if (!Number.isFinite(b)) nonFiniteExpected++;
    if (a !== b && !(Number.isNaN(a) && Number.isNaN(b))) {
      differing++;
      torn++;
    }
  }
  return { maxAbs, largest, differing, total: found.length, nonFinite, nonFiniteExpected, torn, squares };
}

export function together(a: Measure, b: Measure): Measure {
  return {
    maxAbs: Math.max(a.maxAbs, b.maxAbs),
    largest: Math.max(a.largest, b.largest),
    differing: a.differing + b.differing,
    total: a.total + b.total,
    nonFinite: a.nonFinite + b.nonFinite,
    nonFiniteExpected: a.nonFiniteExpected + b.nonFiniteExpected,
    torn: a.torn + b.torn,
    squares: a.squares + b.squares,
  };
}

/** `maxAbs` as a share of the largest magnitude on either side. */
export function relative({ maxAbs, largest }: Measure): number {
  return maxAbs === 0 ? 0 : maxAbs / largest;
}

/** Whether nothing is further apart than the tolerance, a share of the largest magnitude; 0 asks for equality. */
export function isWithin(each: Measure, tolerance: number): boolean {
  return tolerance === 0 ? each.differing === 0 : each.torn === 0 && relative(each) <= tolerance;
}

/** Root mean square of the finite values. */
export function rootMeanSquare(arrays: readonly Float32Array[]): number {
  let [sum, count] = [0, 0];
  for (const values of arrays) {
    for (const value of values) {
      const square = value * value;
      if (!(square < Number.POSITIVE_INFINITY)) continue;
      sum += square;
      count++;
    }
  }
  return count === 0 ? 0 : Math.sqrt(sum / count);
}
