// The body of a copying thread: one job in, one answer out. Never touches a final name, the journal or a directory.
import { parentPort, workerData } from "node:worker_threads";
import { Control } from "./control.ts";
import { type CopyOutcome, copyFile } from "./copy.ts";
import { type FailureRecord, toRecord } from "./failure.ts";
import type { CopyJob } from "./job.ts";
import { CHUNK } from "./sink.ts";

/** What a worker answers. */
export type Answer = { readonly outcome: CopyOutcome } | { readonly failure: FailureRecord };

const thread = {
  control: new Control(workerData as SharedArrayBuffer),
  buffer: new Uint8Array(CHUNK),
  yields: false,
};

parentPort?.on("message", async (job: CopyJob) => {
  parentPort?.postMessage(await answer(job));
});

async function answer(job: CopyJob): Promise<Answer> {
  try {
    return { outcome: await copyFile(job, thread) };
  } catch (error) {
    return { failure: toRecord(error) };
  }
}
