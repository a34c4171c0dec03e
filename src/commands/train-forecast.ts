// `train --dry-run`: what a run would take, measured on two of its steps. Writes nothing.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { Batch } from "../corpus/batch.ts";
import type { Corpus } from "../corpus/corpus.ts";
import { ExpandError } from "../errors.ts";
import type { Run } from "../events.ts";
import { learningRate } from "../training/optimizer/schedule.ts";
import { type Recipe, tokensPerStep } from "../training/recipe.ts";
import { estimateMemory, type MemoryEstimate } from "../training/step/memory.ts";
import { openTrainer, type Trainer } from "../training/step/trainer.ts";
import type { TrainOptions } from "./train.ts";
import { setUp, trainerOptions } from "./train-setup.ts";

export interface TrainForecast {
  readonly recipe: Recipe;
  readonly parameters: { readonly tensors: number; readonly values: number };
  /** Positions of the whole run. */
  readonly tokens: number;
  readonly secondsPerStep: number;
  readonly seconds: number;
  /** Of the first step. */
  readonly loss: number;
  /** Bytes. */
  readonly memory: MemoryEstimate & {
    /** What the process grew by in the measured steps; absent where the model is on another device. */
    readonly measured?: number;
    /** Two states: the new one is complete before the old one goes. */
    readonly disk: number;
  };
}

/** The second step tells the time: the first one reads the weights from the disk. */
const MEASURED_STEPS = 2;

/** Throws what `train` would throw before its first step. */
export async function* forecast(wishes: TrainOptions): Run<TrainForecast> {
  const setup = yield* setUp(wishes);
  const { recipe, trainables } = setup;
  const scratch = fs.mkdtempSync(path.join(os.tmpdir(), "expand-checkpoint-train-"));
  try {
    yield { kind: "phase", name: "build the training graph" };
    const { signal } = wishes;
    const options = { ...trainerOptions(setup, scratch, wishes), ...(signal && { signal }) };
    const trainer = await (wishes.openTrainer ?? openTrainer)(options);
    try {
      yield { kind: "phase", name: "measure two steps" };
      const { loss, secondsPerStep, measured } = await measure(trainer, setup.corpus, recipe);
      const values = trainer.parameters.reduce(
        (sum, { shape }) => sum + shape.reduce((count, size) => count * size, 1),
        0,
      );
      return {
        recipe,
        parameters: { tensors: trainables.names.size, values },
        tokens: recipe.steps * tokensPerStep(recipe),
        secondsPerStep,
        seconds: secondsPerStep * recipe.steps,
        loss,
        memory: {
          ...estimateMemory(options),
          disk: values * 24,
          ...(recipe.device === "cpu" ? { measured } : {}),
        },
      };
    } finally {
      await trainer.close();
    }
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}

async function measure(trainer: Trainer, corpus: Corpus, recipe: Recipe) {
  const batches = corpus.batches();
  const before = process.memoryUsage().rss;
  const seconds: number[] = [];
  const losses: number[] = [];
  for (let step = 0; step < Math.min(MEASURED_STEPS, recipe.steps); step++) {
    const taken: Batch[] = [];
    while (taken.length < recipe.accumulate) {
      const next = await batches.next();
      if (next.done === true)
        throw new ExpandError("input", "the corpus holds no text", { fix: "Name a file that holds text." });
      taken.push(next.value.batch);
    }
    const started = performance.now();
    const [result] = await trainer.run([taken], [learningRate(recipe.schedule, step)]);
    seconds.push((performance.now() - started) / 1000);
    losses.push(result?.loss ?? Number.NaN);
  }
  await batches.return(undefined);
  const measured = Math.max(0, process.resourceUsage().maxRSS * 1024 - before);
  return { loss: losses[0] ?? Number.NaN, secondsPerStep: seconds.at(-1) ?? 0, measured };
}
