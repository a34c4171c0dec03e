// One arm with one seed: trained, and looked at on the way.
import path from "node:path";
import type { Checkpoint } from "../../../src/checkpoint/checkpoint.ts";
import type { Batch } from "../../../src/corpus/batch.ts";
import { openCorpus } from "../../../src/corpus/corpus.ts";
import { learningRate } from "../../../src/training/optimizer/schedule.ts";
import { openTrainer, type Trainer } from "../../../src/training/step/trainer.ts";
import { type Arm, trainedIn } from "./arms.ts";
import { openTraining, type Texts } from "./texts.ts";

export interface Settings {
  readonly source: string;
  readonly work: string;
  readonly steps: number;
  readonly batch: number;
  readonly context: number;
  readonly rate: number;
  /** Batches of stories and of code that are looked at on the way. */
  readonly looked: number;
}

/** Losses on the way, in nats. */
export interface Point {
  readonly stories: number;
  readonly code: number;
}

export interface Outcome {
  readonly trained: number;
  /** Global norm of the first step's gradients. */
  readonly norm: number;
  readonly curve: readonly Point[];
  /** Trained tensors that are zero all over, still. */
  readonly zeros: readonly string[];
  /** What came of it, in memory. */
  readonly checkpoint: Checkpoint;
  readonly seconds: number;
}

export async function runArm(arm: Arm, seed: number, texts: Texts, settings: Settings): Promise<Outcome> {
  const begun = performance.now();
  const { source, work, batch, context } = settings;
  const start = await arm.start(source, work, seed);
  const trainer = await openTrainer({
    ...{ checkpoint: start.checkpoint, trainable: start.trainable, batch, context, accumulate: 1 },
    ...{ layout: "host", checkpointing: false, dtype: "f32", device: "cpu", threads: 1, clip: 1 },
    adam: { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, decay: 0.1 },
    folder: path.join(work, `scratch-${arm.name.replaceAll(/\W+/g, "-")}-${seed}`),
  });
  try {
    const { norm, curve } = await teach(trainer, seed, texts, settings);
    const { weights } = await trainer.state();
    const checkpoint = await start.result(weights);
    const zeros = [...weights].filter(([, values]) => values.every((each) => each === 0)).map(([name]) => name);
    return { trained: trainedIn(start), norm, curve, zeros, checkpoint, seconds: (performance.now() - begun) / 1000 };
  } finally {
    await trainer.close();
  }
}

async function teach(
  trainer: Trainer,
  seed: number,
  texts: Texts,
  { steps, batch, context, rate, looked }: Settings,
): Promise<Pick<Outcome, "norm" | "curve">> {
  const schedule = { kind: "cosine", peak: rate, warmup: Math.round(0.06 * steps), total: steps } as const;
  const sets = [texts.measured.stories, texts.measured.code];
  const [stories = [], code = []] = await Promise.all(
    sets.map((file) => someBatches(texts, file, { batch, context }, looked)),
  );
  const look = async (): Promise<Point> => ({
    stories: await lossOn(trainer, stories),
    code: await lossOn(trainer, code),
  });
  const curve = [await look()];
  const corpus = await openTraining(texts, { batch, context }, seed);
  let norm = 0;
  let step = 0;
  for await (const { batch: own } of corpus.batches()) {
    const [result] = await trainer.run([[own]], [learningRate(schedule, step)]);
    if (result?.finite !== true) throw new TypeError(`step ${step} is not finite: ${result?.bad}`);
    if (step === 0) norm = result.norm;
    step++;
    if (isLookedAt(step, steps)) curve.push(await look());
    if (step === steps) break;
  }
  return { norm, curve };
}

/** Steps 1, 2, 4, 8, ..., every sixth of the run, and the last: losses fall fast at first. */
function isLookedAt(step: number, steps: number): boolean {
  return Number.isInteger(Math.log2(step)) || step % Math.ceil(steps / 6) === 0 || step === steps;
}

async function someBatches(
  { tokenizer }: Texts,
  file: string,
  rows: { readonly batch: number; readonly context: number },
  count: number,
): Promise<readonly Batch[]> {
  const corpus = await openCorpus([{ path: file }], { tokenizer, ...rows, seed: 0, shuffle: false, repeat: false });
  const batches: Batch[] = [];
  for await (const { batch } of corpus.batches()) if (batches.push(batch) === count) break;
  return batches;
}

async function lossOn(trainer: Trainer, batches: readonly Batch[]): Promise<number> {
  let [sum, tokens] = [0, 0];
  for (const batch of batches) {
    const own = await trainer.loss(batch);
    sum += own.sum;
    tokens += own.tokens;
  }
  return sum / tokens;
}
