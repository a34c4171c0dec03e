// Reports beside what the terminal says: which file is written how, and that it can be, before anything long begins. Writes no other file.
import fs from "node:fs";
import path from "node:path";
import { makeDirectory } from "../commands/directory.ts";
import { ExpandError, isSystemError } from "../errors.ts";

export interface ReportFile<Renderer extends string> {
  readonly file: string;
  readonly renderer: Renderer;
}

/** The files of --report, by their endings. Throws "usage" for another ending, "output" for a path that no file can have. */
export function reportFiles<Renderer extends string>(
  value: unknown,
  renderers: Readonly<Record<string, Renderer>>,
): readonly ReportFile<Renderer>[] {
  return (Array.isArray(value) ? value : []).map((word) => {
    const file = String(word);
    const renderer = renderers[path.extname(file).toLowerCase()];
    if (renderer === undefined) {
      const list = (prefix: string): string =>
        Object.keys(renderers)
          .map((ending) => prefix + ending)
          .join(", ")
          .replace(/, ([^,]*)$/, " or $1");
      const message = `--report takes a file that ends in ${list("")}, not ${JSON.stringify(file)}`;
      throw new ExpandError("usage", message, { fix: `Name ${list("FILE")}.` });
    }
    if (isDirectory(file)) throw refused(file, "is a directory");
    return { file, renderer };
  });
}

function isDirectory(file: string): boolean {
  try {
    return fs.statSync(file).isDirectory();
  } catch (error) {
    if (isSystemError(error) && error.code === "ENOENT") return false;
    throw unwritten(error, file);
  }
}

/** Throws "output" with the system's own code. */
export function writeReport(file: string, text: string): void {
  try {
    makeDirectory(path.dirname(file));
    fs.writeFileSync(file, text);
  } catch (error) {
    throw unwritten(error, file);
  }
}

function unwritten(error: unknown, file: string): unknown {
  return isSystemError(error) ? refused(file, `cannot be written (${error.code})`, error) : error;
}

function refused(at: string, message: string, cause?: unknown): ExpandError {
  return new ExpandError("output", message, { at, fix: "Name another file with --report.", cause });
}
