// A model repository, opened like a directory: one commit, its files, each a byte source. Downloads nothing by itself.
import { ExpandError } from "../errors.ts";
import { type Folder, listedFolder } from "../tensor/folder.ts";
import { type ByteSource, fileSource } from "../tensor/source.ts";
import { addressText, type HubAddress, isInnerPath } from "./address.ts";
import { cachedFile, findSnapshot, type Snapshot, snapshotFiles } from "./cache.ts";
import { HubClient } from "./http.ts";
import { type RemoteFile, remoteSource } from "./range.ts";
import type { HubSettings } from "./settings.ts";

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

/** Pins the revision to a commit and lists its files. Throws "network" with what to do. */
export async function openRepository(
  address: HubAddress,
  settings: HubSettings,
  signal?: AbortSignal,
): Promise<Repository> {
  if (settings.offline) return fromCache(address, settings);
  const client = new HubClient(settings, signal);
  try {
    const commit = await commitOf(client, address);
    const files = await listFiles(client, address, commit);
    const snapshot = findSnapshot(settings.cache, address.repo, commit);
    const name = addressText({ repo: address.repo, revision: address.revision });
    const source = (file: string): ByteSource => {
      const remote = files.get(file);
      if (remote === undefined) throw new ExpandError("bug", `the repository has no file ${file}`, { at: name });
      const local = snapshot && cachedFile(settings.cache, snapshot, file);
      const held = local === undefined ? undefined : fileSource(local, `${name}/${file}`);
      if (held?.size === remote.size) return held;
      const steps = file.split("/").map(encodeURIComponent).join("/");
      return remoteSource(
        client,
        remote,
        new URL(`${settings.endpoint}/${address.repo}/resolve/${commit}/${steps}`),
        `${name}/${file}`,
      );
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
    ...listedFolder(name, files, (file) => cachedSource(settings, snapshot, file, name)),
    name,
    repo: address.repo,
    commit: snapshot.commit,
    files,
    received: 0,
    close: () => undefined,
  };
}

function cachedSource(settings: HubSettings, snapshot: Snapshot, file: string, name: string): ByteSource {
  const local = cachedFile(settings.cache, snapshot, file);
  if (local !== undefined) return fileSource(local, `${name}/${file}`);
  throw new ExpandError("input", "is not whole in the local cache", {
    at: `${name}/${file}`,
    fix: "Unset HF_HUB_OFFLINE, or download the repository again.",
  });
}

async function commitOf(client: HubClient, { repo, revision }: HubAddress): Promise<string> {
  const { value } = await client.json(`api/models/${repo}/revision/${encodeURIComponent(revision)}`, repo);
  const sha = isRecord(value) ? value.sha : undefined;
  if (typeof sha === "string" && /^[0-9a-f]{40}$/.test(sha)) return sha;
  throw new ExpandError("network", "the Hub names no commit for it", { at: repo, fix: "Check HF_ENDPOINT." });
}

async function listFiles(
  client: HubClient,
  { repo }: HubAddress,
  commit: string,
): Promise<ReadonlyMap<string, RemoteFile>> {
  const files = new Map<string, RemoteFile>();
  for (let page: string | undefined = `api/models/${repo}/tree/${commit}?recursive=true`; page !== undefined; ) {
    const { value, headers } = await client.json(page, repo);
    if (!Array.isArray(value))
      throw new ExpandError("network", "the Hub lists no files for it", { at: repo, fix: "Check HF_ENDPOINT." });
    for (const entry of value) {
      const file = remoteFile(entry, repo);
      if (file !== undefined) files.set(file.path, file);
    }
    if (files.size > MAX_FILES) throw new ExpandError("unsupported", `has more than ${MAX_FILES} files`, { at: repo });
    page = nextPage(client, String(headers.link ?? ""));
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
    isInnerPath(path) &&
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

/** The address behind rel="next", if it is on the same host. */
function nextPage(client: HubClient, link: string): string | undefined {
  const next = /<([^>]+)>\s*;\s*rel="?next"?/.exec(link)?.[1];
  if (next === undefined) return undefined;
  const url = new URL(next, `${client.settings.endpoint}/`);
  if (url.origin === new URL(client.settings.endpoint).origin) return url.href;
  throw new ExpandError("network", `continues its listing on another host (${url.host})`, {
    at: client.settings.endpoint,
  });
}

function visible(files: readonly string[]): string[] {
  return files.filter((file) => !file.split("/").some((step) => step.startsWith("."))).sort();
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
