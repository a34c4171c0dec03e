// The verb `convert`: a checkpoint as a runnable ONNX model, written, opened again, and run against its source.
import { createHash } from "node:crypto";
import path from "node:path";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { MODEL_FILE, type OnnxConversion, type OnnxOptions, planOnnxConversion } from "../conversion/onnx.ts";
import { ExpandError } from "../errors.ts";
import type { Run, RunOptions } from "../events.ts";
import { openCheckpoint } from "../formats/open.ts";
import { checkGraph } from "../graph/check.ts";
import type { FilePlan, WrittenFile } from "../storage/file-plan.ts";
import { claimOutput, isInside } from "../storage/output.ts";
import { type WriteOptions, writeFiles } from "../storage/write.ts";
import { checkLogits, type LogitsCheck } from "./logits-check.ts";
import { manifestFile } from "./output.ts";

export type { LogitsCheck } from "./logits-check.ts";

export interface ConvertOptions extends RunOptions, OnnxOptions {
  readonly source: string;
  /** For repositories of the Hub; otherwise the environment's. */
  readonly token?: string;
  /** A directory, absent or empty unless `force`. */
  readonly output: string;
  readonly format: "onnx";
  /** Replace files of the same names. Other files stay. */
  readonly force?: boolean;
  /** Report what would be written, and write nothing. */
  readonly dryRun?: boolean;
  /** O_DIRECT writes where the system has them. */
  readonly direct?: boolean;
  /** Leave zeros as holes. Default true. */
  readonly sparse?: boolean;
  /** SHA-256 of every file into the manifest. Default true. */
  readonly hash?: boolean;
  /** Go on where an interrupted run stopped. Default true. */
  readonly resume?: boolean;
  /** numbers: run both on the same tokens, where onnxruntime is installed. Default numbers. */
  readonly verify?: "numbers" | "none";
}

export interface ConvertReport {
  readonly source: { readonly location: string; readonly format: string };
  readonly output: string;
  readonly format: "onnx";
  readonly family: string;
  readonly blocks: number;
  /** Nodes of the graph. */
  readonly nodes: number;
  /** Of dry runs: what would be written, without the manifest. */
  readonly files: readonly Pick<WrittenFile, "name" | "size">[];
  readonly written: boolean;
  readonly notes: readonly string[];
  /** Absent when nothing was run; `unverified` then says why. */
  readonly check?: LogitsCheck;
  readonly unverified?: string;
}

/** Throws whatever opening, planning and writing refuse; logits that differ are in the report, not an error. */
export async function* convert(options: ConvertOptions): Run<ConvertReport> {
  yield { kind: "phase", name: "read headers" };
  const checkpoint = await openCheckpoint(options.source, options);
  refuse(checkpoint, options);
  const conversion = await planOnnxConversion(checkpoint, options);
  const { spec, graph, notes } = conversion;
  for (const text of notes) yield { kind: "note", level: "info", text };
  const report = {
    source: { location: checkpoint.location, format: checkpoint.format },
    output: options.output,
    format: options.format,
    family: spec.family,
    blocks: spec.blocks.length,
    nodes: graph.model.graph?.node.length ?? 0,
    notes,
  };
  if (options.dryRun === true) {
    const files = [...conversion.files, conversion.model].map(({ name, size }) => ({ name, size }));
    return { ...report, files, written: false, unverified: "nothing was written" };
  }
  const files = yield* write(checkpoint, conversion, options);
  return { ...report, files, written: true, ...(yield* prove(checkpoint, conversion, options)) };
}

function refuse(checkpoint: Checkpoint, { output }: ConvertOptions): void {
  if (checkpoint.format === "onnx") {
    throw new ExpandError("usage", "is an ONNX model already", {
      at: checkpoint.location,
      fix: "Name a safetensors, torch or GGUF checkpoint; expand takes ONNX as it is.",
    });
  }
  if (/\.(?:onnx|gguf|safetensors)$/i.test(output)) {
    throw new ExpandError("usage", "an ONNX model is several files, so the output is a directory", {
      at: output,
      fix: "Name a directory.",
    });
  }
  if (checkpoint.repository !== undefined) return;
  const location = path.resolve(checkpoint.location);
  const shards = new Set(checkpoint.shards.map(({ source }) => path.dirname(source.path ?? location)));
  const target = path.resolve(output);
  if (!isInside(target, location) && !shards.has(target)) return;
  throw new ExpandError("output", `lies inside the source ${checkpoint.location}`, {
    at: target,
    fix: "Choose an output outside the source.",
  });
}

/** The model last: who finds it finds all that belongs to it. */
async function* write(
  checkpoint: Checkpoint,
  { files, model }: OnnxConversion,
  options: ConvertOptions,
): Run<readonly WrittenFile[]> {
  const directory = path.resolve(options.output);
  const settings = writeOptions(checkpoint, [...files, model], options);
  const names = [...files.map((file) => file.name), model.name, "manifest.json"];
  claimOutput(directory, names, {
    key: settings.key,
    resume: settings.resume,
    force: options.force ?? false,
    alone: true,
  });
  return yield* writeFiles(
    directory,
    files,
    (written) => [manifestFile("manifest.json", settings.key, written, [model], settings.hash), model],
    settings,
  );
}

function writeOptions(checkpoint: Checkpoint, files: readonly FilePlan[], options: ConvertOptions): WriteOptions {
  const sources = [...checkpoint.shards.map((shard) => shard.source), ...checkpoint.assets.values()];
  const key = createHash("sha256");
  key.update(JSON.stringify([options.dtype ?? "keep", options.hash ?? true, options.link ?? false]));
  key.update(JSON.stringify(sources.map((source) => [source.name, source.identity])));
  for (const { name, size, segments } of files) {
    key.update(JSON.stringify([name, size]));
    for (const segment of segments) if (segment.kind === "bytes") key.update(segment.data);
  }
  return {
    key: key.digest("hex"),
    hash: options.hash ?? true,
    sparse: options.sparse ?? true,
    resume: options.resume ?? true,
    link: options.link ?? false,
    ...(options.direct === undefined ? {} : { direct: options.direct }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  };
}

/** Opens what was written, and runs it where that is possible. */
async function* prove(
  source: Checkpoint,
  { spec }: OnnxConversion,
  options: ConvertOptions,
): Run<Pick<ConvertReport, "check" | "unverified">> {
  const written = await openCheckpoint(path.join(options.output, MODEL_FILE));
  if (written.graph === undefined) throw new ExpandError("bug", "is not an ONNX model", { at: options.output });
  checkGraph(written.graph);
  if (options.verify === "none") return { unverified: "--verify none was given" };
  try {
    return { check: yield* checkLogits(source, spec, path.resolve(options.output, MODEL_FILE), options.signal) };
  } catch (error) {
    if (!(error instanceof ExpandError) || error.tag !== "backend") throw error;
    return { unverified: error.message };
  }
}
