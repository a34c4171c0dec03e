// What all layouts share: the state that outlives a step, and the loss without a gradient. Makes no steps itself.
import type { Batch } from "../../corpus/batch.ts";
import { ExpandError, throwIfAborted } from "../../errors.ts";
import { OnnxType } from "../../graph/onnx.ts";
import type { Session } from "../../runtime/runtime.ts";
import type { Value, Values } from "../../runtime/values.ts";
import { SCALE_START, type ScaleState } from "../optimizer/scale.ts";
import { LABELS, LOSS, type Prepared, WEIGHT } from "./prepare.ts";
import { floatsIn, KINDS } from "./store.ts";
import type { StepResult, Trainer, TrainerState } from "./trainer.ts";

export abstract class LayoutTrainer implements Trainer {
  readonly parameters: Trainer["parameters"];
  protected readonly prepared: Prepared;
  /** Updates made. */
  protected updates = 0;
  /** f16 only. */
  protected scale: ScaleState | undefined;
  #forward: Session | undefined;

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
    const { runtime, store, forward } = this.prepared;
    // Seldom run: it keeps no memory beside that of the steps.
    this.#forward ??= await this.prepared.open(forward, "loss", { memory: "returned" });
    const session = this.#forward;
    const feeds = feedsOf(this.prepared, batch, 0);
    const values = await store.lend(runtime, (held) => session.run(feeds, [LOSS], [held]));
    return { sum: scalarIn(values, LOSS), tokens: countedIn(batch) };
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

/** Inputs of one forward pass. Throws "bug" for a batch of another size than the graph. */
export function feedsOf(prepared: Prepared, batch: Batch, weight: number): Values {
  const { options, ids } = prepared;
  if (batch.batch !== options.batch || batch.context !== options.context) {
    const found = `[${batch.batch}, ${batch.context}]`;
    throw new ExpandError("bug", `a batch is ${found}; the graph takes [${options.batch}, ${options.context}]`);
  }
  const shape = [batch.batch, batch.context];
  return {
    [ids]: idsValue(prepared, shape, batch.ids),
    [LABELS]: { dtype: "int64", shape, data: batch.labels },
    [WEIGHT]: scalar(weight),
  };
}

/** Token ids in the type that the model takes. */
export function idsValue({ tape, ids }: Prepared, shape: readonly number[], data: BigInt64Array): Value {
  if (tape.typeOf(ids).type === OnnxType.INT64) return { dtype: "int64", shape, data };
  return { dtype: "int32", shape, data: Int32Array.from(data, Number) };
}

export function scalar(value: number): Value {
  return { dtype: "float32", shape: [], data: Float32Array.of(value) };
}

export function scalarIn(values: Values, name: string): number {
  return floatsIn(values, name)[0] ?? Number.NaN;
}

/** Positions whose label is not ignored. */
export function countedIn({ labels }: Batch): number {
  let count = 0;
  for (const label of labels) if (label >= 0n) count++;
  return count;
}

export function countedInAll(batches: readonly Batch[]): number {
  return batches.reduce((sum, batch) => sum + countedIn(batch), 0);
}

/** A step none of whose labels counts changes nothing: weights that shrink without a loss would be a surprise. */
export const NOTHING: StepResult = { loss: 0, tokens: 0, norm: 0, finite: true, skipped: false };
