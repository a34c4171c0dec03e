// Where bytes come from. A source is only ever read; nothing here can write to it.
import fs from "node:fs";
import { ExpandError, isSystemError } from "../errors.ts";

/** A readable run of bytes of known size. */
export interface ByteSource {
  /** What the user calls it; printed in errors. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Absolute path when it is a local file: bulk copies and comparisons use it directly. */
  readonly path?: string;
  /** Changes when the content may have changed (size, mtime and inode of a file). */
  readonly identity: string;
  /** Of all its bytes, in hexadecimal, where a listing says it. */
  readonly sha256?: string;
  /** Exactly `length` bytes at `offset`. Throws "damaged" when they are not there. Meant for headers: allocates `length`. */
  read(offset: number, length: number): Promise<Uint8Array>;
  /** The same bytes in pieces, for long runs, where every read costs a round trip. */
  stream?(offset: number, length: number): AsyncIterable<Uint8Array>;
}

/** A local file, opened read-only for each read. Throws "input" when it is absent or is not a regular file. */
export function fileSource(path: string, name: string = path): ByteSource {
  const stat = statFile(path, name);
  return {
    name,
    path,
    size: stat.size,
    identity: `${stat.size}:${stat.mtimeMs}:${stat.ino}`,
    read: async (offset, length) => {
      checkRange(name, stat.size, offset, length);
      const fd = fs.openSync(path, "r");
      try {
        return readFully(fd, new Uint8Array(length), offset, name);
      } finally {
        fs.closeSync(fd);
      }
    },
  };
}

/** Bytes that are already in memory. */
export function memorySource(name: string, data: Uint8Array): ByteSource {
  return {
    name,
    size: data.length,
    identity: `memory:${data.length}`,
    read: async (offset, length) => {
      checkRange(name, data.length, offset, length);
      return data.slice(offset, offset + length);
    },
  };
}

/** A run of another source's bytes, or of zeros. */
export type Stretch = { readonly length: number } & (
  | { readonly source: ByteSource; readonly offset: number }
  | { readonly source?: never }
);

/** Runs of bytes, one after another, as one source. For small tensors: readers copy what they get. */
export function joinedSource(name: string, stretches: readonly Stretch[]): ByteSource {
  const size = stretches.reduce((sum, stretch) => sum + stretch.length, 0);
  const sources = new Set(stretches.flatMap(({ source }) => source ?? []));
  return {
    name,
    size,
    identity: `joined:${[...sources].map((source) => source.identity).join()}`,
    read: async (offset, length) => {
      checkRange(name, size, offset, length);
      const target = new Uint8Array(length);
      let start = 0;
      for (const stretch of stretches) {
        const from = Math.max(offset, start);
        const to = Math.min(offset + length, start + stretch.length);
        if (stretch.source !== undefined && from < to) {
          target.set(await stretch.source.read(stretch.offset + from - start, to - from), from - offset);
        }
        start += stretch.length;
      }
      return target;
    },
  };
}

/** True for a path that stays below its directory on every system: no "..", no ".", no empty step, no drive, no backslash. */
export function isPlainPath(file: string): boolean {
  if (/[\\\0]|^[A-Za-z]:/.test(file)) return false;
  return file.split("/").every((step) => step !== "" && step !== "." && step !== "..");
}

/** Fills `target` from a descriptor; read(2) may return less than asked, and 0 means that the file ends here. */
export function readFully(fd: number, target: Uint8Array, position: number, name: string): Uint8Array {
  let done = 0;
  while (done < target.length) {
    const count = fs.readSync(fd, target, done, target.length - done, position + done);
    if (count === 0) {
      throw new ExpandError("damaged", `ends at byte ${position + done}; ${target.length - done} more were expected`, {
        at: name,
        fix: "Download the file again; it is cut short.",
      });
    }
    done += count;
  }
  return target;
}

function checkRange(name: string, size: number, offset: number, length: number): void {
  if (offset >= 0 && length >= 0 && offset + length <= size) return;
  throw new ExpandError("damaged", `bytes ${offset} to ${offset + length} were asked for, but the file has ${size}`, {
    at: name,
    fix: "Download the file again; it is cut short.",
  });
}

function statFile(path: string, name: string): fs.Stats {
  try {
    const stat = fs.statSync(path);
    if (stat.isFile()) return stat;
    throw new ExpandError("input", "is not a regular file", { at: name, fix: "Name a file." });
  } catch (error) {
    if (!isSystemError(error)) throw error;
    const reason = error.code === "ENOENT" ? "does not exist" : `cannot be read (${error.code})`;
    throw new ExpandError("input", reason, { at: name, fix: "Check the path, and its permissions.", cause: error });
  }
}
