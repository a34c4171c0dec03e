// A repository of the Hub, opened and read by ranges: what is asked, what is believed, what errors say, and that no secret gets out.
import fs from "node:fs";
import https from "node:https";
import net, { type AddressInfo } from "node:net";
import path from "node:path";
import t, { type Test } from "tap";
import { ExpandError } from "../../src/errors.ts";
import { isPassingFault, unreachable } from "../../src/hub/failure.ts";
import type { Patience } from "../../src/hub/http.ts";
import { openRepository, type Repository } from "../../src/hub/repository.ts";
import type { HubSettings } from "../../src/hub/settings.ts";
import type { ByteSource } from "../../src/tensor/source.ts";
import { makeCertificate } from "./certificate.ts";
import { type DoubleOptions, type Fault, type HubDouble, pattern, random, startHub } from "./double.ts";

const QUICK: Patience = { tries: 3, firstTries: 2, firstWait: 1, longestWait: 4, silence: 10_000 };
const next = random(3);
const MODEL = Uint8Array.from({ length: 200_000 }, () => Math.floor(next() * 256));
const ADDRESS = { repo: "owner/model", revision: "main" };

async function start(t: Test, options: DoubleOptions = {}): Promise<HubDouble> {
  const hub = await startHub(options);
  t.teardown(() => hub.close());
  hub.add("owner/model", { "model.gguf": MODEL, "config.json": '{"a": 1}', "onnx/model.onnx": "graph" });
  return hub;
}

const settingsOf = (hub: HubDouble, more: Partial<HubSettings> = {}): HubSettings => ({
  endpoint: hub.url,
  token: hub.readToken,
  cache: "/nonexistent",
  offline: false,
  ...more,
});

async function open(t: Test, hub: HubDouble, more: Partial<HubSettings> = {}, revision = "main"): Promise<Repository> {
  const repository = await openRepository({ ...ADDRESS, revision }, settingsOf(hub, more), undefined, QUICK);
  t.teardown(() => repository.close());
  return repository;
}

async function all(source: ByteSource, from = 0, length = source.size - from): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of source.stream?.(from, length) ?? [await source.read(from, length)]) pieces.push(piece);
  return Buffer.concat(pieces);
}

async function failureOf(work: Promise<unknown>): Promise<ExpandError> {
  const error: unknown = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (error instanceof ExpandError) return error;
  throw error ?? new ExpandError("bug", "nothing failed");
}

const said = (error: ExpandError): string => `${error.tag}: ${error.message} | ${error.fix}`;

t.test("a repository opens like a directory, at one commit, whatever its branch does later", async (t) => {
  const hub = await start(t, { pageSize: 2 });
  const before = hub.add("owner/model", { ".hidden/secret": "x", "a b/ü#?.json": "odd" });
  const repository = await open(t, hub);
  t.equal(repository.commit, before);
  t.same(repository.files, ["a b/ü#?.json", "config.json", "model.gguf", "onnx/model.onnx"]);
  t.same(repository.names("onnx"), ["model.onnx"]);
  hub.add("owner/model", { "config.json": "{}", "model.gguf": "other" });
  t.equal(String(await all(repository.source("config.json"))), '{"a": 1}');
  t.ok(Buffer.from(MODEL).equals(await all(repository.source("model.gguf"))));
  t.equal(String(await all(repository.source("a b/ü#?.json"))), "odd");
  t.equal(repository.source("model.gguf").identity, (await open(t, hub, {}, before)).source("model.gguf").identity);
  t.equal(String(await all((await open(t, hub)).source("model.gguf"))), "other");
});

t.test(
  "a reading asks the Hub once for a file, then its storage, over two connections at most; headers cost their bytes only",
  async (t) => {
    const hub = await start(t);
    hub.add("owner/model", { "big.gguf": pattern(5_000_000_000) });
    const repository = await open(t, hub);
    const source = repository.source("big.gguf");
    t.equal(source.size, 5_000_000_000);
    const before = repository.received;
    for (let at = 0; at < 10; at++) t.equal((await source.read(at * 400_000_000, 100)).length, 100);
    t.equal(repository.received - before, 1000, "bytes of bodies");
    const files = hub.log.filter(({ path }) => path.includes("/resolve/") || path.startsWith("/objects/"));
    t.same(
      files.map(({ host }) => host),
      ["hub", ...Array(10).fill("storage")],
    );
    for (const host of ["hub", "storage"]) {
      const ports = new Set(hub.log.filter((entry) => entry.host === host).map(({ port }) => port));
      t.ok(ports.size <= 2, `connections to the ${host}`);
    }
    t.equal((await source.read(4_999_999_999, 1)).length, 1);
    t.equal((await source.read(5_000_000_000, 0)).length, 0);
  },
);

t.test("bytes outside of a file are refused before anything is asked or allocated", async (t) => {
  const hub = await start(t);
  const source = (await open(t, hub)).source("model.gguf");
  const before = hub.log.length;
  for (const [from, length] of [
    [199_999, 2],
    [-1, 5],
    [0, 2 ** 52],
    [5, -1],
    [200_001, 0],
  ] as const) {
    t.equal(
      said(await failureOf(source.read(from, length))),
      `damaged: owner/model/model.gguf: bytes ${from} to ${from + length} were asked for, but the file has 200000 | Ask the repository's owner: the file is cut short.`,
    );
  }
  t.equal(hub.log.length, before);
});

t.test(
  "20 files and 20 ranges of one are read at once, by at most 8 connections to a host, without a warning",
  async (t) => {
    const warnings: string[] = [];
    const listen = (warning: Error): number => warnings.push(warning.message);
    process.on("warning", listen);
    t.teardown(() => process.off("warning", listen));
    const hub = await start(t);
    hub.add(
      "owner/model",
      Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`${index}.bin`, MODEL.subarray(index)])),
    );
    const repository = await open(t, hub);
    const source = repository.source("model.gguf");
    const ranges = Array.from({ length: 20 }, (_, index) => all(source, index * 10_000, 10_000));
    const files = Array.from({ length: 20 }, (_, index) => all(repository.source(`${index}.bin`)));
    t.ok(Buffer.from(MODEL).equals(Buffer.concat(await Promise.all(ranges))));
    for (const [index, data] of (await Promise.all(files)).entries())
      t.ok(data.equals(MODEL.subarray(index)), `${index}.bin`);
    t.ok(new Set(hub.log.filter(({ host }) => host === "storage").map(({ port }) => port)).size <= 8);
    await new Promise(setImmediate);
    t.same(warnings, []);
  },
);

t.test("the token goes to the Hub alone, and the addresses that it signs are shown to nobody", async (t) => {
  const hub = await start(t);
  const repository = await open(t, hub);
  await all(repository.source("model.gguf"));
  t.ok(hub.log.filter(({ host }) => host === "hub").every(({ caller }) => caller === "reader"));
  const storage = hub.log.filter(({ host }) => host === "storage");
  t.ok(storage.length > 0);
  for (const { headers, path } of storage) {
    t.equal(headers.authorization, undefined);
    t.notMatch(JSON.stringify(headers) + path, hub.readToken);
  }
  hub.faults.push({ kind: "redirect", location: `${hub.storageUrl}/api/elsewhere?a=b`, path: /revision/ });
  await failureOf(open(t, hub));
  t.equal(hub.log.at(-1)?.path, "/api/elsewhere?a=b");
  t.equal(hub.log.at(-1)?.caller, "nobody", "not for a redirect of the API either");
});

t.test("no error holds a token or a signature, in whatever property", async (t) => {
  const hub = await start(t);
  const echo = { message: `no: ${hub.readToken} \u009b31m` };
  const signed = `${hub.storageUrl}/objects/x?X-Signature=${hub.signature}`;
  const faults: readonly Fault[] = [
    { kind: "reset" },
    { kind: "upgrade" },
    { kind: "login" },
    { kind: "changed" },
    { kind: "closed-midway" },
    { kind: "garbage", location: signed },
    { kind: "redirect", location: signed },
    { kind: "redirect", location: `http://[?X-Signature=${hub.signature}` },
    { kind: "redirect", location: `ftp://host/?X-Signature=${hub.signature}` },
    ...[400, 401, 403, 404, 409, 412, 413, 416, 429, 500, 503].map(
      (status): Fault => ({ kind: "status", status, ...echo }),
    ),
  ];
  let failures = 0;
  for (const host of ["hub", "storage"] as const) {
    for (const fault of faults) {
      const repository = await open(t, hub);
      hub.inject = (asked) => (asked.host === host && !asked.path.startsWith("/api/") ? fault : undefined);
      const error: unknown = await all(repository.source("model.gguf")).catch((error: unknown) => error);
      hub.inject = undefined;
      // A redirect needs no body, and half of what is left, again and again, comes to the end.
      if (error instanceof Uint8Array) continue;
      failures++;
      const texts = textsOf(error);
      t.ok(texts.length > 3, "texts were found");
      const leaked = texts.filter((text) => text.includes(hub.readToken) || text.includes(hub.signature));
      t.same(leaked, [], `${fault.kind} ${fault.status ?? ""} at the ${host}`);
      t.notMatch(texts.join(), "\u009b");
    }
  }
  t.equal(failures, 2 * faults.length - 2);
});

t.test("an answer is checked against the listing before a byte of it is used", async (t) => {
  const hub = await start(t);
  const changed =
    "changed on the Hub while it was being read | Run again; the new version is then read from its start.";
  const unfit = (message: string): string =>
    `${message} | Check HF_ENDPOINT, and who stands between this machine and the Hub.`;
  const host = new URL(hub.storageUrl).host;
  for (const [fault, from, expected] of [
    [{ kind: "changed", path: /resolve/ }, 0, changed],
    [{ kind: "untagged", path: /resolve/ }, 0, unfit("the server does not say which version of the file it sends")],
    [{ kind: "gzip", path: /objects/ }, 0, unfit("the server sends the file packed (gzip)")],
    [
      { kind: "shifted", path: /objects/ },
      7,
      unfit("the server was asked for bytes from 7, and sends something else (206)"),
    ],
    [
      { kind: "ignore-range", path: /objects/ },
      7,
      unfit("the server was asked for bytes from 7, and sends something else (200)"),
    ],
    [
      { kind: "login", path: /objects/ },
      0,
      unfit("the server was asked for bytes from 0, and sends something else (200)"),
    ],
    [
      { kind: "status", status: 403, path: /objects/ },
      0,
      `the storage at ${host} refuses (403: injected fault) | Run again later; what is done already is kept.`,
    ],
    [
      { kind: "status", status: 416, path: /resolve/ },
      0,
      "has fewer bytes than its listing says (416: injected fault) | Ask the repository's owner: the file is cut short.",
    ],
  ] as const) {
    hub.faults.push({ ...fault });
    const source = (await open(t, hub)).source("model.gguf");
    t.equal(said(await failureOf(source.read(from, 50))), `network: owner/model/model.gguf: ${expected}`);
  }
  const source = (await open(t, hub)).source("model.gguf");
  await source.read(0, 10);
  hub.inject = ({ host }) => (host === "storage" ? { kind: "changed" } : undefined);
  t.equal(
    said(await failureOf(source.read(0, 50))),
    `network: owner/model/model.gguf: ${changed}`,
    "another ETag of the storage",
  );
});

t.test(
  "weak ETags, the whole file for its first bytes, a storage of the Hub's own, and a moved repository are taken",
  async (t) => {
    for (const options of [{}, { redirects: false }]) {
      const hub = await start(t, options);
      hub.inject = () => ({ kind: "weak" });
      const repository = await open(t, hub);
      for (const file of ["model.gguf", "config.json"]) t.equal((await repository.source(file).read(1, 5)).length, 5);
      hub.inject = ({ method }) => (method === "GET" ? { kind: "ignore-range" } : undefined);
      t.ok(Buffer.from(MODEL.subarray(0, 9)).equals(await (await open(t, hub)).source("model.gguf").read(0, 9)));
      hub.inject = undefined;
      hub.rename("owner/model", "other/model");
      const moved = await open(t, hub);
      t.ok(Buffer.from(MODEL).equals(await all(moved.source("model.gguf"))));
      t.same(
        hub.log.filter(({ host, caller }) => host === "hub" && caller !== "reader"),
        [],
      );
    }
  },
);

t.test("an address of the storage that has ended before its time is asked for again", async (t) => {
  const hub = await start(t);
  const source = (await open(t, hub)).source("model.gguf");
  await source.read(0, 10);
  hub.signature = "another";
  t.ok(Buffer.from(MODEL).equals(await all(source)));
  t.same(
    hub.log.slice(-3).map(({ host, status }) => `${host} ${status}`),
    ["storage 403", "hub 302", "storage 206"],
  );
});

t.test("a listing that leads out of the repository, is no listing, or has no end is refused", async (t) => {
  for (const file of ["../evil", "/etc/passwd", "a/../../b", "a\\b", "C:/x", "a//b"]) {
    const hub = await start(t);
    hub.add("owner/model", { [file]: "x" });
    t.match(
      said(await failureOf(open(t, hub))),
      /^network: owner\/model: the Hub lists a file that cannot be: \{"type":"file","path":"/,
      file,
    );
  }
  const endless = await start(t, { pageSize: 0 });
  t.equal(
    said(await failureOf(open(t, endless))),
    "unsupported: owner/model: lists more than 20000 files or 100 pages | undefined",
  );
  const hub = await start(t);
  const hotel = `network: ${hub.url}/api/models/owner/model/revision/main: did not answer with JSON | Check HF_ENDPOINT.`;
  hub.faults.push({ kind: "login" });
  t.equal(said(await failureOf(open(t, hub))), hotel);
});

t.test("refusals say what they mean and what to do", async (t) => {
  const hub = await start(t);
  hub.add("owner/secret", { "config.json": "{}" }, { private: true });
  hub.add("owner/gated", { "config.json": "{}" }, { gated: true });
  const nobody = { ...settingsOf(hub) };
  delete (nobody as { token?: string }).token;
  const opening = async (repo: string, settings: HubSettings, revision = "main"): Promise<string> =>
    said(await failureOf(openRepository({ repo, revision }, settings, undefined, QUICK)));
  const check = "Check the name; for a private or gated repository, set HF_TOKEN (or use --token).";
  const absent = "is not on the Hub, or is private";
  t.equal(
    await opening("owner/secret", nobody),
    `network: owner/secret: ${absent} (401: Repository not found) | ${check}`,
  );
  t.equal(await opening("owner/none", nobody), `network: owner/none: ${absent} (401: Repository not found) | ${check}`);
  t.equal(
    await opening("owner/none", settingsOf(hub)),
    `network: owner/none: ${absent} (404: Repository not found) | Check the name, and that the token's account may see it.`,
  );
  t.equal(
    await opening("owner/model", settingsOf(hub, { token: "hf_old" })),
    `network: owner/model: the Hub does not know this token (401: Invalid credentials in Authorization header) | Make a new token at ${hub.url}/settings/tokens.`,
  );
  t.equal(
    await opening("owner/model", settingsOf(hub), "v9"),
    `network: owner/model: has no such branch, tag or commit (404: Invalid rev id: v9) | Look at ${hub.url}/owner/model/branches for its branches and tags.`,
  );
  for (const [settings, status, fix] of [
    [nobody, 401, `Accept the licence at ${hub.url}/owner/gated, then set HF_TOKEN (or use --token).`],
    [settingsOf(hub), 403, `Accept the licence at ${hub.url}/owner/gated with the account of this token.`],
  ] as const) {
    const repository = await openRepository({ repo: "owner/gated", revision: "main" }, settings, undefined, QUICK);
    t.equal(
      said(await failureOf(repository.source("config.json").read(0, 2))),
      `network: owner/gated/config.json: is gated: its owner wants its licence to be accepted first (${status}: Access to model owner/gated is restricted. You must have access to it and be authenticated to access it.) | ${fix}`,
    );
    repository.close();
  }
  const later = "Run again later; what is done already is kept.";
  for (const [status, more, expected] of [
    [400, {}, `owner/model: the Hub refuses (400: injected fault) | ${later}`],
    [
      403,
      {},
      `owner/model: the Hub does not let this token do that (403: injected fault) | Use a token that may do this; they are made at ${hub.url}/settings/tokens.`,
    ],
    [
      404,
      {},
      `${hub.url}/api/models/owner/model/revision/main: is not on the Hub, or is private (404: injected fault) | Check the name, and that the token's account may see it.`,
    ],
    [
      404,
      { code: "EntryNotFound" },
      `owner/model: has no such file (404: injected fault) | Look at ${hub.url}/owner/model/tree/main for its files.`,
    ],
    [
      409,
      {},
      "owner/model: is there already, or changes at this moment (409: injected fault) | Run again; what is there already is not sent twice.",
    ],
    [
      412,
      {},
      "owner/model: was changed by somebody else in the meantime (412: injected fault) | Run again; what is there already is not sent twice.",
    ],
    [
      413,
      {},
      "owner/model: is more than the Hub takes at once (413: injected fault) | Send fewer or smaller files, for instance with a smaller --shard-size.",
    ],
    [
      429,
      {},
      "owner/model: the Hub asks for fewer requests (429, 3 times: injected fault) | Wait some minutes, then run again; what is done already is kept.",
    ],
    [
      429,
      { retryAfter: "7200" },
      "owner/model: the Hub asks for fewer requests (429: injected fault) | Wait 7200 s, then run again; what is done already is kept.",
    ],
    [503, { message: "" }, `owner/model: the Hub cannot answer now (503, 3 times) | ${later}`],
    [504, {}, `owner/model: the Hub cannot answer now (504, 3 times: injected fault) | ${later}`],
  ] as const) {
    hub.inject = () => ({ kind: "status", status, ...more });
    t.equal(await opening("owner/model", settingsOf(hub)), `network: ${expected}`);
  }
});

t.test("redirects that go round, back to no encryption, or nowhere are refused", async (t) => {
  const hub = await start(t);
  const at = `network: ${hub.url}/api/models/owner/model/revision/main`;
  for (const [location, expected] of [
    ["/api/models/owner/model/revision/main", "sends from one address to the next, 5 times and more | undefined"],
    ["http://[", "sends to something that is no address | undefined"],
    [
      "file:///etc/passwd",
      "sends to an address without encryption (file://) | Check HF_ENDPOINT, and who stands between this machine and the Hub.",
    ],
  ] as const) {
    hub.inject = () => ({ kind: "redirect", location });
    t.equal(said(await failureOf(open(t, hub))), `${at}: ${expected}`);
  }
  const count = hub.log.length;
  const secure = https.createServer(makeCertificate(), (_, response) =>
    response.writeHead(302, { Location: `${hub.url}/x` }).end(),
  );
  const endpoint = await listening(t, secure, "https");
  trustAnything(t);
  t.equal(
    said(await failureOf(open(t, hub, { endpoint }))),
    `network: ${endpoint}/api/models/owner/model/revision/main: sends to an address without encryption (http://${new URL(hub.url).host}) | Check HF_ENDPOINT, and who stands between this machine and the Hub.`,
  );
  t.equal(hub.log.length, count, "the other address was not asked");
});

t.test("connections that do not come about say why", async (t) => {
  const hub = await start(t);
  const kept = "Check the network, then run again; what is done already is kept.";
  const closed = await listening(t, net.createServer(), "http", true);
  t.equal(
    said(await failureOf(open(t, hub, { endpoint: closed }))),
    `network: ${closed}/api/models/owner/model/revision/main: the connection failed (ECONNREFUSED, 2 times) | ${kept}`,
  );
  const untrusted = await listening(t, https.createServer(makeCertificate()), "https");
  t.equal(
    said(await failureOf(open(t, hub, { endpoint: untrusted }))),
    `network: ${new URL(untrusted).host}: the server's certificate is not trusted (DEPTH_ZERO_SELF_SIGNED_CERT) | Behind a proxy that opens connections, set NODE_EXTRA_CA_CERTS to its certificate.`,
  );
  const plain = hub.url.replace("http:", "https:");
  const spoken = said(await failureOf(open(t, hub, { endpoint: plain })));
  // Node 20 says EPROTO, later ones name the fault of the protocol.
  t.equal(
    spoken.replace(/\((?:EPROTO|ERR_SSL_\w+)\)/, "(CODE)"),
    `network: ${new URL(plain).host}: no encrypted connection came about (CODE) | Check HF_ENDPOINT: the server may not speak TLS.`,
  );
  const mute = await listening(
    t,
    net.createServer(() => undefined),
    "https",
  );
  const impatient = openRepository(ADDRESS, settingsOf(hub, { endpoint: mute }), undefined, { ...QUICK, silence: 50 });
  t.equal(
    said(await failureOf(impatient)),
    `network: ${mute}/api/models/owner/model/revision/main: the connection failed (ETIMEDOUT, 2 times) | ${kept}`,
  );
  const url = new URL("https://hub.example/api/models/a/b?secret=1");
  for (const [code, tries, expected] of [
    [
      "ENOTFOUND",
      1,
      "hub.example: no such host could be found (ENOTFOUND) | Check the network and HF_ENDPOINT; HF_HUB_OFFLINE=1 reads only what is in the local cache.",
    ],
    [
      "EAI_AGAIN",
      4,
      "hub.example: no such host could be found (EAI_AGAIN, 4 times) | Check the network and HF_ENDPOINT; HF_HUB_OFFLINE=1 reads only what is in the local cache.",
    ],
    [
      "CERT_HAS_EXPIRED",
      1,
      "hub.example: the server's certificate is not trusted (CERT_HAS_EXPIRED) | Behind a proxy that opens connections, set NODE_EXTRA_CA_CERTS to its certificate.",
    ],
    ["ENETUNREACH", 8, `https://hub.example/api/models/a/b: the connection failed (ENETUNREACH, 8 times) | ${kept}`],
  ] as const) {
    t.equal(said(unreachable(Object.assign(new Error("fault"), { code }), url, tries)), `network: ${expected}`);
  }
});

t.test("a host that has answered before is waited for, even where its name is not found any more", async (t) => {
  for (const [code, unknownHost, knownHost] of [
    ["ECONNRESET", true, true],
    ["EAI_AGAIN", true, true],
    ["HPE_INVALID_CONSTANT", true, true],
    ["ENOTFOUND", false, true],
    ["EPROTO", false, true],
    ["ERR_SSL_BAD_RECORD_TYPE", false, true],
    ["CERT_HAS_EXPIRED", false, false],
    ["ERR_TLS_CERT_ALTNAME_INVALID", false, false],
    ["ERR_INVALID_CHAR", false, false],
    ["ABORT_ERR", false, false],
  ] as const) {
    const fault = Object.assign(new Error("fault"), { code });
    t.same([isPassingFault(fault, false), isPassingFault(fault, true)], [unknownHost, knownHost], code);
  }
  t.notOk(isPassingFault(new TypeError("a mistake of ours"), true));
});

t.test("a fault of the storage names the storage", async (t) => {
  const hub = await start(t);
  const source = (await open(t, hub)).source("model.gguf");
  hub.inject = ({ host }) => (host === "storage" ? { kind: "reset" } : undefined);
  const { message } = await failureOf(source.read(0, 5));
  t.equal(
    message.replace(/[0-9a-f]{64}/, "ID"),
    `${hub.storageUrl}/objects/ID: the connection failed (ECONNRESET, 2 times)`,
  );
});

t.test("what the local cache holds is read from there, without a request for a range", async (t) => {
  const hub = await start(t);
  const first = await open(t, hub);
  const sha256 = /^hub:([0-9a-f]{64}):/.exec(first.source("model.gguf").identity)?.[1] ?? "";
  const git = /^hub:([0-9a-f]{40}):/.exec(first.source("config.json").identity)?.[1] ?? "";
  const cache = t.testdir({
    "models--owner--model": {
      refs: { main: first.commit },
      blobs: { [sha256]: Buffer.from(MODEL), [git]: "shorter" },
      snapshots: {
        [first.commit]: {
          "model.gguf": t.fixture("symlink", `../../blobs/${sha256}`),
          "config.json": t.fixture("symlink", `../../blobs/${git}`),
        },
      },
    },
  });
  const asked = (): number => hub.log.filter(({ path }) => !path.startsWith("/api/")).length;
  const cached = await open(t, hub, { cache });
  const before = asked();
  const source = cached.source("model.gguf");
  t.equal(source.path, path.join(fs.realpathSync(cache), "models--owner--model", "blobs", sha256));
  t.equal(source.name, "owner/model/model.gguf");
  t.ok(Buffer.from(MODEL).equals(await all(source)));
  t.equal(asked(), before);
  t.equal(String(await all(cached.source("config.json"))), '{"a": 1}', "a file of another size is not taken for it");
  t.equal(asked(), before + 1);
  // Another commit with the same file: its snapshot is not there, its blob is.
  hub.add("owner/model", { "new.txt": "x" });
  t.equal((await open(t, hub, { cache })).source("model.gguf").path, source.path);
  const offline = await open(t, hub, { cache, offline: true });
  t.equal(offline.commit, first.commit);
  t.same(offline.files, ["config.json", "model.gguf"]);
});

t.test("a signal ends a reading at once, wherever it waits", async (t) => {
  const waits: readonly (readonly [string, Fault])[] = [
    ["for an answer", { kind: "silent" }],
    ["in the middle of a body", { kind: "stalled" }],
    ["between two tries", { kind: "status", status: 503, retryAfter: "100" }],
  ];
  for (const [where, fault] of waits) {
    const hub = await start(t);
    const stop = new AbortController();
    // Only the signal can end these waits before the test is given up.
    const repository = await openRepository(ADDRESS, settingsOf(hub), stop.signal, { ...QUICK, silence: 600_000 });
    t.teardown(() => repository.close());
    const answered = new Promise<void>((resolve) => {
      hub.inject = ({ host }) => {
        if (host !== "storage") return undefined;
        setTimeout(resolve, 20);
        return fault;
      };
    });
    const reading = failureOf(all(repository.source("model.gguf")));
    await answered;
    stop.abort();
    t.equal(said(await reading), "interrupted: interrupted | undefined", where);
    t.equal(said(await failureOf(all(repository.source("model.gguf")))), "interrupted: interrupted | undefined");
  }
});

t.test("a reading that is left, one that fails and one that ends leave no connection", async (t) => {
  const hub = await startHub();
  hub.add("owner/model", { "model.gguf": pattern(50_000_000), "config.json": "{}" });
  const repository = await openRepository(ADDRESS, settingsOf(hub), undefined, QUICK);
  for await (const piece of repository.source("model.gguf").stream?.(0, 50_000_000) ?? []) if (piece.length > 0) break;
  await repository.source("config.json").read(0, 2);
  hub.faults.push({ kind: "stalled", path: /objects/ });
  const left = repository.source("model.gguf").read(5, 1000);
  left.catch(() => undefined);
  await new Promise((done) => setTimeout(done, 20));
  repository.close();
  t.equal(said(await failureOf(left)), "interrupted: interrupted | undefined");
  await hub.close();
  for (let wait = 0; wait < 100 && connections().length > 0; wait++) await new Promise((done) => setTimeout(done, 20));
  t.same(connections(), []);
});

/** What keeps the process alive of connections, of this test and of those before it. */
function connections(): string[] {
  return process.getActiveResourcesInfo().filter((each) => /TCP|TLS|Connect/.test(each));
}

async function listening(t: Test, server: net.Server, scheme: string, close = false): Promise<string> {
  const sockets = new Set<net.Socket>();
  server.on("connection", (socket: net.Socket) => sockets.add(socket.on("error", () => undefined)));
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  const url = `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const end = (): Promise<void> =>
    new Promise((closed) => {
      server.close(() => closed());
      for (const socket of sockets) socket.destroy();
    });
  if (close) await end();
  else t.teardown(end);
  return url;
}

function trustAnything(t: Test): void {
  const emit = process.emitWarning;
  process.emitWarning = () => undefined;
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
  t.teardown(() => {
    process.emitWarning = emit;
    delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
  });
}

/** Every text that can be reached from a value, bytes included. */
function textsOf(value: unknown, seen = new Set<unknown>()): string[] {
  if (typeof value === "string") return [value];
  if ((typeof value !== "object" && typeof value !== "function") || value === null || seen.has(value)) return [];
  seen.add(value);
  if (value instanceof Uint8Array) return [Buffer.from(value).toString("latin1")];
  const entries = value instanceof Map || value instanceof Set ? [...value.entries()].flat() : [];
  const own = Reflect.ownKeys(value).flatMap((key) => [String(key), Reflect.get(value, key)]);
  return [...entries, ...own].flatMap((each) => textsOf(each, seen));
}
