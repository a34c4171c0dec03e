// Writes a checkpoint that was put together again, and holds every file against the SHA-256 that it must have. Lets nothing stand that has
// another.
import fs from "node:fs";
import path from "node:path";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ExpandError } from "../errors.ts";
import type { Run, RunOptions } from "../events.ts";
import type { AssembledFile } from "../expansion/delta/assembly.ts";
import type { FilePlan, WrittenFile } from "../storage/file-plan.ts";
import { claimOutput } from "../storage/output.ts";
import { writeFiles } from "../storage/write.ts";
import { refuseInsideSource, refuseSourceFiles } from "./source-guard.ts";

export interface RestoreOptions {
  /** A directory, or the .gguf or .onnx file that is to stand there again: files keep the names that they had. */
  readonly output: string;
  readonly force?: boolean;
  readonly sparse?: boolean;
  readonly link?: boolean;
  /** Go on where an interrupted run stopped. Default true. */
  readonly resume?: boolean;
}

/**
 * Weights first, then the files that speak of them. Throws "output" where they would reach into `source`, "damaged" for a file that did
 * not become what it was.
 */
export async function* writeRestored(
  source: Checkpoint,
  options: RestoreOptions & RunOptions,
  expected: readonly AssembledFile[],
  plans: readonly FilePlan[],
  key: string,
): Run<readonly WrittenFile[]> {
  const { output, force = false, resume = true, link = false, sparse = true, signal } = options;
  const { directory, alone } = placeFor(output, plans);
  const large = plans.filter(isLarge);
  const small = plans.filter((file) => !isLarge(file));
  for (const { name } of alone ? [{ name: undefined }] : plans) refuseInsideSource(source, { directory, file: name });
  refuseSourceFiles(source, { directory }, plans);
  const names = plans.map(({ name }) => name);
  claimOutput(directory, names, { key, resume, force, alone });
  const how = { key, resume, hash: true, sparse, link, ...(signal === undefined ? {} : { signal }) };
  const written = yield* writeFiles(directory, large, () => small, how);
  const sha256 = new Map(expected.map((file) => [file.name, file.sha256]));
  const wrong = written.filter((file) => (sha256.get(file.name) ?? file.sha256) !== file.sha256);
  if (wrong.length === 0) return written;
  for (const { name } of wrong) fs.rmSync(path.join(directory, name), { force: true });
  throw new ExpandError("damaged", "did not become what it was: its SHA-256 is another, and it was removed again", {
    at: wrong.map(({ name }) => name).join(", "),
    fix: "Run again when nothing else writes to the files that it is made of.",
  });
}

/** Papers name the files beside them, so that none of these can be called otherwise. */
function placeFor(output: string, plans: readonly FilePlan[]): { readonly directory: string; readonly alone: boolean } {
  if (!/\.(?:gguf|onnx)$/i.test(output)) return { directory: path.resolve(output), alone: true };
  const [first] = plans.filter(({ name }) => /\.(?:gguf|onnx)$/i.test(name));
  const whole = first?.name.replace(/-\d{5}-of-\d{5}(?=\.gguf$)/i, "");
  if ([first?.name, whole].includes(path.basename(output)))
    return { directory: path.resolve(path.dirname(output)), alone: false };
  throw new ExpandError("usage", `the file is called ${whole ?? "otherwise"}, and files keep their names`, {
    at: output,
    fix: "Name a directory.",
  });
}

/** Settings, indexes and papers come last, so that nobody opens what is not complete. */
function isLarge({ name }: FilePlan): boolean {
  return !/\.(?:json|jsonl|html)$/i.test(name);
}
