// The routes of the Hub double that read: what a repository is, what it lists, and the bytes of its files, by way of the storage.
import { bytes, type Content, slice } from "./content.ts";
import type { Answer } from "./faults.ts";
import { answer, type Call, findCommit, isAnswer, readJson, refuse, type Site } from "./site.ts";
import { type Files, type HubFile, type HubRepository, pointer, sha1 } from "./state.ts";

export function info(site: Site, repository: HubRepository, revision: string): Answer {
  const commit = findCommit(site, repository, revision);
  if (isAnswer(commit)) return commit;
  return answer(200, {
    _id: commit.oid.slice(0, 24),
    id: repository.name,
    modelId: repository.name,
    sha: commit.oid,
    private: repository.private,
    gated: repository.gated ? "manual" : false,
    tags: [],
    downloads: 0,
    likes: 0,
    siblings: [...commit.files.keys()].map((rfilename) => ({ rfilename })),
    lastModified: "2026-01-01T00:00:00.000Z",
  });
}

/** Models by owner and by a part of their name. */
export function search(site: Site, { url, caller }: Call): Answer {
  const author = url.searchParams.get("author");
  const part = (url.searchParams.get("search") ?? "").toLowerCase();
  const limit = Number(url.searchParams.get("limit") ?? 500);
  const found = [...site.state.repositories]
    .filter(([key, repository]) => key.startsWith("models/") && (!repository.private || caller !== "nobody"))
    .map(([, { name }]) => name)
    .filter((name) => (author === null || name.startsWith(`${author}/`)) && name.toLowerCase().includes(part))
    .slice(0, limit);
  return answer(
    200,
    found.map((id) => ({ _id: sha1(id).slice(0, 24), id, modelId: id, private: false, tags: [] })),
  );
}

/** Branches, and pull requests where they are asked for. */
export function refs({ url }: Call, repository: HubRepository): Answer {
  const all = [...repository.refs].map(([name, targetCommit]) => ({ name, ref: `refs/heads/${name}`, targetCommit }));
  const isRequest = (name: string): boolean => name.startsWith("refs/pr/");
  return answer(200, {
    tags: [],
    branches: all.filter(({ name }) => !isRequest(name)),
    converts: [],
    ...(url.searchParams.get("include_prs") === "1" && {
      pullRequests: all
        .filter(({ name }) => isRequest(name))
        .map(({ name, targetCommit }) => ({ name: name.slice("refs/pr/".length), ref: name, targetCommit })),
    }),
  });
}

/** What listings say about one file. */
function described(path: string, { oid, size, sha256 }: HubFile): Readonly<Record<string, unknown>> {
  const lfs = sha256 && { oid: sha256, size, pointerSize: pointer(sha256, size).length };
  return { type: "file", path, size, oid, ...(lfs && { lfs }) };
}

export async function pathsInfo(call: Call, files: Files): Promise<Answer> {
  const { paths } = await readJson(call.request);
  const wanted = Array.isArray(paths) ? paths.map(String) : [];
  return answer(
    200,
    wanted.flatMap((path) => {
      const file = files.get(path);
      return file === undefined ? [] : [described(path, file)];
    }),
  );
}

export function tree(site: Site, { url }: Call, files: Files, folder: string | undefined): Answer {
  const prefix = folder ? `${folder}/` : "";
  const recursive = url.searchParams.get("recursive") === "true";
  const entries: unknown[] = [];
  const seen = new Set<string>();
  for (const [path, file] of [...files].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (!path.startsWith(prefix)) continue;
    const rest = path.slice(prefix.length);
    for (let slash = rest.indexOf("/"); slash >= 0; slash = rest.indexOf("/", slash + 1)) {
      const parent = prefix + rest.slice(0, slash);
      if (!seen.has(parent)) entries.push({ type: "directory", path: parent, size: 0, oid: sha1(parent) });
      seen.add(parent);
      if (!recursive) break;
    }
    if (recursive || !rest.includes("/")) entries.push(described(path, file));
  }
  const from = Number(url.searchParams.get("cursor") ?? 0);
  const next = from + site.pageSize;
  if (next >= entries.length) return answer(200, entries.slice(from, next));
  const following = new URL(url);
  following.searchParams.set("cursor", String(next));
  return answer(200, entries.slice(from, next), { Link: `<${following.href}>; rel="next"` });
}

/** resolve and raw: small files at once, large ones by a redirect to a signed address of the storage. */
export function download(
  site: Site,
  call: Call,
  repository: HubRepository,
  { raw, revision, path }: { readonly raw: boolean; readonly revision: string; readonly path: string },
): Answer {
  if (repository.gated) {
    const message = `Access to model ${repository.name} is restricted. You must have access to it and be authenticated to access it.`;
    return refuse(call.caller === "nobody" ? 401 : 403, "GatedRepo", message);
  }
  const commit = findCommit(site, repository, revision);
  if (isAnswer(commit)) return commit;
  const file = commit.files.get(path);
  if (file === undefined) return refuse(404, "EntryNotFound", "Entry not found");
  const { sha256, oid, size } = file;
  const headers = { "X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes" };
  if (sha256 === undefined) return ranged(call, file.content, { ...headers, ETag: `"${oid}"` });
  if (raw) return ranged(call, bytes(pointer(sha256, size)), { ...headers, ETag: `"${oid}"` });
  const linked = { ...headers, "X-Linked-ETag": `"${sha256}"`, "X-Linked-Size": String(size) };
  if (!site.redirects) return ranged(call, file.content, { ...linked, ETag: `"${sha256}"` });
  return {
    status: 302,
    headers: { ...linked, Location: signed(site, `/objects/${sha256}`) },
    body: bytes(Buffer.from("Found. Redirecting to the storage")),
  };
}

export function signed(site: Site, path: string): string {
  return `${site.storageUrl}${path}?X-Signature=${site.signature}`;
}

/** An object at the storage, whose ETag is of the storage's own making. */
export function stored(site: Site, call: Call, sha256: string): Answer {
  if (call.url.searchParams.get("X-Signature") !== site.signature) {
    return {
      status: 403,
      headers: { "Content-Type": "application/xml" },
      body: bytes(Buffer.from("<Error>Expired</Error>")),
    };
  }
  const content = site.state.object(sha256);
  if (content === undefined) return { status: 404, headers: {}, body: bytes(Buffer.from("<Error>NoSuchKey</Error>")) };
  return ranged(call, content, { ETag: `"${sha256.slice(32)}-7"`, "Accept-Ranges": "bytes" });
}

/** One range, or everything. */
function ranged(call: Call, content: Content, headers: Readonly<Record<string, string>>): Answer {
  const { size } = content;
  const range = /^bytes=(\d*)-(\d*)$/.exec(call.range ?? "");
  const own = { "Content-Type": "application/octet-stream", ...headers };
  if (range === null || size === 0) return { status: 200, headers: own, body: content };
  const [, from = "", to = ""] = range;
  const first = from === "" ? Math.max(0, size - Number(to)) : Number(from);
  const last = from === "" || to === "" ? size - 1 : Math.min(Number(to), size - 1);
  if (first > last)
    return { status: 416, headers: { ...own, "Content-Range": `bytes */${size}` }, body: bytes(Buffer.alloc(0)) };
  return {
    status: 206,
    headers: { ...own, "Content-Range": `bytes ${first}-${last}/${size}` },
    body: slice(content, first, last + 1),
  };
}
