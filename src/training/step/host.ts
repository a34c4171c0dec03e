// The layouts "host" and "offload": gradients come from graphs, AdamW runs here. Knows no graph itself.
import { setImmediate } from "node:timers/promises";
import type { Batch } from "../../corpus/batch.ts";
import { ExpandError, quote } from "../../errors.ts";
import { coefficientsOf, sumOfSquares, updateTensor } from "../optimizer/adamw.ts";
import { clipFactor } from "../optimizer/clipping.ts";
import { nextScale } from "../optimizer/scale.ts";
import type { GradientSource, Gradients, StepResult } from "./contract.ts";
import { countedIn, countedInAll } from "./feeds.ts";
import { LayoutTrainer, NOTHING } from "./layout.ts";
import type { Part } from "./parameters.ts";
import type { Prepared } from "./prepare.ts";

/** Values that are updated without a pause. */
const BETWEEN_PAUSES = 2 ** 25;

export class HostTrainer extends LayoutTrainer {
  readonly #source: GradientSource;

  constructor(prepared: Prepared, source: GradientSource) {
    super(prepared);
    this.#source = source;
  }

  run(steps: readonly (readonly Batch[])[], rates: readonly number[]): Promise<readonly StepResult[]> {
    return this.oneByOne(steps, rates, (batches, rate) => this.#step(batches, rate));
  }

  override async loss(batch: Batch): Promise<{ readonly sum: number; readonly tokens: number }> {
    if (this.#source.loss === undefined) return super.loss(batch);
    return { sum: await this.#source.loss(batch), tokens: countedIn(batch) };
  }

  async #step(batches: readonly Batch[], rate: number): Promise<StepResult> {
    const tokens = countedInAll(batches);
    if (tokens === 0) return NOTHING;
    const scale = this.scale?.scale ?? 1;
    const { loss, byInput } = await this.#source.gradients(batches, scale / tokens);
    const { norm, bad } = this.#judge(byInput);
    const isReadable = Number.isFinite(loss);
    const finite = isReadable && bad.length === 0;
    if (finite) await this.#update(byInput, norm, rate);
    const result = {
      loss: loss / tokens,
      tokens,
      norm: norm / scale,
      finite,
      skipped: !finite && this.scale !== undefined && isReadable,
      ...(this.scale === undefined ? {} : { scale }),
      ...(finite ? {} : { bad: isReadable ? bad : [] }),
    };
    if (this.scale !== undefined) this.scale = nextScale(this.scale, finite);
    return result;
  }

  /** Global norm of what the graphs gave, still scaled, and the tensors whose part of it is not finite. */
  #judge(byInput: Gradients["byInput"]): { readonly norm: number; readonly bad: readonly string[] } {
    let total = 0;
    const bad: string[] = [];
    for (const { name, parts } of this.prepared.store.parameters) {
      const squares = parts.reduce((sum, part) => sum + sumOfSquares(gradientOf(byInput, part)), 0);
      if (!Number.isFinite(squares)) bad.push(name);
      total += squares;
    }
    return { norm: Math.sqrt(total), bad };
  }

  async #update(byInput: Gradients["byInput"], norm: number, rate: number): Promise<void> {
    const { store, options } = this.prepared;
    const scale = this.scale?.scale ?? 1;
    const coefficients = coefficientsOf(options.adam, rate, ++this.updates);
    // A power of two divides exactly, so one factor does both.
    const factor = Math.fround(clipFactor(Math.fround(norm / scale), options.clip)) / scale;
    let done = 0;
    for (const part of store.parts) {
      // Other work of this thread, such as a signal's, waits for a tenth of a second at most.
      done += part.count;
      if (done > BETWEEN_PAUSES) {
        done = 0;
        await setImmediate();
      }
      const tensor = { weight: store.get("weights", part), m: store.get("m", part), v: store.get("v", part) };
      updateTensor(tensor, gradientOf(byInput, part), factor, options.adam, coefficients);
    }
  }
}

function gradientOf(byInput: Gradients["byInput"], { input }: Part): Float32Array {
  const found = byInput.get(input);
  if (found !== undefined) return found;
  throw new ExpandError("bug", `no graph gave a gradient of ${quote(input)}`);
}
