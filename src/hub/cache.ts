// The local cache of the Hub's clients (huggingface_hub, "Understand caching"): models--owner--name/{refs,snapshots,blobs}. Only read.
import fs from "node:fs";
import path from "node:path";
import { isSystemError } from "../errors.ts";
import { isPlainPath } from "../tensor/source.ts";

const COMMIT = /^[0-9a-f]{40}$/;
/** Folders inside folders of a snapshot, at most. */
const MAX_DEPTH = 8;

/** One commit of a repository, as far as the cache holds it. */
export interface Snapshot {
  readonly commit: string;
  readonly directory: string;
}

/** Where the cache keeps a repository. */
export function cacheHome(cache: string, repo: string): string {
  return path.join(cache, `models--${repo.replace("/", "--")}`);
}

/** The snapshot of a branch, tag or commit; undefined when the cache has none. */
export function findSnapshot(cache: string, repo: string, revision: string): Snapshot | undefined {
  const home = cacheHome(cache, repo);
  const commit = COMMIT.test(revision) ? revision : readRef(home, revision);
  if (commit === undefined) return undefined;
  const directory = path.join(home, "snapshots", commit);
  return isDirectory(directory) ? { commit, directory } : undefined;
}

/** The real path of a file of a snapshot; undefined when it is not there, or leads out of the repository's part of the cache. */
export function cachedFile(cache: string, repo: string, snapshot: Snapshot, file: string): string | undefined {
  return isPlainPath(file) ? realFile(cacheHome(cache, repo), path.join(snapshot.directory, file)) : undefined;
}

/** The real path of a file's content, whatever snapshot brought it: blobs are named by the ETag of their content. */
export function cachedBlob(cache: string, repo: string, etag: string): string | undefined {
  const home = cacheHome(cache, repo);
  return /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(etag) ? realFile(home, path.join(home, "blobs", etag)) : undefined;
}

/** Paths of all files of a snapshot. */
export function snapshotFiles(snapshot: Snapshot): string[] {
  const found: string[] = [];
  const visit = (folder: string, depth: number): void => {
    const here = path.join(snapshot.directory, folder);
    for (const entry of quietly(() => fs.readdirSync(here, { withFileTypes: true })) ?? []) {
      const inner = folder === "" ? entry.name : `${folder}/${entry.name}`;
      if (entry.isDirectory()) {
        if (depth < MAX_DEPTH) visit(inner, depth + 1);
      } else found.push(inner);
    }
  };
  visit("", 0);
  return found.sort();
}

function realFile(home: string, file: string): string | undefined {
  return quietly(() => {
    const real = fs.realpathSync(file);
    const inside = path.relative(fs.realpathSync(home), real);
    const leaves = inside === ".." || inside.startsWith(`..${path.sep}`) || path.isAbsolute(inside);
    return !leaves && fs.statSync(real).isFile() ? real : undefined;
  });
}

function readRef(home: string, revision: string): string | undefined {
  if (!isPlainPath(revision)) return undefined;
  return quietly(() => {
    const commit = fs.readFileSync(path.join(home, "refs", revision), "utf8").trim();
    return COMMIT.test(commit) ? commit : undefined;
  });
}

function isDirectory(directory: string): boolean {
  return quietly(() => fs.statSync(directory).isDirectory()) ?? false;
}

/** What cannot be read is not in the cache. */
function quietly<Value>(read: () => Value): Value | undefined {
  try {
    return read();
  } catch (error) {
    if (isSystemError(error)) return undefined;
    throw error;
  }
}
