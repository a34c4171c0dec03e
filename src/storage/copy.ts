// The copy engine: makes one file from one job, on whichever thread it is called. Opens sources read-only; leaves no file behind when it fails.
import { createHash, type Hash } from "node:crypto";
import fs from "node:fs";
import { setImmediate as nextTurn } from "node:timers/promises";
import { ExpandError } from "../errors.ts";
import { type CloneRange, loadCloneRange } from "./clone.ts";
import type { Control } from "./control.ts";
import { openDirect } from "./direct.ts";
import { outputFailure } from "./failure.ts";
import { type CopyJob, type CopyPiece, canCrossThreads, type Piece } from "./job.ts";
import { linkSource } from "./link.ts";
import { BufferedSink, CHUNK, ReadOnly, type Sink } from "./sink.ts";
import { OpenSources } from "./sources.ts";

/** What is known of a file that was written. */
export interface CopyOutcome {
  readonly sha256?: string;
  /** Options that could not be honoured, and what was done instead. */
  readonly notes: readonly string[];
}

export interface CopyThread {
  readonly control: Control;
  /** `CHUNK` bytes that this thread's copies reuse, one after the other. */
  readonly buffer: Uint8Array;
  /** True where signals and timers must get a turn every few chunks. */
  readonly yields: boolean;
  /** How ranges are cloned, when not in the system's way. */
  readonly cloneRange?: CloneRange;
}

const ZEROS = new Uint8Array(CHUNK);
/** Files from this size, in bytes, go past the page cache by default: half of the CPU of writing through it, and no memory that waits for the disk. */
const DIRECT_FROM = 64 * 1024 * 1024;
/** Bytes between two turns for signals and timers: some 20 ms of work; a turn costs as much as copying 30 to 100 KiB. */
const TURN_EVERY = 16 * 1024 * 1024;
/** Longest hole at once: hashing its zeros takes some 50 ms, and nobody can interrupt it. */
const LONGEST_HOLE = 64 * 1024 * 1024;

/** Writes job.path and waits until the disk has it. Throws ExpandError; then the file is gone again. */
export async function copyFile(job: CopyJob, thread: CopyThread): Promise<CopyOutcome> {
  const notes: string[] = [];
  const sources = new OpenSources(job.sources);
  try {
    const hash = job.hash ? createHash("sha256") : undefined;
    await writeAll(job, thread, { hash, sources, notes, sinceTurn: 0 });
    sources.checkUnchanged();
    return { ...(hash && { sha256: hash.digest("hex") }), notes };
  } catch (error) {
    fs.rmSync(job.path, { force: true });
    throw outputFailure(error, job.name);
  } finally {
    await sources.close();
  }
}

interface Work {
  readonly hash: Hash | undefined;
  readonly sources: OpenSources;
  readonly notes: string[];
  /** Bytes since signals and timers had their last turn. */
  sinceTurn: number;
}

async function writeAll(job: CopyJob, thread: CopyThread, work: Work): Promise<void> {
  const linked = job.link && linkSource(job, work.notes);
  if (linked && !job.hash) return thread.control.add(job.size);
  const cloneRange = job.clone ? (thread.cloneRange ?? (await loadCloneRange())) : undefined;
  const sink = linked ? new ReadOnly(thread.buffer) : openSink(job, thread, work.notes, cloneRange);
  try {
    for (const piece of job.pieces) await writePiece(piece, sink, thread, work);
    await sink.finish();
  } finally {
    await sink.close();
  }
}

function openSink(job: CopyJob, thread: CopyThread, notes: string[], cloneRange: CloneRange | undefined): Sink {
  const wanted = job.direct ?? job.size >= DIRECT_FROM;
  const overlap = job.hash || !canCrossThreads(job);
  const direct = wanted ? openDirect(job.path, job.size, { sparse: job.sparse, overlap }) : undefined;
  if (direct !== undefined) return direct;
  if (job.direct === true)
    notes.push("No direct writes to the output's file system are possible here; wrote through the page cache instead.");
  return new BufferedSink(job.path, job.size, job.sparse, thread.buffer, cloneRange);
}

async function writePiece(piece: Piece, sink: Sink, thread: CopyThread, work: Work): Promise<void> {
  const shared = piece.kind === "copy" && piece.clone === true && share(piece, sink, work);
  for (let done = 0; done < piece.length; ) {
    if (thread.control.stopped) throw new ExpandError("interrupted", "interrupted");
    if (thread.yields && work.sinceTurn >= TURN_EVERY) await turn(work);
    const length =
      passOver(piece, piece.length - done, shared, sink, work) || (await writeChunk(piece, done, sink, work));
    thread.control.add(length);
    done += length;
    work.sinceTurn += length;
  }
}

async function turn(work: Work): Promise<void> {
  work.sinceTurn = 0;
  await nextTurn();
}

/** True when the whole piece now shares the bytes of its source. */
function share(piece: CopyPiece, sink: Sink, work: Work): boolean {
  const fd = work.sources.descriptor(piece.source);
  return fd !== undefined && sink.clone(fd, piece.from, piece.length);
}

/** How many of the next `left` bytes were done without moving any; 0 when they have to be read. */
function passOver(piece: Piece, left: number, shared: boolean, sink: Sink, work: Work): number {
  if (piece.kind === "zeros") return hashZeros(work.hash, sink.hole(Math.min(left, LONGEST_HOLE)));
  if (!shared || work.hash !== undefined) return 0;
  sink.commit(left);
  return left;
}

async function writeChunk(piece: Piece, done: number, sink: Sink, work: Work): Promise<number> {
  // What was read has to be in the processor's nearest cache still when it is hashed.
  const left = piece.length - done;
  const room = await sink.room(work.hash === undefined ? left : Math.min(left, CHUNK));
  if (piece.kind === "copy") {
    const pending = work.sources.read(piece.source, piece.from + done, room, piece.from + piece.length);
    if (pending !== undefined) await pending;
  } else if (piece.kind === "bytes") {
    room.set(piece.data.subarray(done, done + room.length));
  } else if (piece.kind === "zeros") {
    room.fill(0);
  } else {
    repeat(piece.pattern, done % piece.pattern.length, room);
  }
  work.hash?.update(room);
  sink.commit(room.length);
  return room.length;
}

/** Fills `room` with the pattern, which started `phase` bytes earlier. */
function repeat(pattern: Uint8Array, phase: number, room: Uint8Array): void {
  const turned = Buffer.concat([pattern.subarray(phase), pattern.subarray(0, phase)]);
  Buffer.from(room.buffer, room.byteOffset, room.length).fill(turned);
}

function hashZeros(hash: Hash | undefined, length: number): number {
  if (hash !== undefined) {
    for (let left = length; left > 0; left -= CHUNK) hash.update(ZEROS.subarray(0, Math.min(left, CHUNK)));
  }
  return length;
}
