// The layouts "host" and "offload": gradients come from graphs, AdamW runs here. Knows no graph itself.
import type { Batch } from "../../corpus/batch.ts";
import { throwIfAborted } from "../../errors.ts";
import { coefficientsOf, sumOfSquares, updateTensor } from "../optimizer/adamw.ts";
import { clipFactor } from "../optimizer/clipping.ts";
import { nextScale } from "../optimizer/scale.ts";
import { countedIn, LayoutTrainer } from "./layout.ts";
import type { Part } from "./parameters.ts";
import type { Prepared } from "./prepare.ts";
import type { StepResult } from "./trainer.ts";

/** Of the batches of one step, each position weighted alike. */
export interface Gradients {
  /** Losses added up, not weighted. */
  readonly loss: number;
  /** By the input of the part. */
  readonly byInput: ReadonlyMap<string, Float32Array>;
}

export interface GradientSource {
  gradients(batches: readonly Batch[], weight: number): Promise<Gradients>;
  /** Sum of losses, with the weights of now; absent: the whole forward graph gives it. */
  loss?(batch: Batch): Promise<number>;
}

export class HostTrainer extends LayoutTrainer {
  readonly #source: GradientSource;

  constructor(prepared: Prepared, source: GradientSource) {
    super(prepared);
    this.#source = source;
  }

  async run(steps: readonly (readonly Batch[])[], rates: readonly number[]): Promise<readonly StepResult[]> {
    const results: StepResult[] = [];
    for (const [at, batches] of steps.entries()) {
      throwIfAborted(this.prepared.options.signal);
      const result = await this.#step(batches, rates[at] ?? 0);
      results.push(result);
      if (!result.finite && !result.skipped) break;
    }
    return results;
  }

  override async loss(batch: Batch): Promise<{ readonly sum: number; readonly tokens: number }> {
    if (this.#source.loss === undefined) return super.loss(batch);
    return { sum: await this.#source.loss(batch), tokens: countedIn(batch) };
  }

  async #step(batches: readonly Batch[], rate: number): Promise<StepResult> {
    const tokens = batches.reduce((sum, batch) => sum + countedIn(batch), 0);
    // Nothing counts, nothing is learnt: a weight that decays all the same would be a surprise.
    if (tokens === 0) return { loss: 0, tokens, norm: 0, finite: true, skipped: false };
    const scale = this.scale?.scale ?? 1;
    const { loss, byInput } = await this.#source.gradients(batches, scale / tokens);
    const { norm, firstBad } = this.#judge(byInput, loss);
    const finite = firstBad === undefined;
    if (finite) this.#update(byInput, norm, rate);
    const result = {
      loss: loss / tokens,
      tokens,
      norm: norm / scale,
      finite,
      skipped: !finite && this.scale !== undefined && Number.isFinite(loss),
      ...(this.scale === undefined ? {} : { scale }),
      ...(firstBad === undefined ? {} : { firstBad }),
    };
    if (this.scale !== undefined) this.scale = nextScale(this.scale, finite);
    return result;
  }

  /** Global norm of what the graphs gave, still scaled. */
  #judge(byInput: Gradients["byInput"], loss: number): { readonly norm: number; readonly firstBad?: string } {
    let total = 0;
    let firstBad = Number.isFinite(loss) ? undefined : "loss";
    for (const { name, parts } of this.prepared.store.parameters) {
      for (const part of parts) {
        const squares = sumOfSquares(gradientOf(byInput, part));
        if (!Number.isFinite(squares)) firstBad ??= name;
        total += squares;
      }
    }
    const norm = Math.sqrt(total);
    return firstBad === undefined ? { norm } : { norm, firstBad };
  }

  #update(byInput: Gradients["byInput"], norm: number, rate: number): void {
    const { store, options } = this.prepared;
    const scale = this.scale?.scale ?? 1;
    const coefficients = coefficientsOf(options.adam, rate, ++this.updates);
    // A power of two divides exactly, so one factor does both.
    const factor = Math.fround(clipFactor(Math.fround(norm / scale), options.clip)) / scale;
    for (const part of store.parts) {
      const tensor = { weight: store.get("weights", part), m: store.get("m", part), v: store.get("v", part) };
      updateTensor(tensor, gradientOf(byInput, part), factor, options.adam, coefficients);
    }
  }
}

function gradientOf(byInput: Gradients["byInput"], { input }: Part): Float32Array {
  return byInput.get(input) ?? new Float32Array(0);
}
