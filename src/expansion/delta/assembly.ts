// How a file is put together from bytes that a checkpoint has anyway and bytes that are kept for it. Reads nothing and writes nothing.
import { ExpandError, quote } from "../../errors.ts";
import type { JsonObject, JsonValue } from "../../json.ts";
import type { FilePlan, Segment } from "../../storage/file-plan.ts";
import type { TensorRef } from "../../tensor/reference.ts";
import { type ByteSource, isPlainPath, type Stretch } from "../../tensor/source.ts";

/** The next bytes of a file: kept ones, a tensor of the other checkpoint, a tensor of the delta, or another file of the checkpoint. */
export type Piece =
  | { readonly kept: number }
  | { readonly tensor: string }
  | { readonly own: string }
  | { readonly file: string };

/** A file as pieces, one behind the other. */
export interface AssembledFile {
  /** Path below the checkpoint's directory. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Of the whole file, where it is known. */
  readonly sha256?: string;
  readonly pieces: readonly Piece[];
}

/** A run of a file's bytes that need not be kept, because something else has them. */
export interface KnownRun {
  readonly offset: number;
  readonly length: number;
  readonly piece: Piece;
}

/** The file as pieces, and the bytes that have to be kept for it. Of runs that overlap, the first and longest is taken. */
export function takeApart(
  source: ByteSource,
  known: readonly KnownRun[],
): { readonly pieces: readonly Piece[]; readonly kept: readonly Stretch[] } {
  const runs = known.filter(({ length }) => length > 0).sort((a, b) => a.offset - b.offset || b.length - a.length);
  const pieces: Piece[] = [];
  const kept: Stretch[] = [];
  let at = 0;
  const keepUntil = (end: number): void => {
    if (end === at) return;
    pieces.push({ kept: end - at });
    kept.push({ length: end - at, source, offset: at });
    at = end;
  };
  for (const { offset, length, piece } of runs) {
    if (offset < at) continue;
    keepUntil(offset);
    pieces.push(piece);
    at += length;
  }
  keepUntil(source.size);
  return { pieces, kept };
}

/** Where the bytes of pieces are. Each throws when it has no such bytes. */
export interface Parts {
  tensor(name: string): TensorRef;
  own(name: string): TensorRef;
  file(path: string): ByteSource;
  /** The kept bytes of this file, in order. */
  readonly kept: { readonly source: ByteSource; readonly offset: number; readonly length: number };
}

/** The file, to be written. Throws "damaged" when its pieces do not add up to its size. */
export function putTogether({ name, size, pieces }: AssembledFile, parts: Parts): FilePlan {
  const segments: Segment[] = [];
  let to = 0;
  let keptAt = 0;
  const add = (segment: Segment, length: number): void => {
    if (length > 0) segments.push(segment);
    to += length;
  };
  for (const piece of pieces) {
    if ("kept" in piece) {
      const { source, offset } = parts.kept;
      add({ kind: "copy", to, length: piece.kept, source, from: offset + keptAt }, piece.kept);
      keptAt += piece.kept;
    } else if ("file" in piece) {
      const source = parts.file(piece.file);
      add({ kind: "copy", to, length: source.size, source, from: 0 }, source.size);
    } else {
      const tensor = "tensor" in piece ? parts.tensor(piece.tensor) : parts.own(piece.own);
      add(segmentOf(tensor, to), tensor.bytes);
    }
  }
  if (to === size && keptAt === parts.kept.length) return { name, size, segments };
  throw new ExpandError("damaged", `its pieces have ${to} bytes, the file has ${size}`, { at: name, fix: MAKE_AGAIN });
}

function segmentOf(tensor: TensorRef, to: number): Segment {
  const length = tensor.bytes;
  if (tensor.kind === "fill") return { kind: "fill", to, length, pattern: tensor.pattern };
  return { kind: "copy", to, length, source: tensor.source, from: tensor.offset };
}

/** Bytes that are kept for a file. */
export function keptBytes(pieces: readonly Piece[]): number {
  return pieces.reduce((sum, piece) => sum + ("kept" in piece ? piece.kept : 0), 0);
}

const MAKE_AGAIN = "Make it again; it is damaged, or of another version.";

/** Files as they were saved. Throws "damaged" for anything that is none, for names that lead out of a directory or are taken. */
export function parseFiles(value: JsonValue | undefined, at: string): readonly AssembledFile[] {
  if (!Array.isArray(value)) return damaged(at, "has no list of files");
  const names = new Set<string>();
  return value.map((entry: JsonValue) => {
    const { name, size, sha256, pieces } = objectOf(entry, at);
    if (typeof name !== "string" || !isPlainPath(name)) {
      return damaged(at, `names a file ${JSON.stringify(name ?? null)}, which is no plain path inside a directory`);
    }
    const steps = name.split("/").map((_, end, all) => all.slice(0, end + 1).join("/"));
    const taken = steps.find((step) => names.has(step)) ?? [...names].find((other) => other.startsWith(`${name}/`));
    if (taken !== undefined)
      return damaged(at, `names ${quote(name)} beside ${quote(taken)}, and one place holds one file`);
    names.add(name);
    if (!isCount(size) || !Array.isArray(pieces)) return damaged(at, `does not say what ${quote(name)} is made of`);
    return {
      name,
      size,
      ...(typeof sha256 === "string" ? { sha256 } : {}),
      pieces: pieces.map((piece: JsonValue) => parsePiece(objectOf(piece, at), at)),
    };
  });
}

function parsePiece({ kept, tensor, own, file }: JsonObject, at: string): Piece {
  if (isCount(kept)) return { kept };
  if (typeof tensor === "string") return { tensor };
  if (typeof own === "string") return { own };
  if (typeof file === "string") return { file };
  return damaged(at, "has a piece of a file that is nothing known");
}

function isCount(value: JsonValue | undefined): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function objectOf(value: JsonValue, at: string): JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as JsonObject)
    : damaged(at, "has an entry that is no object");
}

function damaged(at: string, message: string): never {
  throw new ExpandError("damaged", message, { at, fix: MAKE_AGAIN });
}
