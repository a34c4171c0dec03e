// A Hugging Face Hub on loopback for tests: repositories, a storage of another origin, uploads, and faults on demand. Speaks what
// @huggingface/hub 2.17.5 and this package send; nothing here was compared with the real server.
import { createHash } from "node:crypto";
import fs from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import { bytes, type Content, whole } from "./double/content.ts";
import { type Answer, type Asked, deliver, type Fault, pickFault, refuseAtOnce } from "./double/faults.ts";
import { route } from "./double/routes.ts";
import { answer, type Call, type Caller, type Site } from "./double/site.ts";
import { type HubFile, type HubRepository, HubState, largeFile, regularFile } from "./double/state.ts";

export { bytes, pattern, random } from "./double/content.ts";
export { type Asked, type Fault, type FaultKind, seededFaults } from "./double/faults.ts";

export interface DoubleOptions {
  /** May read and write. The client insists on "hf_...". */
  readonly token?: string;
  /** May only read. */
  readonly readToken?: string;
  /** Owner of repositories that are created without a namespace. */
  readonly user?: string;
  /** > 0: larger objects are asked for in parts of this many bytes. */
  readonly partBytes?: number;
  readonly pageSize?: number;
  readonly xet?: boolean;
  /** Large files are read from the storage, at another origin; true when left out. */
  readonly redirects?: boolean;
  readonly faults?: Fault[];
  /** Asked for each request that no fault of the list spoils. */
  readonly inject?: (asked: LogEntry) => Fault | undefined;
}

export interface LogEntry extends Asked {
  readonly index: number;
  readonly range: string | undefined;
  /** Whose Authorization header came. */
  readonly caller: Caller;
  readonly headers: http.IncomingHttpHeaders;
  /** Of the client's end: the same for requests over one connection. */
  readonly port: number;
  fault: Fault | undefined;
  /** Of the answer, as it was meant. */
  status: number | undefined;
}

export interface HubDouble {
  readonly url: string;
  readonly storageUrl: string;
  readonly token: string;
  readonly readToken: string;
  readonly user: string;
  /** Every request, in order of arrival. */
  readonly log: LogEntry[];
  readonly faults: Fault[];
  inject: ((asked: LogEntry) => Fault | undefined) | undefined;
  /** By "models/owner/name". */
  readonly repositories: ReadonlyMap<string, HubRepository>;
  /** The secret of signed addresses; another one makes older addresses expire. */
  signature: string;
  /** Commits files to a branch of a model, made when it is not there. Gives the commit. */
  add(repo: string, files: Readonly<Record<string, string | Uint8Array | Content>>, options?: AddOptions): string;
  /** What stands in a repository; undefined when there is no such file. */
  content(repo: string, file: string, revision?: string): Promise<Buffer | undefined>;
  files(repo: string, revision?: string): string[];
  /** Gives a model another name; the old one redirects. */
  rename(from: string, to: string): void;
  close(): Promise<void>;
}

export interface AddOptions {
  readonly private?: boolean;
  readonly gated?: boolean;
  readonly branch?: string;
  /** Kept as large objects; by default what ends in a model's extension. */
  readonly large?: (file: string) => boolean;
}

const LARGE = /\.(?:safetensors|bin|gguf|onnx|data)$/;

export async function startHub(options: DoubleOptions = {}): Promise<HubDouble> {
  const { token = "hf_writer", readToken = "hf_reader", user = "tester" } = options;
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "hub-double-"));
  const state = new HubState(directory);
  const log: LogEntry[] = [];
  const faults = options.faults ?? [];
  const servers = await Promise.all([listen(serve("hub")), listen(serve("storage"))]);
  const [url = "", storageUrl = ""] = servers.map(
    (server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
  );
  const site: Site = {
    state,
    url,
    storageUrl,
    user,
    partBytes: options.partBytes ?? 0,
    pageSize: options.pageSize ?? 1000,
    xet: options.xet ?? false,
    redirects: options.redirects ?? true,
    signature: "s1gned-Secret",
  };
  const double: HubDouble = {
    url,
    storageUrl,
    token,
    readToken,
    user,
    log,
    faults,
    inject: options.inject,
    repositories: state.repositories,
    get signature() {
      return site.signature;
    },
    set signature(value) {
      site.signature = value;
    },
    add: (repo, files, more = {}) => add(state, repo, files, more),
    content: async (repo, file, revision = "main") => {
      const found = at(state, repo, revision)?.get(file);
      return found && whole(found.content);
    },
    files: (repo, revision = "main") => [...(at(state, repo, revision)?.keys() ?? [])].sort(),
    rename: (from, to) => {
      const repository = state.repositories.get(`models/${from}`);
      if (repository === undefined) return;
      repository.name = to;
      state.repositories.set(`models/${to}`, repository);
    },
    close: async () => {
      await Promise.all(servers.map((server) => new Promise((closed) => server.close(closed).closeAllConnections())));
      fs.rmSync(directory, { recursive: true, force: true });
    },
  };
  return double;

  function serve(host: "hub" | "storage"): http.RequestListener {
    return (request, response) => {
      handle(host, request, response).catch((error: unknown) => {
        // A client that hangs up is no fault of the double.
        if (response.destroyed || request.socket.destroyed) return;
        if (response.headersSent) response.destroy();
        else void deliver(response, answer(500, { error: String(error) }), undefined);
      });
    };
  }

  async function handle(
    host: "hub" | "storage",
    request: http.IncomingMessage,
    response: http.ServerResponse,
  ): Promise<void> {
    response.on("error", () => undefined);
    const address = new URL(request.url ?? "/", host === "hub" ? url : storageUrl);
    const { authorization, range } = request.headers;
    const caller: Caller =
      authorization === undefined
        ? "nobody"
        : authorization === `Bearer ${token}`
          ? "writer"
          : authorization === `Bearer ${readToken}`
            ? "reader"
            : "stranger";
    const entry: LogEntry = {
      index: log.length,
      method: request.method ?? "GET",
      host,
      path: address.pathname + address.search,
      range,
      caller,
      headers: request.headers,
      port: request.socket.remotePort ?? 0,
      fault: undefined,
      status: undefined,
    };
    log.push(entry);
    const fault = pickFault(faults, entry) ?? double.inject?.(entry);
    entry.fault = fault;
    if (await refuseAtOnce(response, fault)) return;
    const call: Call = {
      method: entry.method,
      url: address,
      path: decodeURIComponent(address.pathname),
      caller,
      range: fault?.kind === "ignore-range" ? undefined : fault?.kind === "shifted" ? shifted(range) : range,
      request,
    };
    const answered: Answer = await route(site, host, call);
    entry.status = answered.status;
    await deliver(response, answered, fault);
  }
}

function listen(handler: http.RequestListener): Promise<http.Server> {
  const server = http.createServer(handler);
  return new Promise((ready) => server.listen(0, "127.0.0.1", () => ready(server)));
}

/** One byte further on. */
function shifted(range: string | undefined): string | undefined {
  return range?.replace(/^bytes=(\d+)/, (_, from) => `bytes=${Number(from) + 1}`);
}

function at(state: HubState, repo: string, revision: string): ReadonlyMap<string, HubFile> | undefined {
  const repository = state.repositories.get(`models/${repo}`);
  return repository && state.at(repository, revision)?.files;
}

function add(
  state: HubState,
  repo: string,
  files: Readonly<Record<string, string | Uint8Array | Content>>,
  { private: isPrivate, gated, branch = "main", large = (file) => LARGE.test(file) }: AddOptions,
): string {
  const repository = state.repositories.get(`models/${repo}`) ?? state.create("models", repo, isPrivate ?? false);
  if (isPrivate !== undefined) repository.private = isPrivate;
  if (gated !== undefined) repository.gated = gated;
  const kept = new Map((state.at(repository, branch) ?? state.at(repository, "main"))?.files);
  for (const [name, given] of Object.entries(files)) {
    if (typeof given !== "string" && !(given instanceof Uint8Array)) {
      // Its name stands for its bytes, which nobody wants to hash.
      const sha256 = createHash("sha256").update(`${repo}/${name} ${given.size}`).digest("hex");
      state.addObject(sha256, given);
      kept.set(name, largeFile(sha256, given));
      continue;
    }
    const data = typeof given === "string" ? Buffer.from(given) : given;
    const sha256 = createHash("sha256").update(data).digest("hex");
    if (large(name)) state.addObject(sha256, bytes(data));
    kept.set(name, large(name) ? largeFile(sha256, bytes(data)) : regularFile(data));
  }
  return state.commit(repository, branch, `add ${Object.keys(files).join(", ")}`, "", kept).oid;
}
