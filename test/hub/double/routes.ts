// Which address of the Hub double does what.
import type { Answer } from "./faults.ts";
import { download, info, pathsInfo, refs, search, stored, tree } from "./reading.ts";
import { answer, type Call, findCommit, findRepository, isAnswer, refuse, type Site } from "./site.ts";
import type { HubRepository } from "./state.ts";
import {
  commit,
  completeParts,
  create,
  createBranch,
  lfsBatch,
  preupload,
  putObject,
  putPart,
  xetHeaders,
} from "./writing.ts";
import { putShard, putXorb } from "./xet.ts";

/** A revision is one step of the path, or refs/pr/N, encoded or not. */
const REVISION = "refs/pr/\\d+|[^/]+";
const API = new RegExp(
  `^/api/(models|datasets|spaces)/([^/]+/[^/]+)(?:/(preupload|commit|tree|revision|paths-info|branch|xet-write-token)/(${REVISION})(?:/(.*))?)?$`,
);
const FILE = new RegExp(`^/(?:(datasets|spaces)/)?([^/]+/[^/]+)/(resolve|raw)/(${REVISION})/(.+)$`);

export async function route(site: Site, host: "hub" | "storage", call: Call): Promise<Answer> {
  if (host === "storage") return storage(site, call);
  const { path, method } = call;
  if (call.caller === "stranger") return refuse(401, undefined, "Invalid credentials in Authorization header");
  if (path === "/api/whoami-v2") return whoAmI(site, call);
  if (path === "/api/repos/create" && method === "POST") return create(site, call);
  if (path === "/api/complete_multipart" && method === "POST") return completeParts(site, call);
  if (path === "/api/xet-write-token") return xetToken(site);
  if (path === "/api/models" && method === "GET") return search(site, call);
  const batch = /^\/(?:(datasets|spaces)\/)?([^/]+\/[^/]+)\.git\/info\/lfs\/objects\/batch$/.exec(path);
  if (batch !== null) {
    const repository = findRepository(site, call, batch[1] ?? "models", batch[2] ?? "");
    return isAnswer(repository) ? repository : lfsBatch(site, call);
  }
  const api = API.exec(path);
  if (api !== null) {
    const [, kind = "", name = "", verb, revision = "main", rest] = api;
    const repository = findRepository(site, call, kind, name);
    if (isAnswer(repository)) return repository;
    if (repository.name !== name) return moved(site, call, name, repository.name);
    return repositoryCall(site, call, repository, { verb, revision, rest });
  }
  const listed = /^\/api\/(models|datasets|spaces)\/([^/]+\/[^/]+)\/refs$/.exec(path);
  if (listed !== null) {
    const repository = findRepository(site, call, listed[1] ?? "", listed[2] ?? "");
    return isAnswer(repository) ? repository : refs(call, repository);
  }
  const file = FILE.exec(path);
  if (file !== null) {
    const [, kind = "models", name = "", mode, revision = "", inner = ""] = file;
    const repository = findRepository(site, call, kind, name);
    if (isAnswer(repository)) return repository;
    if (repository.name !== name) return moved(site, call, name, repository.name);
    return download(site, call, repository, { raw: mode === "raw", revision, path: inner });
  }
  return refuse(404, undefined, `no route ${method} ${path}`);
}

async function repositoryCall(
  site: Site,
  call: Call,
  repository: HubRepository,
  {
    verb,
    revision,
    rest,
  }: { readonly verb: string | undefined; readonly revision: string; readonly rest: string | undefined },
): Promise<Answer> {
  if (verb === "preupload") return preupload(site, call, repository, revision);
  if (verb === "commit") return commit(site, call, repository, revision);
  if (verb === "branch" && call.method === "POST") return createBranch(site, call, repository, revision);
  if (verb === "xet-write-token") return xetToken(site);
  const found = findCommit(site, repository, revision);
  if (isAnswer(found)) return found;
  if (verb === "tree") return tree(site, call, found.files, rest);
  if (verb === "paths-info") return pathsInfo(call, found.files);
  return info(site, repository, revision);
}

async function storage(site: Site, call: Call): Promise<Answer> {
  const { path, method } = call;
  const object = /^\/objects\/([0-9a-f]{64})$/.exec(path)?.[1];
  if (object !== undefined) return method === "PUT" ? putObject(site, call, object) : stored(site, call, object);
  const part = /^\/parts\/([^/]+)\/(\d+)$/.exec(path);
  if (part !== null && method === "PUT") return putPart(site, call, part[1] ?? "", Number(part[2]));
  const xorb = /^\/cas\/v1\/xorbs\/default\/([0-9a-f]{64})$/.exec(path)?.[1];
  if (xorb !== undefined && method === "POST") return putXorb(site, call, xorb);
  if (method === "POST" && path === "/cas/v1/shards") return putShard(site, call);
  return refuse(404, undefined, `no route ${method} ${path}`);
}

function whoAmI({ user }: Site, { caller }: Call): Answer {
  if (caller === "nobody") return refuse(401, undefined, "Invalid username or password.");
  const role = caller === "writer" ? "write" : "read";
  const accessToken = { displayName: "test", role, createdAt: "2026-01-01T00:00:00.000Z" };
  return answer(200, {
    type: "user",
    id: "1",
    name: user,
    fullname: user,
    orgs: [],
    auth: { type: "access_token", accessToken },
  });
}

function xetToken(site: Site): Answer {
  const headers = xetHeaders(site);
  return answer(200, {
    accessToken: headers["X-Xet-Access-Token"],
    casUrl: headers["X-Xet-Cas-Url"],
    exp: Number(headers["X-Xet-Token-Expiration"]),
  });
}

/** The Hub sends readers of a renamed repository on, by a relative address. */
function moved(site: Site, { url }: Call, from: string, to: string): Answer {
  const location = url.pathname.replace(`/${from}`, `/${to}`) + url.search;
  return {
    ...answer(307, { error: `moved to ${to}`, url: `${site.url}${location}` }),
    headers: { Location: location },
  };
}
