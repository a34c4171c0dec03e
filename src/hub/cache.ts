// The local cache of the Hub's clients (huggingface_hub, "Understand caching"): models--owner--name/{refs,snapshots,blobs}. Only read.
import fs from "node:fs";
import path from "node:path";
import { isSystemError } from "../errors.ts";
import { isInnerPath } from "./address.ts";

const COMMIT = /^[0-9a-f]{40}$/;
/** Folders inside folders of a snapshot, at most. */
const MAX_DEPTH = 8;

/** One commit of a repository, as far as the cache holds it. */
export interface Snapshot {
  readonly commit: string;
  readonly directory: string;
}

/** The snapshot of a branch, tag or commit; undefined when the cache has none. */
export function findSnapshot(cache: string, repo: string, revision: string): Snapshot | undefined {
  const home = path.join(cache, `models--${repo.replace("/", "--")}`);
  const commit = COMMIT.test(revision) ? revision : readRef(home, revision);
  if (commit === undefined) return undefined;
  const directory = path.join(home, "snapshots", commit);
  return fs.statSync(directory, { throwIfNoEntry: false })?.isDirectory() ? { commit, directory } : undefined;
}

/** The real path of a file of a snapshot; undefined when it is not there, or leads out of the cache. */
export function cachedFile(cache: string, snapshot: Snapshot, file: string): string | undefined {
  if (!isInnerPath(file)) return undefined;
  try {
    const real = fs.realpathSync(path.join(snapshot.directory, file));
    const inside = path.relative(fs.realpathSync(cache), real);
    return !inside.startsWith("..") && !path.isAbsolute(inside) && fs.statSync(real).isFile() ? real : undefined;
  } catch (error) {
    if (isSystemError(error)) return undefined;
    throw error;
  }
}

/** Paths of all files of a snapshot. */
export function snapshotFiles(snapshot: Snapshot): string[] {
  const found: string[] = [];
  const visit = (folder: string, depth: number): void => {
    for (const entry of fs.readdirSync(path.join(snapshot.directory, folder), { withFileTypes: true })) {
      const inner = folder === "" ? entry.name : `${folder}/${entry.name}`;
      if (entry.isDirectory()) {
        if (depth < MAX_DEPTH) visit(inner, depth + 1);
      } else found.push(inner);
    }
  };
  visit("", 0);
  return found.sort();
}

function readRef(home: string, revision: string): string | undefined {
  if (!isInnerPath(revision)) return undefined;
  try {
    const commit = fs.readFileSync(path.join(home, "refs", revision), "utf8").trim();
    return COMMIT.test(commit) ? commit : undefined;
  } catch (error) {
    if (isSystemError(error)) return undefined;
    throw error;
  }
}
