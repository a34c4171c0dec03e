// First look at any file of weights: is it one at all? Never judges a format's contents.
import { ExpandError } from "../errors.ts";
import type { ByteSource } from "../tensor/source.ts";

/** First line of every pointer file (git-lfs specification, version 1). */
const LFS_POINTER = "version https://git-lfs.github.com/spec/";
/** A pointer has fewer bytes than this (same specification). */
const LFS_POINTER_LIMIT = 1024;

/** Throws "damaged" for an empty file and for a Git LFS pointer that stands where weights should be. */
export async function assertDownloaded(source: ByteSource): Promise<void> {
  if (source.size === 0) {
    throw new ExpandError("damaged", "is empty (0 bytes)", { at: source.name, fix: "Download the file again." });
  }
  if (source.size >= LFS_POINTER_LIMIT) return;
  const head = Buffer.from(await source.read(0, Math.min(source.size, LFS_POINTER.length)));
  if (head.toString("latin1") !== LFS_POINTER) return;
  throw new ExpandError("damaged", `is a Git LFS pointer of ${source.size} bytes, not the file that it stands for`, {
    at: source.name,
    fix: 'Run "git lfs pull" in its directory.',
  });
}
