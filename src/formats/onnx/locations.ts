// The files that external tensors name. Opens nothing outside of the model's directory, whatever a model says.
import fs from "node:fs";
import path from "node:path";
import { ExpandError, isSystemError, quote } from "../../errors.ts";
import { externalRange } from "../../graph/graph.ts";
import type { ModelProto } from "../../graph/onnx.ts";
import { tensorsOf } from "../../graph/walk.ts";
import type { Folder } from "../../tensor/folder.ts";
import { type ByteSource, isPlainPath } from "../../tensor/source.ts";
import { assertDownloaded } from "../intact.ts";

/** A large export with a file for each tensor has some thousands. */
const MAX_FILES = 100_000;

/**
 * The data files of a model, by location; its own file under its own name. Throws "damaged" for a path that leads out of the directory,
 * "input" for a file that is not there.
 */
export async function dataFiles(
  model: ModelProto,
  folder: Folder,
  file: string,
): Promise<ReadonlyMap<string, ByteSource>> {
  const files = new Map([[path.posix.basename(file), folder.source(file)]]);
  for (const tensor of tensorsOf(model)) {
    const location = externalRange(tensor)?.location;
    if (location === undefined || files.has(location)) continue;
    if (files.size > MAX_FILES) {
      throw new ExpandError("unsupported", `has its data in more than ${MAX_FILES} files`, {
        at: folder.shown(file),
        fix: "Save it again with all tensors in one file.",
      });
    }
    const opened = open(folder, file, location, tensor.name);
    await assertDownloaded(opened);
    files.set(location, opened);
  }
  return files;
}

function open(folder: Folder, file: string, location: string, tensor: string): ByteSource {
  const at = `tensor ${quote(tensor)}`;
  const shown = folder.shown(file);
  if (!isPlainPath(location)) {
    distrust(shown, `${at} is in ${quote(location)}, which is not a plain path inside the directory`);
  }
  const inner = path.posix.join(path.posix.dirname(file), location);
  if (folder.kind(inner) === undefined) {
    throw new ExpandError("input", `${at} is in ${quote(location)}, which is not there`, {
      at: shown,
      fix: "Download the missing file.",
    });
  }
  const local = folder.path;
  if (local !== undefined && leadsOut(path.join(local, file), path.join(local, inner))) {
    distrust(shown, `${at} is in ${quote(location)}, which is a link out of the directory`);
  }
  return folder.source(inner);
}

/** In the Hub's cache the model and its data are links to one folder of blobs: what the runtime accepts too. */
function leadsOut(model: string, data: string): boolean {
  const real = realPath(data);
  const homes = [path.dirname(model), path.dirname(realPath(model) ?? model)].map((directory) => realPath(directory));
  return real === undefined || !homes.some((home) => home !== undefined && isInside(real, home));
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
