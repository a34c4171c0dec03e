// No output may reach into what it is made from. Looks at paths, symbolic links followed; reads and writes nothing.
import fs from "node:fs";
import path from "node:path";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ExpandError } from "../errors.ts";
import type { FilePlan } from "../storage/file-plan.ts";
import { isInside } from "../storage/output.ts";
import type { OutputNames } from "./output.ts";

/** Where something is to be written: a directory of its own, or one file of a directory that holds others. */
type Target = Pick<OutputNames, "directory" | "file">;

/** Throws "output" for what lies in a source's directory, for a directory of its own around a source's file, and for a file of weights. */
export function refuseInsideSource(checkpoint: Checkpoint, { directory, file }: Target): void {
  if (checkpoint.repository !== undefined) return;
  const location = path.resolve(checkpoint.location);
  const target = path.join(directory, file ?? "");
  const inside = fs.statSync(location).isDirectory()
    ? isInside(target, location)
    : file === undefined
      ? real(directory) === real(path.dirname(location))
      : checkpoint.shards.some(({ source }) => isSame(source.path, target));
  if (!inside) return;
  throw new ExpandError("output", `lies inside the source ${checkpoint.location}`, {
    at: target,
    fix: "Choose an output outside the source.",
  });
}

/** An .onnx file keeps the names of its data files, so that another model in its directory would be written over them. */
export function refuseSourceFiles(
  { shards, assets, location }: Checkpoint,
  { directory }: Pick<Target, "directory">,
  files: readonly Pick<FilePlan, "name">[],
): void {
  const own = [...shards.map(({ source }) => source), ...assets.values()];
  const targets = files.map(({ name }) => path.join(directory, name)).filter((target) => fs.existsSync(target));
  const hit = targets.find((target) => own.some((source) => isSame(source.path, target)));
  if (hit === undefined) return;
  throw new ExpandError("output", `is a file of the source ${location}`, {
    at: hit,
    fix: "Choose an output in another directory.",
  });
}

function isSame(source: string | undefined, target: string): boolean {
  return source !== undefined && real(source) === real(target);
}

function real(file: string): string {
  return fs.existsSync(file) ? fs.realpathSync.native(file) : path.resolve(file);
}
