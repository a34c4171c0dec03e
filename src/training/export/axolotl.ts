// A directory that axolotl trains: its configuration with the copies unfrozen. Written for axolotl 0.19.
import { axolotl as mask } from "../../expansion/recipes/axolotl.ts";
import type { RecipeContext } from "../../expansion/recipes/context.ts";
import { type Exported, type Job, schedulerName, sharesOf, trainerNumbers, yamlLines, yamlScalar } from "./job.ts";
import { readme, sixteenBits } from "./readme.ts";

export function axolotl(job: Job, context: RecipeContext): Exported {
  const frozen = mask(context);
  if (frozen.kind === "refused") return frozen;
  if (sharesOf(job) !== undefined)
    return { kind: "refused", reason: "axolotl mixes corpora by their sizes and takes no weights" };
  const text = [
    ...yamlLines({ base_model: job.model, output_dir: "./out" }),
    "datasets:",
    ...job.corpora.flatMap(({ path, field }) => [
      `  - path: ${yamlScalar(path)}`,
      `    ds_type: ${path.endsWith(".parquet") ? "parquet" : "json"}`,
      "    type: completion",
      `    field: ${yamlScalar(field)}`,
    ]),
    ...yamlLines({
      dataset_prepared_path: "./prepared",
      val_set_size: 0,
      sequence_len: job.context,
      sample_packing: true,
      pad_to_sequence_len: true,
      micro_batch_size: job.batch,
      ...("steps" in job.length ? { max_steps: job.length.steps } : { num_epochs: job.length.epochs }),
      optimizer: "adamw_torch",
      lr_scheduler: schedulerName(job),
      bf16: job.dtype === "bf16",
      fp16: job.dtype === "f16",
      ...trainerNumbers(job),
    }),
    frozen.text,
  ].join("\n");
  const command = "axolotl train train.yaml";
  return {
    kind: "files",
    command,
    files: [
      { name: "train.yaml", text },
      {
        name: "README.md",
        text: readme({ trainer: "axolotl", install: "axolotl", command, job, hosts: HOSTS, notes: notesFor(job) }),
      },
    ],
  };
}

const HOSTS = [
  "All GPUs of one machine: as above. More machines: on each of them",
  "",
  "    axolotl train train.yaml --launcher torchrun -- --nnodes 2 --nproc_per_node 8 --rdzv_backend c10d --rdzv_endpoint HOST:29400 --rdzv_id 1",
] as const;

function notesFor(job: Job): readonly string[] {
  return [
    "Sequences are packed, and a document sees those before it, as with `expand-checkpoint train`; where flash-attn is installed, `attn_implementation: flash_attention_2` keeps them apart.",
    ...sixteenBits(job),
  ];
}
