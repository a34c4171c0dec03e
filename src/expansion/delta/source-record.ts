// source.json: how the source's files were laid out, so that its expansion can give them back byte for byte. Holds headers and settings, never
// weights: those are in the expanded checkpoint.
import { createHash } from "node:crypto";
import { deflateRawSync, inflateRawSync } from "node:zlib";
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { fingerprint } from "../../checkpoint/fingerprint.ts";
import { ExpandError } from "../../errors.ts";
import { JsonDocument, type JsonObject, type JsonValue } from "../../json.ts";
import { type ByteSource, joinedSource, memorySource, type Stretch } from "../../tensor/source.ts";
import { type AssembledFile, type KnownRun, keptBytes, type Piece, parseFiles, takeApart } from "./assembly.ts";
import { runOf } from "./digest.ts";

export const SOURCE_SCHEMA = "expand-checkpoint/source/1";

/** Bytes of headers and settings that a record holds at most: those of the largest models have some 20 MB. */
const MAX_KEPT = 64_000_000;

/** Where the source's bytes are once it is expanded. */
export interface Expanded {
  readonly checkpoint: Checkpoint;
  /** Names of the copies' tensors: they hold the source's bytes only until they are trained. */
  readonly copied: ReadonlySet<string>;
}

/** Undefined where the expansion has not all weights of the source as they are, so that more than headers would have to be kept. */
export async function recordSource(
  source: Checkpoint,
  files: ReadonlyMap<string, ByteSource>,
  notCarried: readonly string[],
  expanded: Expanded,
): Promise<JsonObject | undefined> {
  const runs = runsByFile(source, expanded);
  const kept: Stretch[] = [];
  const described: AssembledFile[] = [];
  for (const [name, file] of files) {
    const carried = expanded.checkpoint.assets.get(name) === file;
    const apart = carried ? { pieces: [{ file: name }], kept: [] } : takeApart(file, runs.get(placeOf(file)) ?? []);
    kept.push(...apart.kept);
    described.push({ name, size: file.size, ...(await digestOf(file, apart.pieces)), pieces: apart.pieces });
  }
  const bytes = joinedSource("headers and settings of the source", kept);
  if (bytes.size > MAX_KEPT) return undefined;
  const data = await bytes.read(0, bytes.size);
  return {
    schema: SOURCE_SCHEMA,
    format: source.format,
    headers: fingerprint(source).headers,
    notCarried,
    files: described as unknown as JsonValue,
    keptSha256: sha256(data),
    kept: deflateRawSync(data).toString("base64"),
  };
}

/** Of files that are read anyway, and of those that a listing knows. */
async function digestOf(file: ByteSource, pieces: readonly Piece[]): Promise<{ readonly sha256?: string }> {
  if (file.sha256 !== undefined) return { sha256: file.sha256 };
  if (keptBytes(pieces) !== file.size) return {};
  return { sha256: sha256(await file.read(0, file.size)) };
}

/** By file: where the source's tensors lie, and which tensor of the expansion has the same bytes. */
function runsByFile(source: Checkpoint, expanded: Expanded): ReadonlyMap<string, readonly KnownRun[]> {
  const names = new Map<string, string>();
  for (const [name, tensor] of expanded.checkpoint.tensors) {
    const run = runOf(tensor);
    if (run === undefined || expanded.copied.has(name)) continue;
    const key = `${placeOf(run.source)}\n${run.offset}:${run.length}`;
    if (!names.has(key)) names.set(key, name);
  }
  const runs = new Map<string, KnownRun[]>();
  for (const tensor of source.tensors.values()) {
    const run = runOf(tensor);
    const place = run && placeOf(run.source);
    const name = run && names.get(`${place}\n${run.offset}:${run.length}`);
    if (run === undefined || place === undefined || name === undefined) continue;
    const list = runs.get(place) ?? [];
    runs.set(place, list);
    list.push({ offset: run.offset, length: run.length, piece: { tensor: name } });
  }
  return runs;
}

function placeOf(source: ByteSource): string {
  return source.path ?? source.name;
}

export interface SourceRecord {
  readonly format: string;
  readonly headers: string;
  /** Files beside the source's weights that an expansion leaves behind. */
  readonly notCarried: readonly string[];
  readonly files: readonly AssembledFile[];
  /** The kept bytes of all files, in their order. */
  readonly kept: ByteSource;
}

/** Throws "damaged" for a record that is not whole. */
export function parseSourceRecord(at: string, data: Uint8Array): SourceRecord {
  const { value } = JsonDocument.parse(at, data);
  const record: JsonObject = isObject(value) ? value : {};
  const { format, headers, notCarried, keptSha256, kept } = record;
  if (record.schema !== SOURCE_SCHEMA || typeof format !== "string" || typeof headers !== "string") return damaged(at);
  if (typeof kept !== "string" || typeof keptSha256 !== "string") return damaged(at);
  const files = parseFiles(record.files, at);
  const bytes = inflated(kept, at);
  if (sha256(bytes) !== keptSha256) return damaged(at);
  return {
    format,
    headers,
    notCarried: Array.isArray(notCarried) ? notCarried.filter((name) => typeof name === "string") : [],
    files,
    kept: memorySource(at, bytes),
  };
}

function inflated(text: string, at: string): Uint8Array {
  try {
    return inflateRawSync(Buffer.from(text, "base64"), { maxOutputLength: MAX_KEPT });
  } catch {
    return damaged(at);
  }
}

function sha256(data: Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}

function isObject(value: JsonValue): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function damaged(at: string): never {
  throw new ExpandError("damaged", "does not say how the source's files were laid out", {
    at,
    fix: "Take source.json from the expanded checkpoint that expand wrote.",
  });
}
