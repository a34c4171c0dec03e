// A directory that LLaMA-Factory trains, where its formula finds exactly the copies. Written for LLaMA-Factory 0.9.5.
import type { RecipeContext } from "../../expansion/recipes/context.ts";
import { llamaFactory as mask } from "../../expansion/recipes/llama-factory.ts";
import { type Exported, type Job, schedulerName, sharesOf, trainerNumbers, yamlLines } from "./job.ts";
import { readme } from "./readme.ts";

export function llamaFactory(job: Job, context: RecipeContext): Exported {
  const frozen = mask(context);
  if (frozen.kind === "refused") return frozen;
  const shares = sharesOf(job);
  const names = job.corpora.map((_, at) => `corpus_${at}`);
  const text = [
    ...yamlLines({
      model_name_or_path: job.model,
      stage: "pt",
      do_train: true,
      dataset_dir: ".",
      dataset: names.join(","),
      ...(shares === undefined ? {} : { mix_strategy: "interleave_over", interleave_probs: shares.join(",") }),
      template: "empty",
      cutoff_len: job.context,
      packing: true,
      per_device_train_batch_size: job.batch,
      ...("steps" in job.length ? { max_steps: job.length.steps } : { num_train_epochs: job.length.epochs }),
      optim: "adamw_torch",
      lr_scheduler_type: schedulerName(job),
      ...trainerNumbers(job),
      bf16: job.dtype === "bf16",
      fp16: job.dtype === "f16",
      // LLaMA-Factory casts trainable weights up unless both of these say otherwise.
      pure_bf16: false,
      output_dir: "./out",
      overwrite_output_dir: true,
      logging_steps: 10,
      save_strategy: "epoch",
      report_to: "none",
    }),
    frozen.text,
  ].join("\n");
  const datasets = Object.fromEntries(
    job.corpora.map(({ path, field }, at) => [names[at], { file_name: path, columns: { prompt: field } }]),
  );
  const command = "llamafactory-cli train train.yaml";
  return {
    kind: "files",
    command,
    files: [
      { name: "train.yaml", text },
      { name: "dataset_info.json", text: `${JSON.stringify(datasets, null, 2)}\n` },
      {
        name: "README.md",
        text: readme({ trainer: "LLaMA-Factory", install: "llamafactory", command, job, hosts: HOSTS, notes: NOTES }),
      },
    ],
  };
}

const HOSTS = [
  "All GPUs of one machine: as above. More machines: on each of them, with its own NODE_RANK,",
  "",
  "    FORCE_TORCHRUN=1 NNODES=2 NODE_RANK=0 MASTER_ADDR=HOST MASTER_PORT=29500 llamafactory-cli train train.yaml",
] as const;

const NOTES = [
  "LLaMA-Factory leaves the copies in f32. Where the model is stored in 16 bits, bring them to its type, and take `out-16` for `out` below:",
  "",
  "    llamafactory-cli export --model_name_or_path out --template empty --export_dir out-16 --infer_dtype bfloat16",
] as const;
