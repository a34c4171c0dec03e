// The verb `convert` as a user meets it: a directory that other programs load, or a refusal that says what is supported.
import fs from "node:fs";
import path from "node:path";
import t from "tap";
import { main } from "../../src/cli/main.ts";
import { openCheckpoint } from "../../src/formats/open.ts";
import { checkGraph } from "../../src/graph/check.ts";
import { externalRange } from "../../src/graph/graph.ts";
import type { TensorRef } from "../../src/tensor/reference.ts";

const fixtures = path.resolve(import.meta.dirname, "../../fixtures");
const llama = path.join(fixtures, "llama");
const runtime = fs.existsSync(path.resolve(import.meta.dirname, "../../node_modules/onnxruntime-node"));
const PROVED = runtime ? "same logits as the source: off by " : "NOT VERIFIED: ";

async function run(...words: string[]): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ["", ""];
  const streams = {
    out: { write: (text: string) => (out += text) },
    err: { write: (text: string) => (err += text), isTTY: false },
  };
  return { code: await main(words, streams), out, err };
}

async function bytesOf(ref: Extract<TensorRef, { kind: "stored" }>): Promise<Buffer> {
  return Buffer.from(await ref.source.read(ref.offset, ref.bytes));
}

function json(file: string) {
  return JSON.parse(fs.readFileSync(file, "utf8"));
}

/** A copy of the fixture with more files, and a config with more keys. */
function source(directory: string, config: object = {}, files: Readonly<Record<string, string>> = {}): string {
  const copy = path.join(directory, "source");
  fs.cpSync(llama, copy, { recursive: true });
  const settings = path.join(copy, "config.json");
  fs.writeFileSync(settings, JSON.stringify({ ...json(settings), ...config }, null, 2));
  for (const [name, text] of Object.entries(files)) fs.writeFileSync(path.join(copy, name), text);
  return copy;
}

t.test("a Hugging Face directory becomes an ONNX directory that computes the same", async (t) => {
  const directory = t.testdir();
  const tokens = '{\n  "eos_token_id": [2, 7],\n  "bos_token_id": 1\n}';
  const template = "{{ messages }}\r\n";
  const files = { "generation_config.json": tokens, "chat_template.jinja": template, LICENSE: "free" };
  const out = path.join(directory, "out");
  const result = await run("convert", source(directory, {}, files), out, "--format", "onnx");
  t.equal(result.code, 0, result.err);
  t.match(result.out, "model     llama (safetensors), 4 blocks, as ");
  t.match(result.out, PROVED);
  t.same(fs.readdirSync(out).sort(), [
    "LICENSE",
    "chat_template.jinja",
    "config.json",
    "genai_config.json",
    "generation_config.json",
    "manifest.json",
    "model.onnx",
    "model.onnx_data",
    "tokenizer.json",
  ]);
  t.equal(fs.readFileSync(path.join(out, "chat_template.jinja"), "utf8"), template);
  t.equal(fs.readFileSync(path.join(out, "generation_config.json"), "utf8"), tokens);
  t.same(fs.readFileSync(path.join(out, "tokenizer.json")), fs.readFileSync(path.join(llama, "tokenizer.json")));
  t.same(json(path.join(out, "config.json")), {
    ...json(path.join(llama, "config.json")),
    "transformers.js_config": { use_external_data_format: { "model.onnx": 1 } },
  });
  t.match(json(path.join(out, "genai_config.json")), {
    model: {
      type: "llama",
      bos_token_id: 1,
      eos_token_id: [2, 7],
      pad_token_id: 2,
      vocab_size: 32,
      context_length: 64,
      decoder: {
        filename: "model.onnx",
        head_size: 8,
        hidden_size: 16,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        num_hidden_layers: 4,
        inputs: { past_key_names: "past_key_values.%d.key" },
        outputs: { present_value_names: "present.%d.value" },
      },
    },
  });
});

t.test("the graph has the names and sizes that other programs look for", async (t) => {
  const out = path.join(t.testdir(), "out");
  t.equal((await run("convert", llama, out, "--verify", "none")).code, 0);
  const { graph } = await openCheckpoint(out);
  const body = graph?.model.graph;
  const shown = [...(body?.input ?? []), ...(body?.output ?? [])].map(({ name, type }) => {
    const dims = type?.value.case === "tensorType" ? (type.value.value.shape?.dim ?? []) : [];
    return `${name} [${dims.map(({ value }) => String(value.value)).join(", ")}]`;
  });
  for (const expected of [
    "input_ids [batch_size, sequence_length]",
    "attention_mask [batch_size, total_sequence_length]",
    "position_ids [batch_size, sequence_length]",
    "past_key_values.0.key [batch_size, 1, past_sequence_length, 8]",
    "past_key_values.3.value [batch_size, 1, past_sequence_length, 8]",
    "logits [batch_size, sequence_length, 32]",
    "present.3.key [batch_size, 1, total_sequence_length, 8]",
  ]) {
    t.ok(shown.includes(expected), expected);
  }
  t.same(
    graph?.model.opsetImport.map(({ domain, version }) => `${domain}${version}`),
    ["23"],
  );
});

t.test("weights keep their bytes, each once; --dtype f32 widens them", async (t) => {
  const directory = t.testdir();
  const [kept, wide] = [path.join(directory, "kept"), path.join(directory, "wide")];
  t.match((await run("convert", llama, kept)).out, PROVED);
  t.match((await run("convert", llama, wide, "--dtype", "f32")).out, PROVED);
  const [before, after, widened] = [
    await openCheckpoint(llama),
    await openCheckpoint(kept),
    await openCheckpoint(wide),
  ];
  for (const [name, ref] of before.tensors) {
    const [found, wider] = [after.tensors.get(name), widened.tensors.get(name)];
    if (ref.kind !== "stored" || found?.kind !== "stored" || wider?.kind !== "stored") return void t.fail(name);
    t.equal(found.dtype, ref.dtype, name);
    t.equal(wider.dtype, "F32", name);
    const [stored, written] = [await bytesOf(ref), await bytesOf(found)];
    t.ok(stored.equals(written), name);
  }
});

t.test("--shard-size splits the data, and every file counts", async (t) => {
  const out = path.join(t.testdir(), "out");
  t.match((await run("convert", llama, out, "--dtype", "f32", "--shard-size", "4000")).out, PROVED);
  const chunks = fs.readdirSync(out).filter((name) => name.startsWith("model.onnx_data"));
  t.ok(chunks.length > 2, `${chunks.length} files`);
  t.ok(chunks.every((name, at) => at === 0 || /^model\.onnx_data_\d+$/.test(name)));
  for (const name of chunks) t.ok(fs.statSync(path.join(out, name)).size <= 4000, name);
  const { "transformers.js_config": js } = json(path.join(out, "config.json"));
  t.same(js, { use_external_data_format: { "model.onnx": chunks.length } });
});

t.test("--link makes the data files hard links to the source's shards", async (t) => {
  const directory = t.testdir();
  const from = path.join(directory, "source");
  const out = path.join(directory, "out");
  fs.cpSync(path.join(fixtures, "llama-sharded"), from, { recursive: true });
  const result = await run("convert", from, out, "--link");
  t.match(result.out, PROVED, result.err);
  const inodes = (folder: string, names: RegExp): number[] => {
    const found = fs.readdirSync(folder).filter((name) => names.test(name));
    return found.map((name) => fs.statSync(path.join(folder, name)).ino).sort();
  };
  t.same(inodes(out, /onnx_data/), inodes(from, /safetensors$/));
  t.same(
    fs.readdirSync(out).filter((name) => /onnx/.test(name)),
    ["model.onnx", "model.onnx_data", "model.onnx_data_1"],
  );
  const { "transformers.js_config": js } = json(path.join(out, "config.json"));
  t.same(js, { use_external_data_format: { "model.onnx": 2 } });
});

t.test("a GGUF file becomes an ONNX directory; large tensors start at multiples of 64", async (t) => {
  const out = path.join(t.testdir(), "out");
  const result = await run("convert", path.join(fixtures, "llama.gguf"), out);
  t.equal(result.code, 0, result.err);
  t.match(result.out, "model     llama (gguf), ");
  t.match(result.out, PROVED);
  t.match(result.out, "so add tokenizer.json");
  const { graph } = await openCheckpoint(out);
  if (graph === undefined) return void t.fail("a graph");
  checkGraph(graph);
  const ranges = (graph.model.graph?.initializer ?? []).flatMap((tensor) => externalRange(tensor) ?? []);
  t.ok(ranges.length > 0 && ranges.every(({ offset }) => offset % 64 === 0));
});

t.test("--dry-run and --json: one object, and nothing is written", async (t) => {
  const out = path.join(t.testdir(), "out");
  const result = await run("convert", llama, out, "--dry-run", "--json");
  t.equal(result.code, 0, result.err);
  const report = JSON.parse(result.out);
  t.match(report, { format: "onnx", family: "llama", blocks: 4, written: false, unverified: "nothing was written" });
  t.same(
    report.files.map((file: { name: string }) => file.name),
    ["model.onnx_data", "config.json", "genai_config.json", "tokenizer.json", "model.onnx"],
  );
  t.notOk(fs.existsSync(out));
});

t.test("blocks with different heads: genai_config.json is left out, and that is said", async (t) => {
  const { genaiConfig } = await import("../../src/conversion/genai.ts");
  const { readSpec } = await import("../../src/decoder/read.ts");
  const spec = readSpec(await openCheckpoint(llama));
  const [first, ...others] = spec.blocks;
  if (first === undefined) return void t.fail("a block");
  const other = { ...first, attention: { ...first.attention, kvHeads: 2 } };
  t.equal(genaiConfig({ ...spec, blocks: [other, ...others] }, {}, "model.onnx"), undefined);
  t.match(genaiConfig({ ...spec, family: "falcon" }, {}, "model.onnx"), { model: { type: "decoder" } });
});

t.test("what cannot be converted is refused with the way out, and nothing is left behind", async (t) => {
  const directory = t.testdir({ taken: { "notes.txt": "mine" } });
  const from = source(directory);
  const unknown = source(path.join(directory, "unknown"), { model_type: "mamba" });
  const onnx = path.join(directory, "onnx");
  t.equal((await run("convert", llama, onnx, "--verify", "none")).code, 0);
  const out = path.join(directory, "out");
  for (const [words, code, message, fix] of [
    [
      [from, out, "--format", "gguf"],
      2,
      '--format takes onnx, not "gguf"; safetensors and gguf are not supported yet',
      undefined,
    ],
    [
      [from, out, "--format", "safetensors"],
      2,
      '--format takes onnx, not "safetensors"; safetensors and gguf are not supported yet',
      undefined,
    ],
    [
      [from, path.join(directory, "out.onnx")],
      2,
      "out.onnx: an ONNX model is several files, so the output is a directory",
      "Name a directory.",
    ],
    [
      [onnx, out],
      2,
      "onnx: is an ONNX model already",
      "Name a safetensors, torch or GGUF checkpoint; expand takes ONNX as it is.",
    ],
    [[from, path.join(from, "onnx")], 4, `lies inside the source ${from}`, "Choose an output outside the source."],
    [
      [path.join(from, "model.safetensors"), from, "--force"],
      4,
      "lies inside the source",
      "Choose an output outside the source.",
    ],
    [
      [from, path.join(directory, "taken")],
      4,
      "taken: already holds notes.txt",
      "Choose another output, or pass --force",
    ],
    [
      [unknown, out],
      3,
      'no forward pass is known for the model type "mamba"',
      "Convert a model whose forward pass is known; the README lists them.",
    ],
    [[from, out, "--dtype", "f16"], 2, "Invalid values", undefined],
  ] as const) {
    const result = await run("convert", ...words);
    t.equal(result.code, code, `${words.slice(1)}: ${result.err}`);
    t.match(result.err, message);
    if (fix !== undefined) t.match(result.err, fix);
  }
  t.notOk(fs.existsSync(out));
  t.same(fs.readdirSync(path.join(directory, "taken")), ["notes.txt"]);
});

t.test("--force replaces an earlier conversion, and gives the same bytes again", async (t) => {
  const directory = t.testdir();
  const out = path.join(directory, "out");
  t.equal((await run("convert", llama, out, "--verify", "none")).code, 0);
  const first = fs.readFileSync(path.join(out, "model.onnx"));
  t.equal((await run("convert", llama, out, "--verify", "none")).code, 4);
  t.equal((await run("convert", llama, out, "--verify", "none", "--force")).code, 0);
  t.same(fs.readFileSync(path.join(out, "model.onnx")), first, "the same bytes again");
});

t.test("a model that computes something else is found", async (t) => {
  if (!runtime) return void t.pass("onnxruntime-node is not installed, so nothing can be run");
  const { checkLogits } = await import("../../src/commands/logits-check.ts");
  const { readSpec } = await import("../../src/decoder/read.ts");
  const { finish } = await import("../../src/events.ts");
  const directory = t.testdir();
  const out = path.join(directory, "out");
  t.equal((await run("convert", llama, out, "--dtype", "f32", "--verify", "none")).code, 0);
  const data = path.join(out, "model.onnx_data");
  const bytes = fs.readFileSync(data);
  for (let at = 0; at < 4096; at += 4) bytes.writeFloatLE(0.5, at);
  fs.writeFileSync(data, bytes);
  const checkpoint = await openCheckpoint(llama);
  const model = path.join(out, "model.onnx");
  const check = await finish(checkLogits(checkpoint, readSpec(checkpoint), model, undefined));
  t.equal(check.holds, false);
  t.ok(check.prefill.maxRel > 1e-3 && check.decode.maxRel > 1e-3);
});

t.test("the README lists the model types that can be converted", async (t) => {
  const { HF_READERS } = await import("../../src/decoder/hf/readers.ts");
  const { GGUF_FAMILIES } = await import("../../src/decoder/gguf/families.ts");
  const readme = fs.readFileSync(path.resolve(import.meta.dirname, "../../README.md"), "utf8");
  const listed = (title: string): string[] => {
    const start = readme.indexOf(`**${title}`);
    const paragraph = readme.slice(readme.indexOf(":\n", start), readme.indexOf("\n\n", start));
    return [...paragraph.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? "");
  };
  t.same(listed("Model types whose forward pass is known"), Object.keys(HF_READERS).sort());
  t.same(listed("Architectures of GGUF files whose forward pass is known"), Object.keys(GGUF_FAMILIES).sort());
});
