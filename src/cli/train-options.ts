// The words of `train`: what is trained on what, for how long, and where. Turns them into the library's options.
import fs from "node:fs";
import path from "node:path";
import type { Options } from "yargs";
import { TRAINER_NAMES } from "../commands/recipe-names.ts";
import type { TrainOptions } from "../commands/train.ts";
import { ExpandError } from "../errors.ts";
import { decimal, wholeNumber } from "./values.ts";
import { type Arguments, deviceOf, deviceOption, HUB_OPTIONS, optional, text, type VerbContext } from "./verb.ts";

function number(group: string, name: string, describe: string, least?: number): Readonly<Record<string, Options>> {
  const coerce = least === undefined ? decimal(name) : wholeNumber(name, least);
  return { [name]: { group, requiresArg: true, describe, coerce } };
}

const CORPUS_OPTIONS: Readonly<Record<string, Options>> = {
  corpus: {
    group: "Corpus:",
    requiresArg: true,
    type: "string",
    array: true,
    describe: "FILE or FILE=WEIGHT: .txt, .jsonl, .parquet, or a directory of them; may be said several times",
  },
  eval: {
    group: "Corpus:",
    requiresArg: true,
    type: "string",
    array: true,
    describe: "FILE or NAME=FILE: a text to measure the model on while it is trained; may be said several times",
  },
  field: {
    group: "Corpus:",
    requiresArg: true,
    type: "string",
    describe: "Key or column that holds the text [default: text, else the only one]",
  },
  tokenizer: {
    group: "Corpus:",
    requiresArg: true,
    type: "string",
    describe: "A tokenizer.json [default: the one in EXPANDED]",
  },
};

const LENGTH_OPTIONS: Readonly<Record<string, Options>> = {
  ...number("Length:", "steps", "Optimizer steps", 1),
  ...number("Length:", "epochs", "Passes over the corpus [default: 1]"),
  ...number("Length:", "tokens", "Tokens to train on", 1),
  ...number("Length:", "batch", "Sequences of one forward pass [default: 8]", 1),
  ...number("Length:", "accumulate", "Forward passes of one step [default: 1]", 1),
  ...number("Length:", "context", "Tokens of a sequence [default: the model's own, at most 512]", 2),
};

const OPTIMIZER_OPTIONS: Readonly<Record<string, Options>> = {
  ...number("Optimizer (AdamW):", "lr", "Highest learning rate [default: 2e-4]"),
  ...number("Optimizer (AdamW):", "warmup", "Share of the steps, or from 1 on their number [default: 0.06]"),
  schedule: {
    group: "Optimizer (AdamW):",
    requiresArg: true,
    choices: ["cosine", "linear", "constant"],
    describe: "After the warm-up [default: cosine]",
  },
  ...number("Optimizer (AdamW):", "decay", "Weight decay [default: 0.1]"),
  ...number("Optimizer (AdamW):", "clip", "Largest norm of the gradients, 0: any [default: 1]"),
  ...number("Optimizer (AdamW):", "beta1", "Share of the mean gradient that is kept [default: 0.9]"),
  ...number("Optimizer (AdamW):", "beta2", "Share of the mean square that is kept [default: 0.95]"),
};

const MACHINE_OPTIONS: Readonly<Record<string, Options>> = {
  device: deviceOption("Machine:"),
  dtype: {
    group: "Machine:",
    requiresArg: true,
    choices: ["f32", "f16", "bf16"],
    describe:
      "Of products of matrices, on CUDA; weights are trained in f32. On the CPU, f16 is computed in f32 [default: f32; bf16 with --export]",
  },
  layout: {
    group: "Machine:",
    requiresArg: true,
    choices: ["host", "graph", "loop", "offload"],
    describe: "Where AdamW and its state are [default: host on the CPU, loop on CUDA]",
  },
  checkpointing: {
    group: "Machine:",
    type: "boolean",
    describe: "Compute activations again instead of keeping them [default: true] (--no-checkpointing)",
  },
  ...number("Machine:", "threads", "Threads of the CPU [default: all cores]", 1),
};

const RUN_OPTIONS: Readonly<Record<string, Options>> = {
  mask: {
    group: "Run:",
    requiresArg: true,
    type: "string",
    describe: "What is trained [default: EXPANDED's mask.json]",
  },
  stack: { group: "Run:", requiresArg: true, type: "string", describe: "Which stack was expanded" },
  ...number("Run:", "every", "Steps between two measurements of --eval [default: a tenth of the run]", 1),
  ...number("Run:", "eval-tokens", "Tokens of each measurement [default: a 25th of the run's, 4096 to 32768]", 1),
  ...number("Run:", "save-every", "Steps between two saves [default: a tenth of the run, or ten minutes]", 1),
  ...number("Run:", "seed", "Of the order of the documents [default: 0]", 0),
  resume: {
    group: "Run:",
    type: "boolean",
    describe: "Go on from the state in OUT [default: true] (--no-resume)",
  },
  force: { group: "Run:", type: "boolean", default: false, describe: "Replace files of the same names in OUT" },
  hash: {
    group: "Run:",
    type: "boolean",
    describe: "SHA-256 of every file in the manifest [default: true] (--no-hash)",
  },
  export: {
    group: "Run:",
    requiresArg: true,
    choices: TRAINER_NAMES,
    describe: "Train nothing: write OUT as a directory that this trainer runs, with the same numbers",
  },
  "dry-run": {
    group: "Run:",
    type: "boolean",
    default: false,
    describe: "Print memory, steps, tokens and time, measured on two steps; write nothing",
  },
};

export const TRAIN_OPTIONS: Readonly<Record<string, Options>> = {
  ...CORPUS_OPTIONS,
  ...LENGTH_OPTIONS,
  ...OPTIMIZER_OPTIONS,
  ...MACHINE_OPTIONS,
  ...RUN_OPTIONS,
  token: { ...HUB_OPTIONS.token, describe: `With --export: ${HUB_OPTIONS.token?.describe}` },
};

export function trainOptions(args: Arguments, context: VerbContext): TrainOptions {
  return {
    source: text(args, "expanded") ?? "",
    output: text(args, "output") ?? "",
    corpora: words(args.corpus).map(weighted),
    evaluations: words(args.eval).map(named),
    signal: context.signal,
    ...deviceOf(args),
    ...optional<TrainOptions>(args, {
      field: "field",
      tokenizer: "tokenizer",
      steps: "steps",
      epochs: "epochs",
      tokens: "tokens",
      batch: "batch",
      accumulate: "accumulate",
      context: "context",
      rate: "lr",
      warmup: "warmup",
      schedule: "schedule",
      decay: "decay",
      clip: "clip",
      beta1: "beta1",
      beta2: "beta2",
      dtype: "dtype",
      layout: "layout",
      checkpointing: "checkpointing",
      threads: "threads",
      mask: "mask",
      stack: "stack",
      every: "every",
      evaluationTokens: "eval-tokens",
      saveEvery: "save-every",
      seed: "seed",
      resume: "resume",
      force: "force",
      hash: "hash",
    }),
  };
}

function words(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.map(String) : [];
}

/** "code.jsonl=0.8"; a file that is there under the whole name is that file. */
function weighted(word: string): TrainOptions["corpora"][number] {
  const [, file, weight] = /^(.+)=([^=]+)$/.exec(word) ?? [];
  if (file === undefined || fs.existsSync(word)) return { path: word };
  if (/^\d+(?:\.\d+)?$/.test(weight ?? "") && Number(weight) > 0) return { path: file, weight: Number(weight) };
  if (!fs.existsSync(file)) return { path: word };
  const message = `--corpus takes FILE or FILE=WEIGHT, a number above 0, not ${JSON.stringify(word)}`;
  throw new ExpandError("usage", message, { fix: "Give a weight such as code.jsonl=0.8." });
}

/** "code=held-out.txt", or "held-out.txt" alone, whose name it then is. */
function named(word: string): { readonly name: string; readonly path: string } {
  const [, name = path.parse(word).name, file = word] = /^([\w.-]+)=(.+)$/.exec(word) ?? [];
  if (name !== "") return { name, path: file };
  throw new ExpandError("usage", `--eval takes FILE or NAME=FILE, not ${JSON.stringify(word)}`, {
    fix: "Name a text: --eval code=held-out.txt.",
  });
}
