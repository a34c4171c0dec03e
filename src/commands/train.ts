// The verb `train`: teaches the trainable tensors of an expanded checkpoint a corpus, writes the result, and proves that the rest is as it was.
import fs from "node:fs";
import path from "node:path";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ExpandError } from "../errors.ts";
import type { Run } from "../events.ts";
import { openCheckpoint } from "../formats/open.ts";
import type { WrittenFile } from "../storage/file-plan.ts";
import { checkFreeSpace } from "../storage/output.ts";
import { elementCount } from "../tensor/dtype.ts";
import { replaceFile } from "../training/durable.ts";
import { checkIdentity } from "../training/identity.ts";
import { Metrics } from "../training/metrics.ts";
import { computedIn, type Recipe } from "../training/recipe.ts";
import { trainingPage } from "../training/report/page.ts";
import { runSteps } from "../training/run.ts";
import { type Progress, readState, type SavedState } from "../training/state.ts";
import { openTrainer, type Trainer, type TrainerOptions } from "../training/step/trainer.ts";
import type { VerificationReport } from "../verification/report.ts";
import { verifyTrained } from "../verification/trained.ts";
import { saveProof } from "./expand.ts";
import { claimTrainOutput } from "./train-claim.ts";
import { saveSummary, type TrainOutput, writeResult } from "./train-output.ts";
import { hear, type Machine, setUp, type TrainSetup, type TrainSetupOptions, trainerOptions } from "./train-setup.ts";

export interface TrainOptions extends TrainSetupOptions, Machine {
  /** Go on from the state in the output. Default true; false starts again and drops that state. */
  readonly resume?: boolean;
  /** SHA-256 of every file into the manifest. Default true. */
  readonly hash?: boolean;
}

export interface TrainReport {
  readonly output: string;
  readonly recipe: Recipe;
  readonly progress: Omit<Progress, "cursor">;
  readonly parameters: { readonly tensors: number; readonly values: number };
  readonly blocks: readonly number[];
  /** Mean losses over the first and the last twentieth of the steps. */
  readonly loss: { readonly first: number; readonly last: number };
  readonly evaluations: readonly { readonly name: string; readonly before: number; readonly after: number }[];
  readonly files: readonly WrittenFile[];
  readonly verification: VerificationReport;
}

/**
 * Throws what opening, reading and writing throw, "input" for numbers that stop being numbers, and "interrupted" with the state saved. A
 * result that is not what it should be is in the report's verification.
 */
export async function* train(options: TrainOptions): Run<TrainReport> {
  const setup = yield* setUp(options);
  const { out } = setup;
  const release = claimTrainOutput(out, { output: options.output, resume: options.resume ?? true });
  try {
    const saved = await readState(out.state);
    if (saved !== undefined) checkIdentity(options.output, saved.identity, setup.identity);
    const progress = yield* trainSteps(setup, out, saved, options);
    return yield* finishRun(setup, out, progress, options);
  } finally {
    release();
  }
}

/** All steps that are left; the state of the last one is saved in the end. */
async function* trainSteps(
  setup: TrainSetup,
  out: TrainOutput,
  saved: SavedState | undefined,
  options: TrainOptions,
): Run<Progress> {
  const { recipe, checkpoint, trainables } = setup;
  if (saved?.progress.step === recipe.steps) return saved.progress;
  checkFreeSpace(out.state, stateBytes(setup) * (saved === undefined ? 2 : 1));
  // Decoded weights may be as large as the model: they lie on the output's disk, and what a killed run left of them goes.
  const scratch = path.join(out.state, "scratch");
  fs.rmSync(scratch, { recursive: true, force: true });
  fs.mkdirSync(scratch);
  try {
    yield { kind: "phase", name: "build the training graph" };
    const trainer = await opened(trainerOptions(setup, scratch, options), options);
    try {
      const head = { kind: "run", source: nameOf(checkpoint), recipe } as const;
      const metrics = Metrics.open(out.metrics, head, saved?.progress.step ?? 0);
      const base = new Map([...checkpoint.tensors].filter(([name]) => trainables.names.has(name)));
      return yield* runSteps({
        ...{ recipe, trainer, corpus: setup.corpus, evaluations: setup.evaluations, metrics, base },
        ...{ directory: out.state, identity: setup.identity, blockOf: trainables.blockOf },
        ...(saved === undefined ? {} : { saved }),
        ...(options.signal === undefined ? {} : { signal: options.signal }),
        onSave: () => replaceFile(out.page, trainingPage(metrics.head, metrics.lines)),
      });
    } finally {
      await trainer.close();
    }
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}

async function opened(
  how: TrainerOptions,
  { signal, openTrainer: open = openTrainer }: TrainOptions,
): Promise<Trainer> {
  const hearing = hear(signal);
  try {
    return await open({ ...how, signal: hearing.signal });
  } finally {
    hearing.end();
  }
}

/** Of one saved state: a weight and two moments. The next one is complete before the last one goes. */
function stateBytes({ checkpoint, trainables }: TrainSetup): number {
  return [...trainables.names].reduce(
    (sum, name) => sum + 12 * (elementCount(checkpoint.tensors.get(name)?.shape ?? []) ?? 0),
    0,
  );
}

/** What is left when all steps are done can be done again. */
async function* finishRun(...made: Parameters<typeof writeAndProve>): Run<TrainReport> {
  try {
    return yield* writeAndProve(...made);
  } catch (error) {
    if (!(error instanceof ExpandError) || error.tag !== "interrupted") throw error;
    throw new ExpandError("interrupted", "interrupted", {
      fix: "Run the same command to write the result: all steps are done.",
      cause: error,
    });
  }
}

/** The checkpoint, its proof and the report; then the state has served. */
async function* writeAndProve(
  setup: TrainSetup,
  out: TrainOutput,
  progress: Progress,
  options: TrainOptions,
): Run<TrainReport> {
  const { checkpoint, trainables, recipe } = setup;
  const saved = await readState(out.state);
  if (saved === undefined) throw new ExpandError("bug", "the state of the last step is not there", { at: out.state });
  const lines = Metrics.read(out.metrics);
  replaceFile(out.page, trainingPage({ kind: "run", source: nameOf(checkpoint), recipe }, lines));
  const { output, files } = yield* writeResult(checkpoint, saved.weights, out, trainables, options);
  // Both from the disk, as anybody would find them.
  const [before, after] = [await openCheckpoint(options.source), await openCheckpoint(output)];
  const verification = yield* verifyTrained(before, after, trainables.names, options);
  saveProof(out.names, verification);
  const results = { ...summary(lines, recipe.steps), blocks: trainables.blocks };
  saveSummary(out, { ...outlineOf(recipe, progress), ...results, verdict: verification.verdict }, options.corpora);
  // Last of all: until then, the same command ends what was begun.
  if (verification.verdict !== "not-trained") fs.rmSync(out.state, { recursive: true });
  const { step, tokens, skipped, seconds } = progress;
  const values = [...saved.weights.values()].reduce((sum, { bytes }) => sum + bytes / 4, 0);
  return {
    output,
    recipe,
    progress: { step, tokens, skipped, seconds },
    parameters: { tensors: saved.weights.size, values },
    ...results,
    files,
    verification,
  };
}

/** What the summary says of a recipe and how far it went. */
function outlineOf(recipe: Recipe, progress: Progress) {
  const { batch, accumulate, context, dtype, clip, schedule, adam } = recipe;
  const { kind, peak, warmup } = schedule;
  const computed = computedIn(recipe);
  return {
    steps: progress.step,
    tokens: progress.tokens,
    seconds: progress.seconds,
    ...{ batch, accumulate, context, dtype, decay: adam.decay, schedule: { kind, peak, warmup } },
    ...(clip === undefined ? {} : { clip }),
    ...(computed === dtype ? {} : { computed }),
  };
}

/** What the metrics come down to. */
function summary(lines: Metrics["lines"], total: number): Pick<TrainReport, "loss" | "evaluations"> {
  const losses = lines.flatMap((line) => (line.kind === "step" && line.skipped !== true ? line.loss : []));
  const share = Math.max(1, Math.floor(total / 20));
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const measured = new Map<string, { name: string; before: number; after: number }>();
  for (const line of lines) {
    if (line.kind !== "evaluation") continue;
    const earlier = measured.get(line.name);
    measured.set(line.name, { name: line.name, before: earlier?.before ?? line.loss, after: line.loss });
  }
  return {
    loss: { first: mean(losses.slice(0, share)), last: mean(losses.slice(-share)) },
    evaluations: [...measured.values()],
  };
}

/** The metrics are published with the result: where it lay on this disk is nobody's business. */
function nameOf({ location }: Checkpoint): string {
  return path.basename(path.resolve(location));
}
