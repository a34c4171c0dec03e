// One run, step by step: batches in, metrics and saved state out. Decides nothing of the mathematics, and saves only what is finite.
import type { Corpus } from "../corpus/corpus.ts";
import { ExpandError } from "../errors.ts";
import type { Run, RunOptions } from "../events.ts";
import type { Shape } from "../tensor/dtype.ts";
import type { TensorRef } from "../tensor/reference.ts";
import { evaluateAll } from "./evaluations.ts";
import { checkState, checkStep } from "./faults.ts";
import { Feed, type StepBatches } from "./feed.ts";
import type { Identity } from "./identity.ts";
import type { Metric, Metrics } from "./metrics.ts";
import { learningRate } from "./optimizer/schedule.ts";
import type { Recipe } from "./recipe.ts";
import { type Progress, type SavedState, writeState } from "./state.ts";
import type { Fault, StepResult, Trainer } from "./step/trainer.ts";
import { blockUpdates } from "./updates.ts";

export interface TrainingOptions extends RunOptions {
  readonly recipe: Recipe;
  readonly trainer: Trainer;
  readonly corpus: Corpus;
  /** Measured before the first step, every `recipe.every` steps, and at the end. */
  readonly evaluations: readonly { readonly name: string; readonly corpus: Corpus }[];
  readonly metrics: Metrics;
  /** Where the state is saved. */
  readonly directory: string;
  readonly identity: Identity;
  /** A state of the same run to go on from. */
  readonly saved?: SavedState;
  /** The trainable tensors as they were at the start. */
  readonly base: ReadonlyMap<string, TensorRef>;
  /** The block of a tensor: its number, or "outside". */
  readonly blockOf: (tensor: string) => string;
  /** Called after each save. */
  readonly onSave?: () => void;
}

/** Milliseconds after which a state is saved in any case. */
const SAVE_AFTER = 600_000;

/**
 * Runs all steps that are left. When it returns, the state of the last step is saved. Throws "interrupted" when the signal fires, after the
 * step at hand, with the state saved; "input" for numbers that are not finite, with the last good state as it was.
 */
export async function* runSteps(options: TrainingOptions): Run<Progress> {
  const loop = new TrainingLoop(options);
  try {
    return yield* loop.run();
  } finally {
    await loop.close();
  }
}

/** What is known of a step beside its result. */
interface Taken {
  readonly taken: StepBatches | undefined;
  readonly rate: number;
  readonly seconds: number;
  readonly fault: Fault | undefined;
}

class TrainingLoop {
  readonly #options: TrainingOptions;
  readonly #feed: Feed;
  readonly #shapes: ReadonlyMap<string, Shape>;
  #progress: Progress;
  #savedStep: number;
  #savedAt = performance.now();
  #skippedInRow = 0;

  constructor(options: TrainingOptions) {
    this.#options = options;
    this.#progress = options.saved?.progress ?? { step: 0, tokens: 0, skipped: 0, seconds: 0 };
    this.#savedStep = options.saved?.progress.step ?? -1;
    this.#feed = new Feed(options.corpus, this.#progress.cursor as never, options.recipe.accumulate);
    this.#shapes = new Map(options.trainer.parameters.map(({ name, shape }) => [name, shape]));
  }

  async *run(): Run<Progress> {
    const { trainer, saved, recipe, signal } = this.#options;
    if (saved !== undefined) await trainer.load(await saved.trainer());
    yield { kind: "phase", name: "train" };
    for (;;) {
      const { step } = this.#progress;
      if (this.#isDue(step, recipe.every)) yield* evaluateAll(this.#options, step);
      const stop = signal?.aborted === true;
      if (stop || this.#isSaveDue()) await this.#save();
      if (stop)
        throw new ExpandError("interrupted", "interrupted", {
          fix: `Run the same command to go on from step ${step}.`,
        });
      if (step >= recipe.steps) return this.#progress;
      yield* this.#advance(this.#chunkFrom(step));
    }
  }

  async close(): Promise<void> {
    await this.#feed.close();
  }

  /** Takes `count` steps in one call of the trainer. */
  async *#advance(count: number): Run<void> {
    const { recipe, trainer } = this.#options;
    const first = this.#progress.step;
    const steps = await this.#feed.take(count, this.#chunkFrom(first + count));
    const rates = steps.map((_, at) => learningRate(recipe.schedule, first + at));
    const started = performance.now();
    const results = await trainer.run(
      steps.map(({ batches }) => batches),
      rates,
    );
    const seconds = (performance.now() - started) / 1000 / count;
    for (const [at, result] of results.entries()) {
      const fault = await this.#faultOf(result, steps[at]);
      this.#take(result, { taken: steps[at], rate: rates[at] ?? 0, seconds, fault });
      const { step } = this.#progress;
      yield {
        kind: "step",
        step,
        of: recipe.steps,
        loss: result.loss,
        rate: rates[at] ?? 0,
        norm: result.norm,
        tokensPerSecond: result.tokens / seconds,
        secondsLeft: (this.#progress.seconds / step) * (recipe.steps - step),
      };
    }
  }

  /** Where a loss that is not finite comes from. That this cannot be found out must not hide that it is not. */
  async #faultOf({ loss }: StepResult, taken: StepBatches | undefined): Promise<Fault | undefined> {
    if (Number.isFinite(loss) || taken === undefined) return undefined;
    return this.#options.trainer.trace(taken.batches).catch(() => undefined);
  }

  /** Counts one step. Throws where its numbers are not finite. */
  #take(result: StepResult, { taken, rate, seconds, fault }: Taken): void {
    const { metrics, blockOf, recipe } = this.#options;
    const { step, tokens, skipped, seconds: before } = this.#progress;
    this.#skippedInRow = result.skipped ? this.#skippedInRow + 1 : 0;
    const { dtype } = recipe;
    const batches = taken?.batches ?? [];
    checkStep(result, { step: step + 1, batches, dtype, blockOf, skippedInRow: this.#skippedInRow, fault });
    this.#progress = {
      step: step + 1,
      tokens: tokens + result.tokens,
      skipped: skipped + (result.skipped ? 1 : 0),
      seconds: before + seconds,
      cursor: taken?.after,
    };
    const line: Metric = {
      kind: "step",
      step: step + 1,
      loss: result.loss,
      rate,
      norm: result.norm,
      tokens: result.tokens,
      seconds: this.#progress.seconds,
      ...(result.skipped ? { skipped: true } : {}),
      ...(result.scale === undefined ? {} : { scale: result.scale }),
    };
    metrics.add([line]);
  }

  /** Steps from `step` to where something else is to be done, at most one call's. */
  #chunkFrom(step: number): number {
    const { steps, every, saveEvery, loopSteps } = this.#options.recipe;
    const next = (period: number): number => period - (step % period);
    return Math.min(loopSteps, steps - step, next(every), next(saveEvery));
  }

  #isDue(step: number, period: number): boolean {
    return step % period === 0 || step >= this.#options.recipe.steps;
  }

  #isSaveDue(): boolean {
    const { step } = this.#progress;
    if (step === 0 || step === this.#savedStep) return false;
    return this.#isDue(step, this.#options.recipe.saveEvery) || performance.now() - this.#savedAt > SAVE_AFTER;
  }

  async #save(): Promise<void> {
    const { directory, identity, trainer, metrics, base, blockOf, onSave } = this.#options;
    const { step } = this.#progress;
    if (step === 0 || step === this.#savedStep) return;
    const state = await trainer.state();
    checkState(state, step, blockOf);
    if (!metrics.has("update", step)) {
      metrics.add([{ kind: "update", step, blocks: await blockUpdates(base, state.weights, blockOf) }]);
    }
    // A state is never ahead of what is on the disk of its metrics.
    metrics.sync();
    await writeState(directory, this.#shapes, { identity, progress: this.#progress, trainer: state });
    this.#savedStep = step;
    this.#savedAt = performance.now();
    onSave?.();
  }
}
