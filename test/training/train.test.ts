// The verb `train` as a user meets it: a checkpoint whose copies have learnt and whose other bytes are the same, or a refusal with the way out.
import { spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import t from "tap";
import { tinyLlama, writeTinyGguf } from "../../fixtures/gguf.ts";
import { main } from "../../src/cli/main.ts";
import { deviceOf } from "../../src/cli/verb.ts";
import { train } from "../../src/commands/train.ts";
import { forecast } from "../../src/commands/train-forecast.ts";
import { finish } from "../../src/events.ts";
import { openCheckpoint } from "../../src/formats/open.ts";
import { findInstallation } from "../../src/runtime/installation.ts";
import { Metrics } from "../../src/training/metrics.ts";
import type { TrainerOptions } from "../../src/training/step/trainer.ts";

const root = path.resolve(import.meta.dirname, "../..");
const fixtures = path.join(root, "fixtures");
const runtime = fs.existsSync(path.join(root, "node_modules/onnxruntime-node"));
const needsRuntime = runtime ? {} : { skip: "onnxruntime-node is not installed" };

async function run(...words: string[]): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ["", ""];
  const streams = {
    out: { write: (text: string) => (out += text) },
    err: { write: (text: string) => (err += text), isTTY: false },
  };
  return { code: await main(words, streams), out, err };
}

/** Byte-pair encoding without merges: a token is a letter. The fixtures know 32 tokens. */
function tokenizer(letters: string): string {
  const vocab = Object.fromEntries(["<unk>", ...letters].map((letter, id) => [letter, id]));
  return JSON.stringify({
    version: "1.0",
    added_tokens: [{ id: 0, content: "<unk>", special: true }],
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    model: { type: "BPE", unk_token: "<unk>", fuse_unk: false, byte_fallback: false, vocab, merges: [] },
  });
}

const LETTERS = " \nabcdefghijklmnopqrstuvwxyz.()";
const TEXT = "the cat sat on the mat and (the dog) ran.\n";
const folder = t.testdir({
  "tokenizer.json": tokenizer(LETTERS),
  "large.json": tokenizer(`${LETTERS}ABCDEF`),
  "text.txt": TEXT.repeat(100),
  "held.txt": "a dog sat.\n".repeat(20),
  "bare.gguf": "",
});
const at = (name: string): string => path.join(folder, name);
const bytesOf = (...steps: string[]): Buffer => fs.readFileSync(path.join(folder, ...steps));
const SMALL = ["--steps", "5", "--batch", "2", "--context", "16", "--lr", "1e-2"];
const CORPUS = ["--corpus", at("text.txt"), "--tokenizer", at("tokenizer.json")];
const WORDS = [...CORPUS, ...SMALL];

async function expand(fixture: string, name: string): Promise<string> {
  const { code, err } = await run("expand", fixture, at(name), "--every", "2", "--no-progress");
  if (code !== 0) throw new TypeError(err);
  return at(name);
}

const expanded = await expand(path.join(fixtures, "llama"), "expanded");

t.test("the copies learn, and nothing else changes", needsRuntime, async (t) => {
  const result = await run("train", expanded, at("trained"), ...WORDS, "--eval", at("held.txt"));
  t.equal(result.code, 0, result.err);
  t.match(result.out, /^trained {3}3\.9 K parameters in 18 tensors, blocks 2, 5$/m);
  t.match(result.out, /^steps {5}5, 160 tokens, /m);
  t.match(result.out, /^held {2}\d+(?:\.\d+)? +\d+(?:\.\d+)? +-\d+\.\d %$/m);
  t.match(
    result.out,
    /^trained: AFTER is BEFORE with other values in every trainable tensor, and nothing else changed$/m,
  );
  t.match(result.err, /^step 0: held loss \d\.\d{4}, perplexity \d+/m);
  const files = fs.readdirSync(at("trained"));
  for (const name of [
    "config.json",
    "manifest.json",
    "mask.json",
    "metrics.jsonl",
    "model.safetensors",
    "plan.json",
    "training.html",
    "verification.json",
  ]) {
    t.ok(files.includes(name), name);
  }
  t.notOk(files.includes(".train-state"), "the state has served");
  t.same(bytesOf("trained", "plan.json"), bytesOf("expanded", "plan.json"));
  const [before, after] = [await openCheckpoint(expanded), await openCheckpoint(at("trained"))];
  t.same(
    [...after.tensors].map(([name, { dtype, shape }]) => [name, dtype, shape]),
    [...before.tensors].map(([name, { dtype, shape }]) => [name, dtype, shape]),
  );
  t.same([...after.assets.keys()], [...before.assets.keys()], "what a run leaves is no asset of the model");
  const again = await run("verify", expanded, at("trained"), "--mode", "trained");
  t.equal(again.code, 0, again.err);
});

t.test("the page of a run loads nothing, runs nothing, and escapes names", needsRuntime, async (t) => {
  const page = bytesOf("trained", "training.html").toString();
  t.match(page, "<title>Training: 5 of 5 steps</title>");
  t.match(page, "default-src &#39;none&#39;".replaceAll("&#39;", "'"));
  t.notMatch(page, /<script|https?:|src=|url\(/);
  t.equal(page.match(/<svg /g)?.length, 5, "loss, texts, rate, norm, updates");
  t.match(page, /<th scope="row">block 5<\/th>/);
});

t.test("metrics say every step, and what was measured when", needsRuntime, async (t) => {
  const lines = Metrics.read(path.join(at("trained"), "metrics.jsonl"));
  const of = (kind: string): number[] => lines.flatMap((line) => (line.kind === kind ? line.step : []));
  t.same(of("step"), [1, 2, 3, 4, 5]);
  t.same(of("evaluation"), [0, 1, 2, 3, 4, 5]);
  t.same(of("update"), [1, 2, 3, 4, 5]);
});

const FORMATS = [
  { title: "shards stay shards", source: () => path.join(fixtures, "llama-sharded"), file: "" },
  { title: "an ONNX model stays one", source: () => path.join(fixtures, "onnx-traced"), file: "" },
  {
    title: "an F16 GGUF stays F16",
    source: () => writeTinyGguf(at("f16.gguf"), tinyLlama({ type: "F16" }))[0] ?? "",
    file: "/model.gguf",
  },
];

for (const [number, { title, source, file }] of FORMATS.entries()) {
  t.test(title, needsRuntime, async (t) => {
    const [from, to] = [`format-${number}${file}`, `format-${number}-trained${file}`];
    const input = await expand(source(), from);
    const result = await run("train", input, at(to), ...WORDS);
    t.equal(result.code, 0, result.err);
    t.match(result.out, /^trained: AFTER is BEFORE with other values in every trainable tensor/m);
    const [before, after] = [await openCheckpoint(input), await openCheckpoint(at(to))];
    t.same(
      [...after.tensors].map(([name, { dtype }]) => [name, dtype]),
      [...before.tensors].map(([name, { dtype }]) => [name, dtype]),
    );
    if (file === "") return;
    const state = fs.readdirSync(path.dirname(at(to))).sort();
    t.ok(
      ["model.gguf", "model.mask.json", "model.metrics.jsonl"].every((name) => state.includes(name)),
      String(state),
    );
  });
}

/** The exit code or the signal that ended the process. */
function child(signal: string, after: string, words: readonly string[]): Promise<number | string | null> {
  const file = path.join(import.meta.dirname, "command.ts");
  const args = ["--import", "tsx", file, signal, after, ...words];
  const started = spawn(process.execPath, args, { cwd: root, stdio: "ignore" });
  return new Promise((resolve, reject) => {
    started.on("error", reject);
    started.on("exit", (code, ended) => resolve(code ?? ended));
  });
}

t.test("killed and interrupted, a run goes on to the very bytes of one that was not", needsRuntime, async (t) => {
  const words = (to: string): string[] => [
    "train",
    expanded,
    at(to),
    ...WORDS,
    "--eval",
    `held=${at("held.txt")}`,
    "--every",
    "1",
    "--save-every",
    "2",
  ];
  t.equal(await child("SIGKILL", "step 3: held", words("resumed")), "SIGKILL");
  const state = JSON.parse(bytesOf("resumed", ".train-state", "state.json").toString());
  t.equal(state.step, 2);
  t.equal(await child("SIGINT", "step 3: held", words("resumed")), 130);
  // The signal is heard between two steps; one more may have begun.
  t.match(String(JSON.parse(bytesOf("resumed", ".train-state", "state.json").toString()).step), /^[34]$/);
  const other = await run(...words("resumed"), "--beta2", "0.99");
  t.equal(other.code, 2);
  t.equal(
    other.err.split("\n").slice(-3).join("\n"),
    `error: ${at("resumed")}: holds a run that was started otherwise: --beta2 was 0.95 and is 0.99\nfix: Give the options of that run to go on with it, or --no-resume to start again.\n`,
  );
  const last = await run(...words("resumed"));
  t.equal(last.code, 0, last.err);
  t.notMatch(last.err, "step 2: held", "what was measured before is not measured again");
  t.equal((await run(...words("whole"))).code, 0);
  t.same(bytesOf("resumed", "model.safetensors"), bytesOf("whole", "model.safetensors"));
  // A text that the signal cut off is measured by the next part, behind other lines of its step.
  const losses = (name: string): string[] =>
    Metrics.read(path.join(at(name), "metrics.jsonl"))
      .map((line) => JSON.stringify(line.kind === "step" ? { ...line, seconds: 0 } : line))
      .sort();
  t.same(losses("resumed"), losses("whole"));
});

t.test("--no-resume starts again", needsRuntime, async (t) => {
  const words = [
    "train",
    expanded,
    at("again"),
    ...WORDS,
    "--every",
    "1",
    "--save-every",
    "1",
    "--eval",
    `held=${at("held.txt")}`,
  ];
  t.equal(await child("SIGKILL", "step 2: held", words), "SIGKILL");
  const result = await run(...words, "--no-resume", "--lr", "2e-2");
  t.equal(result.code, 2, "an option twice is refused");
  const fresh = words.map((word) => (word === "1e-2" ? "2e-2" : word));
  t.equal((await run(...fresh, "--no-resume")).code, 0);
  t.equal(Metrics.read(path.join(at("again"), "metrics.jsonl")).filter(({ kind }) => kind === "step").length, 5);
});

t.test("f16 on the CPU is computed in f32, and says so", needsRuntime, async (t) => {
  const half = await run("train", expanded, at("half"), ...WORDS, "--dtype", "f16");
  t.equal(half.code, 0, half.err);
  t.match(half.out, /^type {6}f16 as asked, but computed in f32 on the CPU$/m);
  const whole = await run("train", expanded, at("f32"), ...WORDS);
  t.notMatch(whole.out, /^type /m);
  const recorded = (name: string) => JSON.parse(bytesOf(name, "training.json").toString());
  t.match(recorded("half"), { dtype: "f16", computed: "f32" });
  t.match(recorded("f32"), { dtype: "f32" });
  t.notOk("computed" in recorded("f32"));
  t.match(bytesOf("half", "training.html").toString(), "in f32 on cpu");
  // Once the two differ, onnxruntime has products in f16, and the words above are wrong.
  t.same(bytesOf("half", "model.safetensors"), bytesOf("f32", "model.safetensors"));
});

t.test("a dry run measures two steps and writes nothing", needsRuntime, async (t) => {
  const { code, out, err } = await run("train", expanded, at("dry"), ...WORDS, "--dry-run");
  t.equal(code, 0, err);
  t.match(out, /^trains {4}3\.9 K parameters in 18 tensors$/m);
  t.match(out, /^steps {5}5 of 2 x 1 sequences of 16 tokens, 160 tokens in all$/m);
  t.match(out, /^trained weights and moments, f32 +46\.8 kB$/m);
  t.match(out, /^time {6}.+ s a step, measured/m);
  t.notOk(fs.existsSync(at("dry")));
});

t.test("one GPU of several reaches the trainer", async (t) => {
  t.same(deviceOf({ device: "cuda:1" }), { device: "cuda", deviceId: 1 });
  t.same(deviceOf({ device: "cuda" }), { device: "cuda" });
  t.same(deviceOf({ device: "cpu" }), { device: "cpu" });
  t.same(deviceOf({}), {});
  const stop = new Error("seen enough");
  let opened: TrainerOptions | undefined;
  const work = train({
    ...{
      source: expanded,
      output: at("second-gpu"),
      corpora: [{ path: at("text.txt") }],
      steps: 1,
      batch: 1,
      context: 16,
    },
    ...{ tokenizer: at("tokenizer.json"), ...deviceOf({ device: "cuda:1" }) },
    openTrainer: (given) => {
      opened = given;
      return Promise.reject(stop);
    },
  });
  await t.rejects(finish(work), stop);
  t.match(opened, { device: "cuda", deviceId: 1 });
});

t.test("a device that cannot be there is told before corpora are read", async (t) => {
  if (findInstallation()?.missing.length === 0) return t.comment("CUDA's files are here");
  const { code, err } = await run("train", expanded, at("no-gpu"), ...WORDS, "--device", "cuda:1");
  t.equal(code, 6);
  t.match(err, /^read headers\nerror: .*use --device cpu\.\n$/s);
  t.notOk(fs.existsSync(at("no-gpu")));
});

t.test("a signal while the graph is built stops there, before anything is saved", needsRuntime, async (t) => {
  const build = "build the training graph";
  for (const verb of [train, forecast]) {
    const stop = new AbortController();
    const phases: string[] = [];
    const output = at(`stopped-${verb.name}`);
    const work = verb({
      ...{ source: expanded, output, corpora: [{ path: at("text.txt"), weight: 1 }], tokenizer: at("tokenizer.json") },
      ...{ steps: 5, batch: 2, context: 16, signal: stop.signal },
    });
    const error = await finish<unknown>(work, (event) => {
      if (event.kind !== "phase") return;
      phases.push(event.name);
      if (event.name === build) stop.abort();
    }).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    t.match(error, { tag: "interrupted", message: "interrupted" });
    t.equal(phases.at(-1), build);
  }
});

t.test("--export writes a directory for another trainer, and refuses words about training here", async (t) => {
  const corpus = path.join(folder, "code.jsonl");
  fs.writeFileSync(corpus, '{"text":"the cat sat."}\n');
  const words = ["train", expanded, at("elsewhere"), "--corpus", corpus, "--export", "accelerate", "--no-progress"];
  const stray = await run(...words, "--device", "cuda");
  t.equal(
    stray.err,
    "error: --device is about training here, and --export trains nothing\nfix: Remove --device, or --export.\n",
  );
  t.equal(stray.code, 2);
  const { code, out, err } = await run(...words);
  t.equal(code, 0, err);
  t.match(out, `run       cd ${at("elsewhere")} && bash train.sh`);
  t.ok(fs.existsSync(path.join(at("elsewhere"), "train.py")));
});

interface Refusal {
  readonly title: string;
  readonly words: () => readonly string[];
  readonly code: number;
  readonly message: string;
  readonly fix: string;
}

/** Copies of the expanded fixture with another mask, or none. */
function masked(name: string, edit: (mask: { tensors: Record<string, string> }) => void): string {
  fs.cpSync(expanded, at(name), { recursive: true });
  const file = path.join(at(name), "mask.json");
  const mask = JSON.parse(fs.readFileSync(file, "utf8"));
  edit(mask);
  fs.writeFileSync(file, JSON.stringify(mask));
  return at(name);
}

const MASK_FIX = "Use the mask.json that was written with this checkpoint, or make one with the mask command.";

/** The first process of a machine is always there. */
const LOCK = `lock-1@${os.hostname()}`;

const REFUSALS: readonly Refusal[] = [
  {
    title: "no corpus",
    words: () => [expanded, at("x"), ...SMALL],
    code: 2,
    message: "there is no corpus to train on",
    fix: "Name one: --corpus FILE, a .txt, .jsonl or .parquet file or a directory of them.",
  },
  {
    title: "no mask, and no block that adds nothing",
    words: () => [path.join(fixtures, "llama"), at("x"), ...WORDS],
    code: 2,
    message: `${path.join(fixtures, "llama")}: there is no mask.json, and no block adds exactly nothing: what is to be trained?`,
    fix: `Pass --mask FILE; expand-checkpoint mask ${path.join(fixtures, "llama")} --blocks 4,9 > FILE makes one.`,
  },
  {
    title: "a mask of another checkpoint",
    words: () => [
      masked("stranger", ({ tensors }) => {
        tensors["model.layers.9.mlp.up_proj.weight"] = "trainable";
      }),
      at("x"),
      ...WORDS,
    ],
    code: 3,
    message: `${path.join(at("stranger"), "mask.json")}: names tensor "model.layers.9.mlp.up_proj.weight", which ${at("stranger")} does not have`,
    fix: MASK_FIX,
  },
  {
    title: "a mask that lacks a tensor",
    words: () => [
      masked("short", ({ tensors }) => {
        delete tensors["lm_head.weight"];
      }),
      at("x"),
      ...WORDS,
    ],
    code: 3,
    message: `${path.join(at("short"), "mask.json")}: says nothing of tensor "lm_head.weight"`,
    fix: MASK_FIX,
  },
  {
    title: "a mask that trains nothing",
    words: () => [
      masked("frozen", ({ tensors }) => {
        for (const name of Object.keys(tensors)) tensors[name] = "frozen";
      }),
      at("x"),
      ...WORDS,
    ],
    code: 2,
    message: `${path.join(at("frozen"), "mask.json")}: marks no tensor as trainable`,
    fix: MASK_FIX,
  },
  {
    title: "an output that holds something",
    words: () => {
      fs.mkdirSync(at("occupied"), { recursive: true });
      fs.writeFileSync(path.join(at("occupied"), "notes.txt"), "mine");
      return [expanded, at("occupied"), ...WORDS];
    },
    code: 4,
    message: `${at("occupied")}: already holds notes.txt, and no run to go on with`,
    fix: "Choose another output, or pass --force to replace files of the same names.",
  },
  {
    title: "an output that holds something, before any corpus is looked at",
    words: () => [expanded, at("occupied"), "--corpus", at("absent.txt")],
    code: 4,
    message: `${at("occupied")}: already holds notes.txt, and no run to go on with`,
    fix: "Choose another output, or pass --force to replace files of the same names.",
  },
  {
    title: "an output that another process of this machine trains into",
    words: () => {
      fs.mkdirSync(path.join(at("busy"), ".train-state"), { recursive: true });
      fs.writeFileSync(path.join(at("busy"), ".train-state", LOCK), "");
      return [expanded, at("busy"), ...WORDS];
    },
    code: 4,
    message: `${at("busy")}: process 1 is training into it`,
    fix: `Wait until it ends, or choose another output; if no such run is left, remove ${path.join(at("busy"), ".train-state", LOCK)}.`,
  },
  {
    title: "an output that another machine trains into, even to start again",
    words: () => {
      fs.mkdirSync(path.join(at("far"), ".train-state"), { recursive: true });
      fs.writeFileSync(path.join(at("far"), ".train-state", "lock-7@elsewhere.example"), "");
      return [expanded, at("far"), ...WORDS, "--no-resume"];
    },
    code: 4,
    message: `${at("far")}: process 7 on elsewhere.example is training into it`,
    fix: `Wait until it ends, or choose another output; if no such run is left, remove ${path.join(at("far"), ".train-state", "lock-7@elsewhere.example")}.`,
  },
  {
    title: "a mask that is not there",
    words: () => [expanded, at("x"), ...WORDS, "--mask", at("absent.json")],
    code: 3,
    message: `${at("absent.json")}: does not exist`,
    fix: "Make a mask with expand-checkpoint mask, and name it with --mask.",
  },
  {
    title: "a mask that is no JSON",
    words: () => [expanded, at("x"), ...WORDS, "--mask", at("held.txt")],
    code: 3,
    message: `${at("held.txt")}: is not JSON: line 1: expected a value, found "a dog sat.\\na"`,
    fix: "Make a mask with expand-checkpoint mask, and name it with --mask.",
  },
  ...(
    [
      ["--lr", "0", "above 0"],
      ["--beta1", "1", "from 0 up and below 1"],
      ["--beta2", "1.5", "from 0 up and below 1"],
    ] as const
  ).map(([flag, value, bound]) => ({
    title: `${flag} ${value}`,
    words: () => [expanded, at("x"), ...CORPUS, flag, value],
    code: 2,
    message: `${flag} must be ${bound}, not ${value}`,
    fix: `Use another ${flag}, or leave it out.`,
  })),
  {
    title: "no epoch",
    words: () => [expanded, at("x"), ...CORPUS, "--epochs", "0"],
    code: 2,
    message: "--epochs must be above 0, not 0",
    fix: "Use another --epochs, or leave it out.",
  },
  {
    title: "a warm-up longer than the run",
    words: () => [expanded, at("x"), ...WORDS, "--warmup", "6"],
    code: 2,
    message: "--warmup 6 is more than the 5 steps of the run",
    fix: "Give a share of the steps, such as --warmup 0.06, or fewer of them.",
  },
  {
    title: "bf16 on the CPU",
    words: () => [expanded, at("x"), ...WORDS, "--dtype", "bf16"],
    code: 2,
    message: "--dtype bf16 is for CUDA: onnxruntime multiplies no bf16 matrices on the CPU",
    fix: "Use --dtype f32, or --device cuda.",
  },
  {
    title: "two texts to measure under one name",
    words: () => [expanded, at("x"), ...WORDS, "--eval", `a=${at("held.txt")}`, "--eval", `a=${at("text.txt")}`],
    code: 2,
    message: "--eval a=... is there twice",
    fix: "Give each text a name of its own.",
  },
  {
    title: "a misspelt option",
    words: () => [expanded, at("x"), ...SMALL, "--corpsu", at("text.txt")],
    code: 2,
    message: "Unknown argument: corpsu",
    fix: "Say --corpus, or see expand-checkpoint train --help.",
  },
  {
    title: "an output inside the source",
    words: () => [expanded, path.join(expanded, "trained"), ...WORDS],
    code: 4,
    message: `${path.join(expanded, "trained")}: lies inside the source ${expanded}`,
    fix: "Choose an output outside the source.",
  },
  {
    title: "a context beyond the model's",
    words: () => [expanded, at("x"), ...CORPUS, "--context", "65"],
    code: 2,
    message: "--context 65 is more than the 64 positions that the model has",
    fix: "Use --context 64 or less.",
  },
  {
    title: "a tokenizer with more tokens than the model",
    words: () => [expanded, at("x"), "--corpus", at("text.txt"), "--tokenizer", at("large.json"), ...SMALL],
    code: 2,
    message: `${expanded}: the tokenizer knows 38 tokens, the model 32`,
    fix: "Pass the tokenizer of this model with --tokenizer.",
  },
  {
    title: "a tokenizer that is not there",
    words: () => [expanded, at("x"), "--corpus", at("text.txt"), "--tokenizer", at("absent"), ...SMALL],
    code: 2,
    message: `${at("absent")}: does not exist`,
    fix: "Pass --tokenizer FILE, the tokenizer.json of the model.",
  },
  {
    title: "an output behind a file",
    words: () => [expanded, path.join(at("text.txt"), "x"), ...WORDS],
    code: 4,
    message: `${path.join(at("text.txt"), "x")}: cannot be written (ENOTDIR)`,
    fix: "Check the disk that holds the output directory, then run the same command again.",
  },
  {
    title: "two lengths",
    words: () => [expanded, at("x"), ...WORDS, "--epochs", "2"],
    code: 2,
    message: "--steps and --epochs both say how long to train",
    fix: "Give one of them.",
  },
  {
    title: "a text to measure without a name",
    words: () => [expanded, at("x"), ...WORDS, "--eval", ""],
    code: 2,
    message: '--eval takes FILE or NAME=FILE, not ""',
    fix: "Name a text: --eval code=held-out.txt.",
  },
];

for (const { title, words, code, message, fix } of REFUSALS) {
  t.test(`${title}: refused, with the way out`, async (t) => {
    const result = await run("train", ...words(), "--no-progress");
    t.equal(result.err, `error: ${message}\nfix: ${fix}\n`);
    t.equal(result.code, code);
    t.notOk(fs.existsSync(at("x")), "nothing was written");
  });
}

t.test("quantized copies are refused with the way out", async (t) => {
  const quantized = await expand(path.join(fixtures, "llama.gguf"), "quantized.gguf");
  const gguf = await run("train", quantized, at("x.gguf"), ...WORDS, "--no-progress");
  t.equal(
    gguf.err,
    `error: ${quantized}: tensor "blk.2.attn_q.weight" is stored as Q8_0, which cannot be trained\nfix: Expand and train the F16, BF16 or F32 GGUF of the model, and quantize the result with llama-quantize.\n`,
  );
  t.equal(gguf.code, 3);
  const graph = await expand(path.join(fixtures, "onnx-genai"), "genai");
  const onnx = await run("train", graph, at("x"), ...WORDS, "--no-progress");
  t.equal(
    onnx.err,
    `error: ${graph}: tensor "copy.2.model.layers.1.self_attn.q_proj.MatMulNBits.qweight" is stored as U8, which cannot be trained\nfix: Expand and train the unquantized export of the model, and quantize the result.\n`,
  );
  t.equal(onnx.code, 3);
});
