// What `train` leaves in its output: while it runs, state and metrics; in the end a checkpoint with its papers. Never touches what is not its own.
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { fingerprint } from "../checkpoint/fingerprint.ts";
import type { CorpusSource } from "../corpus/corpus.ts";
import type { Run, RunOptions } from "../events.ts";
import { JsonDocument, type JsonValue } from "../json.ts";
import type { FilePlan, WrittenFile } from "../storage/file-plan.ts";
import { writeFiles } from "../storage/write.ts";
import type { TensorRef } from "../tensor/reference.ts";
import { replaceFile } from "../training/durable.ts";
import { trainedCheckpoint } from "../training/result.ts";
import { SUMMARY_SCHEMA, type TrainingSummary } from "../training/summary.ts";
import {
  companionFiles,
  manifestFile,
  type OutputNames,
  openingPath,
  outputNames,
  readManifest,
  removeStale,
  textFile,
  weightFiles,
} from "./output.ts";
import { findPaper } from "./papers.ts";
import { refuseInsideSource, refuseSourceFiles } from "./source-guard.ts";
import type { Trainables } from "./training-mask.ts";

export interface TrainOutput {
  readonly names: OutputNames;
  /** Absolute paths: the state's directory, metrics.jsonl and training.html. */
  readonly state: string;
  readonly metrics: string;
  readonly page: string;
}

/** Throws "output" where the output lies inside the source. Touches nothing. */
export function trainOutput(checkpoint: Checkpoint, output: string): TrainOutput {
  const names = outputNames(checkpoint, output);
  refuseInsideSource(checkpoint, names);
  const place = (name: string): string => path.join(names.directory, name);
  return {
    names,
    state: place(`.${names.sidecar("train-state")}`),
    metrics: place(names.sidecar("metrics.jsonl")),
    page: place(names.sidecar("training.html")),
  };
}

export interface WrittenResult {
  /** What a user names to open it. */
  readonly output: string;
  readonly files: readonly WrittenFile[];
}

/** Writes the checkpoint with the papers of the one it was trained from; `weights` are the trained tensors as F32. */
export async function* writeResult(
  base: Checkpoint,
  weights: ReadonlyMap<string, TensorRef>,
  out: TrainOutput,
  trainables: Trainables,
  { signal, hash = true }: RunOptions & { readonly hash?: boolean },
): Run<WrittenResult> {
  const { names } = out;
  const trained = await trainedCheckpoint(base, weights);
  const files = await weightFiles(trained, names, undefined);
  const index = files.filter(({ name }) => name.endsWith(".index.json"));
  const large = [...files.filter((file) => !index.includes(file)), ...companionFiles(trained.checkpoint, files)];
  refuseSourceFiles(base, names, large);
  const { small, plan, repository } = await papers(base, out, trainables);
  const final = [...index, ...small];
  const manifest = names.sidecar("manifest.json");
  const finals = (written: readonly WrittenFile[]): readonly FilePlan[] => [
    ...final,
    manifestFile(manifest, plan, written, final, hash, repository),
  ];
  const earlier = readManifest(path.join(names.directory, manifest)) ?? [];
  const identity = [...weights.values()].map((tensor) => tensor.kind === "stored" && tensor.source.identity);
  const key = createHash("sha256")
    .update(JSON.stringify([await modelDigest(base), identity, hash]))
    .digest("hex");
  const written = yield* writeFiles(names.directory, large, finals, {
    key,
    hash,
    sparse: true,
    resume: true,
    link: false,
    ...(signal === undefined ? {} : { signal }),
  });
  removeStale(names, earlier, written);
  return { output: openingPath(names, written), files: written };
}

/** training.json, after the proof: it says how that ended. */
export function saveSummary(
  { names }: TrainOutput,
  summary: Omit<TrainingSummary, "schema" | "corpora">,
  corpora: readonly CorpusSource[],
): void {
  const file = path.join(names.directory, names.sidecar("training.json"));
  const named = corpora.map(({ path: corpus, weight }) => ({
    name: path.basename(corpus),
    ...(weight === undefined ? {} : { weight }),
  }));
  replaceFile(file, `${JSON.stringify({ schema: SUMMARY_SCHEMA, ...summary, corpora: named }, null, 2)}\n`);
}

interface Papers {
  readonly small: readonly FilePlan[];
  readonly plan: string;
  readonly repository: { readonly repo: string; readonly commit: string } | undefined;
}

/** The plan, the source's layout and the mask as they were, what happened, and where the model came from. */
async function papers(
  base: Checkpoint,
  { names, metrics, page }: TrainOutput,
  trainables: Trainables,
): Promise<Papers> {
  const kept = ["source.json", "plan.json"].map((name) => ({ name, source: findPaper(base, name) }));
  const small = [
    textFile(names.sidecar("mask.json"), Buffer.from(trainables.mask).toString("utf8")),
    textFile(path.basename(metrics), fs.readFileSync(metrics, "utf8")),
    textFile(path.basename(page), fs.readFileSync(page, "utf8")),
  ];
  for (const { name, source } of kept) {
    if (source === undefined) continue;
    small.unshift(textFile(names.sidecar(name), Buffer.from(await source.read(0, source.size)).toString("utf8")));
  }
  const manifest = await manifestOf(base);
  const stated = manifest?.get(["plan"]);
  const repo = manifest?.get(["source", "repository"]);
  const commit = manifest?.get(["source", "commit"]);
  const isKnown = typeof repo === "string" && typeof commit === "string";
  return {
    small,
    plan: trainables.plan ?? (typeof stated === "string" ? stated : ""),
    repository: isKnown ? { repo, commit } : undefined,
  };
}

async function manifestOf(base: Checkpoint): Promise<JsonDocument | undefined> {
  const source = findPaper(base, "manifest.json");
  return source === undefined ? undefined : JsonDocument.parse(source.name, await source.read(0, source.size));
}

/** Tells one model from another by its headers and, where a manifest has them, the digests of its files. Reads no weights. */
export async function modelDigest(base: Checkpoint): Promise<string> {
  const files = (await manifestOf(base))?.get(["files"]);
  const listed = Array.isArray(files) ? files : [];
  const names = new Set(base.shards.map(({ name }) => name));
  const digests = listed.filter((entry: JsonValue) => {
    return typeof entry === "object" && entry !== null && "name" in entry && names.has(String(entry.name));
  });
  const sizes = base.shards.map(({ name, source }) => [name, source.size]);
  return createHash("sha256")
    .update(JSON.stringify([fingerprint(base).headers, sizes, digests]))
    .digest("hex");
}
