// The command line as a user meets it: words in, text and exit codes out.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import t from "tap";
import { main } from "../src/cli/main.ts";

const fixtures = path.resolve(import.meta.dirname, "../fixtures");

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function run(...words: string[]): Promise<Outcome> {
  let out = "";
  let err = "";
  const streams = {
    out: { write: (text: string) => (out += text) },
    err: { write: (text: string) => (err += text), isTTY: false },
  };
  const code = await main(words, streams);
  return { code, out, err };
}

/** Every file below a directory with its bytes, for comparing whole outputs. */
function filesOf(directory: string, except: readonly string[] = []): Record<string, string> {
  const names = fs.readdirSync(directory, { recursive: true, encoding: "utf8" }).sort();
  const files = names.filter((name) => !except.includes(name) && fs.statSync(path.join(directory, name)).isFile());
  return Object.fromEntries(files.map((name) => [name, fs.readFileSync(path.join(directory, name), "base64")]));
}

t.test("SOURCE OUT expands, writes plan, mask, manifest and proof, and reports identity", async (t) => {
  const out = path.join(t.testdir(), "out");
  const result = await run(path.join(fixtures, "llama"), out, "--add", "2");
  t.equal(result.code, 0, result.err);
  t.match(result.out, "model     llama (safetensors), 4 blocks -> 6");
  t.match(result.out, "identity: AFTER is an identity expansion of BEFORE");
  t.same(Object.keys(filesOf(out)), [
    "config.json",
    "manifest.json",
    "mask.json",
    "model.safetensors",
    "plan.json",
    "source.json",
    "tokenizer.json",
    "verification.json",
  ]);
  t.equal(JSON.parse(fs.readFileSync(path.join(out, "config.json"), "utf8")).num_hidden_layers, 6);
  t.equal((await run("verify", path.join(fixtures, "llama"), out)).code, 0);
  const doctor = await run("doctor", out);
  t.equal(doctor.code, 0);
  t.match(doctor.out, "files: 1 file, 57 tensors, headers consistent");
});

t.test("a GGUF file becomes a GGUF file with its sidecars beside it", async (t) => {
  const directory = t.testdir();
  const out = path.join(directory, "big.gguf");
  const result = await run("expand", path.join(fixtures, "llama.gguf"), out, "--every", "2");
  t.equal(result.code, 0, result.err);
  t.same(fs.readdirSync(directory).sort(), [
    "big.gguf",
    "big.manifest.json",
    "big.mask.json",
    "big.plan.json",
    "big.source.json",
    "big.verification.json",
  ]);
  t.equal((await run("verify", path.join(fixtures, "llama.gguf"), out)).code, 0);
});

t.test("--json prints one object on stdout and nothing else", async (t) => {
  const out = path.join(t.testdir(), "out");
  const result = await run("expand", path.join(fixtures, "gemma2"), out, "--json");
  t.equal(result.code, 0, result.err);
  const report = JSON.parse(result.out);
  t.equal(report.verification.verdict, "identity");
  t.equal(report.plan.schema, "expand-checkpoint/plan/1");
  const failed = await run("plan", path.join(fixtures, "llama"), "--add", "9", "--json");
  t.equal(failed.code, 2);
  t.match(JSON.parse(failed.out), { error: { tag: "plan", message: "9 groups do not fit into 4 blocks" } });
});

t.test("plan --save, then expand --plan: the same bytes as without the detour", async (t) => {
  const directory = t.testdir();
  const source = path.join(fixtures, "mixtral");
  const saved = path.join(directory, "plan.json");
  t.equal((await run("plan", source, "--after", "0", "--save", saved)).code, 0);
  t.equal((await run("expand", source, path.join(directory, "a"), "--plan", saved)).code, 0);
  t.equal((await run("expand", source, path.join(directory, "b"), "--after", "0")).code, 0);
  const except = ["verification.json"];
  t.same(filesOf(path.join(directory, "a"), except), filesOf(path.join(directory, "b"), except));
  const again = await run("plan", source, "--save", saved);
  t.equal(again.code, 4, "a plan that may have been edited is not overwritten");
});

t.test("a mergekit passthrough file is read as a plan", async (t) => {
  const directory = t.testdir({
    "merge.yml": `
slices:
  - sources: [{ model: base, layer_range: [0, 2] }]
  - sources:
      - model: base
        layer_range: [1, 2]
        parameters:
          scale: [{ filter: o_proj, value: 0.0 }, { filter: down_proj, value: 0.0 }, { value: 1.0 }]
  - sources: [{ model: base, layer_range: [2, 4] }]
merge_method: passthrough
dtype: bfloat16
`,
  });
  const out = path.join(directory, "out");
  const result = await run("expand", path.join(fixtures, "llama"), out, "--plan", path.join(directory, "merge.yml"));
  t.equal(result.code, 0, result.err);
  t.match(result.out, "copies    at 2, of blocks 1");
});

t.test(
  "an occupied output is refused; --force replaces what an earlier run wrote, and no stale shard stays",
  async (t) => {
    const out = path.join(t.testdir({ out: { "notes.txt": "mine" } }), "out");
    const source = path.join(fixtures, "llama-sharded");
    const refused = await run("expand", source, out);
    t.equal(refused.code, 4);
    t.match(refused.err, "already holds notes.txt");
    t.equal((await run("expand", source, out, "--force")).code, 0);
    t.ok(fs.existsSync(path.join(out, "model-00002-of-00002.safetensors")));
    const manifest = path.join(out, "manifest.json");
    const listed = JSON.parse(fs.readFileSync(manifest, "utf8"));
    listed.files.push({ name: "notes.txt", size: 5 }, { name: "../outside.txt", size: 5 });
    fs.writeFileSync(manifest, JSON.stringify(listed));
    fs.writeFileSync(path.join(out, "..", "outside.txt"), "12345");
    t.equal((await run("expand", path.join(fixtures, "llama"), out, "--force")).code, 0);
    t.ok(fs.existsSync(path.join(out, "..", "outside.txt")), "a manifest reaches nothing outside");
    t.same(
      fs.readdirSync(out).filter((name) => name.includes("model")),
      ["model.safetensors"],
    );
    t.equal(fs.readFileSync(path.join(out, "notes.txt"), "utf8"), "mine", "files of others stay");
  },
);

t.test("an output inside the source is refused", async (t) => {
  const directory = t.testdir();
  fs.cpSync(path.join(fixtures, "llama"), path.join(directory, "model"), { recursive: true });
  const result = await run("expand", path.join(directory, "model"), path.join(directory, "model", "out"));
  t.equal(result.code, 4);
  t.match(result.err, "lies inside the source");
  t.same(fs.readdirSync(path.join(directory, "model")).sort(), ["config.json", "model.safetensors", "tokenizer.json"]);
});

t.test("--dry-run prints the plan and writes nothing", async (t) => {
  const out = path.join(t.testdir(), "out");
  const result = await run("expand", path.join(fixtures, "llama"), out, "--dry-run");
  t.equal(result.code, 0);
  t.match(result.out, "copies    at 4, of blocks 3");
  t.notOk(fs.existsSync(out));
});

t.test("--shard-size bounds every file; the result is the same model", async (t) => {
  const out = path.join(t.testdir(), "out");
  const result = await run("expand", path.join(fixtures, "mixtral"), out, "--shard-size", "20KB");
  t.equal(result.code, 0, result.err);
  const shards = fs.readdirSync(out).filter((name) => name.endsWith(".safetensors"));
  t.ok(shards.length > 1, shards.join(" "));
  for (const name of shards) t.ok(fs.statSync(path.join(out, name)).size <= 20_000, name);
});

t.test(
  "verify exits 1 for a checkpoint whose copy is not closed, and writes the reports that were asked for",
  async (t) => {
    const directory = t.testdir();
    const out = path.join(directory, "out");
    await run("expand", path.join(fixtures, "llama"), out, "--add", "1");
    const file = path.join(out, "model.safetensors");
    const data = fs.readFileSync(file);
    const header = Number(data.readBigUInt64LE(0));
    const entry = JSON.parse(data.subarray(8, 8 + header).toString())["model.layers.4.mlp.down_proj.weight"];
    data[8 + header + entry.data_offsets[0] + 1] = 0x3f;
    fs.writeFileSync(file, data);
    const reports = ["r.json", "r.md", "r.xml"].map((name) => path.join(directory, name));
    const result = await run(
      "verify",
      path.join(fixtures, "llama"),
      out,
      ...reports.flatMap((name) => ["--report", name]),
    );
    t.equal(result.code, 1);
    t.match(result.out, "not-identity");
    t.match(result.out, "model.layers.4.mlp.down_proj.weight");
    for (const name of reports)
      t.match(fs.readFileSync(name, "utf8"), /model\.layers\.4\.mlp\.down\\?_proj\.weight/, name);
  },
);

t.test("inspect shows blocks and finds those that add nothing; mask finds them too", async (t) => {
  const out = path.join(t.testdir(), "out");
  await run("expand", path.join(fixtures, "llama"), out, "--add", "2", "--verify", "none");
  const inspected = JSON.parse((await run("inspect", out, "--json")).out);
  const found = inspected.architecture.blocks.filter((block: { identity: boolean }) => block.identity);
  t.same(
    found.map((block: { index: number }) => block.index),
    [2, 5],
  );
  fs.rmSync(path.join(out, "mask.json"));
  const mask = JSON.parse((await run("mask", out)).out);
  t.same(mask.blocks, [2, 5]);
  t.equal(mask.tensors["model.layers.2.self_attn.q_proj.weight"], "trainable");
  t.equal(mask.tensors["model.layers.1.self_attn.q_proj.weight"], "frozen");
});

t.test("inspect shows names and sizes of a model that expand refuses, and says why", async (t) => {
  const directory = t.testdir();
  fs.cpSync(path.join(fixtures, "llama"), path.join(directory, "bert"), { recursive: true });
  const config = path.join(directory, "bert", "config.json");
  fs.writeFileSync(config, fs.readFileSync(config, "utf8").replace('"llama"', '"bert"'));
  const result = await run("inspect", path.join(directory, "bert"));
  t.equal(result.code, 3);
  t.match(result.out, "refused     ");
  t.match(result.out, "39 tensors");
});

t.test("wrong words give one line, a fix, and exit 2", async (t) => {
  const llama = path.join(fixtures, "llama");
  const rows: [words: string[], error: string, fix: string][] = [
    [["expnd", llama], 'there is no command "expnd"', 'Did you mean "expand"?'],
    [["./nowhere", "out"], '"./nowhere" is neither a command nor a path that exists', "Run expand-checkpoint --help"],
    [
      ["plan", llama, "--add", "x"],
      '--add takes one whole number from 1 up, not "x"',
      "Run expand-checkpoint plan --help.",
    ],
    [["plan", llama, "--add", "0"], '--add takes one whole number from 1 up, not "0"', "--help"],
    [["plan", llama, "--add", "1", "--add", "2"], "--add is there twice", "Keep one of them."],
    [["plan", llama, "--stack", "a", "--stack", "b"], "--stack is there twice", "Keep one of them."],
    [
      ["expand", llama, "/tmp/x", "--hash", "--no-hash"],
      "--hash and --no-hash contradict each other",
      "Keep one of them.",
    ],
    [["plan", llama, "--ad", "1"], "Unknown argument: ad", "--help"],
    [["plan"], "plan takes <source>", "--help"],
    [["plan", llama, "--color"], "Not enough arguments following: color", "--help"],
    [["delta", "apply", llama], "delta apply takes BASE DELTA OUT", "--help"],
    [
      ["delta", "extract", llama, "d.safetensors"],
      "a delta is taken against the checkpoint that was expanded",
      "--base",
    ],
    [["delta", "strip", llama, "out", "--token", "x"], "--token belongs to delta extract and apply", "Leave it out."],
    [
      ["delta", "extract", llama, "d.safetensors", "--no-resume"],
      "--no-resume belongs to delta apply and strip",
      "Leave it out.",
    ],
    [
      ["train", llama, "out", "--corpus", "x.txt", "--every", "2"],
      "--every is about measuring a text, and there is no --eval",
      "Add --eval FILE.",
    ],
    [
      ["train", llama, "out", "--corpus", "x.txt", "--token", "x"],
      "--token is for the Hub, and weights must be on this disk to be trained",
      "Remove --token.",
    ],
    [
      ["train", llama, "out", "--corpus", "x.TXT", "--field", "body"],
      "--field is for .jsonl and .parquet files, and there is none",
      "Remove it.",
    ],
    [
      ["train", llama, "out", "--corpus", `${llama}=half`],
      `--corpus takes FILE or FILE=WEIGHT, a number above 0, not "${llama}=half"`,
      "Give a weight such as code.jsonl=0.8.",
    ],
    [
      ["evaluate", llama, "--corpus", "x.txt", "--field", "body"],
      "--field is for .jsonl and .parquet files, and there is none",
      "Remove it.",
    ],
    [["plan", llama, "--after", "3;process.exit()"], "--after takes block numbers separated by commas", "--help"],
    [["plan", llama, "--after", "3,,7"], "--after takes block numbers separated by commas", "--help"],
    [["plan", llama, "--after=-1"], "--after takes block numbers separated by commas", "--help"],
    [["plan", llama, "--after", "3.5"], "--after takes block numbers separated by commas", "--help"],
    [["plan", llama, "--after", "0x3"], "--after takes block numbers separated by commas", "--help"],
    [["plan", llama, "--after", "4"], "there is no block 4: the source has blocks 0 to 3", "Use numbers from 0 to 3."],
    [
      ["plan", llama, "--add", "1", "--every", "2"],
      "--add, --every and --after exclude each other",
      "Keep one of them.",
    ],
    [["expand", llama, "/tmp/x", "--shard-size", "5 parsecs"], "--shard-size takes a size such as 5GB", "--help"],
    [["expand", llama, "/tmp/x", "--mask", "nemo"], "--mask takes json, axolotl", "--help"],
    [["expand", llama, "/tmp/x", "--zero", "all"], 'Invalid values: Argument: zero, Given: "all", Choices:', "--help"],
    [
      ["verify", llama, llama, "--tokens", "9"],
      "--tokens is about running the models, and nothing is run",
      "Add --mode numbers, or --mode both.",
    ],
    [
      ["expand", llama, "/tmp/x", "--device", "cpu"],
      "--device is about running the models, and nothing is run",
      "Add --verify full.",
    ],
    [
      ["verify", llama, llama, "--report", "r.pdf"],
      "--report takes a file that ends in .json, .md, .html or .xml",
      "Name FILE.json, FILE.md, FILE.html or FILE.xml.",
    ],
  ];
  const exporting = ["train", llama, "out", "--corpus", "x.jsonl", "--export", "accelerate"];
  for (const word of ["--no-resume", "--no-hash", "--dry-run", "--no-checkpointing"]) {
    const error = `${word} is about training here, and --export trains nothing`;
    rows.push([[...exporting, word], error, `Remove ${word}, or --export.`]);
  }
  for (const [words, error, fix] of rows) {
    const result = await run(...words);
    t.equal(result.code, 2, words.join(" "));
    t.match(result.err, `error: ${error}`, words.join(" "));
    t.match(result.err, fix, words.join(" "));
    t.notMatch(result.err, /\n {4}at /, "no stack");
    t.equal(result.out, "");
  }
});

t.test("help is complete: the first page within 25 lines, every verb with examples and exit codes", async (t) => {
  const top = await run("--help");
  t.equal(top.code, 0);
  t.ok(top.out.trimEnd().split("\n").length <= 25, `${top.out.split("\n").length} lines`);
  for (const verb of ["expand", "plan", "verify", "inspect", "mask", "doctor", "completion"]) {
    t.match(top.out, `\n  ${verb} `);
    const help = await run(verb, "--help");
    t.equal(help.code, 0);
    t.match(help.out, "Examples:");
    t.match(help.out, "Exit codes:");
    t.equal(help.out.match(/^ {2}# /gm)?.length, 3, `${verb} has three examples`);
  }
  t.match((await run("--version")).out, /^\d+\.\d+\.\d+\n$/);
});

t.test("completion knows every verb and option", async (t) => {
  for (const shell of ["bash", "zsh", "fish"]) {
    const result = await run("completion", shell);
    t.equal(result.code, 0);
    for (const word of ["expand", "verify", "shard-size", "report"]) t.match(result.out, word, `${shell}: ${word}`);
  }
  t.equal((await run("completion", "tcsh")).code, 2);
});

t.test("numbers of one are said in the singular", async (t) => {
  const { formatItems } = await import("../src/cli/terminal.ts");
  t.same(
    [0, 1, 2].map((count) => formatItems(count, "file")),
    ["0 files", "1 file", "2 files"],
  );
});

t.test(
  "a report that cannot be written is refused before anything runs, or after the result was printed",
  async (t) => {
    const directory = t.testdir({ "taken.json": {}, "a file": "" });
    const llama = path.join(fixtures, "llama");
    const at = (name: string): string => path.join(directory, name);
    const taken = await run("verify", llama, llama, "--report", at("taken.json"));
    t.equal(taken.code, 4);
    t.equal(taken.err, `error: ${at("taken.json")}: is a directory\nfix: Name another file with --report.\n`);
    t.equal(taken.out, "");
    const below = at("a file/r.json");
    const astray = await run("verify", llama, llama, "--report", below);
    t.equal(astray.err, `error: ${below}: cannot be written (ENOTDIR)\nfix: Name another file with --report.\n`);
    t.equal(astray.out, "");
    fs.symlinkSync("gone/r.json", at("r.json"));
    const lost = await run("verify", llama, llama, "--report", at("r.json"), "--no-progress");
    t.equal(lost.code, 4);
    t.equal(lost.err, `error: ${at("r.json")}: cannot be written (ENOENT)\nfix: Name another file with --report.\n`);
    t.match(lost.out, "identity: AFTER is an identity expansion of BEFORE");
  },
);

for (const stream of ["stdout", "stderr"] as const) {
  t.test(
    `a full disk under ${stream} is no bug`,
    { skip: !fs.existsSync("/dev/full") && "needs /dev/full" },
    async (t) => {
      const full = fs.openSync("/dev/full", "w");
      const { stdout, stderr, status } = spawnSync(
        process.execPath,
        ["--import", "tsx", path.join(import.meta.dirname, "command.ts"), "inspect", path.join(fixtures, "llama")],
        {
          stdio: ["ignore", stream === "stdout" ? full : "pipe", stream === "stderr" ? full : "pipe"],
          encoding: "utf8",
        },
      );
      fs.closeSync(full);
      if (stream === "stdout") {
        t.equal(stderr, "read headers\nerror: standard output: cannot be written (ENOSPC)\n");
        t.equal(status, 4);
      } else {
        t.match(stdout, "checkpoint  safetensors");
        t.equal(status, 0);
      }
    },
  );
}

t.test("whoever reads the output may go before its end", async (t) => {
  const words = [
    "--import",
    "tsx",
    path.join(import.meta.dirname, "command.ts"),
    "inspect",
    path.join(fixtures, "llama"),
  ];
  const child = spawn(process.execPath, words, { stdio: ["ignore", "pipe", "pipe"] });
  child.stdout.destroy();
  child.stderr.destroy();
  const [code] = await once(child, "close");
  t.equal(code, 0);
});
