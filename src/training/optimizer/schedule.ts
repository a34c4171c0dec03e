// The learning rate of each step: a warm-up, then constant, linear or cosine. Knows no optimizer.

export interface Schedule {
  readonly kind: "constant" | "linear" | "cosine";
  /** The highest rate. */
  readonly peak: number;
  /** Steps in which the rate rises to the peak. */
  readonly warmup: number;
  /** Steps of the whole run. */
  readonly total: number;
  /** The rate that linear and cosine fall to; 0 unless given. */
  readonly floor?: number;
}

/**
 * The rate of a step, counted from 0. Step i of the warm-up has (i + 1) / warmup of the peak, so that no step is made at rate 0; the first
 * step behind it has the peak. Beyond `total` the rate stays where it ended.
 */
export function learningRate(schedule: Schedule, step: number): number {
  const { kind, peak, warmup, total, floor = 0 } = schedule;
  if (step < warmup) return (peak * (step + 1)) / warmup;
  if (kind === "constant") return peak;
  const progress = Math.min(1, (step - warmup) / Math.max(1, total - warmup));
  const left = kind === "linear" ? 1 - progress : (1 + Math.cos(Math.PI * progress)) / 2;
  return floor + (peak - floor) * left;
}
