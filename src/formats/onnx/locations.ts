// The files that external tensors name. Opens nothing outside of the model's directory, whatever a model says.
import fs from "node:fs";
import path from "node:path";
import { ExpandError, isSystemError, quote } from "../../errors.ts";
import { externalRange } from "../../graph/graph.ts";
import type { ModelProto } from "../../graph/onnx.ts";
import { tensorsOf } from "../../graph/walk.ts";
import { type ByteSource, fileSource, isPlainPath } from "../../tensor/source.ts";
import { assertDownloaded } from "../intact.ts";

/** A large export with a file for each tensor has some thousands. */
const MAX_FILES = 100_000;

/**
 * The data files of a model, by location; its own file under its own name. Throws "damaged" for a path that leads out of the directory,
 * "input" for a file that is not there.
 */
export async function dataFiles(
  model: ModelProto,
  source: ByteSource,
  file: string,
): Promise<ReadonlyMap<string, ByteSource>> {
  const files = new Map([[path.basename(file), source]]);
  for (const tensor of tensorsOf(model)) {
    const location = externalRange(tensor)?.location;
    if (location === undefined || files.has(location)) continue;
    if (files.size > MAX_FILES) {
      throw new ExpandError("unsupported", `has its data in more than ${MAX_FILES} files`, {
        at: file,
        fix: "Save it again with all tensors in one file.",
      });
    }
    const opened = open(file, location, tensor.name);
    await assertDownloaded(opened);
    files.set(location, opened);
  }
  return files;
}

function open(file: string, location: string, tensor: string): ByteSource {
  const at = `tensor ${quote(tensor)}`;
  if (!isPlainPath(location)) {
    distrust(file, `${at} is in ${quote(location)}, which is not a plain path inside the directory`);
  }
  const shown = path.join(path.dirname(file), location);
  const real = realPath(shown);
  if (real === undefined) {
    throw new ExpandError("input", `${at} is in ${quote(location)}, which is not there`, {
      at: file,
      fix: "Download the missing file.",
    });
  }
  // In the Hub's cache the model and its data are links to one folder of blobs: what the runtime accepts too.
  const homes = [path.dirname(file), path.dirname(realPath(file) ?? file)].map((directory) => realPath(directory));
  if (!homes.some((home) => home !== undefined && isInside(real, home))) {
    distrust(file, `${at} is in ${quote(location)}, which is a link out of the directory`);
  }
  return fileSource(path.resolve(shown), shown);
}

function isInside(file: string, directory: string): boolean {
  const relative = path.relative(directory, file);
  return relative !== "" && !path.isAbsolute(relative) && relative.split(path.sep)[0] !== "..";
}

function realPath(file: string): string | undefined {
  try {
    return fs.realpathSync(file);
  } catch (error) {
    if (!isSystemError(error)) throw error;
    return undefined;
  }
}

function distrust(file: string, message: string): never {
  throw new ExpandError("damaged", message, {
    at: file,
    fix: "Do not use this model: one that reads outside of its directory is not to be trusted.",
  });
}
