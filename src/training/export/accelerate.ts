// A directory that transformers and accelerate train: a script of our own, its settings, and a launcher. By torchrun, because accelerate's
// own launcher starts one process where there is no GPU.
import { copyPattern, type RecipeContext } from "../../expansion/recipes/context.ts";
import { SCRIPT } from "./accelerate-script.ts";
import { type Exported, type Job, schedulerName, sharesOf } from "./job.ts";
import { readme } from "./readme.ts";

const MIXED = { f32: "no", f16: "fp16", bf16: "bf16" } as const;

export function accelerate(job: Job, context: RecipeContext): Exported {
  const found = copyPattern(context, "\\.");
  if (typeof found === "string") return { kind: "refused", reason: found };
  const shares = sharesOf(job) ?? job.corpora.map(() => 1 / job.corpora.length);
  const settings = {
    model: job.model,
    copies: found.pattern,
    corpora: job.corpora.map(({ path, field }, at) => ({ path, field, share: shares[at] })),
    context: job.context,
    batch: job.batch,
    accumulate: job.accumulate,
    ...job.length,
    rate: job.rate,
    scheduler: schedulerName(job),
    warmup: job.warmup,
    decay: job.decay,
    clip: job.clip,
    betas: [job.beta1, job.beta2],
    epsilon: job.epsilon,
    precision: MIXED[job.dtype],
    seed: job.seed,
  };
  const command = "bash train.sh";
  return {
    kind: "files",
    command,
    files: [
      { name: "train.py", text: SCRIPT },
      { name: "train.json", text: `${JSON.stringify(settings, null, 2)}\n` },
      { name: "train.sh", text: LAUNCHER },
      {
        name: "README.md",
        text: readme({
          trainer: "accelerate",
          install: "torch transformers accelerate pyarrow",
          command,
          job,
          hosts: HOSTS,
          notes: NOTES,
        }),
      },
    ],
  };
}

const LAUNCHER = `#!/usr/bin/env bash
# Trains the copies on every GPU of this machine. Arguments are torchrun's: --nproc_per_node 2, --nnodes 2 --rdzv_endpoint HOST:29400, ...
set -euo pipefail
cd "$(dirname "$0")"
gpus=$({ nvidia-smi --list-gpus 2>/dev/null || true; } | wc -l)
[ "$gpus" -gt 0 ] || export ACCELERATE_USE_CPU=true
[ $# -gt 0 ] || set -- --nproc_per_node "$((gpus > 0 ? gpus : 1))"
exec torchrun "$@" train.py
`;

const HOSTS = [
  "All GPUs of one machine: as above. Two processes without a GPU: `bash train.sh --nproc_per_node 2`. More machines: on each of them",
  "",
  "    bash train.sh --nproc_per_node 8 --nnodes 2 --rdzv_backend c10d --rdzv_endpoint HOST:29400 --rdzv_id 1",
] as const;

const NOTES = [
  "Every device holds the whole model. The settings are in `train.json`, the loop is in `train.py`: both are yours to change.",
] as const;
