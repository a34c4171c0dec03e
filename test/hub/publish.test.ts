// Publishing to the Hub: what goes over the wire in which order, what a bad network can and cannot do to it, and what is refused.
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import t, { type Test } from "tap";
import { ExpandError } from "../../src/errors.ts";
import { finish, type RunEvent } from "../../src/events.ts";
import { FileBlob } from "../../src/hub/file-blob.ts";
import type { Patience } from "../../src/hub/http.ts";
import { lookAt, type PublishReport, previewUpload, Upload, type UploadOptions } from "../../src/hub/publish.ts";
import type { PublishFile } from "../../src/hub/publish-files.ts";
import type { PublishTarget } from "../../src/hub/publish-target.ts";
import { hubSettings } from "../../src/hub/settings.ts";
import { type DoubleOptions, type Fault, type HubDouble, random, seededFaults, startHub } from "./double.ts";

const QUICK: Patience = { tries: 5, firstTries: 5, firstWait: 1, longestWait: 8, silence: 100 };

const sha256 = (data: Uint8Array): string => createHash("sha256").update(data).digest("hex");

function noise(size: number, seed: number): Uint8Array {
  const next = random(seed);
  return Uint8Array.from({ length: size }, () => Math.floor(next() * 256));
}

const CONTENT: Readonly<Record<string, Uint8Array>> = {
  "model-00001-of-00002.safetensors": noise(300_000, 1),
  "model-00002-of-00002.safetensors": noise(120_000, 2),
  "config.json": Buffer.from('{"hidden_size": 64}'),
  "onnx/empty.txt": new Uint8Array(0),
};

/** The content above in a directory of its own, with a small file in memory. */
function filesIn(directory: string): PublishFile[] {
  const files = Object.entries(CONTENT).map(([name, data]): PublishFile => {
    const file = path.join(directory, name);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, data);
    return { name, content: file, size: data.length, sha256: sha256(data) };
  });
  const card = Buffer.from("# a card\n");
  return [...files, { name: "README.md", content: card, size: card.length, sha256: sha256(card) }];
}

async function hubFor(t: Test, options: DoubleOptions = {}): Promise<HubDouble> {
  const hub = await startHub(options);
  t.teardown(() => hub.close());
  return hub;
}

function optionsFor(hub: HubDouble, target: PublishTarget, more: Partial<UploadOptions> = {}): UploadOptions {
  const settings = { endpoint: hub.url, token: hub.token, cache: "/nonexistent", offline: false };
  return { target, settings, patience: QUICK, ...more };
}

async function publish(
  options: UploadOptions,
  files: readonly PublishFile[],
  onEvent?: (event: RunEvent) => void,
): Promise<PublishReport> {
  const upload = await Upload.open(options);
  try {
    await finish(upload.send(files), onEvent);
    return await upload.commit({ message: "a message" });
  } finally {
    upload.close();
  }
}

async function failureOf(work: Promise<unknown>): Promise<ExpandError> {
  return work.then(
    () => {
      throw new Error("it did not fail");
    },
    (error: unknown) => {
      if (error instanceof ExpandError) return error;
      throw error;
    },
  );
}

/** Commits on a branch, the first one left out. */
function commitsOf(hub: HubDouble, repo: string): number {
  return (hub.repositories.get(`models/${repo}`)?.commits.size ?? 1) - 1;
}

async function holdsAll(hub: HubDouble, repo: string, revision = "main"): Promise<boolean> {
  for (const [name, data] of Object.entries(CONTENT)) {
    if (!(await hub.content(repo, name, revision))?.equals(data)) return false;
  }
  return (await hub.content(repo, "README.md", revision))?.toString() === "# a card\n";
}

for (const [title, double, settings] of [
  ["whole objects", {}, {}],
  ["objects in parts", { partBytes: 50_000 }, {}],
  ["whole objects, Xet turned off", { xet: true }, { xet: false }],
] as const) {
  t.test(`${title} arrive whole, then one commit; the token stays with the Hub`, async (t) => {
    const hub = await hubFor(t, double);
    const files = filesIn(t.testdir());
    const events: RunEvent[] = [];
    const options = optionsFor(hub, { repo: "alice/m", private: true });
    const report = await publish({ ...options, settings: { ...options.settings, ...settings } }, files, (event) =>
      events.push(event),
    );
    t.ok(await holdsAll(hub, "alice/m"));
    t.equal(commitsOf(hub, "alice/m"), 1);
    t.equal(hub.repositories.get("models/alice/m")?.private, true);
    t.match(report, { created: true, private: true, others: [], bytes: 420_028, revision: "main" });
    t.same(new Set(report.files.map(({ state }) => state)), new Set(["new"]));
    const put = hub.log.filter(({ method }) => method === "PUT");
    t.ok(put.length >= 2 && put.every(({ host, caller }) => host === "storage" && caller === "nobody"));
    t.ok(hub.log.filter(({ host }) => host === "hub").every(({ caller }) => caller === "writer"));
    t.notOk(
      hub.log.some(({ headers }) => JSON.stringify(headers).includes(hub.token) && headers.authorization === undefined),
    );
    const last = events.findLast((event) => event.kind === "bytes");
    t.same(last, { kind: "bytes", done: 420_028, total: 420_028 });
  });
}

t.test("through Xet the storage gets its own token, and the files are known by their SHA-256", async (t) => {
  const hub = await hubFor(t, { xet: true });
  const files = filesIn(t.testdir());
  await publish(optionsFor(hub, { repo: "alice/m" }, { patience: { ...QUICK, silence: 10_000 } }), files);
  const kept = hub.repositories.get("models/alice/m");
  const head = kept?.commits.get(kept.refs.get("main") ?? "");
  for (const { name, sha256, size } of files.slice(0, 2)) t.match(head?.files.get(name), { sha256, size });
  const sent = hub.log.filter(({ host }) => host === "storage");
  t.ok(sent.some(({ path }) => path.startsWith("/cas/v1/xorbs/")));
  t.notOk(
    sent.some(({ headers }) => JSON.stringify(headers).includes(hub.token)),
    "never ours",
  );
});

t.test("a second time sends nothing, and a changed file only itself", async (t) => {
  const hub = await hubFor(t);
  const directory = t.testdir();
  const files = filesIn(directory);
  const options = optionsFor(hub, { repo: "alice/m" });
  const first = await publish(options, files);
  hub.log.length = 0;
  const again = await publish(options, files);
  t.equal(again.commit, first.commit);
  t.match(again, { created: false, bytes: 0, others: [".gitattributes"] });
  t.ok(hub.log.every(({ method }) => method === "GET"));
  const other = Buffer.from("# another card\n");
  const changed = { name: "README.md", content: other, size: other.length, sha256: sha256(other) };
  const third = await publish(options, [...files.slice(0, -1), changed]);
  t.not(third.commit, first.commit);
  t.equal(third.bytes, other.length);
  t.equal((await hub.content("alice/m", "README.md"))?.toString(), "# another card\n");
  t.notOk(hub.log.some(({ method }) => method === "PUT"));
});

t.test("a dry run tells all of it and changes nothing", async (t) => {
  const hub = await hubFor(t);
  hub.add("alice/there", { "config.json": CONTENT["config.json"] ?? "", "README.md": "# old", "notes.md": "n" });
  const files = filesIn(t.testdir());
  const report = await previewUpload(optionsFor(hub, { repo: "alice/there" }), files);
  t.same(
    report.files.map(({ state }) => state),
    ["new", "new", "same", "new", "changed"],
  );
  t.match(report, { created: false, private: false, others: [".gitattributes", "notes.md"], bytes: 420_009 });
  t.equal(report.commit, undefined);
  const absent = await previewUpload(optionsFor(hub, { repo: "alice/new", private: true }), files);
  t.match(absent, { created: true, private: true });
  t.ok(hub.log.every(({ method }) => method === "GET"));
  t.notOk(hub.repositories.has("models/alice/new"));
});

t.test("a branch that is not there is made from main; a pull request leaves the branch as it was", async (t) => {
  const hub = await hubFor(t);
  const files = filesIn(t.testdir());
  const before = hub.add("alice/m", { "notes.md": "n" });
  const aside = await publish(optionsFor(hub, { repo: "alice/m", pullRequest: true }), files);
  t.equal(aside.pullRequest, `${hub.url}/alice/m/discussions/1`);
  t.equal(hub.repositories.get("models/alice/m")?.refs.get("main"), before);
  t.ok(await holdsAll(hub, "alice/m", "refs/pr/1"));
  const branch = await publish(optionsFor(hub, { repo: "alice/m", revision: "dev" }), files);
  t.equal(branch.url, `${hub.url}/alice/m/tree/dev`);
  t.ok(await holdsAll(hub, "alice/m", "dev"));
  t.equal((await hub.content("alice/m", "notes.md", "dev"))?.toString(), "n");
  t.equal(hub.repositories.get("models/alice/m")?.refs.get("main"), before);
});

t.test("what somebody else commits meanwhile stays, and the user is told", async (t) => {
  const hub = await hubFor(t);
  hub.add("alice/m", { "notes.md": "n" });
  const upload = await Upload.open(optionsFor(hub, { repo: "alice/m" }));
  t.teardown(() => upload.close());
  await finish(upload.send(filesIn(t.testdir())));
  const theirs = hub.add("alice/m", { "notes.md": "theirs" });
  const error = await failureOf(upload.commit({ message: "m" }));
  t.equal(
    error.message,
    "alice/m: was changed by somebody else in the meantime (412: A commit has happened since. Please refresh and try again.)",
  );
  t.equal(error.fix, "Run again; what is there already is not sent twice.");
  t.equal(error.exitCode, 5);
  t.equal(hub.repositories.get("models/alice/m")?.refs.get("main"), theirs);
});

for (const pullRequest of [false, true]) {
  t.test(
    `a commit whose answer is lost is found again, not made again${pullRequest ? " (pull request)" : ""}`,
    async (t) => {
      const hub = await hubFor(t);
      hub.add("alice/m", { "notes.md": "n" });
      hub.faults.push({ kind: "lost", method: "POST", path: /\/commit\// });
      const report = await publish(optionsFor(hub, { repo: "alice/m", pullRequest }), filesIn(t.testdir()));
      t.equal(hub.log.filter(({ path }) => path.includes("/commit/")).length, 1);
      t.equal(commitsOf(hub, "alice/m"), 2);
      const ref = pullRequest ? "refs/pr/1" : "main";
      t.equal(report.commit, hub.repositories.get("models/alice/m")?.refs.get(ref));
      t.equal(report.pullRequest, pullRequest ? `${hub.url}/alice/m/discussions/1` : undefined);
    },
  );
}

t.test("an interrupted upload goes on where it stopped", async (t) => {
  const hub = await hubFor(t);
  const files = filesIn(t.testdir());
  hub.faults.push({ kind: "status", status: 403, method: "POST", path: /\/commit\// });
  await t.rejects(publish(optionsFor(hub, { repo: "alice/m" }), files));
  t.equal(hub.log.filter(({ method }) => method === "PUT").length, 2);
  hub.log.length = 0;
  await publish(optionsFor(hub, { repo: "alice/m" }), files);
  t.equal(hub.log.filter(({ method }) => method === "PUT").length, 0);
  t.ok(await holdsAll(hub, "alice/m"));
});

t.test("an address of the storage that grew old is asked for again", async (t) => {
  const hub = await hubFor(t);
  hub.faults.push({ kind: "status", status: 403, method: "PUT", times: 2 });
  await publish(optionsFor(hub, { repo: "alice/m" }), filesIn(t.testdir()));
  t.ok(await holdsAll(hub, "alice/m"));
});

t.test("a signal ends it at once, and nothing is published", async (t) => {
  const hub = await hubFor(t);
  const controller = new AbortController();
  hub.inject = ({ method }) => {
    if (method !== "PUT") return undefined;
    setTimeout(() => controller.abort(), 20);
    return { kind: "silent" };
  };
  const patience = { ...QUICK, silence: 600_000 };
  const options = optionsFor(hub, { repo: "alice/m" }, { signal: controller.signal, patience });
  const error = await failureOf(publish(options, filesIn(t.testdir())));
  t.equal(error.tag, "interrupted");
  t.equal(commitsOf(hub, "alice/m"), 0);
});

t.test("a file that is not what it must be stops everything before its bytes go out", async (t) => {
  const hub = await hubFor(t);
  const directory = t.testdir();
  const files = filesIn(directory);
  const wrong = files.map((file) => (file.name.startsWith("model-00002") ? { ...file, sha256: "0".repeat(64) } : file));
  const error = await failureOf(publish(optionsFor(hub, { repo: "alice/m" }), wrong));
  t.equal(
    error.message,
    "model-00002-of-00002.safetensors: is not the file that was proved: its SHA-256 is another one than the manifest's",
  );
  t.equal(error.tag, "input");
  t.equal(hub.log.filter(({ method }) => method === "PUT").length, 0);
  fs.appendFileSync(path.join(directory, "config.json"), " ");
  const longer = await failureOf(publish(optionsFor(hub, { repo: "alice/m" }), files));
  t.equal(longer.message, "config.json: has 20 bytes; 19 were expected");
  t.equal(commitsOf(hub, "alice/m"), 0);
});

t.test("a file as a Blob: parts, and a change that is noticed", async (t) => {
  const file = path.join(t.testdir(), "f");
  fs.writeFileSync(file, "0123456789");
  const { size, mtimeMs } = fs.statSync(file);
  const blob = new FileBlob({ path: file, size, mtimeMs });
  t.equal(blob.size, 10);
  t.ok(blob instanceof Blob);
  t.equal(await blob.text(), "0123456789");
  t.equal(await blob.slice(2, 5).text(), "234");
  t.equal(await blob.slice(2, 8).slice(3, 99).text(), "567");
  t.equal(await blob.slice(99).text(), "");
  t.equal(await new Response(blob.slice(8).stream()).text(), "89");
  fs.writeFileSync(file, "01234");
  const error = await failureOf(blob.text());
  t.equal(error.message, `${file}: changed while it was being sent`);
  t.equal(error.fix, "Run again when nothing else writes to this file.");
});

t.test("refusals say what to do", async (t) => {
  const hub = await hubFor(t);
  hub.add("alice/public", { "a.txt": "a" });
  const to = (repo: string, more: Partial<PublishTarget> = {}, settings = {}): UploadOptions => {
    const options = optionsFor(hub, { repo, ...more });
    return { ...options, settings: { ...options.settings, ...settings } };
  };
  for (const [options, tag, message, fix] of [
    [
      to("alice/m", {}, { token: undefined }),
      "network",
      "publishing needs a token",
      `Make one with the right to write at ${hub.url}/settings/tokens, then set HF_TOKEN (or use --token).`,
    ],
    [
      to("alice/m", {}, { token: "abc" }),
      "network",
      "the token does not begin with hf_, so it is none of the Hub's",
      `Copy it again from ${hub.url}/settings/tokens.`,
    ],
    [to("alice/m", {}, { offline: true }), "network", "HF_HUB_OFFLINE forbids to publish", "Unset HF_HUB_OFFLINE."],
    [
      to("alice/public", { private: true }),
      "output",
      "alice/public: is public, and --private is for repositories that are made now",
      "Name another repository, or make this one private in its settings first.",
    ],
    [
      to("alice/none", { pullRequest: true }),
      "network",
      "alice/none: is not on the Hub, so there is nothing to open a pull request for (404)",
      "Check the name, or leave out --pr to make the repository.",
    ],
    [
      to("alice/m", {}, { token: "hf_unknown" }),
      "network",
      "alice/m: the Hub does not know this token (401: Invalid credentials in Authorization header)",
      `Make a new token at ${hub.url}/settings/tokens.`,
    ],
    [
      to("alice/m", {}, { token: hub.readToken }),
      "network",
      "alice/m: the Hub does not let this token do that (403: Forbidden: you must use a write token to upload to a repository.)",
      `Use a token that may do this; they are made at ${hub.url}/settings/tokens.`,
    ],
  ] as const) {
    const error = await failureOf(Upload.open(options));
    t.same([error.tag, error.message, error.fix], [tag, message, fix]);
  }
  t.notOk(hub.repositories.has("models/alice/m"));
});

t.test("what the Hub refuses at the commit is told with what to do", async (t) => {
  const files = filesIn(t.testdir());
  for (const [fault, message, fix] of [
    [
      { status: 413, message: "too much" },
      "alice/m: is more than the Hub takes at once (413: too much)",
      "Send fewer or smaller files, for instance with a smaller --shard-size.",
    ],
    [
      { status: 429, retryAfter: "600", message: "slow down" },
      "alice/m: the Hub asks for fewer requests (429: slow down)",
      "Wait 600 s, then run again; what is done already is kept.",
    ],
    [
      { status: 503, times: 9, message: "maintenance" },
      "alice/m: the Hub cannot answer now (503, 5 times: maintenance)",
      "Run again later; what is done already is kept.",
    ],
  ] as const) {
    const hub = await hubFor(t);
    hub.faults.push({ kind: "status", path: /\/commit\//, ...fault });
    const error = await failureOf(publish(optionsFor(hub, { repo: "alice/m" }), files));
    t.same([error.message, error.fix, error.exitCode], [message, fix, 5]);
    t.equal(commitsOf(hub, "alice/m"), 0);
  }
});

t.test("Xet is used unless the environment turns it off", async (t) => {
  t.equal(hubSettings("hf_x", { HF_HUB_DISABLE_XET: "1" }).xet, false);
  t.equal(hubSettings("hf_x", {}).xet, undefined);
  const hub = await hubFor(t, { xet: true });
  const { settings } = optionsFor(hub, { repo: "alice/m" });
  const off = { ...settings, xet: false };
  await publish({ ...optionsFor(hub, { repo: "alice/m" }), settings: off }, filesIn(t.testdir()));
  t.notOk(hub.log.some(({ path }) => path.startsWith("/cas/")));
});

t.test("a repository that others can see is never made out of a private one, nor the other way round", async (t) => {
  const hub = await hubFor(t);
  hub.add("alice/hidden", { "a.txt": "a" }, { private: true });
  await publish(optionsFor(hub, { repo: "alice/hidden" }), filesIn(t.testdir()));
  t.equal(hub.repositories.get("models/alice/hidden")?.private, true);
  const nobody = await lookAt({ ...optionsFor(hub, { repo: "alice/hidden" }) });
  t.equal(nobody.private, true);
});

/** Every way in which a request can fail, and what must come of it in the end. */
const FAULTS: readonly Fault[] = [
  { kind: "reset" },
  { kind: "silent" },
  { kind: "status", status: 500 },
  { kind: "status", status: 503, retryAfter: "0" },
  { kind: "status", status: 429, retryAfter: "0" },
  { kind: "lost" },
  { kind: "reset-after-headers" },
  { kind: "reset-midway" },
  { kind: "stalled" },
  { kind: "hang-up" },
  { kind: "status", status: 412 },
  { kind: "status", status: 403 },
  { kind: "login" },
];

/** What is at the end of one publication under faults; undefined when it is as it should be. */
async function outcome(
  hub: HubDouble,
  target: PublishTarget,
  files: readonly PublishFile[],
): Promise<string | undefined> {
  const { repo } = target;
  const result = await publish(optionsFor(hub, target), files).catch((error: unknown) => error);
  hub.inject = undefined;
  const commits = commitsOf(hub, repo);
  if (!(result instanceof Error)) {
    if (commits !== (target.pullRequest ? 2 : 1)) return `succeeded with ${commits} commits`;
    return (await holdsAll(hub, repo, target.pullRequest ? "refs/pr/1" : "main"))
      ? undefined
      : "succeeded without its files";
  }
  if (!(result instanceof ExpandError) || result.tag !== "network") return `failed with ${String(result)}`;
  const words = `${result.message} ${result.fix}`;
  if (words.includes(hub.token) || words.includes(hub.signature)) return `told a secret: ${words}`;
  if (result.fix === undefined) return `gave no advice: ${words}`;
  // The Hub may have done it without our ever hearing of it: then all of it is there.
  const visible = hub.files(repo).filter((name) => name !== ".gitattributes" && name !== "notes.md").length;
  return visible === 0 || (await holdsAll(hub, repo)) ? undefined : `left ${visible} files after ${words}`;
}

/** One publication to a Hub of its own, so that every content is sent again. */
async function trial(
  files: readonly PublishFile[],
  inject: HubDouble["inject"],
  pullRequest: boolean,
): Promise<string | undefined> {
  const hub = await startHub({ partBytes: 200_000 });
  try {
    if (pullRequest) hub.add("alice/m", { "notes.md": "n" });
    hub.inject = inject;
    return await outcome(hub, { repo: "alice/m", pullRequest }, files);
  } finally {
    await hub.close();
  }
}

t.setTimeout(120_000);
t.test("each fault, at each request: all of it or nothing", async (t) => {
  const hub = await hubFor(t, { partBytes: 200_000 });
  const files = filesIn(t.testdir());
  await publish(optionsFor(hub, { repo: "alice/m" }), files);
  const requests = hub.log.length;
  for (const fault of FAULTS) {
    for (let at = 0; at < requests; at++) {
      let count = 0;
      const found = await trial(files, () => (count++ === at ? { ...fault } : undefined), false);
      if (found !== undefined) t.fail(`${JSON.stringify(fault)} at request ${at}: ${found}`);
    }
  }
  t.comment(`${FAULTS.length * requests} publications`);
  t.ok(requests >= 10);
});

t.test("faults at random, always the same ones: all of it or nothing", async (t) => {
  const files = filesIn(t.testdir());
  const RUNS = 80;
  for (let seed = 1; seed <= RUNS; seed++) {
    const inject = seededFaults(seed, FAULTS.slice(0, seed % 2 === 0 ? 10 : FAULTS.length), { rate: 0.2 });
    const found = await trial(files, inject, seed % 5 === 0);
    if (found !== undefined) t.fail(`seed ${seed}: ${found}`);
  }
});
