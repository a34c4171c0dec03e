// What a training run is made of, before anything is run or written: checkpoint, trainable tensors, corpora, numbers. Refuses what cannot go well.
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { type Corpus, type CorpusSource, openCorpus } from "../corpus/corpus.ts";
import { ExpandError } from "../errors.ts";
import type { Run, RunOptions } from "../events.ts";
import { openCheckpoint } from "../formats/open.ts";
import { requireInstallation } from "../runtime/installation.ts";
import { type Identity, identityOf } from "../training/identity.ts";
import { checkRecipe, cutOf, limitOf, type Recipe, type RecipeOptions, recipeOf } from "../training/recipe.ts";
import type { Trainer, TrainerOptions } from "../training/step/trainer.ts";
import { modelLimits } from "./model-limits.ts";
import { tokenizerOf } from "./tokenizer.ts";
import { checkTrainOutput } from "./train-claim.ts";
import { modelDigest, type TrainOutput, trainOutput } from "./train-output.ts";
import { readTrainables, type Trainables } from "./training-mask.ts";

export interface TrainSetupOptions extends RunOptions, RecipeOptions {
  /** Path of an expanded checkpoint. */
  readonly source: string;
  /** A directory, or a .gguf or .onnx file for a source of that format. Absent or empty, unless `force`. */
  readonly output: string;
  /** Replace files of the same names. */
  readonly force?: boolean;
  readonly corpora: readonly CorpusSource[];
  /** Texts to measure the model on while it is trained. */
  readonly evaluations?: readonly { readonly name: string; readonly path: string }[];
  /** Key or column of the text in .jsonl and .parquet files. */
  readonly field?: string;
  /** A tokenizer.json, or a directory that holds one. Default: the checkpoint's own. */
  readonly tokenizer?: string;
  /** Path of a mask.json. Default: the one beside the checkpoint. */
  readonly mask?: string;
  readonly stack?: string;
  /** How trainers are opened, for those who have another. */
  readonly openTrainer?: (options: TrainerOptions) => Promise<Trainer>;
}

export interface TrainSetup {
  readonly checkpoint: Checkpoint;
  readonly out: TrainOutput;
  readonly trainables: Trainables;
  readonly corpus: Corpus;
  readonly evaluations: readonly { readonly name: string; readonly corpus: Corpus }[];
  readonly recipe: Recipe;
  readonly identity: Identity;
}

/**
 * Reads headers, settings and, when nothing else is wrong, the corpora. Throws "usage", "input", "output", "plan", "unsupported", "backend"
 * and "interrupted".
 */
export async function* setUp(options: TrainSetupOptions): Run<TrainSetup> {
  const hearing = hear(options.signal);
  try {
    return yield* setUpWith(options, hearing.signal);
  } finally {
    hearing.end();
  }
}

/** A signal that fires with another one until the run begins: from then on, a step that was begun is ended before anything stops. */
export function hear(signal: AbortSignal | undefined): { readonly signal: AbortSignal; readonly end: () => void } {
  const stop = new AbortController();
  const abort = (): void => stop.abort();
  if (signal?.aborted) abort();
  signal?.addEventListener("abort", abort);
  return { signal: stop.signal, end: () => signal?.removeEventListener("abort", abort) };
}

async function* setUpWith(options: TrainSetupOptions, signal: AbortSignal): Run<TrainSetup> {
  const { source, corpora, mask, stack, field } = options;
  if (corpora.length === 0) {
    throw new ExpandError("usage", "there is no corpus to train on", {
      fix: "Name one: --corpus FILE, a .txt, .jsonl or .parquet file or a directory of them.",
    });
  }
  checkRecipe(options);
  checkEvaluations(options);
  checkField(options);
  yield { kind: "phase", name: "read headers" };
  const checkpoint = await openCheckpoint(source, options);
  refuseRemote(checkpoint);
  const out = trainOutput(checkpoint, options.output);
  checkTrainOutput(out, { output: options.output, force: options.force ?? false });
  const trainables = await readTrainables(checkpoint, mask, stack);
  const cut = cutOf(options, modelLimits(checkpoint).context);
  // Corpora may be long to read.
  if (options.openTrainer === undefined) requireInstallation(options.device ?? "cpu");
  yield { kind: "phase", name: "read corpora" };
  const tokenizer = await tokenizerOf(checkpoint, options.tokenizer);
  const open = (sources: readonly CorpusSource[], endless: boolean): Promise<Corpus> => {
    const named = sources.map((each) => ({ ...(field === undefined || isPlain(each) ? {} : { field }), ...each }));
    const { batch, context, seed } = cut;
    return openCorpus(named, { tokenizer, batch, context, seed, shuffle: endless, repeat: endless, signal });
  };
  const corpus = await open(corpora, true);
  const evaluations = [];
  for (const each of options.evaluations ?? []) {
    evaluations.push({ name: each.name, corpus: await open([{ path: each.path }], false) });
  }
  const recipe = recipeOf(options, cut, await epochTokens(options, corpus));
  const model = await modelDigest(checkpoint);
  const texts = Object.fromEntries(evaluations.map((each) => [each.name, each.corpus.digest]));
  const identity = identityOf(recipe, { model, mask: trainables.digest, corpus: corpus.digest }, texts);
  return { checkpoint, out, trainables, corpus, evaluations, recipe, identity };
}

/** Metrics know a text by its name. */
function checkEvaluations({ evaluations = [] }: TrainSetupOptions): void {
  const names = evaluations.map(({ name }) => name);
  const twice = names.find((name, at) => names.indexOf(name) !== at);
  if (twice === undefined) return;
  throw new ExpandError("usage", `--eval ${twice}=... is there twice`, { fix: "Give each text a name of its own." });
}

/** Plain text has no fields, and may stand beside files that have. */
function isPlain({ path }: Pick<CorpusSource, "path">): boolean {
  return /\.txt$/i.test(path);
}

function checkField({ field, corpora, evaluations = [] }: TrainSetupOptions): void {
  if (field === undefined || ![...corpora, ...evaluations].every(isPlain)) return;
  throw new ExpandError("usage", "--field is for .jsonl and .parquet files, and there is none", { fix: "Remove it." });
}

/** Positions of one epoch; counted only for a run that is said in epochs. */
async function epochTokens(options: RecipeOptions, corpus: Corpus): Promise<number | undefined> {
  return "epochs" in limitOf(options) ? (await corpus.count()).tokens : undefined;
}

function refuseRemote({ repository, location }: Checkpoint): void {
  if (repository === undefined) return;
  throw new ExpandError("usage", "is on the Hub; its weights must be on this disk to be trained", {
    at: location,
    fix: `Download it first: hf download ${repository.repo} --local-dir DIR.`,
  });
}

/** What changes no number, and so is no part of a recipe. */
export interface Machine {
  /** Threads inside an operator. Default: the number of cores. */
  readonly threads?: number;
  /** Which of several CUDA devices. Default: the first. */
  readonly deviceId?: number;
}

/** What the trainer is to be opened with. `folder` is for its scratch files. */
export function trainerOptions(
  { checkpoint, trainables, recipe }: Pick<TrainSetup, "checkpoint" | "trainables" | "recipe">,
  folder: string,
  { threads, deviceId }: Machine,
): TrainerOptions {
  const { batch, context, accumulate, layout, checkpointing, dtype, adam, clip, device } = recipe;
  return {
    ...{
      checkpoint,
      trainable: trainables.names,
      batch,
      context,
      accumulate,
      layout,
      checkpointing,
      dtype,
      adam,
      device,
    },
    ...(clip === undefined ? {} : { clip }),
    ...(threads === undefined ? {} : { threads }),
    ...(deviceId === undefined ? {} : { deviceId }),
    folder,
  };
}
