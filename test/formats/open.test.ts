// Opening a path: which files are meant, what is refused and why, and what travels with the weights.
import fs from "node:fs";
import path from "node:path";
import t, { type Test } from "tap";
import { openCheckpoint } from "../../src/formats/open.ts";
import { build as buildGguf } from "./gguf-builder.ts";
import { refusal } from "./refusal.ts";
import { tensorFile } from "./safetensors-builder.ts";
import { stateDict, tensor, torchFile } from "./torch-builder.ts";

type Files = Readonly<Record<string, string | Buffer>>;

const st = (name = "w"): Buffer => tensorFile({ [name]: ["F32", [2], 8] }, { format: "pt" });
const pt = (name = "w"): Buffer => torchFile(stateDict({ [name]: tensor({ shape: [2] }) }), { 0: Buffer.alloc(8) });
const gguf = buildGguf({ tensors: [{ name: "w", ne: [32], type: 0, bytes: 128 }] });
const config = '{"model_type": "llama"}';
const index = (map: Readonly<Record<string, string>>): string =>
  JSON.stringify({ metadata: { total_size: 8 }, weight_map: map });

/** The files as a directory of the test; names may have folders. */
function lay(t: Test, files: Files): string {
  const directory = fs.mkdtempSync(path.join(t.testdir({}), "d-"));
  for (const [name, content] of Object.entries(files)) {
    fs.mkdirSync(path.join(directory, path.dirname(name)), { recursive: true });
    fs.writeFileSync(path.join(directory, name), content);
  }
  return directory;
}

/** [what stands in the directory, the files, what is opened in it, the format and the shards] */
const MEANT: readonly (readonly [string, Files, string, string])[] = [
  ["one model.safetensors", { "model.safetensors": st() }, "", "safetensors model.safetensors"],
  ["one file of any name", { "weights.SafeTensors": st() }, "", "safetensors weights.SafeTensors"],
  [
    "safetensors beside a torch file",
    { "model.safetensors": st(), "pytorch_model.bin": pt() },
    "",
    "safetensors model.safetensors",
  ],
  [
    "model.safetensors beside Mistral's consolidated.safetensors",
    { "model.safetensors": st(), "consolidated.safetensors": st() },
    "",
    "safetensors model.safetensors",
  ],
  ["safetensors beside a GGUF file", { "a.safetensors": st(), "a.gguf": gguf }, "", "safetensors a.safetensors"],
  [
    "shards with any names",
    { "x.safetensors.index.json": index({ a: "p/10.st", b: "p/9.st" }), "p/9.st": st("b"), "p/10.st": st("a") },
    "",
    "safetensors p/9.st p/10.st",
  ],
  [
    "the usual index beside a variant's",
    {
      "model.safetensors.index.json": index({ w: "a.safetensors" }),
      "model.fp16.safetensors.index.json": "{}",
      "a.safetensors": st(),
    },
    "",
    "safetensors a.safetensors",
  ],
  [
    "an index of a single file",
    { "model.safetensors.index.json": index({ w: "model.safetensors" }), "model.safetensors": st() },
    "",
    "safetensors model.safetensors",
  ],
  ["shard 1 of 1", { "model-00001-of-00001.safetensors": st() }, "", "safetensors model-00001-of-00001.safetensors"],
  ["a torch file", { "pytorch_model.bin": pt() }, "", "torch pytorch_model.bin"],
  [
    "a .pth beside a trainer's state",
    { "consolidated.00.pth": pt(), "optimizer.pt": pt(), "training_args.bin": pt(), "rng_state_0.pth": pt() },
    "",
    "torch consolidated.00.pth",
  ],
  [
    "torch shards",
    { "pytorch_model.bin.index.json": index({ a: "1.bin", b: "2.bin" }), "1.bin": pt("a"), "2.bin": pt("b") },
    "",
    "torch 1.bin 2.bin",
  ],
  [
    "a file given by name",
    { "model.safetensors": st(), "other.safetensors": st() },
    "other.safetensors",
    "safetensors other.safetensors",
  ],
  ["a torch file given by name", { "model.safetensors": st(), "a.pt": pt() }, "a.pt", "torch a.pt"],
  [
    "an index given by name",
    { "b.safetensors.index.json": index({ w: "b" }), "model.safetensors": st(), b: st() },
    "b.safetensors.index.json",
    "safetensors b",
  ],
  [
    "a torch index given by name",
    { "pytorch_model.bin.index.json": index({ w: "b" }), b: pt() },
    "pytorch_model.bin.index.json",
    "torch b",
  ],
];

t.test("the weights that are meant are found as transformers finds them", async (t) => {
  for (const [title, files, name, expected] of MEANT) {
    const directory = lay(t, { "config.json": config, ...files });
    const location = path.join(directory, name);
    const checkpoint = await openCheckpoint(location);
    t.equal([checkpoint.format, ...checkpoint.shards.map((shard) => shard.name)].join(" "), expected, title);
    t.equal(checkpoint.location, location);
    t.same(
      [...checkpoint.tensors.keys()],
      checkpoint.shards.flatMap((shard) => shard.tensors),
    );
    for (const shard of checkpoint.shards) t.equal(shard.source.path, path.join(directory, shard.name));
  }
});

t.test("a .gguf file, a directory with only one, and a directory with one split set are opened", async (t) => {
  const directory = lay(t, { "m.gguf": gguf, "README.md": "" });
  t.match(await openCheckpoint(directory), { format: "gguf", location: directory });
  t.match(await openCheckpoint(path.join(directory, "m.gguf")), { format: "gguf" });
  t.equal(
    await refusal(openCheckpoint(lay(t, { "m.gguf": gguf, "mmproj-m.gguf": gguf }))).then((line) =>
      line.replace(/.*: holds/, "holds"),
    ),
    'holds 2 GGUF models ("m.gguf", "mmproj-m.gguf"): which one is meant is not sure / Give one file, not the directory.',
  );
});

const MISSING = "Give the directory or the file that holds the weights.";
const ONE = "Give one file, not the directory.";
/** [what stands in the directory, the files, what is opened, the refusal] */
const REFUSED: readonly (readonly [string, Files, string, string])[] = [
  [
    "nothing",
    {},
    "",
    `input: DIR: holds no weights; looked for *.safetensors (with its index), *.bin, *.pt, *.pth (with their index), *.gguf, *.onnx, onnx/*.onnx / ${MISSING}`,
  ],
  ["no such file", {}, "x.safetensors", "input: x.safetensors: does not exist / Check the path."],
  [
    "a Keras file",
    { "m.h5": "" },
    "m.h5",
    "input: m.h5: is not a kind of checkpoint that is read here: a directory, .safetensors, .bin, .pt, .pth, .gguf, .onnx, or a .safetensors.index.json or .bin.index.json / Give one of these.",
  ],
  [
    "weights without a config",
    { "model.safetensors": st() },
    "",
    "input: DIR: has weights but no config.json, which says what model they are / Put the model's config.json beside its weights.",
  ],
  [
    "a config that is a list",
    { "model.safetensors": st(), "config.json": "[]" },
    "",
    "damaged: config.json: is not a JSON object / undefined",
  ],
  [
    "a generation config that is broken",
    { "model.safetensors": st(), "config.json": config, "generation_config.json": "{" },
    "",
    "damaged: generation_config.json: is not JSON: line 1: expected a string, found the end / Correct the file, or take it again from where it came.",
  ],
  [
    "a config of 30 MB",
    { "model.safetensors": st(), "config.json": " ".repeat(30_000_000) },
    "",
    "damaged: config.json: has 30000000 bytes; at most 20000000 are read / undefined",
  ],
  [
    "several files without an index",
    { "a.safetensors": st(), "b.safetensors": st() },
    "",
    `input: DIR: holds 2 safetensors files without an index ("a.safetensors", "b.safetensors"): which one is meant is not sure / ${ONE}`,
  ],
  [
    "six torch files without an index",
    Object.fromEntries([..."abcdef"].map((name) => [`${name}.bin`, pt()])),
    "",
    `input: DIR: holds 6 torch files without an index ("a.bin", "b.bin", "c.bin", "d.bin", "e.bin", ...): which one is meant is not sure / ${ONE}`,
  ],
  [
    "two index files",
    { "a.safetensors.index.json": "", "b.safetensors.index.json": "" },
    "",
    `input: DIR: holds 2 index files ("a.safetensors.index.json", "b.safetensors.index.json"): which one is meant is not sure / ${ONE}`,
  ],
  [
    "a single file and an index of others",
    { "model.safetensors": st(), "model.safetensors.index.json": index({ w: "a.safetensors" }), "a.safetensors": st() },
    "",
    "input: DIR: holds both model.safetensors and model.safetensors.index.json, which does not name it / Give one of the two, not the directory.",
  ],
  [
    "one shard of three",
    { "model-00002-of-00003.safetensors": st() },
    "",
    "input: model-00002-of-00003.safetensors: is shard 2 of 3, not a whole checkpoint / Download model.safetensors.index.json too.",
  ],
  [
    "one torch shard of two",
    { "pytorch_model-00001-of-00002.bin": pt(), "pytorch_model-00002-of-00002.bin": pt() },
    "",
    "input: pytorch_model-00001-of-00002.bin: is shard 1 of 2, not a whole checkpoint / Download pytorch_model.bin.index.json too.",
  ],
  [
    "a shard given by name",
    { "model-00002-of-00003.safetensors": st() },
    "model-00002-of-00003.safetensors",
    "input: model-00002-of-00003.safetensors: is shard 2 of 3, not a whole checkpoint / Give the directory, or its index file.",
  ],
  [
    "an index with a missing shard",
    { "config.json": config, "model.safetensors.index.json": index({ w: "gone.safetensors" }) },
    "",
    'input: model.safetensors.index.json: names "gone.safetensors", which is not there / Download the missing shard.',
  ],
  [
    "an index that leads outside",
    { "config.json": config, "model.safetensors.index.json": index({ w: "../w.safetensors" }) },
    "",
    'damaged: model.safetensors.index.json: places tensor "w" in "../w.safetensors", which is not a plain path inside the directory / Do not use this checkpoint: an index that points outside its directory is not to be trusted.',
  ],
  [
    "an index with a directory for a shard",
    { "config.json": config, "model.safetensors.index.json": index({ w: "sub" }), "sub/x": "" },
    "",
    "input: sub: is not a regular file / Name a file.",
  ],
  [
    "a tensor that the index does not name",
    {
      "config.json": config,
      "model.safetensors.index.json": index({ w: "a.st" }),
      "a.st": tensorFile({ w: ["U8", [1], 1], x: ["U8", [1], 1] }),
    },
    "",
    'damaged: a.st: holds tensor "x", which model.safetensors.index.json does not name / Download the checkpoint again, or write its index anew.',
  ],
  [
    "a PEFT adapter",
    { "adapter_config.json": "{}", "adapter_model.safetensors": st() },
    "",
    "unsupported: adapter_config.json: makes this directory a PEFT adapter, which holds no blocks of its own / Merge the adapter into its base model (merge_and_unload), and expand that.",
  ],
  [
    "a PEFT adapter given by its file",
    { "adapter_config.json": '{"layer_replication": null}', "adapter_model.safetensors": st() },
    "adapter_model.safetensors",
    "unsupported: adapter_config.json: makes this directory a PEFT adapter, which holds no blocks of its own / Merge the adapter into its base model (merge_and_unload), and expand that.",
  ],
  [
    "a PEFT adapter that repeats blocks",
    { "adapter_config.json": '{"layer_replication": [[0,4],[2,6]]}' },
    "",
    "unsupported: adapter_config.json: has layer_replication: this PEFT adapter repeats blocks of its base model, and holds none of its own / Expand the base model instead, and train an adapter on the result.",
  ],
];

t.test("what is missing, doubtful or not a checkpoint is refused with what to do", async (t) => {
  for (const [title, files, name, message] of REFUSED) {
    const directory = lay(t, files);
    t.equal(await refusal(openCheckpoint(path.join(directory, name)), directory), message, title);
  }
});

t.test(
  "settings are documents; every other file travels, but no weights, states, hidden files or earlier outputs",
  async (t) => {
    const directory = lay(t, {
      "model.safetensors": st(),
      "config.json": config,
      "generation_config.json": "{}",
      "hf_quant_config.json": "{}",
      "quantize_config.json": "{}",
      "quant_config.json": "{}",
      "tokenizer.json": "{",
      "README.md": "",
      "sub/config.json": "[",
      "sub/deep/plan.json": "x",
      ".gitattributes": "",
      ".cache/x": "",
      ".partial/model.safetensors": "",
      "checkpoint-500/config.json": "",
      ...Object.fromEntries(
        [
          "plan.json",
          "mask.json",
          "manifest.json",
          "verification.json",
          "trainer_state.json",
          "optimizer.pt",
          "params.json",
        ].map((name) => [name, "{}"]),
      ),
      ...Object.fromEntries(
        [
          "a.bin",
          "a.pth",
          "a.gguf",
          "a.onnx",
          "a.onnx_data",
          "a.h5",
          "a.msgpack",
          "sub/a.safetensors",
          "a.bin.index.json",
          "2_Dense/model.safetensors",
          "2_Dense/config.json",
        ].map((name) => [name, ""]),
      ),
    });
    const outside = path.join(directory, "..", "outside");
    fs.mkdirSync(path.join(outside, "folder"), { recursive: true });
    fs.writeFileSync(path.join(outside, "blob"), "tokens");
    fs.writeFileSync(path.join(outside, "folder/x"), "");
    fs.symlinkSync(path.join(outside, "blob"), path.join(directory, "vocab.txt"));
    fs.symlinkSync(path.join(outside, "folder"), path.join(directory, "linked"));
    const { config: settings, assets, leftOut } = await openCheckpoint(directory);
    t.same(
      [...assets.keys()],
      [
        ...["2_Dense/config.json", "2_Dense/model.safetensors", "README.md", "sub/config.json", "sub/deep/plan.json"],
        ...["tokenizer.json", "vocab.txt"],
      ],
      "a module of sentence-transformers belongs to the model",
    );
    t.same(leftOut, ["a.bin", "a.gguf", "a.h5", "a.msgpack", "a.onnx", "a.onnx_data", "a.pth", "sub/a.safetensors"]);
    t.same(Buffer.from((await assets.get("vocab.txt")?.read(0, 6)) ?? []).toString(), "tokens");
    t.equal(assets.get("README.md")?.path, path.join(directory, "README.md"));
    t.same(settings.dialect === "hf" && [...settings.documents.keys()], [
      "config.json",
      "generation_config.json",
      "hf_quant_config.json",
      "quantize_config.json",
      "quant_config.json",
    ]);
  },
);

t.test("a directory that is no repository of a model is not copied along", async (t) => {
  const base = { "model.safetensors": st(), "config.json": config };
  const deep = lay(t, { ...base, "1/2/3/4/5/6/7/8/9/x": "" });
  t.equal(
    await refusal(openCheckpoint(deep), deep),
    'input: DIR: nests directories deeper than 8 levels ("1/2/3/4/5/6/7/8/9") / Move the checkpoint into a directory of its own.',
  );
  const many = lay(t, { ...base, ...Object.fromEntries(Array.from({ length: 2001 }, (_, at) => [`${at}.txt`, ""])) });
  t.equal(
    await refusal(openCheckpoint(many), many),
    "input: DIR: holds more than 2000 files beside the weights / Move the checkpoint into a directory of its own.",
  );
  const broken = lay(t, base);
  fs.symlinkSync("nowhere", path.join(broken, "tokenizer.json"));
  t.equal(
    await refusal(openCheckpoint(broken), broken),
    "input: tokenizer.json: cannot be read (ENOENT) / Download it again, or remove it.",
  );
});

t.test("the index's metadata are kept, and a relative path is opened as it was given", async (t) => {
  const directory = lay(t, {
    "config.json": config,
    "model.safetensors.index.json": index({ w: "a.st" }),
    "a.st": st(),
    "x.txt": "1",
  });
  const relative = path.relative(process.cwd(), directory);
  const checkpoint = await openCheckpoint(relative);
  t.same(checkpoint.index, { total_size: 8 });
  t.equal(checkpoint.location, relative);
  t.equal(checkpoint.shards[0]?.source.name, path.join(relative, "a.st"));
  t.ok(path.isAbsolute(checkpoint.shards[0]?.source.path ?? ""));
  t.ok(path.isAbsolute(checkpoint.assets.get("x.txt")?.path ?? ""));
});
