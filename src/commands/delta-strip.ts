// `delta strip`: an expanded checkpoint in, its source out, byte for byte. Believes that the originals are the source's only where a proof
// and the digests of the files say so.
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { fingerprint } from "../checkpoint/fingerprint.ts";
import { ExpandError } from "../errors.ts";
import type { Run, RunOptions } from "../events.ts";
import { type AssembledFile, keptBytes, putTogether } from "../expansion/delta/assembly.ts";
import { digestAll } from "../expansion/delta/digest.ts";
import { parseSourceRecord, type SourceRecord } from "../expansion/delta/source-record.ts";
import { openCheckpoint } from "../formats/open.ts";
import { JsonDocument } from "../json.ts";
import type { FilePlan, WrittenFile } from "../storage/file-plan.ts";
import { type ByteSource, fileSource } from "../tensor/source.ts";
import { isProved, type VerificationReport } from "../verification/report.ts";
import { otherFiles } from "./delta-contents.ts";
import { refuseRemote } from "./delta-files.ts";
import { type RestoreOptions, writeRestored } from "./delta-write.ts";
import { placeOf } from "./expanded.ts";
import { readManifest } from "./output.ts";
import { findPaper } from "./papers.ts";

export interface StripOptions extends RunOptions, RestoreOptions {
  /** An expanded checkpoint, trained or not. */
  readonly expanded: string;
  /** Strip it although nothing shows that its originals are the source's. */
  readonly unproved?: boolean;
  /** Where nothing remembers the source's files: its tensors and settings, in files of our own making. */
  readonly inexact?: boolean;
}

export interface StripReport {
  readonly output: string;
  readonly files: readonly WrittenFile[];
  readonly bytes: number;
  /** What shows that the files are the source's: the proof of the expansion; nothing; that the tensors and settings are. */
  readonly shown: "proved" | "nothing" | "tensors";
  /** Files whose SHA-256 in the source is known; they have it. */
  readonly compared: number;
  /** Names that the source had beside these files. */
  readonly notCarried: readonly string[];
}

/** Throws "input" when the expanded checkpoint does not remember its source, or does not hold it any more. */
export async function* stripExpansion(options: StripOptions): Run<StripReport> {
  const { signal, unproved = false, inexact = false } = options;
  yield { kind: "phase", name: "read headers" };
  const expanded = await openCheckpoint(options.expanded);
  refuseRemote(expanded);
  if (inexact && findPaper(expanded, "source.json") === undefined) {
    const { stripInexactly } = await import("./delta-contract.ts");
    return yield* stripInexactly(expanded, options);
  }
  const record = await readRecord(expanded);
  if (!unproved) {
    yield { kind: "phase", name: "hash the checkpoint" };
    yield* checkProof(expanded, record, signal);
  }
  const described = named(record.files, options.output);
  const plans = plansOf(described, record, expanded);
  const key = createHash("sha256")
    .update(JSON.stringify([record.headers, record.files, expanded.shards.map(({ source }) => source.identity)]))
    .digest("hex");
  const files = yield* writeRestored(expanded, options, described, plans, key);
  await checkHeaders(options, files, record);
  return {
    output: options.output,
    files,
    bytes: files.reduce((sum, { size }) => sum + size, 0),
    shown: unproved ? "nothing" : "proved",
    compared: record.files.filter(({ sha256 }) => sha256 !== undefined).length,
    notCarried: record.notCarried,
  };
}

async function readRecord(expanded: Checkpoint): Promise<SourceRecord> {
  const source = findPaper(expanded, "source.json");
  if (source !== undefined) return parseSourceRecord(source.name, await source.read(0, source.size));
  throw new ExpandError(
    "input",
    "has no source.json beside it: nothing says how the source's files were laid out, so they cannot be had byte for byte",
    {
      at: expanded.location,
      fix: "Put back the source.json that expand wrote, or pass --inexact for its tensors and settings in files of another layout.",
    },
  );
}

/** The files are those of the manifest, also what says how they are put together; and what was in them was proved. */
async function* checkProof(expanded: Checkpoint, record: SourceRecord, signal: AbortSignal | undefined): Run<void> {
  const place = placeOf(expanded.location);
  const file = path.join(place.directory, place.sidecar("verification.json"));
  const report = fs.existsSync(file)
    ? (JsonDocument.parse(file, fs.readFileSync(file)).value as unknown as VerificationReport)
    : undefined;
  if (report === undefined || !isProved(report.verdict)) throw unshown(expanded, "there is no proof of it");
  if (report.after?.headers !== fingerprint(expanded).headers)
    throw unshown(expanded, "its proof is of another checkpoint");
  const manifest = readManifest(path.join(place.directory, place.sidecar("manifest.json"))) ?? [];
  const listed = new Map(manifest.map(({ name, sha256 }) => [name, sha256]));
  const used = usedFiles(expanded, record, place.sidecar("source.json"));
  const digests = yield* digestAll(
    used.map(([, source]) => ({ source, offset: 0, length: source.size })),
    signal,
  );
  for (const [at, [name]] of used.entries()) {
    const expected = listed.get(name);
    if (expected === undefined) throw unshown(expanded, `the manifest has no SHA-256 of ${name}`);
    if (expected !== digests[at]) throw unshown(expanded, `${name} changed after it was proved`);
  }
}

/** What the source's bytes are taken from. */
function usedFiles(
  { shards, assets, location }: Checkpoint,
  { files }: SourceRecord,
  paper: string,
): readonly (readonly [name: string, source: ByteSource])[] {
  const carried = files.flatMap(({ pieces }) => pieces.flatMap((piece) => ("file" in piece ? [piece.file] : [])));
  const record = fileSource(path.join(placeOf(location).directory, paper), paper);
  return [
    ...shards.map(({ name, source }) => [name, source] as const),
    [paper, record],
    ...carried.flatMap((name) => {
      const source = assets.get(name);
      return source === undefined ? [] : [[name, source] as const];
    }),
  ];
}

function unshown({ location }: Checkpoint, reason: string): ExpandError {
  return new ExpandError("input", `nothing shows that its originals are still the source's: ${reason}`, {
    at: location,
    fix: "Pass --unproved to strip it as it is, and compare the result with what you know of the source.",
  });
}

/** A GGUF or ONNX file, or the parts of one, may be called as the user says: nothing in them depends on it. */
function named(files: readonly AssembledFile[], output: string): readonly AssembledFile[] {
  const ending = /\.(?:gguf|onnx)$/i.exec(output)?.[0].toLowerCase();
  if (ending === undefined) return files;
  const stem = path.basename(output).slice(0, -ending.length);
  return files.map((file) => {
    const part = /^[^/]*?(-\d{5}-of-\d{5})?\.(?:gguf|onnx)$/i.exec(file.name);
    return part === null ? file : { ...file, name: `${stem}${part[1] ?? ""}${ending}` };
  });
}

function plansOf(files: readonly AssembledFile[], record: SourceRecord, expanded: Checkpoint): readonly FilePlan[] {
  const others = otherFiles(expanded);
  const parts = {
    tensor: (name: string) => expanded.tensors.get(name) ?? lost(expanded, `tensor ${JSON.stringify(name)}`),
    own: (name: string) => lost(expanded, `tensor ${JSON.stringify(name)}`),
    file: (name: string) => others.get(name) ?? lost(expanded, `file ${JSON.stringify(name)}`),
  };
  let offset = 0;
  return files.map((file): FilePlan => {
    const length = keptBytes(file.pieces);
    const kept = { source: record.kept, offset, length };
    offset += length;
    return putTogether(file, { ...parts, kept });
  });
}

function lost({ location }: Checkpoint, what: string): never {
  throw new ExpandError("input", `has no ${what}, which the source is made of`, {
    at: location,
    fix: "Name the checkpoint that expand or train wrote, with all of its files.",
  });
}

/** The last look: what stands there now is, by its headers and settings, the checkpoint that was expanded. */
async function checkHeaders(
  { output }: StripOptions,
  files: readonly WrittenFile[],
  record: SourceRecord,
): Promise<void> {
  const isFile = /\.(?:gguf|onnx)$/i.test(output);
  const first = files.find(({ name }) => /\.gguf$/i.test(name))?.name;
  const opened = await openCheckpoint(isFile || first === undefined ? output : path.join(output, first));
  if (fingerprint(opened).headers === record.headers) return;
  throw new ExpandError("damaged", "has other headers than the source had", {
    at: output,
    fix: "Put back the source.json that expand wrote, and strip again.",
  });
}
