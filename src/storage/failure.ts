// What the system's refusals mean to the user: a full disk, a destination that cannot be written, a source that cannot be read.
// Never hides the system's own code.
import { ExpandError, isSystemError } from "../errors.ts";

/** EDQUOT is a full quota, EFBIG a file system that cannot hold a file of this size. */
const FULL: ReadonlySet<string> = new Set(["ENOSPC", "EDQUOT"]);
const FIXES: Readonly<Record<string, string>> = {
  EACCES: "Check the permissions of the output directory.",
  EPERM: "Check the permissions of the output directory.",
  EROFS: "Choose an output directory on a disk that can be written.",
  EFBIG: "Choose a smaller --shard-size; this file system cannot hold a file of this size.",
  ENOENT: "Check that no other run writes to the same output, then run the same command again.",
};

/** Any failure while `name` was being written, as an ExpandError: "disk-full" or "output". */
export function outputFailure(error: unknown, name: string): unknown {
  if (error instanceof ExpandError || !isSystemError(error)) return error;
  const code = error.code ?? "";
  if (FULL.has(code)) {
    return new ExpandError("disk-full", `the disk is full (${code}); nothing half-written was kept`, {
      at: name,
      fix: "Free some space and run the same command again; finished files are kept.",
      cause: error,
    });
  }
  return new ExpandError("output", `cannot be written (${code})`, {
    at: name,
    fix: FIXES[code] ?? "Check the disk that holds the output directory, then run the same command again.",
    cause: error,
  });
}

/** A read that the system refused. */
export function sourceFailure(error: unknown, name: string): unknown {
  if (error instanceof ExpandError || !isSystemError(error)) return error;
  return new ExpandError("input", `cannot be read (${error.code})`, {
    at: name,
    fix: "Check the disk that holds this file, and its permissions.",
    cause: error,
  });
}

/** An error as plain data, because a thread boundary strips an error of its class. */
export interface FailureRecord {
  readonly tag: ExpandError["tag"];
  readonly message: string;
  readonly at?: string;
  readonly fix?: string;
}

export function toRecord(error: unknown): FailureRecord {
  if (!(error instanceof ExpandError)) {
    return { tag: "bug", message: error instanceof Error ? error.message : String(error) };
  }
  const { tag, at, fix } = error;
  const message = at === undefined ? error.message : error.message.slice(at.length + 2);
  return { tag, message, ...(at !== undefined && { at }), ...(fix !== undefined && { fix }) };
}

export function fromRecord({ tag, message, at, fix }: FailureRecord): ExpandError {
  return new ExpandError(tag, message, { ...(at !== undefined && { at }), ...(fix !== undefined && { fix }) });
}
