// A directory that ms-swift trains: its command line with everything but the copies frozen. Written for ms-swift 4.6.
import { copyPattern, type RecipeContext } from "../../expansion/recipes/context.ts";
import { type Exported, type Job, schedulerName, sharesOf, shellWord, trainerNumbers } from "./job.ts";
import { readme, sixteenBits } from "./readme.ts";

const DTYPES = { f32: "float32", f16: "float16", bf16: "bfloat16" } as const;

export function msSwift(job: Job, context: RecipeContext): Exported {
  const found = copyPattern(context, "\\.");
  if (typeof found === "string") return { kind: "refused", reason: found };
  const fields = new Set(job.corpora.map(({ field }) => field));
  if (fields.size > 1)
    return {
      kind: "refused",
      reason: `ms-swift takes one name of the text for all corpora, and these have ${[...fields].join(", ")}`,
    };
  const text = [
    "#!/usr/bin/env bash",
    "# Trains the copies and freezes everything else. More arguments are passed on.",
    "set -euo pipefail",
    'cd "$(dirname "$0")"',
    'swift pt "$@" \\',
    argumentsOf(job, found.pattern)
      .map((words) => `  ${words.map(shellWord).join(" ")}`)
      .join(" \\\n"),
    "",
  ].join("\n");
  const command = "bash train.sh";
  return {
    kind: "files",
    command,
    files: [
      { name: "train.sh", text },
      {
        name: "README.md",
        text: readme({
          trainer: "ms-swift",
          install: "ms-swift",
          command,
          job,
          hosts: HOSTS,
          result: RESULT,
          notes: [MODEL_TYPE, ...sixteenBits(job)],
        }),
      },
    ],
  };
}

function argumentsOf(job: Job, pattern: string): readonly (readonly string[])[] {
  const { corpora, length } = job;
  const shares = sharesOf(job);
  return [
    ["--model", job.model],
    ["--use_hf", "true"],
    ["--tuner_type", "full"],
    ["--freeze_parameters_regex", ".*"],
    ["--trainable_parameters_regex", pattern],
    ["--dataset", ...corpora.map(({ path }) => path)],
    // The documents are no conversations.
    ["--template", "dummy"],
    ["--columns", JSON.stringify({ [corpora[0]?.field ?? "text"]: "response" })],
    ...(shares === undefined ? [] : [["--interleave_prob", ...shares.map(String)]]),
    ["--split_dataset_ratio", "0"],
    ["--torch_dtype", DTYPES[job.dtype]],
    ["--max_length", `${job.context}`],
    ["--truncation_strategy", "split"],
    ["--per_device_train_batch_size", `${job.batch}`],
    "steps" in length ? ["--max_steps", `${length.steps}`] : ["--num_train_epochs", `${length.epochs}`],
    ["--optim", "adamw_torch"],
    ["--lr_scheduler_type", schedulerName(job)],
    ...Object.entries(trainerNumbers(job)).map(([name, value]) => [`--${name}`, `${value}`]),
    ["--save_only_model", "true"],
    ["--add_version", "false"],
    ["--output_dir", "./out"],
  ];
}

const HOSTS = [
  "All GPUs of one machine: `NPROC_PER_NODE=8 bash train.sh`. More machines: on each of them, with its own NODE_RANK,",
  "",
  "    NNODES=2 NODE_RANK=0 MASTER_ADDR=HOST MASTER_PORT=29500 NPROC_PER_NODE=8 bash train.sh",
] as const;

const RESULT = "out/last-checkpoint";

const MODEL_TYPE =
  "Where ms-swift says that several model types fit, name the one: `bash train.sh --model_type llama`.";
