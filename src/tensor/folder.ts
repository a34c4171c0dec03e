// A checkpoint's files by name, wherever they are: a directory of this machine, or a repository of the Hub. Reads no content.
import fs from "node:fs";
import path from "node:path";
import { ExpandError, isSystemError } from "../errors.ts";
import { type ByteSource, fileSource } from "./source.ts";

export type EntryKind = "file" | "directory" | "other";

/** Paths inside are relative, with forward slashes; "" is the folder itself. */
export interface Folder {
  /** Absolute path when it is a directory of this machine. */
  readonly path?: string;
  /** What the user calls a path inside; printed in errors. */
  shown(inner: string): string;
  /** Names in a directory inside, sorted. Throws "input" when there is no such directory. */
  names(inner: string): readonly string[];
  /** What stands at a path, links to files followed; undefined when nothing does. */
  kind(inner: string): EntryKind | undefined;
  /** A file inside. Throws "input" when it is not there. */
  source(inner: string): ByteSource;
}

/** A directory, named as the user wrote it. */
export function localFolder(directory: string): Folder {
  const full = (inner: string): string => path.join(directory, inner);
  return {
    path: path.resolve(directory),
    shown: full,
    names: (inner) => {
      try {
        return fs.readdirSync(full(inner)).sort();
      } catch (error) {
        throw unreadable(error, full(inner));
      }
    },
    kind: (inner) => kindOf(full(inner)),
    source: (inner) => fileSource(path.resolve(full(inner)), full(inner)),
  };
}

/** A folder that is known by the list of its files. */
export function listedFolder(name: string, files: readonly string[], source: (file: string) => ByteSource): Folder {
  const known = new Set(files);
  const directories = new Map<string, Set<string>>([["", new Set()]]);
  for (const file of files) {
    const steps = file.split("/");
    for (const [at, step] of steps.entries()) {
      const directory = steps.slice(0, at).join("/");
      const names = directories.get(directory) ?? new Set();
      directories.set(directory, names.add(step));
    }
  }
  const shown = (inner: string): string => (inner === "" ? name : `${name}/${inner}`);
  const absent = (inner: string): ExpandError => new ExpandError("input", "does not exist", { at: shown(inner) });
  return {
    shown,
    names: (inner) => {
      const names = directories.get(inner);
      if (names === undefined) throw absent(inner);
      return [...names].sort();
    },
    kind: (inner) => (known.has(inner) ? "file" : directories.has(inner) ? "directory" : undefined),
    source: (inner) => {
      if (!known.has(inner)) throw absent(inner);
      return source(inner);
    },
  };
}

/** A directory inside a folder, as a folder of its own. */
export function folderInside(folder: Folder, directory: string): Folder {
  if (directory === "") return folder;
  const inside = (inner: string): string => (inner === "" ? directory : `${directory}/${inner}`);
  return {
    ...(folder.path === undefined ? {} : { path: path.join(folder.path, directory) }),
    shown: (inner) => folder.shown(inside(inner)),
    names: (inner) => folder.names(inside(inner)),
    kind: (inner) => folder.kind(inside(inner)),
    source: (inner) => folder.source(inside(inner)),
  };
}

/** Links are followed to files only (the Hub's cache links to its blobs): a link to a directory could go round in circles. */
function kindOf(full: string): EntryKind | undefined {
  try {
    if (fs.lstatSync(full).isDirectory()) return "directory";
    return fs.statSync(full).isFile() ? "file" : "other";
  } catch (error) {
    if (isSystemError(error) && error.code === "ENOENT" && !isDangling(full)) return undefined;
    throw unreadable(error, full);
  }
}

function isDangling(full: string): boolean {
  return fs.lstatSync(full, { throwIfNoEntry: false }) !== undefined;
}

function unreadable(error: unknown, at: string): unknown {
  if (!isSystemError(error)) return error;
  const fix = "Download it again, or remove it.";
  return new ExpandError("input", `cannot be read (${error.code})`, { at, fix, cause: error });
}
