// A model repository, opened like a directory: one commit, its files, each a byte source. Downloads nothing by itself.
import { ExpandError } from "../errors.ts";
import { type Folder, listedFolder } from "../tensor/folder.ts";
import { type ByteSource, fileSource, isPlainPath } from "../tensor/source.ts";
import { addressText, type HubAddress } from "./address.ts";
import { cachedBlob, cachedFile, findSnapshot, type Snapshot, snapshotFiles } from "./cache.ts";
import { HubClient, type Patience } from "./http.ts";
import { type RemoteFile, remoteSource } from "./range.ts";
import type { HubSettings } from "./settings.ts";
import { withCloseNames } from "./suggest.ts";

export interface Repository extends Folder {
  /** "owner/name". */
  readonly repo: string;
  /** The same with its revision, as it is printed. */
  readonly name: string;
  /** Paths of all files, sorted. Hidden ones stay out. */
  readonly files: readonly string[];
  /** The commit that the revision stood for when it was opened: everything is read from it. */
  readonly commit: string;
  /** Bytes of bodies received so far. */
  readonly received: number;
  close(): void;
}

/** Far more than any repository of a model. */
const MAX_FILES = 20_000;
/** Pages of a listing; the Hub puts 1000 entries on one. */
const MAX_PAGES = 100;

/** Pins the revision to a commit and lists its files. Throws "network" with what to do. */
export async function openRepository(
  address: HubAddress,
  settings: HubSettings,
  signal?: AbortSignal,
  patience?: Patience,
): Promise<Repository> {
  if (settings.offline) return fromCache(address, settings);
  const { cache, endpoint } = settings;
  const client = new HubClient(settings, signal, patience);
  try {
    const commit = await commitOf(client, address).catch(async (error: unknown) => {
      throw await withCloseNames(error, client, address.repo);
    });
    const files = await listFiles(client, address, commit);
    const snapshot = findSnapshot(cache, address.repo, commit);
    const name = addressText({ repo: address.repo, revision: address.revision });
    const opened = new Map<string, ByteSource>();
    const source = (file: string): ByteSource => {
      // One source for each file, however often it is asked for: it knows the address of its storage, and what that sent before.
      const found = opened.get(file) ?? open(file);
      opened.set(file, found);
      return found;
    };
    const open = (file: string): ByteSource => {
      const remote = files.get(file);
      if (remote === undefined) throw new ExpandError("bug", `the repository has no file ${file}`, { at: name });
      const shownAs = `${name}/${file}`;
      const local =
        (snapshot && cachedFile(cache, address.repo, snapshot, file)) ?? cachedBlob(cache, address.repo, remote.etag);
      const held = local === undefined ? undefined : fileSource(local, shownAs);
      if (held?.size === remote.size) return held;
      const steps = file.split("/").map(encodeURIComponent).join("/");
      return remoteSource(client, remote, new URL(`${endpoint}/${address.repo}/resolve/${commit}/${steps}`), shownAs);
    };
    const shown = visible([...files.keys()]);
    return {
      ...listedFolder(name, shown, source),
      name,
      repo: address.repo,
      commit,
      files: shown,
      get received() {
        return client.received;
      },
      close: () => client.close(),
    };
  } catch (error) {
    client.close();
    throw error;
  }
}

function fromCache(address: HubAddress, settings: HubSettings): Repository {
  const name = addressText({ repo: address.repo, revision: address.revision });
  const snapshot = findSnapshot(settings.cache, address.repo, address.revision);
  if (snapshot === undefined) {
    throw new ExpandError("network", "is not in the local cache, and HF_HUB_OFFLINE forbids to ask the Hub", {
      at: name,
      fix: `Unset HF_HUB_OFFLINE, or run "hf download ${address.repo}" where there is a network.`,
    });
  }
  const files = visible(snapshotFiles(snapshot));
  return {
    ...listedFolder(name, files, (file) => cachedSource(settings.cache, address.repo, snapshot, file)),
    name,
    repo: address.repo,
    commit: snapshot.commit,
    files,
    received: 0,
    close: () => undefined,
  };
}

function cachedSource(cache: string, repo: string, snapshot: Snapshot, file: string): ByteSource {
  const name = `${repo}/${file}`;
  const local = cachedFile(cache, repo, snapshot, file);
  if (local !== undefined) return fileSource(local, name);
  throw new ExpandError("input", "is not whole in the local cache", {
    at: name,
    fix: "Unset HF_HUB_OFFLINE, or download the repository again.",
  });
}

async function commitOf(client: HubClient, { repo, revision }: HubAddress): Promise<string> {
  const { value } = await client.json(`api/models/${repo}/revision/${encodeURIComponent(revision)}`, repo);
  const sha = isRecord(value) ? value.sha : undefined;
  if (typeof sha === "string" && /^[0-9a-f]{40}$/.test(sha)) return sha;
  throw new ExpandError("network", "the Hub names no commit for it", { at: repo, fix: "Check HF_ENDPOINT." });
}

/** Every file of a commit, hidden ones included. */
export async function listFiles(
  client: HubClient,
  { repo }: HubAddress,
  commit: string,
): Promise<ReadonlyMap<string, RemoteFile>> {
  const files = new Map<string, RemoteFile>();
  let query: string | undefined = "?recursive=true";
  for (let pages = 1; query !== undefined; pages++) {
    const { value, headers } = await client.json(`api/models/${repo}/tree/${commit}${query}`, repo);
    if (!Array.isArray(value)) {
      throw new ExpandError("network", "the Hub lists no files for it", { at: repo, fix: "Check HF_ENDPOINT." });
    }
    for (const entry of value) {
      const file = remoteFile(entry, repo);
      if (file !== undefined) files.set(file.path, file);
    }
    if (files.size > MAX_FILES || pages > MAX_PAGES) {
      throw new ExpandError("unsupported", `lists more than ${MAX_FILES} files or ${MAX_PAGES} pages`, { at: repo });
    }
    query = nextQuery(String(headers.link ?? ""));
  }
  return files;
}

/** One entry of a listing; undefined for a directory. */
function remoteFile(entry: unknown, repo: string): RemoteFile | undefined {
  if (!isRecord(entry) || entry.type !== "file") return undefined;
  const { path, size, oid, lfs } = entry;
  const etag = isRecord(lfs) ? lfs.oid : oid;
  if (
    typeof path === "string" &&
    isPlainPath(path) &&
    Number.isSafeInteger(size) &&
    Number(size) >= 0 &&
    typeof etag === "string"
  ) {
    return { path, size: Number(size), etag };
  }
  throw new ExpandError("network", `the Hub lists a file that cannot be: ${JSON.stringify(entry).slice(0, 200)}`, {
    at: repo,
  });
}

/** What the address behind rel="next" asks for. Its host is not believed. */
function nextQuery(link: string): string | undefined {
  const next = /<([^>]+)>\s*;\s*rel="?next"?/.exec(link)?.[1];
  return next !== undefined && URL.canParse(next) ? new URL(next).search : undefined;
}

function visible(files: readonly string[]): string[] {
  return files.filter((file) => !file.split("/").some((step) => step.startsWith("."))).sort();
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
