// How well the model of now predicts texts that it is not trained on. Changes nothing in the trainer.
import type { Batch } from "../corpus/batch.ts";
import type { Corpus } from "../corpus/corpus.ts";
import { ExpandError } from "../errors.ts";
import type { Run, RunOptions } from "../events.ts";
import type { Metrics } from "./metrics.ts";
import type { Recipe } from "./recipe.ts";
import type { Trainer } from "./step/trainer.ts";

export interface EvaluationOptions extends RunOptions {
  readonly recipe: Recipe;
  readonly trainer: Trainer;
  readonly evaluations: readonly { readonly name: string; readonly corpus: Corpus }[];
  readonly metrics: Metrics;
}

/** Every corpus that was not measured at this step yet. Stops where the signal fires; the next part of the run measures the rest. */
export async function* evaluateAll({ evaluations, ...options }: EvaluationOptions, step: number): Run<void> {
  for (const { name, corpus } of evaluations) {
    if (options.metrics.has("evaluation", step, name)) continue;
    const measured = await measure(corpus, options);
    if (measured === undefined) return;
    if (measured.tokens === 0)
      throw new ExpandError("input", `--eval ${name} holds no text`, { fix: "Name a file that holds text." });
    const loss = measured.sum / measured.tokens;
    if (!Number.isFinite(loss)) throw notFinite(name, loss, step);
    options.metrics.add([{ kind: "evaluation", step, name, loss, tokens: measured.tokens }]);
    yield { kind: "evaluation", step, name, loss };
  }
}

function notFinite(name: string, loss: number, step: number): ExpandError {
  return new ExpandError("input", `the loss on --eval ${name} is ${loss}`, {
    at: `step ${step}`,
    fix:
      step === 0
        ? "Look at the weights of the model: nothing has been trained yet."
        : "Start again (--no-resume) with a lower --lr.",
  });
}

/** From the start of the corpus, the same tokens every time. Undefined when the signal fired. */
async function measure(
  corpus: Corpus,
  { recipe, trainer, signal }: Omit<EvaluationOptions, "evaluations">,
): Promise<{ readonly sum: number; readonly tokens: number } | undefined> {
  let [sum, tokens] = [0, 0];
  for await (const { batch } of corpus.batches() as AsyncIterable<{ readonly batch: Batch }>) {
    if (signal?.aborted) return undefined;
    const part = await trainer.loss(batch);
    sum += part.sum;
    tokens += part.tokens;
    if (tokens >= recipe.evaluationTokens) break;
  }
  return { sum, tokens };
}
