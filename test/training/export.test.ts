// Directories for other trainers: what they are told, and that nothing of a user's can become a command or another setting.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import t from "tap";
import YAML from "yaml";
import { expand } from "../../src/commands/expand.ts";
import { type ExportOptions, exportTraining } from "../../src/commands/export.ts";
import { finish } from "../../src/events.ts";
import { shellWord } from "../../src/training/export/job.ts";

const root = path.resolve(import.meta.dirname, "..", "..");
const llama = path.join(root, "fixtures", "llama");

async function expandedLlama(t: Tap, after: readonly number[]): Promise<string> {
  const output = path.join(t.testdir(), "expanded");
  await finish(expand({ source: llama, output, after, verify: "none" }));
  return output;
}
type Tap = { testdir(): string };

function corpus(directory: string, name = "code.jsonl", text = `${JSON.stringify({ text: "let a = 1;" })}\n`): string {
  const file = path.join(directory, name);
  fs.writeFileSync(file, text);
  return file;
}

async function exported(
  source: string,
  trainer: ExportOptions["trainer"],
  more: Partial<ExportOptions> = {},
): Promise<{ readonly read: (name: string) => string; readonly command: string }> {
  const output = path.join(path.dirname(source), trainer);
  const corpora = more.corpora ?? [{ path: corpus(path.dirname(source)) }];
  const report = await finish(exportTraining({ source, output, trainer, corpora, steps: 100, ...more }));
  return { read: (name) => fs.readFileSync(path.join(output, name), "utf8"), command: report.command };
}

t.test("accelerate is told the copies by a pattern, and every number that train would use", async (t) => {
  const source = await expandedLlama(t, [1, 3]);
  const { read, command } = await exported(source, "accelerate", { context: 64, batch: 2, accumulate: 3, seed: 7 });
  t.equal(command, "bash train.sh");
  const { copies, ...job } = JSON.parse(read("train.json"));
  t.match("model.layers.2.mlp.down_proj.weight", new RegExp(copies));
  t.notMatch("model.layers.3.mlp.down_proj.weight", new RegExp(copies));
  t.same(job, {
    model: source,
    corpora: [{ path: path.join(path.dirname(source), "code.jsonl"), field: "text", share: 1 }],
    ...{ context: 64, batch: 2, accumulate: 3, steps: 100, rate: 2e-4, scheduler: "cosine", warmup: 0.06 },
    ...{ decay: 0.1, clip: 1, betas: [0.9, 0.95], epsilon: 1e-8, precision: "bf16", seed: 7 },
  });
  t.equal(JSON.parse(read("mask.json")).schema, "expand-checkpoint/mask/1");
  t.match(read("README.md"), `expand-checkpoint verify ${source} out --mode trained`);
});

t.test("axolotl's file is YAML with the copies unfrozen, dots unescaped", async (t) => {
  const { read } = await exported(await expandedLlama(t, [1, 3]), "axolotl", { epochs: 2, steps: undefined as never });
  const settings = YAML.parse(read("train.yaml"));
  t.equal(settings.num_epochs, 2);
  t.equal(settings.max_steps, undefined);
  t.equal(settings.unfrozen_parameters.length, 1);
  t.notMatch(settings.unfrozen_parameters[0], /\\/);
  t.equal(settings.datasets[0].type, "completion");
  t.equal(settings.adam_epsilon, 1e-8);
  t.match(read("train.yaml"), /^adam_epsilon: 1\.0e-8$/m, "PyYAML takes 1e-8 for a string");
});

t.test("LLaMA-Factory is only told of layouts that its formula finds", async (t) => {
  const fits = await exported(await expandedLlama(t, [1, 3]), "llama-factory");
  const settings = YAML.parse(fits.read("train.yaml"));
  t.equal(settings.use_llama_pro, true);
  t.equal(settings.freeze_trainable_layers, 2);
  t.same(Object.keys(JSON.parse(fits.read("dataset_info.json"))), ["corpus_0"]);
});

t.test("a layout that LLaMA-Factory's formula does not find is refused", async (t) => {
  const source = await expandedLlama(t, [0]);
  await t.rejects(exported(source, "llama-factory"), {
    message: "export for llama-factory: LLaMA-Factory would train blocks 4; the copies are 1",
    fix: "Export for accelerate, which can express any layout of a Hugging Face checkpoint.",
  });
});

t.test("weights of corpora become shares, where the trainer has them", async (t) => {
  const source = await expandedLlama(t, [1, 3]);
  const directory = path.dirname(source);
  const corpora = [
    { path: corpus(directory, "a.jsonl"), weight: 3 },
    { path: corpus(directory, "b.jsonl"), weight: 1 },
  ];
  const swift = (await exported(source, "ms-swift", { corpora })).read("train.sh");
  t.match(swift, "--interleave_prob 0.75 0.25");
  const factory = YAML.parse((await exported(source, "llama-factory", { corpora })).read("train.yaml"));
  t.equal(factory.interleave_probs, "0.75,0.25");
  await t.rejects(exported(source, "axolotl", { corpora }), {
    message: "export for axolotl: axolotl mixes corpora by their sizes and takes no weights",
  });
});

t.test("a path that looks like a command stays one word of the shell and one string of YAML", async (t) => {
  const source = await expandedLlama(t, [1, 3]);
  const evil = corpus(path.dirname(source), "a'; rm -rf $HOME; echo '#: x.jsonl");
  const corpora = [{ path: evil }];
  t.match((await exported(source, "ms-swift", { corpora })).read("train.sh"), shellWord(evil));
  t.equal(shellWord("a'b"), "'a'\\''b'");
  t.equal(YAML.parse((await exported(source, "axolotl", { corpora })).read("train.yaml")).datasets[0].path, evil);
});

t.test("what a README says to run is what it says, whatever the model's path", async (t) => {
  const plain = await expandedLlama(t, [1, 3]);
  const source = path.join(path.dirname(plain), "it's $HOME; a `model`");
  fs.renameSync(plain, source);
  const results = {
    accelerate: "out",
    axolotl: "out",
    "llama-factory": "out",
    "ms-swift": "out/last-checkpoint",
  } as const;
  for (const [trainer, result] of Object.entries(results)) {
    const { read } = await exported(source, trainer as keyof typeof results);
    const [settings, proof] = (read("README.md").split("put back the model's.")[1] ?? "").match(/^ {4}.*$/gm) ?? [];
    t.equal(settings?.trim(), `cp ${shellWord(path.join(source, "config.json"))} ${result}/`);
    t.equal(proof?.trim(), `expand-checkpoint verify ${shellWord(source)} ${result} --mode trained`);
  }
  const words = execFileSync("bash", ["-c", `printf '%s\\n' ${shellWord(source)}`], { encoding: "utf8" });
  t.equal(words, `${source}\n`);
});

t.test(
  "trainers on transformers' Trainer are given the same numbers, and keep one checkpoint on the way",
  async (t) => {
    const source = await expandedLlama(t, [1, 3]);
    const wanted = {
      ...{
        gradient_accumulation_steps: 3,
        learning_rate: 1e-7,
        warmup_ratio: 0.06,
        weight_decay: 0.1,
        max_grad_norm: 1,
      },
      ...{ adam_beta1: 0.9, adam_beta2: 0.95, adam_epsilon: 1e-8, seed: 7, save_total_limit: 1, max_steps: 100 },
    };
    const job = { accumulate: 3, rate: 1e-7, seed: 7 };
    for (const trainer of ["axolotl", "llama-factory"] as const) {
      const settings = YAML.parse((await exported(source, trainer, job)).read("train.yaml"));
      for (const [name, value] of Object.entries(wanted)) t.equal(settings[name], value, `${trainer}: ${name}`);
    }
    const script = (await exported(source, "ms-swift", job)).read("train.sh");
    for (const [name, value] of Object.entries(wanted)) t.match(script, ` --${name} ${value}`);
  },
);

t.test("a corpus that other trainers do not read is refused, and so is a field that is not there", async (t) => {
  const source = await expandedLlama(t, [1, 3]);
  const directory = path.dirname(source);
  await t.rejects(exported(source, "accelerate", { corpora: [{ path: corpus(directory, "a.txt") }] }), {
    message: `${path.join(directory, "a.txt")}: other trainers read .jsonl and .parquet files of documents`,
    fix: 'Write the texts as a .jsonl file, one {"text": ...} a line.',
  });
  const file = corpus(directory, "b.jsonl");
  await t.rejects(exported(source, "accelerate", { corpora: [{ path: file, field: "body" }] }), {
    message: `${file}: field "body" is not there; found "text"`,
  });
});

t.test("an export refuses what train would refuse, and what no trainer could be told", async (t) => {
  const source = await expandedLlama(t, [1, 3]);
  const file = corpus(path.dirname(source));
  const job = path.join(path.dirname(source), "accelerate");
  const gguf = path.join(path.dirname(source), "big.gguf");
  await finish(expand({ source: path.join(root, "fixtures", "llama.gguf"), output: gguf, add: 1, verify: "none" }));
  const rows: readonly [more: Partial<ExportOptions>, message: string, fix: string][] = [
    [{ corpora: [] }, "there is no corpus to train on", "Name one: --corpus FILE.jsonl."],
    [
      { corpora: [{ path: file, weight: 0 }] },
      `${file}: weight must be above 0, not 0`,
      "Give FILE=weight, such as code.jsonl=0.8.",
    ],
    [{ rate: 0 }, "--lr must be above 0, not 0", "Use another --lr, or leave it out."],
    [{ context: 65 }, "--context 65 is more than the 64 positions that the model has", "Use --context 64 or less."],
    [
      { warmup: 101 },
      "--warmup 101 is more than the 100 steps of the run",
      "Give a share of the steps, such as --warmup 0.06.",
    ],
    [
      { warmup: 5, steps: undefined as never },
      "--warmup 5 is a number of steps, and how many an epoch has is not known here",
      "Give a share of the steps, such as --warmup 0.06.",
    ],
    [
      { output: path.join(source, "job") },
      `${path.join(source, "job")}: lies inside the source ${source}`,
      "Choose an output outside the source.",
    ],
    [
      { output: source, force: true },
      `${source}: lies inside the source ${source}`,
      "Choose an output outside the source.",
    ],
    [
      { source: gguf },
      "export for accelerate: trainers do not read GGUF; expand the safetensors checkpoint that the GGUF file was made from",
      "Expand and export the Hugging Face checkpoint of the model.",
    ],
  ];
  const mask = fs.readFileSync(path.join(source, "mask.json"));
  for (const [more, message, fix] of rows) {
    await t.rejects(exported(source, "accelerate", more), { message, fix }, message);
    t.notOk(fs.existsSync(job), message);
  }
  t.ok(fs.readFileSync(path.join(source, "mask.json")).equals(mask), "the source is as it was");
});

t.test("the context and the field are those that train would take", async (t) => {
  const source = await expandedLlama(t, [1, 3]);
  const corpora = [{ path: corpus(path.dirname(source), "body.jsonl", '{"body":"let a = 1;","size":10}\n') }];
  const job = JSON.parse((await exported(source, "accelerate", { corpora })).read("train.json"));
  t.equal(job.context, 64, "the model's own, below 512");
  t.equal(job.corpora[0].field, "body", "the only one that holds text");
});
