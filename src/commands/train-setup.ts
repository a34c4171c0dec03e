// What a training run is made of, before anything is run or written: checkpoint, trainable tensors, corpora, numbers. Refuses what cannot go well.
import fs from "node:fs";
import path from "node:path";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { type Corpus, type CorpusSource, openCorpus } from "../corpus/corpus.ts";
import { openTokenizer, type Tokenizer } from "../corpus/tokenizer.ts";
import { ExpandError } from "../errors.ts";
import type { Run, RunOptions } from "../events.ts";
import { openCheckpoint } from "../formats/open.ts";
import { type ByteSource, fileSource } from "../tensor/source.ts";
import { type Identity, identityOf } from "../training/identity.ts";
import { type Cut, cutOf, limitOf, type Recipe, type RecipeOptions, recipeOf } from "../training/recipe.ts";
import type { TrainerOptions } from "../training/step/trainer.ts";
import { type ModelLimits, modelLimits } from "./model-limits.ts";
import { modelDigest } from "./train-output.ts";
import { readTrainables, type Trainables } from "./training-mask.ts";

export interface TrainSetupOptions extends RunOptions, RecipeOptions {
  /** Path of an expanded checkpoint. */
  readonly source: string;
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
}

export interface TrainSetup {
  readonly checkpoint: Checkpoint;
  readonly trainables: Trainables;
  readonly corpus: Corpus;
  readonly evaluations: readonly { readonly name: string; readonly corpus: Corpus }[];
  readonly recipe: Recipe;
  readonly identity: Identity;
}

/** Reads headers, settings and the corpora's outlines. Throws "usage", "input", "plan" and "unsupported". */
export async function* setUp(options: TrainSetupOptions): Run<TrainSetup> {
  const { source, corpora, mask, stack, field } = options;
  if (corpora.length === 0) {
    throw new ExpandError("usage", "there is no corpus to train on", {
      fix: "Name one: --corpus FILE, a .txt, .jsonl or .parquet file or a directory of them.",
    });
  }
  limitOf(options);
  yield { kind: "phase", name: "read headers" };
  const checkpoint = await openCheckpoint(source, options);
  refuseRemote(checkpoint);
  const trainables = await readTrainables(checkpoint, mask, stack);
  const limits = modelLimits(checkpoint);
  const cut = cutOf(options, limits.context);
  yield { kind: "phase", name: "read corpora" };
  const tokenizer = await tokenizerFor(checkpoint, limits, options.tokenizer);
  const open = (sources: readonly CorpusSource[], endless: boolean): Promise<Corpus> => {
    const named = sources.map((each) => ({ ...(field === undefined ? {} : { field }), ...each }));
    const { batch, context, seed } = cut;
    return openCorpus(named, { tokenizer, batch, context, seed, shuffle: endless, repeat: endless });
  };
  const corpus = await open(corpora, true);
  const evaluations = [];
  for (const each of options.evaluations ?? []) {
    evaluations.push({ name: each.name, corpus: await open([{ path: each.path }], false) });
  }
  const recipe = recipeOf(options, cut, await epochTokens(options, corpus));
  const model = await modelDigest(checkpoint);
  const identity = identityOf(recipe, { model, mask: trainables.digest, corpus: corpus.digest });
  return { checkpoint, trainables, corpus, evaluations, recipe, identity };
}

/** Positions of one epoch; counted only for a run that is said in epochs. */
async function epochTokens(options: RecipeOptions, corpus: Corpus): Promise<number | undefined> {
  return "epochs" in limitOf(options) ? corpus.count() : undefined;
}

function refuseRemote({ repository, location }: Checkpoint): void {
  if (repository === undefined) return;
  throw new ExpandError("usage", "is on the Hub; its weights must be on this disk to be trained", {
    at: location,
    fix: `Download it first: hf download ${repository.repo} --local-dir DIR.`,
  });
}

/** Throws "usage" without a tokenizer, and for one that has tokens which the model does not know. */
async function tokenizerFor(
  checkpoint: Checkpoint,
  { vocabulary }: ModelLimits,
  given: string | undefined,
): Promise<Tokenizer> {
  const isFolder = given !== undefined && fs.statSync(given, { throwIfNoEntry: false })?.isDirectory() === true;
  const file = isFolder ? path.join(given, "tokenizer.json") : given;
  const source = file === undefined ? checkpoint.assets.get("tokenizer.json") : fileSource(file);
  if (source === undefined) {
    throw new ExpandError("usage", "holds no tokenizer.json, which turns text into tokens", {
      at: checkpoint.location,
      fix: "Pass --tokenizer FILE, the tokenizer.json of the model.",
    });
  }
  const config = configBeside(checkpoint, file);
  const tokenizer = await openTokenizer({ tokenizer: source, ...(config === undefined ? {} : { config }) });
  if (vocabulary !== undefined && tokenizer.vocabulary > vocabulary) {
    throw new ExpandError("usage", `knows ${tokenizer.vocabulary} tokens, the model ${vocabulary}`, {
      at: source.name,
      fix: "Pass the tokenizer of this model with --tokenizer.",
    });
  }
  return tokenizer;
}

function configBeside(checkpoint: Checkpoint, file: string | undefined): ByteSource | undefined {
  if (file === undefined) return checkpoint.assets.get("tokenizer_config.json");
  const beside = path.join(path.dirname(file), "tokenizer_config.json");
  return fs.existsSync(beside) ? fileSource(beside) : undefined;
}

/** What the trainer is to be opened with. `folder` is for its scratch files. */
export function trainerOptions(
  { checkpoint, trainables, recipe }: Pick<TrainSetup, "checkpoint" | "trainables" | "recipe">,
  folder: string,
  threads: number | undefined,
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
    folder,
  };
}

export type { Cut };
