// What a model says at each position: its loss and the tokens that it holds most likely, merged over runs of the vocabulary in float64.
import { IGNORED } from "../corpus/batch.ts";
import type { Window } from "./window.ts";

/** Most likely tokens that are kept of a position: the paper's classes of token shift are rank 1, 2 to 3, and beyond. */
export const BEST = 3;
/** In the place of a token where a model gives NaN, or has not so many. */
export const NONE = -1;
/** The least finite f32: sums of exponentials are taken against a maximum that is never infinite. */
export const LOWEST = -3.4028234663852886e38;

/** Rows [from, from + v) of the vocabulary for consecutive positions, as a session gives them. */
export interface PartialReading {
  /** First row. */
  readonly from: number;
  /** Number of the first position. */
  readonly at: number;
  /** Largest logits in falling order, [positions, k], and their places within the run. */
  readonly best: Float32Array;
  readonly bestIds: Int32Array;
  /** Sum of exp(logit - max(largest logit, LOWEST)), [positions]. */
  readonly sum: Float32Array;
  /** The logit of the position's label, [positions]; anything where the label is not in the run. */
  readonly label: Float32Array;
  /** Number of rows, v. */
  readonly rows: number;
}

export class Reading {
  readonly #labels: Int32Array;
  readonly #max: Float64Array;
  readonly #sum: Float64Array;
  readonly #label: Float64Array;
  readonly #values: Float32Array;
  /** Most likely tokens, [positions, BEST]; of equal ones the lower id first. */
  readonly best: Int32Array;

  constructor(windows: readonly Window[]) {
    this.#labels = concatenated(windows);
    const count = this.#labels.length;
    this.#max = new Float64Array(count).fill(LOWEST);
    this.#sum = new Float64Array(count);
    this.#label = new Float64Array(count).fill(Number.NaN);
    this.#values = new Float32Array(count * BEST).fill(Number.NEGATIVE_INFINITY);
    this.best = new Int32Array(count * BEST).fill(NONE);
  }

  /** Runs come in the order of their rows. */
  add(part: PartialReading): void {
    const { from, at, best, sum, label, rows } = part;
    const width = best.length / sum.length;
    for (let index = 0; index < sum.length; index++) {
      const to = at + index;
      this.#addSum(to, Math.max(best[index * width] ?? Number.NaN, LOWEST), sum[index] ?? Number.NaN);
      const wanted = (this.#labels[to] ?? IGNORED) - from;
      if (wanted >= 0 && wanted < rows) this.#label[to] = label[index] ?? Number.NaN;
      for (let rank = 0; rank < width; rank++) {
        const source = index * width + rank;
        this.#addBest(to * BEST, best[source] ?? Number.NaN, from + (part.bestIds[source] ?? 0));
      }
    }
  }

  /** log(sum of exp(logits)) - logit of the label, in nats; NaN where nothing is to be predicted, and where the model gives NaN. */
  loss(position: number): number {
    const [max = 0, sum = 0] = [this.#max[position], this.#sum[position]];
    return max + Math.log(sum) - (this.#label[position] ?? Number.NaN);
  }

  #addSum(to: number, max: number, sum: number): void {
    const known = this.#max[to] ?? LOWEST;
    const top = Math.max(known, max);
    this.#sum[to] = (this.#sum[to] ?? 0) * Math.exp(known - top) + sum * Math.exp(max - top);
    this.#max[to] = top;
  }

  /** Into its place among the best; only above what is there, so that equal ones stay in the order of their ids. */
  #addBest(start: number, value: number, id: number): void {
    let place = start + BEST;
    while (place > start && value > (this.#values[place - 1] ?? 0)) place--;
    if (place === start + BEST) return;
    this.#values.copyWithin(place + 1, place, start + BEST - 1);
    this.best.copyWithin(place + 1, place, start + BEST - 1);
    this.#values[place] = value;
    this.best[place] = id;
  }
}

function concatenated(windows: readonly Window[]): Int32Array {
  const all = new Int32Array(windows.reduce((sum, { labels }) => sum + labels.length, 0));
  let at = 0;
  for (const { labels } of windows) {
    all.set(labels, at);
    at += labels.length;
  }
  return all;
}
