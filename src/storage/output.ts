// Whether an output may be written where the user wants it: occupied, inside the source, too small a disk. Never deletes what a user made.
import fs from "node:fs";
import path from "node:path";
import { ExpandError } from "../errors.ts";
import { isZero } from "../tensor/reference.ts";
import type { FilePlan } from "./file-plan.ts";
import { isWholeSource } from "./job.ts";
import { isPartialDirectory, partialDirectory, readJournal } from "./journal.ts";

export interface ClaimOptions {
  /** As in WriteOptions: files that a run with this key finished do not count as occupied. */
  readonly key: string;
  readonly resume: boolean;
  /** Files of the same names may be replaced, whatever else is there. */
  readonly force: boolean;
  /** True for a directory that is to hold this output and nothing else. */
  readonly alone: boolean;
}

/** Throws "output" when `directory` holds something that writing these files would replace or, when `alone`, mix with. */
export function claimOutput(directory: string, names: readonly string[], options: ClaimOptions): void {
  const stat = fs.statSync(directory, { throwIfNoEntry: false });
  if (stat === undefined) return;
  if (!stat.isDirectory()) {
    throw new ExpandError("output", "is not a directory", { at: directory, fix: "Choose another output directory." });
  }
  const partial = partialDirectory(directory, names);
  const finished = options.resume ? readJournal(partial, directory, options.key) : new Map();
  const entries = fs.readdirSync(directory).filter((entry) => !isPartialDirectory(path.join(directory, entry)));
  const taken = (options.alone ? entries : entries.filter((entry) => names.includes(entry))).filter(
    (entry) => !finished.has(entry) && !isParentOf(entry, finished.keys()),
  );
  if (taken.length > 0 && !options.force) throw occupied(directory, taken);
  if (options.alone) removeStale(directory, partial);
}

function isParentOf(entry: string, names: Iterable<string>): boolean {
  return [...names].some((name) => name.startsWith(`${entry}/`));
}

function occupied(directory: string, taken: readonly string[]): ExpandError {
  const more = taken.length > 3 ? ` and ${taken.length - 3} more` : "";
  return new ExpandError("output", `already holds ${taken.slice(0, 3).join(", ")}${more}`, {
    at: directory,
    fix: "Choose another output, or pass --force to replace files of the same names.",
  });
}

/** What runs under other first names left half-finished here; nothing under a final name. */
function removeStale(directory: string, partial: string): void {
  for (const entry of fs.readdirSync(directory)) {
    const stale = path.join(directory, entry);
    if (stale !== partial && isPartialDirectory(stale)) fs.rmSync(stale, { recursive: true, force: true });
  }
}

export interface SpaceOptions {
  readonly sparse: boolean;
  readonly link: boolean;
  /** Copies share the bytes of their sources, nearly all of them. */
  readonly clone?: boolean;
}

/** Bytes that writing these files takes from the disk: all but holes, hard links and clones. */
export function freeSpaceNeeded(files: readonly FilePlan[], options: SpaceOptions): number {
  let total = 0;
  for (const file of files) {
    if (options.link && isWholeSource(file)) continue;
    total += file.size;
    for (const segment of file.segments) {
      if (segment.kind === "fill" && options.sparse && isZero(segment.pattern)) total -= segment.length;
      if (segment.kind === "copy" && options.clone === true) total -= segment.length;
    }
  }
  return total;
}

/** Throws "disk-full" when the disk that holds (or will hold) `directory` has less than `bytes` free for this user. */
export function checkFreeSpace(directory: string, bytes: number): void {
  const { bavail, bsize, blocks } = fs.statfsSync(nearestExisting(directory));
  const free = bavail * bsize;
  // Some network file systems report nothing at all; then only writing can tell.
  if (blocks === 0 || bytes <= free) return;
  throw new ExpandError("disk-full", `${bytes} bytes are needed, but the disk has ${free} free`, {
    at: directory,
    fix: `Free ${bytes - free} bytes, or choose an output on another disk.`,
  });
}

/** True when `child` is `parent` or lies in it, symbolic links followed. `child` need not exist. */
export function isInside(child: string, parent: string): boolean {
  const existing = nearestExisting(child);
  const rest = path.relative(existing, path.resolve(child));
  const real = path.join(fs.realpathSync.native(existing), rest);
  const steps = path.relative(fs.realpathSync.native(parent), real);
  return steps === "" || (steps.split(path.sep)[0] !== ".." && !path.isAbsolute(steps));
}

/** The directory itself, or the nearest one above it that is there. */
export function nearestExisting(directory: string): string {
  let found = path.resolve(directory);
  while (!fs.existsSync(found) && path.dirname(found) !== found) found = path.dirname(found);
  return found;
}
