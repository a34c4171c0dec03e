// `train --export`: what another trainer needs to train the copies, as a directory of its own. Trains nothing and copies no corpus.
import path from "node:path";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { openJsonLines } from "../corpus/jsonl.ts";
import { openParquet } from "../corpus/parquet.ts";
import { ExpandError } from "../errors.ts";
import type { Run, RunOptions } from "../events.ts";
import { maskFor } from "../expansion/mask.ts";
import { openCheckpoint } from "../formats/open.ts";
import type { WrittenFile } from "../storage/file-plan.ts";
import { claimOutput } from "../storage/output.ts";
import { writeFiles } from "../storage/write.ts";
import { fileSource } from "../tensor/source.ts";
import { exportJob } from "../training/export/export.ts";
import { type Job, type JobCorpus, jobOf } from "../training/export/job.ts";
import type { TrainerName } from "../training/export/names.ts";
import { checkRecipe, cutOf, type RecipeOptions } from "../training/recipe.ts";
import { findCopies } from "./mask.ts";
import { modelLimits } from "./model-limits.ts";
import { textFile } from "./output.ts";
import { refuseInsideSource } from "./source-guard.ts";
import { understandCheckpoint } from "./understanding.ts";

export { shellWord } from "../training/export/job.ts";

export interface ExportOptions extends RunOptions, RecipeOptions {
  /** The expanded checkpoint: a directory, or a repository of the Hub. */
  readonly source: string;
  /** A directory, absent or empty unless `force`. */
  readonly output: string;
  readonly trainer: TrainerName;
  /** Files of documents, .jsonl or .parquet. */
  readonly corpora: readonly { readonly path: string; readonly weight?: number; readonly field?: string }[];
  readonly stack?: string;
  readonly token?: string;
  readonly force?: boolean;
}

export interface ExportReport {
  readonly output: string;
  readonly trainer: TrainerName;
  /** To be run in the directory. */
  readonly command: string;
  readonly job: Job;
  readonly files: readonly WrittenFile[];
}

/**
 * Throws "usage" for numbers that nothing can be trained with, "plan" when the trainer cannot be told about these copies, "input" for a
 * corpus that it could not read.
 */
export async function* exportTraining(options: ExportOptions): Run<ExportReport> {
  const { source, output, trainer, stack, signal } = options;
  checkWishes(options);
  yield { kind: "phase", name: "read headers" };
  const opened = await openCheckpoint(source, options);
  refuseInsideSource(opened, { directory: path.resolve(output), file: undefined });
  const { checkpoint, architecture } = await understandCheckpoint(opened, stack);
  const { context } = cutOf(options, longestOf(opened));
  const { copies, plan } = await findCopies(checkpoint, architecture, { source, ...(signal && { signal }) });
  const mask = maskFor(architecture, opened, copies, plan);
  const corpora = await Promise.all(options.corpora.map(jobCorpus));
  // Trainers run elsewhere in the file system: a path has to hold from there, too.
  const job = jobOf({ ...options, context }, opened.repository?.repo ?? path.resolve(source), corpora);
  checkWarmup(job, options.warmup);
  const exported = exportJob(trainer, job, mask, architecture);
  if (exported.kind === "refused") {
    throw new ExpandError("plan", exported.reason, {
      at: `export for ${trainer}`,
      fix: wayOut(opened, trainer),
    });
  }
  const files = yield* writeTexts(exported.files, options);
  return { output, trainer, command: exported.command, job, files };
}

function wayOut({ format }: Checkpoint, trainer: TrainerName): string {
  if (format === "gguf" || format === "onnx") return "Expand and export the Hugging Face checkpoint of the model.";
  if (trainer === "accelerate") return "Train it here, without --export.";
  return "Export for accelerate, which can express any layout of a Hugging Face checkpoint.";
}

async function* writeTexts(
  texts: readonly { readonly name: string; readonly text: string }[],
  { output, trainer, force = false, signal }: ExportOptions,
): Run<readonly WrittenFile[]> {
  const files = texts.map(({ name, text }) => textFile(name, text));
  const directory = path.resolve(output);
  const how = { key: `export ${trainer}`, resume: false } as const;
  const names = files.map(({ name }) => name);
  claimOutput(directory, names, { ...how, force, alone: true });
  const options = { ...how, hash: false, sparse: false, link: false, ...(signal === undefined ? {} : { signal }) };
  return yield* writeFiles(directory, files, () => [], options);
}

/** What `train` would refuse before it reads a file. Which numbers a device takes is the trainer's business. */
function checkWishes({ corpora, dtype: _, ...numbers }: ExportOptions): void {
  if (corpora.length === 0) {
    throw new ExpandError("usage", "there is no corpus to train on", { fix: "Name one: --corpus FILE.jsonl." });
  }
  checkRecipe(numbers);
  for (const { path: file, weight = 1 } of corpora) {
    if (Number.isFinite(weight) && weight > 0) continue;
    throw new ExpandError("usage", `weight must be above 0, not ${weight}`, {
      at: file,
      fix: "Give FILE=weight, such as code.jsonl=0.8.",
    });
  }
}

/** Trainers are told a share of the steps. */
function checkWarmup({ length, warmup: share }: Job, warmup: number | undefined): void {
  if (warmup === undefined || warmup < 1 || ("steps" in length && share <= 1)) return;
  const message =
    "steps" in length
      ? `--warmup ${warmup} is more than the ${length.steps} ${length.steps === 1 ? "step" : "steps"} of the run`
      : `--warmup ${warmup} is a number of steps, and how many an epoch has is not known here`;
  throw new ExpandError("usage", message, { fix: "Give a share of the steps, such as --warmup 0.06." });
}

/** Other trainers know models whose forward pass is not known here: then nothing bounds the context. */
function longestOf(checkpoint: Checkpoint): number | undefined {
  try {
    return modelLimits(checkpoint).context;
  } catch (error) {
    if (error instanceof ExpandError && error.tag === "unsupported") return undefined;
    throw error;
  }
}

/** Every trainer reads these two formats; the field is chosen by the first line or by the schema, as `train` does it. */
async function jobCorpus({ path: file, weight = 1, field }: ExportOptions["corpora"][number]): Promise<JobCorpus> {
  const absolute = path.resolve(file);
  const open = file.endsWith(".jsonl") ? openJsonLines : file.endsWith(".parquet") ? openParquet : undefined;
  if (open === undefined) {
    throw new ExpandError("input", "other trainers read .jsonl and .parquet files of documents", {
      at: file,
      fix: 'Write the texts as a .jsonl file, one {"text": ...} a line.',
    });
  }
  const { field: chosen } = await open(fileSource(absolute, file), field);
  if (chosen !== undefined) return { path: absolute, field: chosen, weight };
  throw new ExpandError("input", "holds no text", { at: file, fix: "Give a file with text." });
}
