// Trains checkpoints on given batches, for a program that does the same with another framework.
//
//   npx tsx train_steps.ts JOBS.json
//
// JOBS.json: a list of { checkpoint, mask, batches, output, ...options }. `batches` is a file of int64: [steps, accumulate, 2 (ids, labels), batch,
// context]. Writes output/losses.json and output/<number>.f32, the trained tensors in the order of names in losses.json.
import fs from "node:fs";
import path from "node:path";
import type { Batch } from "../../src/corpus/batch.ts";
import { openCheckpoint } from "../../src/formats/open.ts";
import { openTrainer, type TrainerOptions } from "../../src/training/step/trainer.ts";

interface Job extends Pick<TrainerOptions, "batch" | "context" | "accumulate" | "layout" | "checkpointing" | "dtype"> {
  readonly checkpoint: string;
  readonly mask: string;
  readonly batches: string;
  readonly output: string;
  readonly adam: TrainerOptions["adam"];
  readonly clip: number;
  readonly rates: readonly number[];
}

const jobs = JSON.parse(fs.readFileSync(process.argv[2] ?? "", "utf8")) as readonly Job[];
for (const job of jobs) {
  fs.mkdirSync(job.output, { recursive: true });
  try {
    await train(job);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    fs.writeFileSync(path.join(job.output, "losses.json"), JSON.stringify({ error: message }));
  }
}

async function train(job: Job): Promise<void> {
  const { tensors } = JSON.parse(fs.readFileSync(job.mask, "utf8")) as { tensors: Record<string, string> };
  const trainable = new Set(Object.keys(tensors).filter((name) => tensors[name] === "trainable"));
  const { batch, context, accumulate, layout, checkpointing, dtype, adam, clip } = job;
  const trainer = await openTrainer({
    ...{ checkpoint: await openCheckpoint(job.checkpoint), trainable, batch, context, accumulate },
    ...{ layout, checkpointing, dtype, adam, clip, device: "cpu", folder: path.join(job.output, "scratch") },
  });
  try {
    const results = await trainer.run(batchesOf(job), job.rates);
    const { weights } = await trainer.state();
    for (const [number, values] of [...weights.values()].entries()) {
      fs.writeFileSync(path.join(job.output, `${number}.f32`), values);
    }
    fs.writeFileSync(path.join(job.output, "losses.json"), JSON.stringify({ results, names: [...weights.keys()] }));
  } finally {
    await trainer.close();
  }
}

function batchesOf({ batches, batch, context, accumulate, rates }: Job): readonly (readonly Batch[])[] {
  const bytes = fs.readFileSync(batches);
  const all = new BigInt64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8);
  const size = batch * context;
  return rates.map((_, step) =>
    Array.from({ length: accumulate }, (_, micro): Batch => {
      const at = (step * accumulate + micro) * 2 * size;
      const documents = [{ file: batches, place: `step ${step}` }];
      return { batch, context, ids: all.slice(at, at + size), labels: all.slice(at + size, at + 2 * size), documents };
    }),
  );
}
