// From a repository of the Hub to an expanded checkpoint, as a user sees it: ranges only, nothing twice, local files where the cache has them.
import fs from "node:fs";
import path from "node:path";
import t, { type Test } from "tap";
import { main } from "../../src/cli/main.ts";
import { type HubDouble, startHub } from "../hub/double.ts";

const fixtures = path.resolve(import.meta.dirname, "../../fixtures");
const stories = path.resolve(import.meta.dirname, "../../../shared/data/stories260K/hf");

/** Runs one command line against a double, with an empty cache of its own. */
async function run(t: Test, hub: HubDouble, words: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const written = { out: "", err: "" };
  const stream = (name: "out" | "err") => ({
    write: (text: string) => {
      written[name] += text;
      return true;
    },
    isTTY: false,
  });
  const saved = { ...process.env };
  const home = t.testdirName;
  Object.assign(process.env, { HF_ENDPOINT: hub.url, HF_HOME: path.join(home, "..", "no-home"), ...env });
  delete process.env.HF_TOKEN;
  if (env.HF_TOKEN !== undefined) process.env.HF_TOKEN = env.HF_TOKEN;
  try {
    const code = await main([...words, "--no-progress"], {
      out: stream("out") as unknown as NodeJS.WriteStream,
      err: stream("err") as unknown as NodeJS.WriteStream,
    });
    return { code, ...written };
  } finally {
    for (const key of Object.keys(process.env)) if (!(key in saved)) delete process.env[key];
    Object.assign(process.env, saved);
  }
}

function directoryFiles(directory: string): Record<string, Uint8Array> {
  const names = fs.readdirSync(directory).filter((name) => fs.statSync(path.join(directory, name)).isFile());
  return Object.fromEntries(names.map((name) => [name, fs.readFileSync(path.join(directory, name))]));
}

function sameFiles(t: Test, one: string, other: string): void {
  // The Hub says where it came from, and the SHA-256 of the source's files.
  const own = ["verification.json", "manifest.json", "source.json"];
  const mine = fs.readdirSync(one).filter((name) => !own.includes(name));
  for (const name of mine) {
    const same = fs.readFileSync(path.join(one, name)).equals(fs.readFileSync(path.join(other, name)));
    t.ok(same, `${name} has the bytes of the local run`);
  }
}

async function hubWith(t: Test, repositories: Readonly<Record<string, string>>): Promise<HubDouble> {
  const hub = await startHub({ pageSize: 3 });
  t.teardown(() => hub.close());
  for (const [repo, directory] of Object.entries(repositories)) hub.add(repo, directoryFiles(directory));
  return hub;
}

/** Bytes that ranges brought. */
function transferred(hub: HubDouble): number {
  return hub.log.reduce((sum, { range, status }) => {
    const found = /^bytes=(\d+)-(\d+)$/.exec(range ?? "");
    return found === null || status !== 206 ? sum : sum + Number(found[2]) - Number(found[1]) + 1;
  }, 0);
}

for (const name of ["llama", "llama-sharded", "mixtral"]) {
  t.test(
    `${name} expands from the Hub to the bytes of the local run, and is proved without a second download`,
    async (t) => {
      const source = path.join(fixtures, name);
      const hub = await hubWith(t, { [`owner/${name}`]: source });
      const home = t.testdir();
      const local = path.join(home, "local");
      const remote = path.join(home, "remote");
      t.equal((await run(t, hub, ["expand", source, local, "--every", "2"])).code, 0);
      hub.log.length = 0;
      const result = await run(t, hub, [`owner/${name}`, remote, "--every", "2"]);
      t.equal(result.code, 0, result.err);
      t.match(result.out, "identity: AFTER is an identity expansion of BEFORE");
      t.match(result.out, `before    owner/${name} (safetensors`);
      sameFiles(t, local, remote);
      const weights = fs.readdirSync(source).filter((file) => file.endsWith(".safetensors"));
      const size = weights.reduce((sum, file) => sum + fs.statSync(path.join(source, file)).size, 0);
      const written = fs.readdirSync(remote).filter((file) => file.endsWith(".safetensors"));
      const grown = written.reduce((sum, file) => sum + fs.statSync(path.join(remote, file)).size, 0);
      t.ok(transferred(hub) < size + grown, `${transferred(hub)} bytes for a source of ${size} that grows to ${grown}`);
    },
  );
}

t.test("inspect transfers headers only, and says how many bytes", async (t) => {
  const hub = await hubWith(t, {});
  const commit = hub.add("owner/llama", directoryFiles(path.join(fixtures, "llama")));
  const result = await run(t, hub, ["inspect", "owner/llama", "--json"]);
  const report = JSON.parse(result.out);
  t.equal(report.architecture.blocks.length, 4);
  t.equal(report.hub.commit, commit);
  t.ok(report.hub.received > 0 && report.hub.received < 40_000, `${report.hub.received} bytes`);
});

t.test("a file inside a repository, a revision and hf:// are understood", async (t) => {
  const hub = await hubWith(t, {});
  hub.add(
    "owner/quantized",
    { "README.md": "x", "m.gguf": fs.readFileSync(path.join(fixtures, "llama.gguf")) },
    { branch: "dev" },
  );
  hub.add("owner/quantized", { "README.md": "no weights here" });
  for (const words of ["owner/quantized@dev", "owner/quantized@dev:m.gguf", "hf://owner/quantized@dev/m.gguf"]) {
    const result = await run(t, hub, ["inspect", words]);
    t.equal(result.code, 0, `${words}: ${result.err}`);
    t.match(result.out, /checkpoint {2}gguf, 1 file,/, words);
  }
});

t.test("verify compares a repository with a directory, byte for byte", async (t) => {
  const source = path.join(fixtures, "llama");
  const hub = await hubWith(t, { "owner/llama": source });
  const out = path.join(t.testdir(), "out");
  t.equal((await run(t, hub, ["expand", source, out, "--add", "1"])).code, 0);
  t.equal((await run(t, hub, ["verify", "owner/llama", out])).code, 0);
  const shard = path.join(out, "model.safetensors");
  const bytes = fs.readFileSync(shard);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  fs.writeFileSync(shard, bytes);
  const broken = await run(t, hub, ["verify", "owner/llama", out]);
  t.equal(broken.code, 1, broken.out);
});

t.test("a private repository needs the token, which goes to the Hub and nowhere else", async (t) => {
  const hub = await hubWith(t, {});
  hub.add("owner/secret", directoryFiles(path.join(fixtures, "llama")), { private: true });
  const out = path.join(t.testdir(), "out");
  const without = await run(t, hub, ["owner/secret", out]);
  t.equal(without.code, 5);
  t.match(without.err, "set HF_TOKEN (or use --token)");
  const token = await run(t, hub, ["owner/secret", out, "--every", "2", "--token", hub.token]);
  t.equal(token.code, 0, token.err);
  const everything =
    token.out +
    token.err +
    fs
      .readdirSync(out)
      .map((file) => fs.readFileSync(path.join(out, file), "latin1"))
      .join();
  t.notMatch(everything, hub.token, "the token is neither printed nor stored");
});

t.test(
  "mask, delta and an export for another trainer read an expanded checkpoint or its base from the Hub",
  async (t) => {
    const home = t.testdir({ "code.jsonl": '{"body":"let a = 1;"}\n' });
    const at = (name: string): string => path.join(home, name);
    const [source, delta] = [path.join(fixtures, "llama"), at("d.safetensors")];
    const empty = await hubWith(t, {});
    t.equal((await run(t, empty, ["expand", source, at("expanded"), "--every", "2"])).code, 0);
    const hub = await hubWith(t, { "owner/base": source, "owner/expanded": at("expanded") });
    t.equal(
      (await run(t, hub, ["mask", "owner/expanded"])).out,
      (await run(t, hub, ["mask", at("expanded")])).out,
      "the mask of the local files",
    );
    const extracted = await run(t, hub, ["delta", "extract", at("expanded"), delta, "--base", "owner/base"]);
    t.equal(extracted.code, 0, extracted.err);
    t.match(extracted.out, /^base {6}owner\/base, headers [0-9a-f]{12}\ncopies {4}2, 5\ndelta {5}/);
    const applied = await run(t, hub, ["delta", "apply", "owner/base", delta, at("again")]);
    t.equal(applied.code, 0, applied.err);
    t.same(directoryFiles(at("again")), directoryFiles(at("expanded")), "byte for byte");
    const words = ["--corpus", at("code.jsonl"), "--export", "accelerate", "--steps", "3"];
    const exported = await run(t, hub, ["train", "owner/expanded", at("job"), ...words, "--token", hub.readToken]);
    t.equal(exported.code, 0, exported.err);
    const { model, corpora, context } = JSON.parse(fs.readFileSync(at("job/train.json"), "utf8"));
    t.same([model, corpora[0].field, context], ["owner/expanded", "body", 64]);
  },
);

t.test("what needs the files on this disk says so, and how to get them", async (t) => {
  const hub = await hubWith(t, { "owner/llama": path.join(fixtures, "llama") });
  const home = t.testdir({ "code.txt": "let a = 1;" });
  const at = (name: string): string => path.join(home, name);
  const trained = await run(t, hub, ["train", "owner/llama", at("out"), "--corpus", at("code.txt")]);
  t.equal(
    trained.err,
    "error: owner/llama: is on the Hub; its weights must be on this disk to be trained\nfix: Download it first: hf download owner/llama --local-dir DIR.\n",
  );
  t.equal(trained.code, 2);
  const words = ["owner/llama", at("d.safetensors"), "--base", "owner/llama"];
  const extracted = await run(t, hub, ["delta", "extract", ...words]);
  t.equal(
    extracted.err,
    "error: owner/llama: is on the Hub; its files must be on this disk\nfix: Download it first: hf download owner/llama --local-dir DIR.\n",
  );
  const stripped = await run(t, hub, ["delta", "strip", "owner/llama", at("stripped")]);
  t.equal(stripped.err, extracted.err);
  t.same([extracted.code, stripped.code], [2, 2]);
  t.same(fs.readdirSync(home), ["code.txt"]);
});

t.test("what is neither a path nor a repository says both", async (t) => {
  const hub = await hubWith(t, {});
  const result = await run(t, hub, ["inspect", "owner/nothing"]);
  t.equal(result.code, 5);
  t.match(
    result.err,
    /error: owner\/nothing: does not exist on this machine; as a repository of the Hub: owner\/nothing: .+\nfix: Check the path; for a repository: Check the name; /,
    "the path first",
  );
  hub.add("owner/llama-small", directoryFiles(path.join(fixtures, "llama")));
  const close = await run(t, hub, ["inspect", "owner/llama-smal"]);
  t.match(close.err, "for a repository: Did you mean owner/llama-small?", "and close names");
  const file = await run(t, hub, ["inspect", "owner/llama-small:model.safetensor"]);
  t.equal(file.code, 3);
  t.match(file.err, /has no file "model\.safetensor"\nfix: Did you mean model\.safetensors\?/, "of files too");
});

t.test(
  "stories260K from the Hub is stories260K from the disk",
  { skip: !fs.existsSync(stories) && "needs shared/data" },
  async (t) => {
    const hub = await hubWith(t, { "karpathy/stories": stories });
    const home = t.testdir();
    t.equal((await run(t, hub, ["expand", stories, path.join(home, "local"), "--after", "1,3"])).code, 0);
    const result = await run(t, hub, ["karpathy/stories", path.join(home, "remote"), "--after", "1,3"]);
    t.equal(result.code, 0, result.err);
    sameFiles(t, path.join(home, "local"), path.join(home, "remote"));
    const text = path.join(home, "stories.txt");
    fs.writeFileSync(
      text,
      "Once upon a time, there was a little girl named Lily. She loved to play outside. ".repeat(20),
    );
    const words = ["--corpus", `tales=${text}`, "--context", "64", "--json"];
    const measured = await run(t, hub, ["evaluate", "karpathy/stories", path.join(home, "remote"), ...words]);
    t.equal(measured.code, 0, measured.err);
    const [far, near] = JSON.parse(measured.out).models;
    t.same([far.location, far.parameters, near.parameters], ["karpathy/stories", 260_032, 350_912]);
    t.equal(near.results[0].loss, far.results[0].loss, "an expansion changes nothing");
    t.equal(near.results[0].shift.unshifted, 1);
    const { out } = await run(t, hub, ["evaluate", stories, ...words]);
    t.same(JSON.parse(out).models[0].results, far.results, "and the disk's numbers are the Hub's");
  },
);
