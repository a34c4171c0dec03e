// Files that are on the disk, whole, or not there at all: written aside, synced, renamed. Never replaces a file by half of another.
import fs from "node:fs";
import path from "node:path";
import { outputFailure } from "../storage/failure.ts";
import type { FilePlan } from "../storage/file-plan.ts";
import { plannedSource } from "../storage/planned.ts";
import { syncDirectory } from "../storage/publication.ts";
import { memorySource } from "../tensor/source.ts";

/** Bytes written at once. */
const CHUNK = 16 << 20;

/** When it returns, a crash of the machine leaves this file and not the one before it. */
export async function writeDurably(directory: string, plan: FilePlan): Promise<void> {
  const file = path.join(directory, plan.name);
  const aside = `${file}.new`;
  try {
    const handle = await fs.promises.open(aside, "w");
    try {
      const source = plannedSource(plan);
      for (let at = 0; at < plan.size; at += CHUNK) {
        await handle.writeFile(await source.read(at, Math.min(CHUNK, plan.size - at)));
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
    await fs.promises.rename(aside, file);
    await syncDirectory(directory);
  } catch (error) {
    fs.rmSync(aside, { force: true });
    throw outputFailure(error, file);
  }
}

/** A text of a few pages. */
export function textPlan(name: string, text: string): FilePlan {
  const data = Buffer.from(text);
  const source = memorySource(name, data);
  return { name, size: data.length, segments: [{ kind: "copy", to: 0, length: data.length, source, from: 0 }] };
}

/** Small text that is never seen half-written: a crash of the machine leaves this one or the one before it. */
export function replaceFile(file: string, text: string): void {
  const aside = `${file}.new`;
  try {
    fs.writeFileSync(aside, text);
    syncFile(aside);
    fs.renameSync(aside, file);
  } catch (error) {
    fs.rmSync(aside, { force: true });
    throw outputFailure(error, file);
  }
}

/** What was written to the file is on the disk when it returns. */
export function syncFile(file: string): void {
  const handle = fs.openSync(file, "r+");
  try {
    fs.fsyncSync(handle);
  } finally {
    fs.closeSync(handle);
  }
}
