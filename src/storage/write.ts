// The one way that files are written: planned, aside, synced, renamed, resumable. Never shows an incomplete file under its final name.
import { setTimeout as sleep } from "node:timers/promises";
import { ExpandError, throwIfAborted } from "../errors.ts";
import type { Run, RunEvent, RunOptions } from "../events.ts";
import { canClone } from "./clone.ts";
import { Control } from "./control.ts";
import type { CopyOutcome } from "./copy.ts";
import { copyAll } from "./crew.ts";
import type { FilePlan, WrittenFile } from "./file-plan.ts";
import { type CopyJob, type CopyOptions, copyJob } from "./job.ts";
import { type JournalLine, partialDirectory, readJournal } from "./journal.ts";
import { checkFreeSpace, freeSpaceNeeded, nearestExisting } from "./output.ts";
import { Publication } from "./publication.ts";

export interface WriteOptions extends RunOptions {
  /** Identifies plan and sources: a run resumes only files that were journalled under the same key. */
  readonly key: string;
  /** SHA-256 of every file, while copying. */
  readonly hash: boolean;
  /** Leave runs of zeros as holes. */
  readonly sparse: boolean;
  /** Keep files that an interrupted run with the same key finished. */
  readonly resume: boolean;
  /** Hard-link files that are whole copies of a source file; copied, with a note, where that is impossible. */
  readonly link: boolean;
  /** Write past the page cache (Linux); through it, with a note, where that is impossible. Default: large files, where it is possible. */
  readonly direct?: boolean | undefined;
}

const PROGRESS_EVERY_MS = 100;
/** How long an interrupted run waits for its threads; one that is syncing cannot be woken, and has nothing left to publish. */
const LAST_WAIT_MS = 700;

/**
 * Writes `files`, then the small files that `finals` makes of what was written (index, manifest), each under its final name only
 * when complete. Gives all of them, in that order. Throws "disk-full", "output", "input", "damaged" or "interrupted"; finished
 * files then stay, and a run with the same key goes on from there.
 */
export async function* writeFiles(
  directory: string,
  files: readonly FilePlan[],
  finals: (written: readonly WrittenFile[]) => readonly FilePlan[],
  options: WriteOptions,
): Run<readonly WrittenFile[]> {
  throwIfAborted(options.signal);
  checkNames(files);
  const earlier = finishedEarlier(directory, files, options);
  const written = new Map(files.flatMap((file) => resumedFile(file, earlier.get(file.name), options.hash)));
  const missing = files.filter((file) => !written.has(file.name));
  const clone = options.direct !== true && (await canClone(nearestExisting(directory)));
  const copying = { ...options, clone, direct: clone ? false : options.direct };
  checkFreeSpace(directory, freeSpaceNeeded(missing, copying));
  const publication = await Publication.open(directory, files, options.key, earlier.values());
  try {
    yield { kind: "phase", name: "write" };
    for (const file of yield* copyFiles(missing, publication, copying, "each")) written.set(file.name, file);
    const shards = files.flatMap((file) => written.get(file.name) ?? []);
    const last = finals(shards);
    checkNames([...files, ...last]);
    const small = yield* copyFiles(last, publication, copying, "together");
    await publication.complete();
    return [...shards, ...small];
  } finally {
    await publication.abandon();
  }
}

/** Copies all files on as many threads as it takes; each gets its final name as soon as it is complete, or all do at the end. */
async function* copyFiles(
  files: readonly FilePlan[],
  publication: Publication,
  options: CopyOptions & RunOptions,
  publish: "each" | "together",
): Run<readonly WrittenFile[]> {
  const jobs = files.map((file) => copyJob(file, publication.nextPath(), options));
  const outcomes = new Map<CopyJob, CopyOutcome>();
  yield* watch(jobs, options.signal, async (job, outcome) => {
    outcomes.set(job, outcome);
    if (publish === "each") await publication.publish(writtenFile(job, outcome), job.path);
  });
  const written: WrittenFile[] = [];
  for (const job of jobs) {
    const file = writtenFile(job, outcomes.get(job));
    written.push(file);
    if (publish === "together") await publication.publish(file, job.path);
  }
  return written;
}

/** Runs the jobs, reporting bytes ten times a second, until they end or the caller wants no more. */
async function* watch(
  jobs: readonly CopyJob[],
  signal: AbortSignal | undefined,
  publish: (job: CopyJob, outcome: CopyOutcome) => Promise<void>,
): Run<void> {
  const control = new Control();
  const stop = (): void => control.stop();
  const total = jobs.reduce((sum, job) => sum + job.size, 0);
  const notes: string[] = [];
  const work = copyAll(jobs, control, async (job, outcome) => {
    notes.push(...outcome.notes);
    await publish(job, outcome);
  });
  let resting = false;
  const rest = work.then(stop, stop).then(() => {
    resting = true;
  });
  signal?.addEventListener("abort", stop);
  try {
    const seen = new Set<string>();
    while (!resting && !signal?.aborted) {
      await Promise.race([rest, sleep(PROGRESS_EVERY_MS, undefined, { ref: false })]);
      yield* newNotes(notes, seen);
      if (total > 0) yield { kind: "bytes", done: control.done, total };
    }
  } finally {
    signal?.removeEventListener("abort", stop);
    stop();
    await Promise.race([rest, sleep(LAST_WAIT_MS, undefined, { ref: false })]);
  }
  throwIfAborted(signal);
  await work;
}

function* newNotes(notes: readonly string[], seen: Set<string>): Generator<RunEvent, void, void> {
  for (const text of notes) {
    if (seen.has(text)) continue;
    seen.add(text);
    yield { kind: "note", level: "warning", text };
  }
}

function finishedEarlier(
  directory: string,
  files: readonly FilePlan[],
  options: WriteOptions,
): ReadonlyMap<string, JournalLine> {
  if (!options.resume) return new Map();
  const partial = partialDirectory(
    directory,
    files.map((file) => file.name),
  );
  return readJournal(partial, directory, options.key);
}

/** The entry of a file that need not be written again: none, or one. */
function resumedFile({ name, size }: FilePlan, line: JournalLine | undefined, hash: boolean): [string, WrittenFile][] {
  if (line?.size !== size || (hash && line.sha256 === undefined)) return [];
  return [[name, { name, size, ...(line.sha256 !== undefined && { sha256: line.sha256 }), resumed: true }]];
}

function writtenFile(job: CopyJob, outcome: CopyOutcome | undefined): WrittenFile {
  const { name, size } = job;
  return { name, size, ...(outcome?.sha256 !== undefined && { sha256: outcome.sha256 }), resumed: false };
}

/** A plan may name files of its output only: never a path that leads out of it, and none twice. */
function checkNames(files: readonly FilePlan[]): void {
  const seen = new Set<string>();
  for (const { name } of files) {
    const steps = name.split("/");
    const escapes =
      steps.some((step) => step === "" || step === "." || step === "..") || /[\\\0]|^[A-Za-z]:/.test(name);
    if (escapes)
      throw new ExpandError("bug", `the file name ${JSON.stringify(name)} leads out of the output directory`);
    if (seen.has(name)) throw new ExpandError("bug", `the file ${name} is planned twice`);
    seen.add(name);
  }
}
