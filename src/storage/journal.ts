// The record of finished files, kept beside the unfinished ones so that an interrupted run can go on. Never trusts a line that
// the file on disk does not bear out.
import fs from "node:fs";
import path from "node:path";
import { isSystemError } from "../errors.ts";

/** One finished file. Size and time of change tell whether the file under the final name is the one that was written. */
export interface JournalLine {
  readonly key: string;
  readonly name: string;
  readonly size: number;
  readonly mtimeMs: number;
  readonly sha256?: string;
}

const JOURNAL = "journal.jsonl";

/** Where a run keeps what is not finished: hidden, named after its first file, so that two runs can share a directory. */
export function partialDirectory(directory: string, names: readonly string[]): string {
  return path.join(directory, `.${path.posix.basename(names[0] ?? "output")}.partial`);
}

/** True for a directory that a run left behind: it holds a journal (if only a half-written one), or nothing yet. */
export function isPartialDirectory(directory: string): boolean {
  if (!/^\..+\.partial$/.test(path.basename(directory))) return false;
  try {
    const entries = fs.readdirSync(directory);
    return entries.length === 0 || entries.some((entry) => entry.startsWith(JOURNAL));
  } catch {
    return false;
  }
}

/** Files of `directory` that a run with this key finished and nobody changed since, by name. */
export function readJournal(partial: string, directory: string, key: string): Map<string, JournalLine> {
  const finished = new Map<string, JournalLine>();
  for (const line of readLines(path.join(partial, JOURNAL))) {
    if (line.key === key && standsAs(path.join(directory, line.name), line)) finished.set(line.name, line);
  }
  return finished;
}

/** Appends lines that are on the disk when `add` returns. Starts as exactly `lines`. */
export class Journal {
  readonly #handle: fs.promises.FileHandle;

  private constructor(handle: fs.promises.FileHandle) {
    this.#handle = handle;
  }

  static async create(partial: string, lines: Iterable<JournalLine>): Promise<Journal> {
    // Written aside and renamed: a kill while this is written must not lose the lines that were there.
    const aside = path.join(partial, `${JOURNAL}.new`);
    const handle = await fs.promises.open(aside, "w");
    const journal = new Journal(handle);
    try {
      for (const line of lines) await handle.appendFile(`${JSON.stringify(line)}\n`);
      await handle.sync();
      await fs.promises.rename(aside, path.join(partial, JOURNAL));
      return journal;
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  async add(line: JournalLine): Promise<void> {
    await this.#handle.appendFile(`${JSON.stringify(line)}\n`);
    await this.#handle.sync();
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

/** Lines up to the first that is torn: a kill may leave half a line, and nothing was written after it. */
function readLines(file: string): JournalLine[] {
  const lines: JournalLine[] = [];
  for (const text of readText(file).split("\n").slice(0, -1)) {
    const line = parseLine(text);
    if (line === undefined) break;
    lines.push(line);
  }
  return lines;
}

function readText(file: string): string {
  try {
    return fs.readFileSync(file, "utf8");
  } catch (error) {
    if (isSystemError(error)) return "";
    throw error;
  }
}

function parseLine(text: string): JournalLine | undefined {
  try {
    const line: unknown = JSON.parse(text);
    return isJournalLine(line) ? line : undefined;
  } catch {
    return undefined;
  }
}

function isJournalLine(value: unknown): value is JournalLine {
  if (typeof value !== "object" || value === null) return false;
  const { key, name, size, mtimeMs, sha256 } = value as Record<string, unknown>;
  return (
    typeof key === "string" &&
    typeof name === "string" &&
    typeof size === "number" &&
    typeof mtimeMs === "number" &&
    (sha256 === undefined || typeof sha256 === "string")
  );
}

function standsAs(file: string, line: JournalLine): boolean {
  const stat = fs.statSync(file, { throwIfNoEntry: false });
  return stat?.isFile() === true && stat.size === line.size && stat.mtimeMs === line.mtimeMs;
}
