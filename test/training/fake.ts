// A trainer and a corpus that cost nothing and are exact: what a run does with them shows in every bit of the weights.
import type { Batch } from "../../src/corpus/batch.ts";
import type { Corpus } from "../../src/corpus/corpus.ts";
import type { Cursor } from "../../src/corpus/cursor.ts";
import { cutOf, type Recipe, type RecipeOptions, recipeOf } from "../../src/training/recipe.ts";
import type { Fault, StepResult, Trainer, TrainerState } from "../../src/training/step/trainer.ts";

export const SHAPES: ReadonlyMap<string, readonly number[]> = new Map([
  ["blocks.1.weight", [4, 3]],
  ["blocks.3.weight", [5]],
]);

type Values = Map<string, Float32Array>;

function fresh(from: number): Values {
  return new Map(
    [...SHAPES].map(([name, shape], at) => [
      name,
      Float32Array.from(
        { length: shape.reduce((product, size) => product * size, 1) },
        (_, i) => from * Math.sin(at + i + 1),
      ),
    ]),
  );
}

/** Steps whose results are changed before they are told; `weights` is what such a step makes of every weight. */
export type Faults = (
  step: number,
) => (Partial<StepResult> & { readonly fault?: Fault; readonly weights?: number }) | undefined;

export class FakeTrainer implements Trainer {
  readonly parameters = [...SHAPES].map(([name, shape]) => ({ name, shape }));
  readonly calls: number[] = [];
  readonly #faults: Faults;
  #weights = fresh(1);
  #m = fresh(0);
  #v = fresh(0);
  #step = 0;

  constructor(faults: Faults = () => undefined) {
    this.#faults = faults;
  }

  async run(steps: readonly (readonly Batch[])[], rates: readonly number[]): Promise<readonly StepResult[]> {
    this.calls.push(steps.length);
    return steps.map((batches, at) => this.#one(batches, rates[at] ?? 0));
  }

  #one(batches: readonly Batch[], rate: number): StepResult {
    this.#step++;
    const sum = batches.reduce((total, { ids }) => total + ids.reduce((all, id) => all + Number(id), 0), 0);
    for (const [name, weights] of this.#weights) {
      const [m, v] = [this.#m.get(name) ?? new Float32Array(), this.#v.get(name) ?? new Float32Array()];
      for (let i = 0; i < weights.length; i++) {
        const gradient = Math.sin((weights[i] ?? 0) * 3 + sum + i);
        m[i] = 0.9 * (m[i] ?? 0) + 0.1 * gradient;
        v[i] = 0.95 * (v[i] ?? 0) + 0.05 * gradient ** 2;
        weights[i] = (weights[i] ?? 0) - (rate * 100 * (m[i] ?? 0)) / (Math.sqrt(v[i] ?? 0) + 1e-8);
      }
    }
    const tokens = batches.reduce((total, { labels }) => total + labels.length, 0);
    const result = { loss: 3 / this.#step, tokens, norm: 1, skipped: false, finite: true };
    const { fault, weights, ...changed } = this.#faults(this.#step) ?? {};
    if (weights !== undefined) for (const values of this.#weights.values()) values.fill(weights);
    return { ...result, ...changed };
  }

  async loss(batch: Batch): Promise<{ readonly sum: number; readonly tokens: number }> {
    const weight = this.#weights.get("blocks.3.weight")?.[0] ?? 0;
    return { sum: batch.ids.length * (2 + weight), tokens: batch.ids.length };
  }

  /** What a fault says, where it says something. */
  async trace(): Promise<Fault | undefined> {
    return this.#faults(this.#step)?.fault;
  }

  async state(): Promise<TrainerState> {
    return { step: this.#step, weights: this.#weights, m: this.#m, v: this.#v };
  }

  async load({ step, weights, m, v }: TrainerState): Promise<void> {
    const copy = (values: TrainerState["m"]): Values =>
      new Map([...values].map(([name, data]) => [name, data.slice()]));
    [this.#step, this.#weights, this.#m, this.#v] = [step, copy(weights), copy(m), copy(v)];
  }

  async close(): Promise<void> {}
}

/** Batch n holds n's own numbers; its cursor is n + 1. `length`: batches of a corpus that ends. */
export function fakeCorpus(batch: number, context: number, length = Number.POSITIVE_INFINITY): Corpus {
  return {
    digest: "0".repeat(64),
    files: [],
    count: async () => ({ documents: 1, tokens: 1000 }),
    batches: async function* (from?: Cursor) {
      for (let n = from?.taken ?? 0; n < length; n++) {
        const ids = BigInt64Array.from({ length: batch * context }, (_, i) => BigInt((n * 7 + i * 13) % 31));
        const documents = [{ file: "corpus.txt", place: `byte ${n * 100}` }];
        const after: Cursor = { digest: "0".repeat(64), window: 0, taken: n + 1 };
        yield { batch: { batch, context, ids, labels: ids, documents }, after };
      }
    },
  };
}

export function fakeRecipe(options: RecipeOptions): Recipe {
  return recipeOf(options, cutOf({ batch: 2, context: 4, ...options }, undefined), undefined);
}
