// What is published: files of this machine or bytes in memory, with what must be true of them. Reads files; sends none.
import { createHash } from "node:crypto";
import fs from "node:fs";
import { ExpandError, isSystemError } from "../errors.ts";
import { FileBlob } from "./file-blob.ts";
import type { RemoteFile } from "./range.ts";

export interface PublishFile {
  /** Path in the repository, with forward slashes. */
  readonly name: string;
  /** A path of this machine, or the bytes themselves. */
  readonly content: string | Uint8Array;
  /** Bytes. */
  readonly size: number;
  /** Lower-case hex. What is sent has this digest, or nothing is published. */
  readonly sha256: string;
}

/** Throws "input" when the file is not there or has another size. */
export function blobOf({ name, content, size }: PublishFile): Blob {
  if (typeof content !== "string") return new Blob([content]);
  const stat = statOf(content);
  if (stat.isFile() && stat.size === size) return new FileBlob({ path: content, size, mtimeMs: stat.mtimeMs });
  throw new ExpandError("input", `has ${stat.size} bytes; ${size} were expected`, {
    at: name,
    fix: "Write the checkpoint again: the file changed after it was proved.",
  });
}

export function sha256Of(data: Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}

/** Git's id of a file with this content. */
export function gitIdOf(data: Uint8Array): string {
  return createHash("sha1").update(`blob ${data.length}\0`).update(data).digest("hex");
}

/** True when the repository holds the file as it is here. A large file is compared by the digest that it must have. */
export function isSame(file: PublishFile, remote: RemoteFile | undefined): boolean {
  if (remote === undefined || remote.size !== file.size) return false;
  if (remote.etag.length === 64) return remote.etag === file.sha256;
  const data = typeof file.content === "string" ? readSmall(file) : file.content;
  return data !== undefined && gitIdOf(data) === remote.etag;
}

/** Bytes: larger files are never kept in the repository itself. */
const LARGEST_REGULAR = 64_000_000;

function readSmall({ content, size }: PublishFile): Uint8Array | undefined {
  return typeof content !== "string" || size > LARGEST_REGULAR ? undefined : fs.readFileSync(content);
}

function statOf(file: string): fs.Stats {
  try {
    return fs.statSync(file);
  } catch (error) {
    if (!isSystemError(error)) throw error;
    throw new ExpandError("input", `cannot be read (${error.code})`, { at: file, cause: error });
  }
}
