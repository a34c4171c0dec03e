// Deltas as a user meets them: the copies taken out, put back onto their base and no other, and left off; byte for byte.
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import t from "tap";
import { fingerprint } from "../../src/checkpoint/fingerprint.ts";
import { main } from "../../src/cli/main.ts";
import { applyDelta, extractDelta, stripExpansion } from "../../src/commands/delta.ts";
import { type ExpandOptions, expand } from "../../src/commands/expand.ts";
import { verify } from "../../src/commands/verify.ts";
import { finish } from "../../src/events.ts";
import { openCheckpoint } from "../../src/formats/open.ts";
import { readHeader } from "../../src/formats/safetensors/header.ts";
import { fileSource } from "../../src/tensor/source.ts";

const fixtures = path.resolve(import.meta.dirname, "..", "..", "fixtures");
const base = path.join(fixtures, "llama");

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function run(...words: string[]): Promise<Outcome> {
  const [out, err]: [string[], string[]] = [[], []];
  const streams = {
    out: { write: (text: string) => out.push(text) },
    err: { write: (text: string) => err.push(text) },
  };
  const code = await main([...words, "--no-progress"], streams);
  return { code, out: out.join(""), err: err.join("") };
}

/** SHA-256 of every file below a directory, or of one file, by name. */
function digests(location: string): Record<string, string> {
  const single = fs.statSync(location).isFile();
  const directory = single ? path.dirname(location) : location;
  const names = single ? [path.basename(location)] : fs.readdirSync(location, { recursive: true, encoding: "utf8" });
  const files = names.sort().filter((name) => fs.statSync(path.join(directory, name)).isFile());
  const digest = (name: string): string =>
    createHash("sha256")
      .update(fs.readFileSync(path.join(directory, name)))
      .digest("hex");
  return Object.fromEntries(files.map((name) => [name, digest(name)]));
}

async function expandTo(output: string, source: string, options: Partial<ExpandOptions> = {}): Promise<string> {
  await finish(expand({ source: path.join(fixtures, source), output, add: 2, ...options }));
  return output;
}

/** Changes one byte of a tensor where it is stored. */
async function spoil(location: string, tensor: string): Promise<void> {
  const found = (await openCheckpoint(location)).tensors.get(tensor);
  if (found?.kind !== "stored" || found.source.path === undefined) throw new TypeError(`the test has no ${tensor}`);
  flip(found.source.path, found.offset + 1);
}

function flip(file: string, at: number): void {
  const data = fs.readFileSync(file);
  data[at] = (data[at] ?? 0) ^ 1;
  fs.writeFileSync(file, data);
}

function copyOf(directory: string, location: string): string {
  const copy = path.join(directory, "copy", path.basename(location));
  fs.cpSync(location, copy, { recursive: true });
  return copy;
}

const CASES: Readonly<Record<string, readonly [source: string, output: string, options?: Partial<ExpandOptions>]>> = {
  safetensors: ["llama", "out"],
  "safetensors in shards": ["llama-sharded", "out"],
  "safetensors in other shards than the source": ["llama-sharded", "out", { shardSize: 12_000 }],
  "a mixture of experts": ["mixtral", "out"],
  "norm gains": ["gemma2", "out"],
  "masks of other trainers beside it": ["llama", "out", { masks: ["axolotl", "torch"] }],
  GGUF: ["llama.gguf", "big.gguf"],
  "GGUF in parts": ["llama.gguf", "out", { shardSize: 20_000 }],
  "ONNX with data beside": ["onnx-genai", "out"],
  "ONNX in one file": ["onnx-traced", "out"],
};

for (const [title, [source, name, options]] of Object.entries(CASES)) {
  t.test(
    `${title}: extract and apply give the expanded checkpoint, strip gives the source, byte for byte`,
    async (t) => {
      const directory = t.testdir({ made: {} });
      const expanded = await expandTo(path.join(directory, "made", name), source, options);
      const made = fs.statSync(expanded).isFile() ? path.dirname(expanded) : expanded;
      const delta = path.join(directory, "delta.safetensors");
      const from = path.join(fixtures, source);
      const extracted = await finish(extractDelta({ expanded, base: from, output: delta }));
      t.equal(extracted.copies.length, 2);
      t.same(extracted.others, []);
      t.same([...extracted.files].sort(), Object.keys(digests(made)));

      const again = path.join(directory, "again");
      await finish(applyDelta({ base: from, delta, output: again }));
      t.same(digests(again), digests(made));

      const stripped = path.join(directory, "stripped");
      const report = await finish(stripExpansion({ expanded, output: stripped }));
      t.same(digests(stripped), digests(from));
      t.equal(report.shown, "proved");
    },
  );
}

t.test("a delta holds the copies' tensors under their names, and nothing of the originals", async (t) => {
  const directory = t.testdir();
  const expanded = await expandTo(path.join(directory, "out"), "llama");
  const delta = path.join(directory, "delta.safetensors");
  await finish(extractDelta({ expanded, base, output: delta }));
  const { tensors, metadata } = await readHeader(fileSource(delta));
  const weights = [...tensors.keys()].filter((name) => !name.startsWith("expand-checkpoint/file/"));
  t.equal(weights.length, 18);
  t.ok(weights.every((name) => /^model\.layers\.(?:2|5)\./.test(name)));
  const record = JSON.parse(metadata?.get("expand-checkpoint") ?? "{}");
  t.same(record.plan, JSON.parse(fs.readFileSync(path.join(expanded, "plan.json"), "utf8")));
  t.equal(Object.keys(record.base.tensors).length, (await openCheckpoint(base)).tensors.size);
  t.equal(metadata?.get("format"), "pt");
});

t.test("a trained checkpoint comes back as well, and its source from under the training", async (t) => {
  const directory = t.testdir();
  const expanded = await expandTo(path.join(directory, "expanded"), "llama");
  const trained = path.join(directory, "trained");
  fs.cpSync(expanded, trained, { recursive: true });
  const mask = JSON.parse(fs.readFileSync(path.join(expanded, "mask.json"), "utf8"));
  const trainable = Object.keys(mask.tensors).filter((name) => mask.tensors[name] === "trainable");
  for (const name of trainable) await spoil(trained, name);
  const proof = await finish(verify({ before: expanded, after: trained, mode: "trained" }));
  t.equal(proof.verdict, "trained");
  const delta = path.join(directory, "delta.safetensors");
  const report = await finish(extractDelta({ expanded: trained, base, output: delta }));
  t.same(report.changed, ["model.safetensors"], "what the manifest does not say is told");
  await finish(applyDelta({ base, delta, output: path.join(directory, "again") }));
  t.same(digests(path.join(directory, "again")), digests(trained));
  const told = await run("delta", "extract", trained, path.join(directory, "told.safetensors"), "--base", base);
  t.match(told.out, /^changed {3}model\.safetensors: not what the manifest says, and taken as it is$/m);

  const strip = (unproved: boolean) =>
    finish(stripExpansion({ expanded: trained, output: path.join(directory, `strip-${unproved}`), unproved }));
  await t.rejects(strip(false), {
    tag: "input",
    message: `${trained}: nothing shows that its originals are still the source's: model.safetensors changed after it was proved`,
    fix: "Pass --unproved to strip it as it is, and compare the result with what you know of the source.",
  });
  t.equal((await strip(true)).shown, "nothing");
  t.same(digests(path.join(directory, "strip-true")), digests(base));

  fs.writeFileSync(path.join(trained, "verification.json"), JSON.stringify(proof));
  const manifest = JSON.parse(fs.readFileSync(path.join(trained, "manifest.json"), "utf8"));
  const sha256 = digests(trained)["model.safetensors"];
  for (const entry of manifest.files) if (entry.name === "model.safetensors") entry.sha256 = sha256;
  fs.writeFileSync(path.join(trained, "manifest.json"), JSON.stringify(manifest));
  t.equal((await strip(false)).shown, "proved", "as train leaves it, the proof of the training serves");
  t.same(digests(path.join(directory, "strip-false")), digests(base));
});

t.test("a wrong base is refused before anything is written", async (t) => {
  const directory = t.testdir();
  const expanded = await expandTo(path.join(directory, "expanded"), "llama");
  const delta = path.join(directory, "delta.safetensors");
  const output = path.join(directory, "again");
  await finish(extractDelta({ expanded, base, output: delta }));
  const refused = async (wrong: string, message: RegExp, fix: string): Promise<void> => {
    await t.rejects(finish(applyDelta({ base: wrong, delta, output })), { tag: "input", message, fix });
    t.notOk(fs.existsSync(output), "nothing was written");
  };
  const headers = /: is not the base of this delta: its headers are [0-9a-f]{12}, those of the base were [0-9a-f]{12}$/;
  const name = "Name the checkpoint that was expanded, with its settings as they were.";
  await refused(path.join(fixtures, "gemma2"), headers, name);
  await refused(expanded, headers, name);
  const other = copyOf(directory, base);
  fs.writeFileSync(
    path.join(other, "config.json"),
    fs.readFileSync(path.join(other, "config.json"), "utf8").replace("llama", "llama2"),
  );
  await refused(other, headers, name);

  fs.rmSync(other, { recursive: true });
  copyOf(directory, base);
  await spoil(other, "model.layers.1.mlp.up_proj.weight");
  await refused(
    other,
    /: is not the base of this delta: 1 of 40 tensors and files have other bytes \(model\.layers\.1\.mlp\.up_proj\.weight\)$/,
    "Name the checkpoint that was expanded, untrained and unchanged.",
  );
  fs.rmSync(other, { recursive: true });
  copyOf(directory, base);
  fs.writeFileSync(path.join(other, "tokenizer.json"), "{ }");
  await refused(
    other,
    /1 of 40 tensors and files have other bytes \(tokenizer\.json\)$/,
    "Name the checkpoint that was expanded, untrained and unchanged.",
  );
});

t.test("the base may lie in other shards", async (t) => {
  const directory = t.testdir();
  const expanded = await expandTo(path.join(directory, "expanded"), "llama-sharded");
  const delta = path.join(directory, "delta.safetensors");
  await finish(extractDelta({ expanded, base: path.join(fixtures, "llama-sharded"), output: delta }));
  const whole = path.join(directory, "whole");
  const made = path.join(directory, "made");
  // Expanded into one file and stripped of nothing but its shards: the base's tensors, laid out anew.
  await finish(
    extractDelta({
      expanded,
      base: path.join(fixtures, "llama-sharded"),
      output: path.join(directory, "same.safetensors"),
    }),
  );
  t.same(digests(delta)["delta.safetensors"], digests(path.join(directory, "same.safetensors"))["same.safetensors"]);
  const { tensors, config } = await openCheckpoint(path.join(fixtures, "llama-sharded"));
  if (config.dialect !== "hf") throw new TypeError("the fixture has no config.json");
  const { planSafetensors } = await import("../../src/formats/safetensors/write.ts");
  const { writeFiles } = await import("../../src/storage/write.ts");
  const files = planSafetensors([{ tensors: [...tensors], originals: tensors.size }]);
  await finish(
    writeFiles(whole, files, () => [], { key: "k", hash: false, sparse: false, resume: false, link: false }),
  );
  for (const [name, { text }] of config.documents) fs.writeFileSync(path.join(whole, name), text);
  await finish(applyDelta({ base: whole, delta, output: made }));
  t.same(digests(made), digests(expanded));
});

t.test("a damaged delta, and what is none, is refused before anything is written", async (t) => {
  const directory = t.testdir();
  const expanded = await expandTo(path.join(directory, "expanded"), "llama");
  const delta = path.join(directory, "delta.safetensors");
  const output = path.join(directory, "again");
  await finish(extractDelta({ expanded, base, output: delta }));
  const name = "model.layers.2.mlp.gate_proj.weight";
  const found = (await readHeader(fileSource(delta))).tensors.get(name);
  if (found?.kind !== "stored") throw new TypeError("the delta has no gate");
  flip(delta, found.offset);
  await t.rejects(finish(applyDelta({ base, delta, output })), {
    tag: "damaged",
    message: `${delta}: 1 of its tensors has other bytes than it says (${name})`,
    fix: "Copy or extract the delta again.",
  });
  flip(delta, found.offset);
  const kept = (await readHeader(fileSource(delta))).tensors.get("expand-checkpoint/file/plan.json");
  if (kept?.kind !== "stored") throw new TypeError("the delta has no plan");
  flip(delta, kept.offset + 20);
  await t.rejects(finish(applyDelta({ base, delta, output })), {
    tag: "damaged",
    message: `${delta}: 1 of its tensors has other bytes than it says (expand-checkpoint/file/plan.json)`,
  });
  t.notOk(fs.existsSync(output));
  await t.rejects(finish(applyDelta({ base, delta: path.join(base, "model.safetensors"), output })), {
    tag: "input",
    message: `${path.join(base, "model.safetensors")}: is no delta: expected "schema": "expand-checkpoint/delta/1", found null`,
    fix: "Name a file that expand-checkpoint delta extract wrote.",
  });
});

t.test("a delta that lies about its files is refused before anything is written", async (t) => {
  const directory = t.testdir();
  const expanded = await expandTo(path.join(directory, "expanded"), "llama");
  const delta = path.join(directory, "delta.safetensors");
  const [lie, output] = [path.join(directory, "lie.safetensors"), path.join(directory, "again")];
  await finish(extractDelta({ expanded, base, output: delta }));
  type File = { name: string; size: number; sha256?: string; pieces: object[] };
  const refused = async (edit: (files: File[]) => void, message: string): Promise<void> => {
    const data = fs.readFileSync(delta);
    const end = 8 + Number(data.readBigUInt64LE(0));
    const header = JSON.parse(data.toString("utf8", 8, end));
    const record = JSON.parse(header.__metadata__["expand-checkpoint"]);
    edit(record.files);
    header.__metadata__["expand-checkpoint"] = JSON.stringify(record);
    const text = Buffer.from(JSON.stringify(header));
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(text.length));
    fs.writeFileSync(lie, Buffer.concat([size, text, data.subarray(end)]));
    await t.rejects(finish(applyDelta({ base, delta: lie, output })), { tag: "damaged", message });
    t.notOk(fs.existsSync(output), "nothing was written");
  };
  const first = (files: File[]): File => files[0] ?? { name: "", size: 0, pieces: [] };
  const beside = (name: string): string =>
    `${lie}: names "${name}" beside "model.safetensors", and one place holds one file`;
  await refused((files) => files.push(first(files)), beside("model.safetensors"));
  await refused(
    (files) => files.push({ ...first(files), name: "model.safetensors/a/b" }),
    beside("model.safetensors/a/b"),
  );
  await refused((files) => {
    delete first(files).sha256;
  }, `${lie}: does not say what it is a delta of`);
  for (const name of ["../out", "/tmp/out", "a/../b", "..\\b", ".", ""]) {
    await refused(
      (files) => {
        first(files).name = name;
      },
      `${lie}: names a file ${JSON.stringify(name)}, which is no plain path inside a directory`,
    );
  }
  await refused(
    (files) => {
      first(files).pieces = Array.from({ length: 3 }, () => ({ kept: Number.MAX_SAFE_INTEGER }));
    },
    `model.safetensors: its pieces have ${3 * Number.MAX_SAFE_INTEGER} bytes, the file has ${fs.statSync(path.join(expanded, "model.safetensors")).size}`,
  );
});

t.test("a delta against a stranger is refused; what other tools made is taken by its bytes", async (t) => {
  const directory = t.testdir();
  const expanded = await expandTo(path.join(directory, "expanded"), "llama");
  const output = path.join(directory, "delta.safetensors");
  await t.rejects(finish(extractDelta({ expanded, base: path.join(fixtures, "mixtral"), output })), {
    tag: "input",
    message: `${path.join(fixtures, "mixtral")}: has not one tensor of ${expanded}`,
    fix: "Name the checkpoint that was expanded.",
  });
  await t.rejects(finish(extractDelta({ expanded, base, output: path.join(directory, "delta") })), {
    tag: "usage",
    message: `${path.join(directory, "delta")}: a delta is one .safetensors file`,
    fix: "Name it delta.safetensors.",
  });
  for (const name of ["plan.json", "mask.json", "source.json", "manifest.json", "verification.json"]) {
    fs.rmSync(path.join(expanded, name));
  }
  await spoil(expanded, "model.norm.weight");
  fs.mkdirSync(path.join(expanded, "checkpoint-7"));
  const report = await finish(extractDelta({ expanded, base, output }));
  t.same(report.copies, [2, 5], "blocks that add nothing are the copies");
  t.same(report.others, ["model.norm.weight"]);
  t.same(report.leftOut, ["checkpoint-7"]);
  const again = path.join(directory, "again");
  await finish(applyDelta({ base, delta: output, output: again }));
  t.same(digests(again), digests(expanded));
  await t.rejects(finish(stripExpansion({ expanded, output: path.join(directory, "stripped") })), {
    tag: "input",
    message: `${expanded}: has no source.json beside it: nothing says how the source's files were laid out, so they cannot be had byte for byte`,
    fix: "Put back the source.json that expand wrote, or pass --inexact for its tensors and settings in files of another layout.",
  });
});

t.test("without source.json, --inexact gives the tensors and settings, or refuses", async (t) => {
  const directory = t.testdir();
  for (const [source, name, first] of [
    ["llama-sharded", "out", ""],
    ["gemma2", "gemma", ""],
    ["llama.gguf", "big.gguf", "big.gguf"],
  ] as const) {
    const expanded = await expandTo(path.join(directory, name), source);
    fs.rmSync(path.join(directory, name === "big.gguf" ? "big.source.json" : `${name}/source.json`));
    const output = path.join(directory, `${name}-source`);
    const report = await finish(stripExpansion({ expanded, output, inexact: true }));
    t.equal(report.shown, "tensors");
    const [was, is] = [
      await openCheckpoint(path.join(fixtures, source)),
      await openCheckpoint(path.join(output, first)),
    ];
    t.equal(fingerprint(is).headers, fingerprint(was).headers, "names, types, shapes and settings");
    t.equal((await finish(verify({ before: path.join(output, first), after: expanded }))).verdict, "identity");
  }
  const expanded = path.join(directory, "out");
  await spoil(expanded, "model.layers.2.mlp.down_proj.weight");
  const strip = (from: string) =>
    finish(stripExpansion({ expanded: from, output: path.join(directory, "again"), inexact: true }));
  await t.rejects(strip(expanded), {
    tag: "inconclusive",
    message: /^.*out: without its copies it cannot be shown to be what was expanded: block 2, mlp branch /,
    fix: "Put back the source.json that expand wrote, or take the source from where it came.",
  });
  const graph = await expandTo(path.join(directory, "graph"), "onnx-traced");
  fs.rmSync(path.join(graph, "source.json"));
  await t.rejects(strip(graph), {
    tag: "unsupported",
    message: `${graph}: is a graph: its copies cannot be taken out without what expand wrote beside it`,
    fix: "Put back the source.json that expand wrote, or export the source again.",
  });
  t.notOk(fs.existsSync(path.join(directory, "again")));
});

t.test("strip believes a proof and digests, and nothing else", async (t) => {
  const directory = t.testdir();
  const expanded = await expandTo(path.join(directory, "expanded"), "llama");
  const whole = path.join(directory, "whole");
  fs.cpSync(expanded, whole, { recursive: true });
  const output = path.join(directory, "stripped");
  const refused = async (spoilt: () => void | Promise<void>, reason: string, tag = "input"): Promise<void> => {
    await spoilt();
    await t.rejects(finish(stripExpansion({ expanded, output })), { tag, message: reason });
    t.notOk(fs.existsSync(output), "nothing was written");
    fs.rmSync(expanded, { recursive: true });
    fs.cpSync(whole, expanded, { recursive: true });
  };
  const unshown = `${expanded}: nothing shows that its originals are still the source's: `;
  const edit = (name: string, change: (text: string) => string) => (): void => {
    const file = path.join(expanded, name);
    fs.writeFileSync(file, change(fs.readFileSync(file, "utf8")));
  };
  await refused(() => spoil(expanded, "model.norm.weight"), `${unshown}model.safetensors changed after it was proved`);
  await refused(() => fs.rmSync(path.join(expanded, "verification.json")), `${unshown}there is no proof of it`);
  await refused(
    edit("verification.json", (text) => text.replace('"identity"', '"not-identity"')),
    `${unshown}there is no proof of it`,
  );
  await refused(
    edit("verification.json", (text) => text.replaceAll(/"headers": "[0-9a-f]{4}/g, '"headers": "0000')),
    `${unshown}its proof is of another checkpoint`,
  );
  await refused(
    () => fs.rmSync(path.join(expanded, "manifest.json")),
    `${unshown}the manifest has no SHA-256 of model.safetensors`,
  );
  const swapped = (text: string): string =>
    text.replace("layers.0.mlp.up_proj", "layers.X").replace("layers.1.mlp.up_proj", "layers.0.mlp.up_proj");
  await refused(
    edit("source.json", (text) => swapped(text).replace("layers.X", "layers.1.mlp.up_proj")),
    `${unshown}source.json changed after it was proved`,
  );
  await refused(
    edit("tokenizer.json", (text) => text.replace(/[a-z]/, "X")),
    `${unshown}tokenizer.json changed after it was proved`,
  );
  const record = `${path.join(expanded, "source.json")}: does not say how the source's files were laid out`;
  await refused(
    edit("source.json", (text) => text.replace(/"keptSha256":"../, '"keptSha256":"zz')),
    record,
    "damaged",
  );
  await refused(
    edit("source.json", (text) => text.replace(/"kept":"....../, '"kept":"AAAAAA')),
    record,
    "damaged",
  );
  await refused(
    edit("source.json", (text) => text.replace('"name":"config.json"', '"name":"../config.json"')),
    `${path.join(expanded, "source.json")}: names a file "../config.json", which is no plain path inside a directory`,
    "damaged",
  );
  await refused(
    () => fs.rmSync(path.join(expanded, "tokenizer.json")),
    `${expanded}: has no file "tokenizer.json", which the source is made of`,
  );
});

t.test("nothing is written into what it is made from, whatever is forced", async (t) => {
  const directory = t.testdir();
  const at = (name: string): string => path.join(directory, name);
  const [own, delta] = [at("base"), at("d.safetensors")];
  fs.cpSync(base, own, { recursive: true });
  const expanded = await expandTo(at("out"), "llama");
  await finish(extractDelta({ expanded, output: delta, base: own }));
  fs.symlinkSync(own, at("link"));
  const before = [digests(own), digests(expanded)];
  const refused = (run: Promise<unknown>, target: string, source: string): Promise<void> =>
    t.rejects(run, {
      tag: "output",
      message: `${target}: lies inside the source ${source}`,
      fix: "Choose an output outside the source.",
    }) as unknown as Promise<void>;
  const force = true;
  for (const output of [own, path.join(own, "deeper"), at("link")]) {
    await refused(finish(applyDelta({ base: own, delta, output, force })), output, own);
  }
  for (const output of [expanded, path.join(expanded, "deeper")]) {
    await refused(finish(stripExpansion({ expanded, output, force })), output, expanded);
    await refused(finish(stripExpansion({ expanded, output, force, unproved: true })), output, expanded);
  }
  const weights = path.join(own, "model.safetensors");
  await refused(finish(extractDelta({ expanded, output: weights, base: own, force })), weights, own);
  const inside = path.join(expanded, "d.safetensors");
  await refused(finish(extractDelta({ expanded, output: inside, base: own })), inside, expanded);
  t.same([digests(own), digests(expanded)], before);
});

t.test("a GGUF file is never written over by what it is made from", async (t) => {
  const directory = t.testdir({ far: {} });
  const own = path.join(directory, "llama.gguf");
  fs.copyFileSync(path.join(fixtures, "llama.gguf"), own);
  const expanded = path.join(directory, "big.gguf");
  await finish(expand({ source: own, output: expanded, add: 2 }));
  fs.symlinkSync(directory, path.join(directory, "far", "link"));
  const output = path.join(directory, "far", "link", "big.gguf");
  const before = fs.readFileSync(expanded);
  await t.rejects(finish(stripExpansion({ expanded, output, force: true })), {
    tag: "output",
    message: `${output}: lies inside the source ${expanded}`,
    fix: "Choose an output outside the source.",
  });
  t.ok(fs.readFileSync(expanded).equals(before));
});

t.test("on the command line", async (t) => {
  const directory = t.testdir();
  const at = (name: string): string => path.join(directory, name);
  const expanded = await expandTo(at("out"), "llama");
  const extracted = await run("delta", "extract", expanded, at("d.safetensors"), "--base", base);
  t.equal(extracted.code, 0, extracted.err);
  t.notMatch(extracted.out, /^changed/m);
  t.match(extracted.out, /^copies {4}2, 5\ndelta {5}.*d\.safetensors: 18 tensors, /m);
  const applied = await run("delta", "apply", base, at("d.safetensors"), at("again"));
  t.equal(applied.code, 0, applied.err);
  t.match(applied.out, /^applied {3}.*again: 8 files, .*, each with the SHA-256 that it had\n$/);
  const stripped = await run("delta", "strip", at("again"), at("source"));
  t.equal(stripped.code, 0, stripped.err);
  t.match(
    stripped.out,
    /: 3 files, .*: the source byte for byte, by the proof of the expansion; 1 with the SHA-256 that it had\n$/,
  );
  t.same(digests(at("source")), digests(base));
  const gguf = await expandTo(at("big.gguf"), "llama.gguf");
  t.equal((await run("delta", "strip", gguf, at("small.gguf"))).code, 0);
  t.same(Object.values(digests(at("small.gguf"))), Object.values(digests(path.join(fixtures, "llama.gguf"))));
  t.equal(
    (await run("delta", "extract", gguf, at("g.safetensors"), "--base", path.join(fixtures, "llama.gguf"))).code,
    0,
  );
  fs.mkdirSync(at("elsewhere"));
  t.equal(
    (await run("delta", "apply", path.join(fixtures, "llama.gguf"), at("g.safetensors"), at("elsewhere/big.gguf")))
      .code,
    0,
  );
  t.ok(fs.readFileSync(at("elsewhere/big.gguf")).equals(fs.readFileSync(gguf)));
  for (const [words, message] of [
    [
      ["extract", expanded, at("e.safetensors")],
      "a delta is taken against the checkpoint that was expanded\nfix: Name it with --base SOURCE.",
    ],
    [
      ["apply", base, at("d.safetensors")],
      "delta apply takes BASE DELTA OUT\nfix: Run expand-checkpoint delta --help.",
    ],
    [["strip", expanded, at("x"), at("y")], "delta strip takes EXPANDED OUT\n"],
    [["undo", expanded, at("x")], 'delta does not know "undo"\nfix: Say extract, apply or strip.'],
    [["strip", expanded, at("x"), "--base", base], "--base belongs to delta extract\nfix: Leave it out."],
    [
      ["apply", path.join(fixtures, "llama.gguf"), at("g.safetensors"), at("other.gguf")],
      `${at("other.gguf")}: the file is called big.gguf, and files keep their names\nfix: Name a directory.`,
    ],
  ] as const) {
    const result = await run("delta", ...words);
    t.equal(result.code, 2, words.join(" "));
    t.match(result.err, `error: ${message}`);
  }
  const taken = await run("delta", "strip", expanded, at("source"));
  t.equal(taken.code, 4);
  t.match(taken.err, "already holds config.json, model.safetensors, tokenizer.json");
});

t.test("an apply that was killed goes on where it stopped", async (t) => {
  const directory = t.testdir();
  const source = path.join(fixtures, "llama-sharded");
  const expanded = await expandTo(path.join(directory, "out"), "llama-sharded", { shardSize: 12_000 });
  const delta = path.join(directory, "d.safetensors");
  const output = path.join(directory, "again");
  await finish(extractDelta({ expanded, base: source, output: delta }));
  const controller = new AbortController();
  const cut = applyDelta({ base: source, delta, output, signal: controller.signal });
  await t.rejects(
    finish(cut, (event) => {
      if (event.kind === "phase" && event.name === "write") controller.abort();
    }),
    { tag: "interrupted", message: "interrupted" },
  );
  t.notOk(fs.existsSync(path.join(output, "manifest.json")), "papers come last");
  await finish(applyDelta({ base: source, delta, output }));
  t.same(digests(output), digests(expanded));
});
