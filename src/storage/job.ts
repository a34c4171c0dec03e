// A FilePlan lowered to what a copying thread needs: plain data, long runs, no gaps. Refuses a plan that does not cover its file.
import { ExpandError } from "../errors.ts";
import { isZero } from "../tensor/reference.ts";
import type { ByteSource } from "../tensor/source.ts";
import { CLONE_ALIGNMENT } from "./clone.ts";
import type { FilePlan, Segment } from "./file-plan.ts";

/** Shorter runs are copied: a clone is a transaction of the file system. */
const SHORTEST_CLONE = 256 * 1024;

/** One run of destination bytes; each piece starts where the one before it ends. */
export type Piece =
  | { readonly kind: "bytes"; readonly length: number; readonly data: Uint8Array }
  | CopyPiece
  | { readonly kind: "fill"; readonly length: number; readonly pattern: Uint8Array }
  | { readonly kind: "zeros"; readonly length: number };

export interface CopyPiece {
  readonly kind: "copy";
  readonly length: number;
  readonly source: number;
  readonly from: number;
  /** True when both ends are aligned so that the ranges may share their bytes. */
  readonly clone?: true;
}

/** A source by its path, or, only on the thread that owns it, by itself. */
export type JobSource = { readonly name: string; readonly size: number; readonly identity: string } & (
  | { readonly path: string }
  | { readonly source: ByteSource }
);

export interface CopyOptions {
  readonly hash: boolean;
  readonly sparse: boolean;
  readonly link: boolean;
  /** Past the page cache. Default: large files, where the file system takes it. */
  readonly direct?: boolean | undefined;
  /** The output's file system can share bytes with sources: cut long copies so that it does. */
  readonly clone?: boolean;
}

/** Make the file `path`; `name` is what the user will see. Crosses threads unless a source has a `read`. */
export interface CopyJob extends CopyOptions {
  readonly name: string;
  readonly path: string;
  readonly size: number;
  readonly pieces: readonly Piece[];
  readonly sources: readonly JobSource[];
}

/** The job that writes `file` at `path`. */
export function copyJob(file: FilePlan, path: string, options: CopyOptions): CopyJob {
  const sources: ByteSource[] = [];
  const pieces: Piece[] = [];
  let end = 0;
  for (const segment of file.segments) {
    const piece = lower(segment, sources);
    if (segment.to !== end || !(piece.length >= 0)) throw gap(file, segment.to, end);
    end += piece.length;
    const last = pieces.at(-1);
    const joined = last === undefined ? undefined : join(last, piece);
    if (joined !== undefined) pieces[pieces.length - 1] = joined;
    else if (piece.length > 0) pieces.push(piece);
  }
  if (end !== file.size) throw gap(file, file.size, end);
  const { hash, sparse, direct, clone = false } = options;
  const link = options.link && isWholeSource(file);
  return {
    name: file.name,
    path,
    size: file.size,
    pieces: clone ? cutForClones(pieces) : pieces,
    sources: sources.map(jobSource),
    ...{ hash, sparse, link, direct, clone },
  };
}

/** True when a file is nothing but all bytes of one local file: it can be a hard link to it. */
export function isWholeSource(file: FilePlan): boolean {
  let end = 0;
  const first = file.segments[0];
  if (first?.kind !== "copy" || first.source.path === undefined || first.source.size !== file.size) return false;
  for (const segment of file.segments) {
    if (segment.kind !== "copy" || segment.source !== first.source || segment.from !== end) return false;
    end += segment.length;
  }
  return true;
}

/** True when the job can be handed to another thread. */
export function canCrossThreads(job: CopyJob): boolean {
  return job.sources.every((source) => "path" in source);
}

function lower(segment: Segment, sources: ByteSource[]): Piece {
  if (segment.kind === "bytes") return { kind: "bytes", length: segment.data.length, data: segment.data };
  const { length } = segment;
  if (segment.kind === "fill") {
    const { pattern } = segment;
    if (pattern.length === 0 || length % pattern.length !== 0) {
      throw new ExpandError("bug", `a fill of ${length} bytes does not repeat a pattern of ${pattern.length} bytes`);
    }
    return isZero(pattern) ? { kind: "zeros", length } : { kind: "fill", length, pattern };
  }
  const end = segment.from + length;
  if (!(segment.from >= 0 && end <= segment.source.size)) {
    throw new ExpandError("bug", `bytes up to ${end} are planned to be copied, but there are ${segment.source.size}`, {
      at: segment.source.name,
    });
  }
  const known = sources.indexOf(segment.source);
  const source = known >= 0 ? known : sources.push(segment.source) - 1;
  return { kind: "copy", length, source, from: segment.from };
}

function join(first: Piece, second: Piece): Piece | undefined {
  const length = first.length + second.length;
  if (first.kind === "copy" && second.kind === "copy") {
    const touch = first.source === second.source && first.from + first.length === second.from;
    return touch ? { ...first, length } : undefined;
  }
  return first.kind === "zeros" && second.kind === "zeros" ? { kind: "zeros", length } : undefined;
}

/** Cuts copies whose two ends have the same phase into an unaligned head, an aligned body that can be cloned, and a tail. */
function cutForClones(pieces: readonly Piece[]): Piece[] {
  let to = 0;
  return pieces.flatMap((piece): Piece[] => {
    const head = (CLONE_ALIGNMENT - (to % CLONE_ALIGNMENT)) % CLONE_ALIGNMENT;
    to += piece.length;
    if (piece.kind !== "copy" || (piece.from + head) % CLONE_ALIGNMENT !== 0 || piece.length - head < SHORTEST_CLONE)
      return [piece];
    const body = Math.floor((piece.length - head) / CLONE_ALIGNMENT) * CLONE_ALIGNMENT;
    const parts: CopyPiece[] = [
      { ...piece, length: head },
      { ...piece, from: piece.from + head, length: body, clone: true },
      { ...piece, from: piece.from + head + body, length: piece.length - head - body },
    ];
    return parts.filter((part) => part.length > 0);
  });
}

function jobSource(source: ByteSource): JobSource {
  const { name, size, identity, path } = source;
  if (path !== undefined) return { name, size, identity, path };
  return { name, size, identity, source };
}

function gap(file: FilePlan, expected: number, found: number): ExpandError {
  return new ExpandError("bug", `its segments should touch at byte ${expected}, but they end at byte ${found}`, {
    at: file.name,
  });
}
