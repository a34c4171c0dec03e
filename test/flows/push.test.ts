// Publishing as a user sees it: from an expansion to the Hub and back again, and everything that is refused.
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import t, { type Test } from "tap";
import { main } from "../../src/cli/main.ts";
import { openCheckpoint } from "../../src/formats/open.ts";
import { type HubDouble, startHub } from "../hub/double.ts";

const fixtures = path.resolve(import.meta.dirname, "../../fixtures");
const stories = path.resolve(import.meta.dirname, "../../../shared/data/stories260K/hf");

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** One command line with the Hub's token in the environment. */
async function run(hub: HubDouble, words: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Outcome> {
  const written = { out: "", err: "" };
  const saved = { ...process.env };
  Object.assign(process.env, { HF_ENDPOINT: hub.url, HF_TOKEN: hub.token, HF_HOME: "/nonexistent", ...env });
  try {
    const code = await main(words, {
      out: { write: (text: string) => (written.out += text) },
      err: { write: (text: string) => (written.err += text), isTTY: false },
    });
    return { code, ...written };
  } finally {
    for (const key of Object.keys(process.env)) if (!(key in saved)) delete process.env[key];
    Object.assign(process.env, saved);
  }
}

async function hubFor(t: Test): Promise<HubDouble> {
  const hub = await startHub({ pageSize: 4 });
  t.teardown(() => hub.close());
  return hub;
}

/** An expansion of the llama fixture; each test gets its own copy. */
const made = t.testdir();
const source = path.join(fixtures, "llama");
t.before(async () => {
  const hub = await startHub();
  await run(hub, ["expand", source, path.join(made, "out"), "--add", "2"]);
  await run(hub, ["expand", path.join(fixtures, "llama.gguf"), path.join(made, "big.gguf"), "--every", "2"]);
  await hub.close();
});

function copyOf(t: Test): string {
  const directory = path.join(t.testdir(), "out");
  fs.cpSync(path.join(made, "out"), directory, { recursive: true });
  return directory;
}

async function sameAs(t: Test, hub: HubDouble, repo: string, directory: string, revision = "main"): Promise<void> {
  for (const name of fs.readdirSync(directory).filter((file) => !/^(?:verification\.json|README\.md)$/.test(file))) {
    const there = await hub.content(repo, name, revision);
    t.ok(there?.equals(fs.readFileSync(path.join(directory, name))), `${name} is on the Hub byte for byte`);
  }
}

t.test("push: a dry run, a new private repository, and the same again", async (t) => {
  const hub = await hubFor(t);
  const directory = copyOf(t);
  const dry = await run(hub, ["push", directory, "alice/tiny", "--private", "--dry-run"]);
  t.equal(dry.code, 0, dry.err);
  t.match(dry.out, `target    ${hub.url}/alice/tiny (new, private)\nfiles     9: 9 new, 0 changed, 0 there already;`);
  t.match(dry.out, "  new      model.safetensors  33.5 kB\n");
  t.ok(dry.out.endsWith("nothing was changed (--dry-run)\n"));
  t.equal(hub.repositories.size, 0);
  const result = await run(hub, ["push", directory, "alice/tiny", "--private"]);
  t.equal(result.code, 0, result.err);
  t.match(result.out, /published commit [0-9a-f]{40}\n$/);
  t.equal(hub.repositories.get("models/alice/tiny")?.private, true);
  await sameAs(t, hub, "alice/tiny", directory);
  const again = await run(hub, ["push", directory, "alice/tiny"]);
  t.match(again.out, "files     9: 0 new, 0 changed, 9 there already; 0 B to send\n");
  t.match(again.out, "has all of it already: commit ");
  t.equal(hub.repositories.get("models/alice/tiny")?.commits.size, 2);
  const proof = (await hub.content("alice/tiny", "verification.json"))?.toString() ?? "";
  t.notMatch(proof, directory, "no path of this machine");
  t.match(JSON.parse(proof), { verdict: "identity", before: { location: "BEFORE" }, after: { location: "AFTER" } });
  t.equal((await run(hub, ["verify", source, "alice/tiny"])).code, 0);
});

t.test("push --json, --revision, --pr and --message", async (t) => {
  const hub = await hubFor(t);
  const directory = copyOf(t);
  const first = await run(hub, ["push", directory, "alice/tiny@dev", "--json", "--message", "my words"]);
  const report = JSON.parse(first.out);
  t.match(report, { repo: "alice/tiny", revision: "dev", created: true, private: false, leftOut: [] });
  t.match(report.card, "# tiny");
  const kept = hub.repositories.get("models/alice/tiny");
  t.equal(kept?.commits.get(report.commit)?.title, "my words");
  await sameAs(t, hub, "alice/tiny", directory, "dev");
  t.same(hub.files("alice/tiny"), [".gitattributes"], "main stays as it was");
  const aside = await run(hub, ["push", directory, "alice/tiny", "--pr"]);
  t.match(aside.out, `opened    ${hub.url}/alice/tiny/discussions/1`);
  t.same(hub.files("alice/tiny"), [".gitattributes"]);
});

t.test("a GGUF file goes with its papers, and nothing else of its directory", async (t) => {
  const hub = await hubFor(t);
  const result = await run(hub, ["push", path.join(made, "big.gguf"), "alice/tiny-gguf"]);
  t.equal(result.code, 0, result.err);
  t.same(hub.files("alice/tiny-gguf"), [
    ".gitattributes",
    "README.md",
    "big.gguf",
    "big.manifest.json",
    "big.mask.json",
    "big.plan.json",
    "big.source.json",
    "big.verification.json",
  ]);
  const card = (await hub.content("alice/tiny-gguf", "README.md"))?.toString() ?? "";
  t.match(card, "expand SOURCE OUT --plan big.plan.json\n");
  t.match(card, "verify SOURCE alice/tiny-gguf:big.gguf\n");
  t.match(card, "No recipe for: axolotl (trainers do not read GGUF;");
});

t.test("the card on the Hub is extended, the one beside the weights where there is none", async (t) => {
  const hub = await hubFor(t);
  const directory = copyOf(t);
  fs.writeFileSync(path.join(directory, "README.md"), "---\nlicense: mit\n---\n# Local\n");
  await run(hub, ["push", directory, "alice/tiny"]);
  const first = (await hub.content("alice/tiny", "README.md"))?.toString() ?? "";
  t.match(first, /^---\nlicense: mit\ntags:\n/);
  t.match(first, "# Local\n");
  hub.add("alice/tiny", { "README.md": first.replace("# Local", "# Edited on the Hub") });
  fs.writeFileSync(path.join(directory, "README.md"), "# other\n");
  const again = await run(hub, ["push", directory, "alice/tiny"]);
  t.match(again.out, "0 changed, 9 there already");
  t.match((await hub.content("alice/tiny", "README.md"))?.toString() ?? "", "# Edited on the Hub");
});

/** As `train` leaves it: other values in the copies, the proof of that, and a summary. */
async function trainedFrom(t: Test, hub: HubDouble): Promise<string> {
  const directory = copyOf(t);
  const expanded = path.join(made, "out");
  const at = (name: string): string => path.join(directory, name);
  const mask = JSON.parse(fs.readFileSync(at("mask.json"), "utf8"));
  const { tensors } = await openCheckpoint(directory);
  const data = fs.readFileSync(at("model.safetensors"));
  for (const [name, tensor] of tensors) {
    if (mask.tensors[name] === "trainable" && tensor.kind === "stored")
      data[tensor.offset] = (data[tensor.offset] ?? 0) ^ 1;
  }
  fs.writeFileSync(at("model.safetensors"), data);
  const sha256 = createHash("sha256").update(data).digest("hex");
  const manifest = JSON.parse(fs.readFileSync(at("manifest.json"), "utf8"));
  for (const entry of manifest.files) if (entry.name === "model.safetensors") entry.sha256 = sha256;
  fs.writeFileSync(at("manifest.json"), JSON.stringify(manifest));
  const words = ["verify", expanded, directory, "--mode", "trained", "--report", at("verification.json")];
  const proof = await run(hub, words);
  t.equal(proof.code, 0, proof.out);
  const summary = {
    schema: "expand-checkpoint/training-summary/1",
    ...{
      steps: 10,
      tokens: 640,
      seconds: 1,
      batch: 2,
      accumulate: 1,
      context: 32,
      decay: 0.1,
      dtype: "f32",
      verdict: "trained",
    },
    schedule: { kind: "cosine", peak: 2e-4, warmup: 1 },
    ...{ loss: { first: 5, last: 4 }, corpora: [{ name: "code.jsonl" }], evaluations: [], blocks: [2, 5] },
  };
  fs.writeFileSync(at("training.json"), JSON.stringify(summary));
  return directory;
}

t.test(
  "a trained checkpoint is published with its summary, and with a card that does not call it identity",
  async (t) => {
    const hub = await hubFor(t);
    const directory = await trainedFrom(t, hub);
    const base = hub.add(
      "bob/tiny",
      Object.fromEntries(fs.readdirSync(source).map((name) => [name, fs.readFileSync(path.join(source, name))])),
    );
    const result = await run(hub, ["push", directory, "alice/trained", "--base-model", "bob/tiny"]);
    t.equal(result.code, 0, result.err);
    t.ok(hub.files("alice/trained").includes("training.json"));
    await sameAs(t, hub, "alice/trained", directory);
    const card = (await hub.content("alice/trained", "README.md"))?.toString() ?? "";
    t.match(card, "**trained: AFTER is BEFORE with other values in every trainable tensor, and nothing else changed**");
    t.match(card, "| corpus | `code.jsonl` |");
    t.notMatch(card, "computes exactly what its source computes");
    t.match(card, `expand bob/tiny@${base} EXPANDED --plan plan.json`);
    const proof = JSON.parse((await hub.content("alice/trained", "verification.json"))?.toString() ?? "{}");
    t.match(proof, { mode: "trained", before: { location: "BEFORE" }, after: { location: "AFTER" } });
    t.equal((await run(hub, ["verify", path.join(made, "out"), "alice/trained", "--mode", "trained"])).code, 0);
    t.equal((await run(hub, ["verify", source, "alice/trained"])).code, 1, "it is no identity expansion any more");

    for (const [change, code, message] of [
      [['"mode": "trained"', '"mode": "both"'], 4, "the proof says nothing (verification.json)\nfix: Expand again;"],
      [
        ['"verdict": "trained"', '"verdict": "not-trained"'],
        4,
        "the proof failed (verification.json)\nfix: Train again;",
      ],
      [
        ['"verdict": "trained"', '"verdict": "inconclusive"'],
        4,
        "the proof is inconclusive (verification.json)\nfix: Train again;",
      ],
    ] as const) {
      const file = path.join(directory, "verification.json");
      const text = fs.readFileSync(file, "utf8");
      t.match(text, change[0]);
      fs.writeFileSync(file, text.replace(change[0], change[1]));
      const refused = await run(hub, ["push", directory, "alice/trained"]);
      t.equal(refused.code, code);
      t.match(refused.err, message);
      fs.writeFileSync(file, text);
    }
    fs.writeFileSync(path.join(directory, "training.json"), "{}");
    const damaged = await run(hub, ["push", directory, "alice/trained"]);
    t.equal(damaged.code, 3);
    t.match(
      damaged.err,
      'error: training.json: expected "schema": "expand-checkpoint/training-summary/1" and the numbers of a run, found null\nfix: Remove the file, or take it from the output of train.\n',
    );
  },
);

t.test("--base-model is believed when its headers are those that were expanded", async (t) => {
  const hub = await hubFor(t);
  const directory = copyOf(t);
  const files = (from: string) =>
    Object.fromEntries(fs.readdirSync(from).map((name) => [name, fs.readFileSync(path.join(from, name))]));
  const commit = hub.add("bob/tiny", { ...files(source), "README.md": "---\nlicense: mit\n---\n" });
  hub.add("bob/other", files(path.join(fixtures, "gemma2")));
  const result = await run(hub, ["push", directory, "alice/tiny", "--base-model", "bob/tiny"]);
  t.equal(result.code, 0, result.err);
  const card = (await hub.content("alice/tiny", "README.md"))?.toString() ?? "";
  t.match(card, /^---\nbase_model: bob\/tiny\nlicense: mit\n/);
  t.match(card, `expand bob/tiny@${commit} OUT --plan plan.json`);
  const wrong = await run(hub, ["push", directory, "alice/tiny", "--base-model", "bob/other"]);
  t.equal(wrong.code, 3);
  t.match(
    wrong.err,
    /error: bob\/other: is not what was expanded: its headers are [0-9a-f]{12}, those of the source were/,
  );
});

t.test(
  "expand --push: from the Hub to the Hub, with the source's licence",
  { skip: !fs.existsSync(stories) && "no stories260K here" },
  async (t) => {
    const hub = await hubFor(t);
    const directory = path.join(t.testdir(), "out");
    const files = Object.fromEntries(
      fs.readdirSync(stories).map((name) => [name, fs.readFileSync(path.join(stories, name))]),
    );
    const commit = hub.add("karpathy/stories", { ...files, "README.md": "---\nlicense: mit\n---\n# Stories\n" });
    const words = ["karpathy/stories", directory, "--add", "2", "--push", "alice/stories", "--private"];
    const result = await run(hub, words);
    t.equal(result.code, 0, result.err);
    t.match(result.out, `target    ${hub.url}/alice/stories (new, private)`);
    await sameAs(t, hub, "alice/stories", directory);
    const local = path.join(t.testdirName, "local");
    await run(hub, ["expand", stories, local, "--add", "2"]);
    const weights = fs.readFileSync(path.join(local, "model.safetensors"));
    t.ok((await hub.content("alice/stories", "model.safetensors"))?.equals(weights), "as the local run writes it");
    const card = (await hub.content("alice/stories", "README.md"))?.toString() ?? "";
    t.match(card, /^---\nlicense: mit\nbase_model: karpathy\/stories\ntags:\n/);
    t.match(card, `npx expand-checkpoint@0.1.0 expand karpathy/stories@${commit} OUT --plan plan.json`);
    t.match(card, "<!-- expand-checkpoint:end -->\n\n# Stories\n");
    const report = JSON.parse((await hub.content("alice/stories", "verification.json"))?.toString() ?? "{}");
    t.equal(report.before.location, `karpathy/stories@${commit}`);
    t.equal((await run(hub, ["verify", "karpathy/stories", "alice/stories"])).code, 0);
  },
);

t.test("expand --push --stream: one file at a time, the same bytes, and an honest card", async (t) => {
  const hub = await hubFor(t);
  const sharded = path.join(fixtures, "llama-sharded");
  const home = t.testdir();
  const directory = path.join(home, "out");
  /** Files of weights on the disk, at each request that carries one. */
  const held: string[][] = [];
  hub.inject = ({ method }) => {
    if (method === "PUT") held.push(fs.readdirSync(`${directory}.stream`).filter((name) => !name.startsWith(".")));
    return undefined;
  };
  const result = await run(hub, ["expand", sharded, directory, "--add", "2", "--push", "alice/tiny", "--stream"]);
  t.equal(result.code, 0, result.err);
  t.match(result.out, "; the weights were removed once they were sent\n");
  t.same(held, [["model-00001-of-00002.safetensors"], ["model-00002-of-00002.safetensors"]]);
  t.same(fs.readdirSync(home), ["out"]);
  t.notOk(fs.readdirSync(directory).some((name) => name.endsWith(".safetensors")));
  const local = path.join(home, "local");
  await run(hub, ["expand", sharded, local, "--add", "2"]);
  await sameAs(t, hub, "alice/tiny", local);
  t.equal(hub.repositories.get("models/alice/tiny")?.commits.size, 2, "one commit after the first one");
  const card = (await hub.content("alice/tiny", "README.md"))?.toString() ?? "";
  t.match(
    card,
    "The proof was made on the files as planned; each one was then compared with its plan byte for byte on the disk",
  );
  t.equal((await run(hub, ["verify", sharded, "alice/tiny"])).code, 0);
  const again = await run(hub, ["push", directory, "alice/other"]);
  t.match(again.err, "error: model-00001-of-00002.safetensors: is in the manifest, but not there\n");
});

t.test("a streamed run that is cut off leaves no weights and no commit, and sends nothing twice", async (t) => {
  const hub = await hubFor(t);
  const home = t.testdir();
  const words = [
    "expand",
    path.join(fixtures, "llama-sharded"),
    path.join(home, "out"),
    "--add",
    "2",
    "--push",
    "alice/tiny",
    "--stream",
  ];
  hub.faults.push({ kind: "status", status: 403, path: /\/objects\/batch/, skip: 1 });
  const cut = await run(hub, words);
  t.equal(cut.code, 5, cut.out);
  t.same(fs.readdirSync(home), []);
  t.same(hub.files("alice/tiny"), [".gitattributes"]);
  hub.log.length = 0;
  const whole = await run(hub, words);
  t.equal(whole.code, 0, whole.err);
  t.equal(hub.log.filter(({ method }) => method === "PUT").length, 1);
});

t.test("GGUF and ONNX models are streamed too", async (t) => {
  const hub = await hubFor(t);
  const home = t.testdir();
  for (const [file, out, name] of [
    ["llama.gguf", "big.gguf", "alice/gguf"],
    ["onnx-traced", "onnx", "alice/onnx"],
  ] as const) {
    const from = path.join(fixtures, file);
    const result = await run(hub, ["expand", from, path.join(home, out), "--add", "1", "--push", name, "--stream"]);
    t.equal(result.code, 0, `${file}: ${result.err}`);
    t.equal((await run(hub, ["verify", from, name])).code, 0, file);
  }
});

t.test("expand --push looks at the target before anything is written", async (t) => {
  const hub = await hubFor(t);
  const directory = path.join(t.testdir(), "out");
  hub.add("alice/public", { "a.txt": "a" });
  for (const [words, env, code, message] of [
    [["--push", "alice/public", "--private"], {}, 4, "error: alice/public: is public, and --private is for"],
    [["--push", "alice/new"], { HF_TOKEN: "" }, 5, "error: publishing needs a token"],
    [
      ["--push", "alice/new", "--verify", "none"],
      {},
      2,
      "error: --push publishes nothing without a proof (--verify none)",
    ],
    [["--push", "alice/new", "--no-hash"], {}, 2, "error: --push publishes nothing without digests (--no-hash)"],
    [["--push", "alice"], {}, 2, 'error: a repository is called owner/name, not "alice"'],
    [["--stream"], {}, 2, "error: --stream does not go without --push"],
    [["--push", "alice/new", "--stream", "--verify", "full"], {}, 2, "error: --stream does not go with --verify full"],
    [["--pr"], {}, 2, "error: --pr says how to publish, and there is no --push"],
    [["--revision", "v1"], {}, 2, "fix: A revision of the source is written owner/name@revision."],
  ] as const) {
    const result = await run(hub, ["expand", source, directory, ...words], env);
    t.equal(result.code, code, words.join(" "));
    t.match(result.err, message);
    t.notOk(fs.existsSync(directory), "nothing was written");
  }
});

t.test("what was not proved, what changed, and what is secret is not published", async (t) => {
  const hub = await hubFor(t);
  hub.add("alice/taken", { "model.safetensors": "x", "model-00001-of-00002.safetensors": "y" });
  const edit = (name: string, change: (text: string) => string) => (directory: string) => {
    const file = path.join(directory, name);
    fs.writeFileSync(file, change(fs.readFileSync(file, "utf8")));
  };
  const remove = (name: string) => (directory: string) => fs.rmSync(path.join(directory, name));
  /** Puts a file into the directory and into the manifest, as an asset of the source would be. */
  const carry = (name: string, text: string) => (directory: string) => {
    fs.mkdirSync(path.dirname(path.join(directory, name)), { recursive: true });
    fs.writeFileSync(path.join(directory, name), text);
    edit("manifest.json", (manifest) => {
      const value = JSON.parse(manifest);
      const sha256 = createHash("sha256").update(text).digest("hex");
      value.files.push({ name, size: Buffer.byteLength(text), sha256 });
      return JSON.stringify(value);
    })(directory);
  };
  const token = `hf_${"a1B2".repeat(9)}`;
  for (const [title, spoil, code, error, fix] of [
    [
      "no manifest",
      remove("manifest.json"),
      3,
      "DIR: holds no manifest.json: it is not what expand wrote",
      "Name the output of expand-checkpoint expand.",
    ],
    [
      "no proof",
      remove("verification.json"),
      4,
      "DIR: there is no verification.json: nobody has proved that it computes what its source computes",
      undefined,
    ],
    [
      "a failed proof",
      edit("verification.json", (text) => text.replace('"identity"', '"not-identity"')),
      4,
      "DIR: the proof failed (verification.json)",
      "Expand again; only a model that computes what its source computes is published as such.",
    ],
    [
      "an open proof",
      edit("verification.json", (text) => text.replace('"identity"', '"inconclusive"')),
      4,
      "DIR: the proof is inconclusive (verification.json)",
      "Expand again; only a model that computes what its source computes is published as such.",
    ],
    [
      "another proof",
      edit("verification.json", (text) => text.replaceAll(/"headers": "[0-9a-f]{8}/g, '"headers": "00000000')),
      3,
      "DIR: the proof in verification.json is of another checkpoint",
      undefined,
    ],
    ["no plan", remove("plan.json"), 3, "plan.json: is missing", "Expand again."],
    [
      "a longer file",
      edit("tokenizer.json", (text) => `${text} `),
      3,
      "tokenizer.json: has 59 bytes, the manifest says 58: it changed after it was proved",
      "Expand again, or restore the file.",
    ],
    [
      "a changed file",
      edit("tokenizer.json", (text) => text.replace(/^./, " ")),
      3,
      "tokenizer.json: has another SHA-256 than the manifest says: it changed after it was proved",
      "Expand again, or restore the file.",
    ],
    [
      "no digests",
      edit("manifest.json", (text) => text.replaceAll(/,\s*"sha256": "[0-9a-f]+"/g, "")),
      4,
      "model.safetensors: has no SHA-256 in the manifest, so nothing shows that it is what was proved",
      "Expand or train again without --no-hash.",
    ],
    [
      "a file that is gone",
      remove("tokenizer.json"),
      3,
      "tokenizer.json: is in the manifest, but not there",
      "Expand again, or restore the file.",
    ],
    ["a file of keys", carry("deep/id_rsa", "x"), 4, "deep/id_rsa: looks like a file of keys or tokens", undefined],
    ["a file of settings", carry(".env.local", "x"), 4, ".env.local: looks like a file of keys or tokens", undefined],
    ["a hidden file", carry(".git/config", "x"), 4, ".git/config: is a hidden file", undefined],
    [
      "a token",
      carry("train.py", `# a\nlogin("${token}")\n`),
      4,
      "train.py: line 2 holds what looks like a token of Hugging Face",
      undefined,
    ],
    [
      "a key of AWS",
      carry("x.json", '{"k": "AKIAABCDEFGHIJKLMNOP"}'),
      4,
      "x.json: line 1 holds what looks like a key of AWS",
      undefined,
    ],
    [
      "a token of GitHub",
      carry("x.txt", `ghp_${"a".repeat(36)}`),
      4,
      "x.txt: line 1 holds what looks like a token of GitHub",
      undefined,
    ],
    [
      "a private key",
      carry("x.txt", "\n-----BEGIN OPENSSH PRIVATE KEY-----"),
      4,
      "x.txt: line 2 holds what looks like a private key",
      undefined,
    ],
    ["a token in the card", carry("README.md", `# hello\n${token}`), 4, undefined, undefined],
  ] as const) {
    const directory = copyOf(t);
    spoil(directory);
    const result = await run(hub, ["push", directory, "alice/tiny"]);
    t.equal(result.code, code, `${title}: ${result.err}`);
    if (error !== undefined) t.match(result.err, `error: ${error.replace("DIR", directory)}\n`, title);
    if (fix !== undefined) t.match(result.err, `fix: ${fix}\n`, title);
    t.notMatch(`${result.err}${result.out}`, token, "never shown");
    t.notOk(hub.repositories.has("models/alice/tiny"), title);
  }
  const directory = copyOf(t);
  const taken = await run(hub, ["push", directory, "alice/taken"]);
  t.equal(taken.code, 4);
  t.match(taken.err, "error: alice/taken: holds the weights of another model (model-00001-of-00002.safetensors)\n");
  t.match(taken.err, "fix: Push to a repository of its own, or remove those files on the Hub first.\n");
});

t.test("what lies beside a model stays at home, but for its papers", async (t) => {
  const hub = await hubFor(t);
  const directory = copyOf(t);
  for (const name of [".env", "notes.txt", "old.safetensors", "LICENSE", "plot.png", "proof.html"]) {
    fs.writeFileSync(path.join(directory, name), "x");
  }
  fs.mkdirSync(path.join(directory, "checkpoints"));
  const result = await run(hub, ["push", directory, "alice/tiny"]);
  t.equal(result.code, 0, result.err);
  t.match(result.out, "left out  .env, checkpoints, notes.txt, old.safetensors\n");
  const there = hub.files("alice/tiny");
  t.same(
    there.filter((name) => /LICENSE|plot|proof|notes|env|old/.test(name)),
    ["LICENSE", "plot.png", "proof.html"],
  );
});

t.test("a private repository without a token, a bad token, a read token; the token is never shown", async (t) => {
  const hub = await hubFor(t);
  hub.add("alice/hidden", { "a.txt": "a" }, { private: true });
  const directory = copyOf(t);
  for (const [token, message] of [
    ["", "error: publishing needs a token\n"],
    [
      "hf_wrong",
      "error: alice/hidden: the Hub does not know this token (401: Invalid credentials in Authorization header)\n",
    ],
    [
      hub.readToken,
      "error: alice/hidden: the Hub does not let this token do that (403: Forbidden: you must use a write token to upload to a repository.)\n",
    ],
  ] as const) {
    const result = await run(hub, ["push", directory, "alice/hidden"], { HF_TOKEN: token });
    t.equal(result.code, 5);
    t.match(result.err, message);
    if (token !== "") t.notMatch(result.err + result.out, token);
  }
  t.same(hub.files("alice/hidden"), [".gitattributes", "a.txt"]);
  const given = await run(hub, ["push", directory, "alice/hidden", "--token", hub.token], { HF_TOKEN: "hf_wrong" });
  t.equal(given.code, 0, given.err);
  t.notMatch(given.err + given.out, hub.token);
});

t.test("push --help shows its options, examples and exit codes", async (t) => {
  const hub = await hubFor(t);
  const { out, code } = await run(hub, ["push", "--help"]);
  t.equal(code, 0);
  for (const word of [
    "Hub:",
    "--private",
    "--pr",
    "--revision",
    "--message",
    "--base-model",
    "--token",
    "--dry-run",
    "Examples:",
  ]) {
    t.match(out, word);
  }
  t.match(out, "Exit codes: 0 published, 2 usage, 3 changed since it was proved, 4 not proved, secrets, or other");
});
