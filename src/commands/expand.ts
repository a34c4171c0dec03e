// The verb `expand`: plan, write, open what was written, prove. The only verb that writes a checkpoint.
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ExpandError } from "../errors.ts";
import type { Run } from "../events.ts";
import type { Expansion } from "../expansion/apply.ts";
import { type Mask, maskFor } from "../expansion/mask.ts";
import { type Plan, planFingerprint } from "../expansion/plan.ts";
import { exportMask, type RecipeName } from "../expansion/recipes/recipes.ts";
import { openCheckpoint } from "../formats/open.ts";
import type { FilePlan, WrittenFile } from "../storage/file-plan.ts";
import { claimOutput, isInside } from "../storage/output.ts";
import { type WriteOptions, writeFiles } from "../storage/write.ts";
import type { VerificationReport } from "../verification/report.ts";
import {
  companionFiles,
  jsonFile,
  type ManifestEntry,
  manifestFile,
  type OutputNames,
  outputNames,
  readManifest,
  textFile,
  weightFiles,
} from "./output.ts";
import { type PrepareOptions, prepare } from "./prepare.ts";
import { openProver, type Prover, type ProverOptions } from "./prover.ts";
import type { PushReport, PushTarget } from "./push.ts";
import { understandCheckpoint } from "./understanding.ts";

export { terminalText } from "../verification/report/terminal.ts";
export type { VerificationReport } from "../verification/report.ts";

export interface ExpandOptions extends PrepareOptions {
  /** A directory, or a .gguf or .onnx file for a source of that format. Absent or empty, unless `force`. */
  readonly output: string;
  /** Replace files of the same names, and remove what an earlier run left that this one does not write. Other files stay. */
  readonly force?: boolean;
  /** Bytes; no file of weights is larger unless one tensor alone is. */
  readonly shardSize?: number;
  /** Hard-link files that are the same in source and output. */
  readonly link?: boolean;
  /** Writes past the page cache (O_DIRECT). Default: files from 64 MiB, where the system has them. */
  readonly direct?: boolean;
  /** Leave zeros as holes. Default true. */
  readonly sparse?: boolean;
  /** SHA-256 of every file into the manifest. Default true. */
  readonly hash?: boolean;
  /** Go on where an interrupted run of the same plan stopped. Default true. */
  readonly resume?: boolean;
  /** Trainers to write the mask for, besides mask.json. */
  readonly masks?: readonly RecipeName[];
  /** "structure": by bytes. "full": by bytes and by running both models. Default "structure". */
  readonly verify?: "structure" | "full" | "none";
  /** Where and on what models run, for "full". */
  readonly numbers?: Pick<ProverOptions, "device" | "samples" | "tokens" | "seed" | "tolerance" | "threads">;
  /** Publish what was written, once it is proved. */
  readonly push?: PushTarget;
}

export interface ExpandReport {
  readonly output: string;
  readonly plan: Plan;
  readonly files: readonly WrittenFile[];
  readonly mask: Mask["counts"];
  /** Recipes that cannot express this layout, with the reason. */
  readonly refused: readonly { readonly recipe: RecipeName; readonly reason: string }[];
  /** Absent when verification was turned off. */
  readonly verification?: VerificationReport;
  /** Present when it was asked for and the proof holds. */
  readonly published?: PushReport;
}

/** Throws whatever opening, planning, writing, proving and publishing refuse; a proof that fails is in the report, not an error. */
export async function* expand(options: ExpandOptions): Run<ExpandReport> {
  const { push: target, signal } = options;
  // What publishes is loaded for publishing only. A refusal comes before hours of writing.
  const { checkTarget, push } = target === undefined ? {} : await import("./push.ts");
  if (target !== undefined) await checkTarget?.(target, options);
  const report = yield* expandProved(options);
  if (target === undefined || push === undefined || report.verification?.verdict !== "identity") return report;
  const published = yield* push({ ...target, directory: report.output, ...(signal === undefined ? {} : { signal }) });
  return { ...report, published };
}

async function* expandProved(options: ExpandOptions): Run<ExpandReport> {
  const prover = options.verify === "none" ? undefined : await openProver(proverOptions(options));
  try {
    return yield* expandWith(options, prover);
  } finally {
    await prover?.close();
  }
}

function proverOptions({ verify, numbers, stack, signal }: ExpandOptions): ProverOptions {
  return {
    ...numbers,
    mode: verify === "full" ? "both" : "structure",
    ...(stack === undefined ? {} : { stack }),
    ...(signal === undefined ? {} : { signal }),
  };
}

async function* expandWith(options: ExpandOptions, prover: Prover | undefined): Run<ExpandReport> {
  const { checkpoint, plan, expansion } = yield* prepare(options);
  const names = outputNames(checkpoint, options.output);
  refuseInsideSource(checkpoint, names);
  const { mask, refused, sidecars } = await handOver(expansion, plan, names, options);
  const weights = await weightFiles(expansion, names, options.shardSize);
  const index = weights.filter((file) => file.name.endsWith(".index.json"));
  const large = [...weights.filter((file) => !index.includes(file)), ...companionFiles(expansion.checkpoint, weights)];
  const small = [...index, ...sidecars];
  refuseSourceFiles(checkpoint, names, large);
  const write = writeOptions(checkpoint, plan, options);
  const manifest = names.sidecar("manifest.json");
  const earlier = readManifest(path.join(names.directory, manifest)) ?? [];
  const all = [...large, ...small].map((file) => file.name).concat(manifest, names.sidecar("verification.json"));
  const alone = names.file === undefined || !options.output.endsWith(names.file);
  claimOutput(names.directory, all, { key: write.key, resume: write.resume, force: options.force ?? false, alone });
  const finals = (written: readonly WrittenFile[]): readonly FilePlan[] => [
    ...small,
    manifestFile(manifest, planFingerprint(plan), written, small, write.hash, checkpoint.repository),
  ];
  const files = yield* writeFiles(names.directory, large, finals, write);
  for (const entry of earlier) if (!all.includes(entry.name)) removeStale(names.directory, entry);
  const verification =
    prover === undefined ? undefined : yield* prove(prover, checkpoint, expansion, openingPath(names, files), options);
  if (verification !== undefined) save(names, verification);
  return {
    output: openingPath(names, files),
    plan,
    files,
    mask: mask.counts,
    refused,
    ...(verification === undefined ? {} : { verification }),
  };
}

interface HandOver {
  readonly mask: Mask;
  readonly refused: ExpandReport["refused"];
  readonly sidecars: readonly FilePlan[];
}

/** The mask, claimed from the expanded checkpoint before a byte of it is written, so that no name is mapped backwards. */
async function handOver(
  expansion: Expansion,
  plan: Plan,
  names: OutputNames,
  options: ExpandOptions,
): Promise<HandOver> {
  const { architecture: expanded } = await understandCheckpoint(expansion.checkpoint, plan.source.stack);
  const copies = plan.blocks.filter((block) => block.kind === "copy").map((block) => block.at);
  const mask = maskFor(expanded, expansion.checkpoint, copies, planFingerprint(plan));
  const sidecars = [jsonFile(names.sidecar("plan.json"), plan), jsonFile(names.sidecar("mask.json"), mask)];
  const refused: { recipe: RecipeName; reason: string }[] = [];
  for (const recipe of options.masks ?? []) {
    const result = exportMask(recipe, mask, expanded);
    if (result.kind === "refused") refused.push({ recipe, reason: result.reason });
    else if (recipe !== "json") sidecars.push(textFile(names.sidecar(result.file), result.text));
  }
  return { mask, refused, sidecars };
}

/** Reads back what was written, from disk. The proof has no knowledge of the plan. */
async function* prove(
  prover: Prover,
  before: Checkpoint,
  expansion: Expansion,
  output: string,
  { signal }: ExpandOptions,
): Run<VerificationReport> {
  const after = await openCheckpoint(output);
  if (before.repository === undefined) return yield* prover.prove(before, after);
  const { standIn } = await import("./stand-in.ts");
  return yield* prover.prove(yield* standIn(before, expansion, after, signal), after);
}

function save(names: OutputNames, report: VerificationReport): void {
  const file = path.join(names.directory, names.sidecar("verification.json"));
  fs.writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`);
}

/**
 * A shard that an earlier, replaced run left behind would be read as part of this one. A manifest may be somebody else's: what is not
 * a regular file of its size, really inside the directory, stays.
 */
function removeStale(directory: string, entry: ManifestEntry): void {
  const file = path.join(directory, entry.name);
  const stat = fs.lstatSync(file, { throwIfNoEntry: false });
  if (stat?.isFile() && stat.size === entry.size && isInside(file, directory)) fs.rmSync(file);
}

/** What a user names to open the output: its directory, or the first file of a GGUF model. */
function openingPath(names: OutputNames, files: readonly WrittenFile[]): string {
  return path.join(names.shown, names.file === undefined ? "" : (files[0]?.name ?? names.file));
}

function writeOptions(checkpoint: Checkpoint, plan: Plan, options: ExpandOptions): WriteOptions {
  const sources = [...checkpoint.shards.map((shard) => shard.source), ...checkpoint.assets.values()];
  const wish = [options.shardSize ?? null, options.hash ?? true, options.masks ?? []];
  const identity = sources.map((source) => [source.name, source.identity]);
  return {
    key: createHash("sha256")
      .update(JSON.stringify([planFingerprint(plan), identity, wish]))
      .digest("hex"),
    hash: options.hash ?? true,
    sparse: options.sparse ?? true,
    resume: options.resume ?? true,
    link: options.link ?? false,
    direct: options.direct,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  };
}

function refuseInsideSource(checkpoint: Checkpoint, names: OutputNames): void {
  if (checkpoint.repository !== undefined) return;
  const location = path.resolve(checkpoint.location);
  const isDirectory = fs.statSync(location).isDirectory();
  const target = path.join(names.directory, names.file ?? "");
  const inside = isDirectory
    ? isInside(target, location)
    : names.file === undefined
      ? isInside(names.directory, path.dirname(location)) && path.dirname(location) === names.directory
      : checkpoint.shards.some((shard) => shard.source.path === target);
  if (!inside) return;
  throw new ExpandError("output", `lies inside the source ${checkpoint.location}`, {
    at: target,
    fix: "Choose an output outside the source.",
  });
}

/** An .onnx file keeps the names of its data files, so that another model in its directory would be written over them. */
function refuseSourceFiles(checkpoint: Checkpoint, names: OutputNames, files: readonly FilePlan[]): void {
  const own = new Set(
    [...checkpoint.shards.map((shard) => shard.source), ...checkpoint.assets.values()].map(({ path: file }) => file),
  );
  const hit = files.map(({ name }) => path.join(names.directory, name)).find((target) => own.has(target));
  if (hit === undefined) return;
  throw new ExpandError("output", `is a file of the source ${checkpoint.location}`, {
    at: hit,
    fix: "Choose an output in another directory.",
  });
}
