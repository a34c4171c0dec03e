// Who copies: two worker threads where there are several large files, this thread for small ones, for a single one, and for sources
// that only it can read. Never starts more threads than there are large files.
import os from "node:os";
import { Worker } from "node:worker_threads";
import { ExpandError, isSystemError } from "../errors.ts";
import type { Control } from "./control.ts";
import { type CopyOutcome, type CopyThread, copyFile } from "./copy.ts";
import { fromRecord } from "./failure.ts";
import { type CopyJob, canCrossThreads } from "./job.ts";
import { CHUNK } from "./sink.ts";
import type { Answer } from "./worker.ts";

/** Smaller files are copied faster than a thread starts (20 to 50 ms). */
const SMALL = 1024 * 1024;
/** A third thread gains nothing: two already saturate a disk, and each costs 9 MB of memory. */
const MOST_WORKERS = 2;
/** Files whose sources only this thread can read wait for a network more than for the processor: so many at a time. */
const MOST_STREAMS = 3;

type Copy = (job: CopyJob) => Promise<CopyOutcome>;

/** Does all jobs, each followed by `publish` on this thread. Rejects with the first failure, after all threads came to rest. */
export async function copyAll(
  jobs: readonly CopyJob[],
  control: Control,
  publish: (job: CopyJob, outcome: CopyOutcome) => Promise<void>,
): Promise<void> {
  const portable = jobs.filter((job) => job.size >= SMALL && canCrossThreads(job));
  // One thread that has nothing else to do copies as fast as a worker, which takes 60 ms of CPU to start.
  const large = portable.length > 1 ? portable : [];
  const remote = jobs.filter((job) => job.size >= SMALL && !canCrossThreads(job));
  const small = jobs.filter((job) => !large.includes(job) && !remote.includes(job));
  const threads = Math.min(MOST_WORKERS, large.length, os.availableParallelism());
  const lane = async (queue: Iterator<CopyJob>, copy: Copy): Promise<void> => {
    for (let next = queue.next(); !next.done; next = queue.next()) {
      const outcome = await copy(next.value);
      if (control.stopped) throw new ExpandError("interrupted", "interrupted");
      await publish(next.value, outcome);
    }
  };
  const queue = large.values();
  const streams = remote.values();
  const lanes = [lane(small.values(), onThisThread(control))];
  for (let count = 0; count < Math.min(MOST_STREAMS, remote.length); count++) {
    lanes.push(lane(streams, onThisThread(control)));
  }
  for (let count = 0; count < threads; count++) lanes.push(withWorker(control, (copy) => lane(queue, copy)));
  await settleAll(lanes, control);
}

function onThisThread(control: Control): Copy {
  let thread: CopyThread | undefined;
  return (job) => {
    thread ??= { control, buffer: new Uint8Array(CHUNK), yields: true };
    return copyFile(job, thread);
  };
}

/** Waits for all; the first failure makes the others stop, and is the one that is thrown. */
async function settleAll(lanes: readonly Promise<void>[], control: Control): Promise<void> {
  let first: unknown;
  const watched = lanes.map((lane) =>
    lane.catch((error: unknown) => {
      first ??= error;
      control.stop();
    }),
  );
  await Promise.all(watched);
  if (first !== undefined) throw first;
}

async function withWorker(control: Control, use: (copy: Copy) => Promise<void>): Promise<void> {
  // The extension is .ts in the sources and .js once built.
  const entry = new URL(`./worker${import.meta.url.slice(import.meta.url.lastIndexOf("."))}`, import.meta.url);
  // No inherited options: they are the main program's, such as a script after --eval or a loader that costs each thread a second.
  const worker = new Worker(entry, { workerData: control.shared, execArgv: [] });
  const here = onThisThread(control);
  let loads = true;
  try {
    await use(async (job) => {
      const answer = loads ? await ask(worker, job) : undefined;
      loads = answer !== undefined;
      if (answer === undefined) return here(job);
      if ("failure" in answer) throw fromRecord(answer.failure);
      return answer.outcome;
    });
  } finally {
    await worker.terminate();
  }
}

/** One job done by a worker; undefined when the worker cannot be loaded: TypeScript sources on Node 20, never once built. */
function ask(worker: Worker, job: CopyJob): Promise<Answer | undefined> {
  return new Promise((resolve, reject) => {
    const onMessage = (answer: Answer): void => settle(() => resolve(answer));
    const onError = (error: unknown): void =>
      settle(() => {
        if (isSystemError(error) && error.code === "ERR_UNKNOWN_FILE_EXTENSION") resolve(undefined);
        else reject(error);
      });
    const onExit = (code: number): void =>
      settle(() => reject(new ExpandError("bug", `a copying thread ended by itself with code ${code}`)));
    const settle = (act: () => void): void => {
      worker.off("message", onMessage).off("error", onError).off("exit", onExit);
      act();
    };
    worker.on("message", onMessage).on("error", onError).on("exit", onExit);
    worker.postMessage(job);
  });
}
