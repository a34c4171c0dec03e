// The routes of the Hub double that write: create, preupload, large objects whole or in parts, commits, branches, pull requests.
import { createHash, randomUUID } from "node:crypto";
import fs from "node:fs";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Answer } from "./faults.ts";
import { signed } from "./reading.ts";
import { answer, type Call, isRecord, mayWrite, readBody, readJson, refuse, type Site } from "./site.ts";
import { type HubFile, type HubRepository, largeFile, regularFile } from "./state.ts";

const LARGE_FILE = /\.(?:safetensors|bin|gguf|onnx|onnx_data|data|pt|pth|npz|h5|msgpack|parquet|zip|gz)$/;
const LARGE_BYTES = 10 * 2 ** 20;
const LFS_JSON = { "Content-Type": "application/vnd.git-lfs+json" };

interface Part {
  readonly path: string;
  readonly etag: string;
}

/** Objects that come in parts, by the id of their upload. */
const uploads = new WeakMap<
  Site,
  Map<string, { readonly oid: string; readonly size: number; readonly parts: Part[] }>
>();

function uploadsOf(site: Site): Map<string, { readonly oid: string; readonly size: number; readonly parts: Part[] }> {
  const known = uploads.get(site) ?? new Map();
  uploads.set(site, known);
  return known;
}

export async function create(site: Site, call: Call): Promise<Answer> {
  const refusal = mayWrite(call);
  if (refusal !== undefined) return refusal;
  const wanted = await readJson(call.request);
  const kind = `${wanted.type ?? "model"}s`;
  const name = `${wanted.organization ?? site.user}/${wanted.name}`;
  const url = `${site.url}/${kind === "models" ? "" : `${kind}/`}${name}`;
  if (site.state.repositories.has(`${kind}/${name}`)) {
    return answer(409, { error: `You already created this ${kind.slice(0, -1)} repo`, url });
  }
  const repository = site.state.create(kind, name, wanted.visibility === "private" || wanted.private === true);
  const given = Array.isArray(wanted.files) ? wanted.files.filter(isRecord) : [];
  if (given.length > 0) {
    const files = new Map(site.state.at(repository, "main")?.files);
    for (const file of given) files.set(String(file.path), regularFile(Buffer.from(String(file.content), "base64")));
    site.state.commit(repository, "main", "initial commit", "", files);
  }
  return answer(200, { url, name, id: randomUUID().replaceAll("-", "").slice(0, 24) });
}

export async function preupload(site: Site, call: Call, repository: HubRepository, revision: string): Promise<Answer> {
  const refusal = mayWrite(call);
  if (refusal !== undefined) return refusal;
  const { files } = await readJson(call.request);
  const present = site.state.at(repository, revision)?.files;
  const asked = Array.isArray(files) ? files.filter(isRecord) : [];
  return answer(200, {
    files: asked.map((file) => {
      const path = String(file.path);
      const isLarge = LARGE_FILE.test(path) || Number(file.size) > LARGE_BYTES;
      return {
        path,
        uploadMode: isLarge ? "lfs" : "regular",
        shouldIgnore: false,
        oid: present?.get(path)?.oid ?? null,
      };
    }),
  });
}

/** Says how each object is to be sent. No `actions` means that it is here already: that is how an upload goes on after a kill. */
export async function lfsBatch(site: Site, call: Call): Promise<Answer> {
  const refusal = mayWrite(call);
  if (refusal !== undefined) return refusal;
  const { objects, transfers } = await readJson(call.request);
  const wanted = (Array.isArray(objects) ? objects.filter(isRecord) : []).map((each) => ({
    oid: String(each.oid),
    size: Number(each.size),
  }));
  const isHere = ({ oid, size }: { readonly oid: string; readonly size: number }): boolean =>
    site.state.object(oid)?.size === size;
  if (site.xet && Array.isArray(transfers) && transfers.includes("xet")) {
    const upload = { href: `${site.url}/api/xet-write-token`, header: xetHeaders(site) };
    const told = wanted.map((each) => (isHere(each) ? each : { ...each, actions: { upload } }));
    return answer(200, { transfer: "xet", objects: told }, LFS_JSON);
  }
  let transfer = "basic";
  const verify = { href: `${site.url}/lfs/verify` };
  const told = wanted.map((each) => {
    const { oid, size } = each;
    if (isHere(each)) return { ...each, authenticated: true };
    if (site.partBytes === 0 || size <= site.partBytes) {
      return { ...each, authenticated: true, actions: { upload: { href: signed(site, `/objects/${oid}`) }, verify } };
    }
    transfer = "multipart";
    const id = randomUUID();
    uploadsOf(site).set(id, { oid, size, parts: [] });
    const header: Record<string, string> = { chunk_size: String(site.partBytes) };
    for (let part = 1; part <= Math.ceil(size / site.partBytes); part++) {
      header[String(part).padStart(5, "0")] = signed(site, `/parts/${id}/${part}`);
    }
    const href = `${site.url}/api/complete_multipart?uploadId=${id}&X-Signature=${site.signature}`;
    return { ...each, authenticated: true, actions: { upload: { href, header }, verify } };
  });
  return answer(200, { transfer, objects: told }, LFS_JSON);
}

export function xetHeaders(site: Site): Record<string, string> {
  return {
    "X-Xet-Cas-Url": `${site.storageUrl}/cas`,
    "X-Xet-Access-Token": "xet-access",
    "X-Xet-Session-Id": randomUUID(),
    "X-Xet-Token-Expiration": String(Math.floor(Date.now() / 1000) + 3600),
  };
}

/** Streams a body to disk and tells its digest. */
async function receive(call: Call, path: string, algorithm: string): Promise<string> {
  const hash = createHash(algorithm);
  const tap = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      done(null, chunk);
    },
  });
  await pipeline(call.request, tap, fs.createWriteStream(path));
  return hash.digest("hex");
}

function isSigned(site: Site, call: Call): boolean {
  return call.url.searchParams.get("X-Signature") === site.signature;
}

export async function putObject(site: Site, call: Call, oid: string): Promise<Answer> {
  if (!isSigned(site, call)) return refuse(403, undefined, "Request has expired");
  const partial = site.state.newPath();
  try {
    if ((await receive(call, partial, "sha256")) !== oid) return refuse(400, "BadDigest", "sha256 mismatch");
    site.state.adopt(oid, partial);
    return answer(200, undefined, { ETag: `"${oid.slice(32)}"` });
  } finally {
    fs.rmSync(partial, { force: true });
  }
}

export async function putPart(site: Site, call: Call, id: string, number: number): Promise<Answer> {
  const upload = uploadsOf(site).get(id);
  if (!isSigned(site, call) || upload === undefined) return refuse(404, "NoSuchUpload", "no such upload");
  const path = site.state.newPath();
  const etag = `"${await receive(call, path, "md5")}"`;
  upload.parts[number - 1] = { path, etag };
  return answer(200, undefined, { ETag: etag });
}

export async function completeParts(site: Site, call: Call): Promise<Answer> {
  const id = call.url.searchParams.get("uploadId") ?? "";
  const upload = uploadsOf(site).get(id);
  const { oid, parts } = await readJson(call.request);
  const named = Array.isArray(parts) ? parts.filter(isRecord) : [];
  const isWhole =
    upload !== undefined &&
    upload.oid === oid &&
    named.length === Math.ceil(upload.size / site.partBytes) &&
    named.every(({ partNumber, etag }, at) => partNumber === at + 1 && etag === upload.parts[at]?.etag);
  if (!isWhole) return refuse(400, "InvalidPart", "parts do not match the upload");
  const partial = site.state.newPath();
  const hash = createHash("sha256");
  await pipeline(async function* () {
    for (const { path } of upload.parts) {
      for await (const piece of fs.createReadStream(path) as AsyncIterable<Buffer>) {
        hash.update(piece);
        yield piece;
      }
    }
  }, fs.createWriteStream(partial));
  for (const { path } of upload.parts) fs.rmSync(path, { force: true });
  uploadsOf(site).delete(id);
  if (hash.digest("hex") !== upload.oid) {
    fs.rmSync(partial);
    return refuse(400, "BadDigest", "sha256 mismatch");
  }
  site.state.adopt(upload.oid, partial);
  return answer(200, { success: true });
}

export async function commit(site: Site, call: Call, repository: HubRepository, revision: string): Promise<Answer> {
  const refusal = mayWrite(call);
  if (refusal !== undefined) return refusal;
  const lines = (await readBody(call.request)).toString("utf8").split("\n").filter(Boolean);
  const [header, ...operations] = lines.map((line) => JSON.parse(line) as unknown).filter(isRecord);
  const asked = isRecord(header?.value) ? header.value : {};
  const base = repository.refs.has(revision) ? site.state.at(repository, revision) : undefined;
  if (base === undefined) return refuse(404, "RevisionNotFound", `Invalid rev id: ${revision}`);
  const isPullRequest = call.url.searchParams.get("create_pr") === "1";
  if (asked.parentCommit && !isPullRequest && asked.parentCommit !== base.oid) {
    return refuse(412, "PreconditionFailed", "A commit has happened since. Please refresh and try again.");
  }
  const files = new Map(base.files);
  for (const operation of operations) {
    const failed = carryOut(site, files, operation);
    if (failed !== undefined) return failed;
  }
  const number = isPullRequest ? ++repository.pullRequests : 0;
  const branch = isPullRequest ? `refs/pr/${number}` : revision;
  if (isPullRequest) repository.refs.set(branch, base.oid);
  const made = site.state.commit(repository, branch, String(asked.summary), String(asked.description ?? ""), files);
  return answer(200, {
    success: true,
    commitOid: made.oid,
    commitUrl: `${site.url}/${repository.name}/commit/${made.oid}`,
    hookOutput: "",
    ...(isPullRequest && { pullRequestUrl: `${site.url}/${repository.name}/discussions/${number}` }),
  });
}

/** One line of a commit. */
function carryOut(
  site: Site,
  files: Map<string, HubFile>,
  { key, value }: Readonly<Record<string, unknown>>,
): Answer | undefined {
  if (!isRecord(value)) return refuse(400, "BadOperation", "an operation has no value");
  const path = String(value.path);
  if (key === "deletedFile") files.delete(path);
  else if (key === "file") {
    const data = Buffer.from(String(value.content), value.encoding === "base64" ? "base64" : "utf8");
    if (data.length > LARGE_BYTES) return refuse(413, undefined, "Payload too large: use LFS");
    files.set(path, regularFile(data));
  } else if (key === "lfsFile") {
    const content = site.state.object(String(value.oid));
    if (content === undefined || content.size !== value.size) {
      return refuse(400, "LfsMissing", `LFS pointer pointed to a file that does not exist: ${path}`);
    }
    files.set(path, largeFile(String(value.oid), content));
  } else return refuse(400, "BadOperation", `unknown operation ${String(key)}`);
  return undefined;
}

export async function createBranch(site: Site, call: Call, repository: HubRepository, branch: string): Promise<Answer> {
  const refusal = mayWrite(call);
  if (refusal !== undefined) return refusal;
  const { startingPoint } = await readJson(call.request).catch(() => ({ startingPoint: undefined }));
  if (repository.refs.has(branch)) return refuse(409, undefined, "Reference already exists");
  const from = site.state.at(repository, typeof startingPoint === "string" ? startingPoint : "main");
  if (from === undefined) return refuse(404, "RevisionNotFound", `Invalid rev id: ${String(startingPoint)}`);
  repository.refs.set(branch, from.oid);
  return answer(200, {});
}
