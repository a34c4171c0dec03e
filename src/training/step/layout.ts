// What all layouts share: the state that outlives a step, and the loss without a gradient. Makes no steps itself.
import type { Batch } from "../../corpus/batch.ts";
import { throwIfAborted } from "../../errors.ts";
import { SCALE_START, type ScaleState } from "../optimizer/scale.ts";
import type { Fault, StepResult, Trainer, TrainerState } from "./contract.ts";
import { firstFault } from "./fault.ts";
import { countedIn, feedsOf, scalarIn } from "./feeds.ts";
import { LOSS, type Prepared } from "./prepare.ts";
import { KINDS } from "./store.ts";

export abstract class LayoutTrainer implements Trainer {
  readonly parameters: Trainer["parameters"];
  protected readonly prepared: Prepared;
  /** Updates made. */
  protected updates = 0;
  /** f16 only. */
  protected scale: ScaleState | undefined;

  constructor(prepared: Prepared) {
    this.prepared = prepared;
    this.parameters = prepared.store.parameters;
    this.scale = prepared.options.dtype === "f16" ? SCALE_START : undefined;
  }

  /** Steps one after the other; after one that is not finite, and was not skipped, no further one is made. */
  protected async oneByOne(
    steps: readonly (readonly Batch[])[],
    rates: readonly number[],
    step: (batches: readonly Batch[], rate: number) => Promise<StepResult>,
  ): Promise<readonly StepResult[]> {
    const results: StepResult[] = [];
    for (const [at, batches] of steps.entries()) {
      throwIfAborted(this.prepared.options.signal);
      const result = await step(batches, rates[at] ?? 0);
      results.push(result);
      if (!result.finite && !result.skipped) break;
    }
    return results;
  }

  abstract run(steps: readonly (readonly Batch[])[], rates: readonly number[]): Promise<readonly StepResult[]>;

  async loss(batch: Batch): Promise<{ readonly sum: number; readonly tokens: number }> {
    const { runtime, store, forward, sessions } = this.prepared;
    // Seldom run: it keeps no memory beside that of the steps.
    const session = await sessions.of(forward, "loss", { memory: "returned" });
    const feeds = feedsOf(this.prepared, batch, 0);
    const values = await store.lend(runtime, (held) => session.run(feeds, [LOSS], [held]));
    return { sum: scalarIn(values, LOSS), tokens: countedIn(batch) };
  }

  trace(batches: readonly Batch[]): Promise<Fault | undefined> {
    return firstFault(this.prepared, batches);
  }

  async state(): Promise<TrainerState> {
    const { store } = this.prepared;
    return {
      step: this.updates,
      ...(this.scale === undefined ? {} : { scale: this.scale }),
      weights: store.whole("weights"),
      m: store.whole("m"),
      v: store.whole("v"),
    };
  }

  async load(state: TrainerState): Promise<void> {
    for (const kind of KINDS) this.prepared.store.fill(kind, state[kind]);
    this.updates = state.step;
    if (this.scale !== undefined) this.scale = state.scale ?? SCALE_START;
  }

  async close(): Promise<void> {
    await this.prepared.runtime.close();
  }
}

/** A step none of whose labels counts changes nothing: weights that shrink without a loss would be a surprise. */
export const NOTHING: StepResult = { loss: 0, tokens: 0, norm: 0, finite: true, skipped: false };
