// A checkpoint's files by name, wherever they are: a directory of this machine, or a repository of the Hub. Reads no content.
import type { ByteSource } from "./source.ts";

export interface Folder {
  /** What the user calls it; printed in errors. */
  readonly name: string;
  /** Paths of all files, relative, with forward slashes, sorted. Hidden files stay out. */
  readonly files: readonly string[];
  /** One of `files`. */
  source(file: string): ByteSource;
}
