// The batches of each step, taken ahead of time: the next ones are read and tokenized while the device computes. Never skips one.
import type { Batch } from "../corpus/batch.ts";
import type { Corpus } from "../corpus/corpus.ts";
import type { Cursor } from "../corpus/cursor.ts";
import { ExpandError } from "../errors.ts";

/** The batches of one step, and where the corpus goes on behind them. */
export interface StepBatches {
  readonly batches: readonly Batch[];
  readonly after: Cursor;
}

export class Feed {
  readonly #source: AsyncGenerator<{ readonly batch: Batch; readonly after: Cursor }>;
  readonly #accumulate: number;
  #ahead: Promise<readonly StepBatches[]> | undefined;

  constructor(corpus: Corpus, from: Cursor | undefined, accumulate: number) {
    this.#source = corpus.batches(from);
    this.#accumulate = accumulate;
  }

  /** The batches of the next `count` steps. `next` steps will be asked for after them, and are prepared. */
  async take(count: number, next: number): Promise<readonly StepBatches[]> {
    const steps = await (this.#ahead ?? this.#read(count));
    this.#ahead = next === 0 ? undefined : this.#read(next);
    // Whoever waits for it hears of its failure; until then it must not end the process.
    this.#ahead?.catch(() => undefined);
    return steps;
  }

  async close(): Promise<void> {
    await this.#ahead?.catch(() => undefined);
    await this.#source.return(undefined);
  }

  async #read(count: number): Promise<readonly StepBatches[]> {
    const steps: StepBatches[] = [];
    for (let step = 0; step < count; step++) {
      const batches: Batch[] = [];
      let after: Cursor | undefined;
      while (batches.length < this.#accumulate) {
        const item = await this.#source.next();
        if (item.done === true) throw empty();
        batches.push(item.value.batch);
        after = item.value.after;
      }
      if (after !== undefined) steps.push({ batches, after });
    }
    return steps;
  }
}

function empty(): ExpandError {
  return new ExpandError("input", "the corpus ended before the run did", {
    fix: "Give --corpus files that hold text.",
  });
}
