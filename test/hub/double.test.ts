// The Hub double under the real client: what the tests of reading and publishing stand on.
import {
  commit,
  createBranch,
  createRepo,
  downloadFile,
  HubApiError,
  listFiles,
  modelInfo,
  uploadFiles,
  whoAmI,
} from "@huggingface/hub";
import t from "tap";
import { type HubDouble, pattern, random, startHub } from "./double.ts";

const noise = (size: number, seed = 1): Uint8Array => {
  const next = random(seed);
  return Uint8Array.from({ length: size }, () => Math.floor(next() * 256));
};

const blob = (data: Uint8Array | string): Blob => new Blob([typeof data === "string" ? data : Uint8Array.from(data)]);

async function upload(hub: HubDouble, files: Readonly<Record<string, Uint8Array | string>>, more: object = {}) {
  return uploadFiles({
    repo: "tester/m",
    accessToken: hub.token,
    hubUrl: hub.url,
    files: Object.entries(files).map(([name, data]) => ({ path: name, content: blob(data) })),
    ...more,
  });
}

/** The status that a call of the client fails with. */
async function statusOf(call: Promise<unknown>): Promise<number | undefined> {
  const error: unknown = await call.then(
    () => undefined,
    (error: unknown) => error,
  );
  return error instanceof HubApiError ? error.statusCode : undefined;
}

const FILES = {
  "config.json": '{"a": 1}',
  "model.safetensors": noise(300_000),
  "zeros.bin": new Uint8Array(200_000),
  "floats.bin": new Uint8Array(Float32Array.from({ length: 50_001 }, (_, i) => i / 7).buffer),
  "sub/other.bin": noise(70_001, 2),
};

for (const [way, options] of [
  ["whole", {}],
  ["in parts", { partBytes: 64_000 }],
  ["by Xet", { xet: true }],
] as const) {
  t.test(`files go up ${way} and come back as they were`, async (t) => {
    const hub = await startHub({ ...options, pageSize: 2 });
    t.teardown(() => hub.close());
    const how = { repo: "tester/m", accessToken: hub.token, hubUrl: hub.url };
    await createRepo({ ...how });
    const done = await upload(hub, FILES);
    t.match(done?.commit.oid, /^[0-9a-f]{40}$/);
    t.same(hub.files("tester/m"), [".gitattributes", ...Object.keys(FILES).sort()]);
    for (const [name, data] of Object.entries(FILES)) {
      t.ok(Buffer.from(data).equals((await hub.content("tester/m", name)) ?? Buffer.alloc(0)), `${name} at the Hub`);
      const back = await downloadFile({ ...how, path: name });
      t.ok(
        Buffer.from(data).equals(Buffer.from((await back?.arrayBuffer()) ?? new ArrayBuffer(0))),
        `${name} comes back`,
      );
    }
    const listed: string[] = [];
    for await (const entry of listFiles({ ...how, recursive: true })) listed.push(`${entry.type} ${entry.path}`);
    t.same(
      listed.filter((entry) => entry.startsWith("directory")),
      ["directory sub"],
    );
    t.equal(listed.length, 7);
    const before = hub.log.length;
    await upload(hub, FILES);
    const sent = hub.log.slice(before).filter(({ host }) => host === "storage");
    t.same(sent, [], "objects that are there are not sent again");
    const leaked = hub.log.filter(
      ({ host, caller, path }) => host === "storage" && caller !== "nobody" && !path.startsWith("/cas/"),
    );
    t.same(leaked, [], "the client sends its token to the Hub only");
  });
}

t.test("a repository that is there, a stale parent, a pull request, a branch, and tokens without rights", async (t) => {
  const hub = await startHub();
  t.teardown(() => hub.close());
  const how = { repo: "tester/m", accessToken: hub.token, hubUrl: hub.url };
  await createRepo({ ...how, private: true });
  await t.equal(await statusOf(createRepo(how)), 409);
  const first = await upload(hub, { "a.txt": "one" });
  const second = await upload(hub, { "a.txt": "two" }, { parentCommit: first?.commit.oid });
  await t.equal(await statusOf(upload(hub, { "a.txt": "three" }, { parentCommit: first?.commit.oid })), 412);
  const request = await upload(hub, { "b.bin": noise(10) }, { isPullRequest: true });
  t.equal(request?.pullRequestUrl, `${hub.url}/tester/m/discussions/1`);
  t.same(hub.files("tester/m"), [".gitattributes", "a.txt"]);
  t.same(hub.files("tester/m", "refs/pr/1"), [".gitattributes", "a.txt", "b.bin"]);
  await createBranch({ ...how, branch: "next" });
  await upload(hub, { "c.txt": "c" }, { branch: "next" });
  t.same(hub.files("tester/m", "next"), [".gitattributes", "a.txt", "c.txt"]);
  await commit({ ...how, title: "out", operations: [{ operation: "delete", path: "a.txt" }] });
  t.same(hub.files("tester/m"), [".gitattributes"]);
  const { sha } = await modelInfo({
    name: "tester/m",
    hubUrl: hub.url,
    accessToken: hub.token,
    revision: second?.commit.oid ?? "",
    additionalFields: ["sha"],
  });
  t.equal(sha, second?.commit.oid);
  await t.equal(await statusOf(upload(hub, { "a.txt": "x" }, { accessToken: hub.readToken })), 403);
  await t.equal(await statusOf(whoAmI({ accessToken: "hf_unknown", hubUrl: hub.url })), 401);
  await t.equal(await statusOf(modelInfo({ name: "tester/m", hubUrl: hub.url })), 401);
});

t.test("faults come where they are asked for: a lost answer has done its work", async (t) => {
  const hub = await startHub();
  t.teardown(() => hub.close());
  await createRepo({ repo: "tester/m", accessToken: hub.token, hubUrl: hub.url });
  hub.faults.push({ kind: "lost", method: "POST", path: /commit/ });
  await t.rejects(upload(hub, { "a.txt": "one" }));
  t.equal(String(await hub.content("tester/m", "a.txt")), "one");
  hub.faults.push({ kind: "status", status: 503, retryAfter: "7", path: /batch$/ });
  await t.equal(await statusOf(upload(hub, { "b.bin": noise(9) })), 503);
  t.equal(await hub.content("tester/m", "b.bin"), undefined);
});

t.test("large files are served from another origin, by signed addresses that expire", async (t) => {
  const hub = await startHub();
  t.teardown(() => hub.close());
  const commitId = hub.add("tester/big", { "model.gguf": pattern(5_000_000), "config.json": "{}" });
  const first = await fetch(`${hub.url}/tester/big/resolve/main/model.gguf`, { redirect: "manual" });
  t.equal(first.status, 302);
  t.equal(first.headers.get("x-repo-commit"), commitId);
  t.equal(first.headers.get("x-linked-size"), "5000000");
  const location = first.headers.get("location") ?? "";
  t.ok(location.startsWith(hub.storageUrl) && location.includes(hub.signature));
  const part = await fetch(location, { headers: { range: "bytes=1048570-1048585" } });
  t.equal(part.headers.get("content-range"), "bytes 1048570-1048585/5000000");
  t.equal((await part.arrayBuffer()).byteLength, 16);
  hub.signature = "another";
  t.equal((await fetch(location)).status, 403);
});
