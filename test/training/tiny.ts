// A small expanded model to train, and batches for it. Fixed seeds.
import fs from "node:fs";
import path from "node:path";
import { expand } from "../../src/commands/expand.ts";
import type { Batch } from "../../src/corpus/batch.ts";
import { finish } from "../../src/events.ts";
import type { Mask } from "../../src/expansion/mask.ts";
import { openCheckpoint } from "../../src/formats/open.ts";
import { openTrainer, type Trainer, type TrainerOptions } from "../../src/training/step/trainer.ts";
import { generator } from "../../src/verification/numeric/inputs.ts";

export const FIXTURES = path.resolve(import.meta.dirname, "../../fixtures");
/** Of the fixtures. */
export const VOCABULARY = 32;

/** A copy behind each of these blocks of a checkpoint; gives the path of the expanded one. */
export async function expanded(source: string, output: string, after: readonly number[] = [1]): Promise<string> {
  await finish(expand({ source, output, after, verify: "none", hash: false }));
  return output;
}

/** What the mask beside a checkpoint trains. */
export function trainableIn(directory: string): ReadonlySet<string> {
  const file = fs.existsSync(path.join(directory, "mask.json"))
    ? path.join(directory, "mask.json")
    : directory.replace(/\.gguf$/, ".mask.json");
  const { tensors } = JSON.parse(fs.readFileSync(file, "utf8")) as Pick<Mask, "tensors">;
  return new Set(Object.entries(tensors).flatMap(([name, state]) => (state === "trainable" ? [name] : [])));
}

/** Two sequences of six tokens, f32, on one thread, unless `options` say otherwise. */
export async function trainerOf(directory: string, options: Partial<TrainerOptions> = {}): Promise<Trainer> {
  return openTrainer({
    checkpoint: options.checkpoint ?? (await openCheckpoint(directory)),
    trainable: options.trainable ?? trainableIn(directory),
    batch: 2,
    context: 6,
    accumulate: 1,
    layout: "host",
    checkpointing: false,
    dtype: "f32",
    adam: { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, decay: 0.1 },
    device: "cpu",
    threads: 1,
    folder: path.join(path.dirname(directory), "scratch"),
    ...options,
  });
}

/** Random tokens; the label is the next one, and none at the end of a row. */
export function batchOf(seed: number, batch = 2, context = 6): Batch {
  const random = generator(seed);
  const ids = BigInt64Array.from({ length: batch * context }, () => BigInt(Math.floor(random() * VOCABULARY)));
  const labels = BigInt64Array.from(ids, (_, at) => (at % context === context - 1 ? -100n : (ids[at + 1] ?? 0n)));
  return { batch, context, ids, labels, documents: [] };
}

/** A batch with other labels. */
export function labelled(batch: Batch, label: (label: bigint, at: number) => bigint): Batch {
  return { ...batch, labels: batch.labels.map((old, at) => label(old, at)) };
}

/** Copies of weights and moments, "weights name" and so on. */
export async function snapshot(trainer: Trainer): Promise<ReadonlyMap<string, Float32Array>> {
  const { weights, m, v } = await trainer.state();
  const all = Object.entries({ weights, m, v }).flatMap(([kind, values]) =>
    [...values].map(([name, data]) => [`${kind} ${name}`, data.slice()] as const),
  );
  return new Map(all);
}

/** Largest |a - b| relative to the largest |a| of the same tensor; 0 for equal bits. */
export function difference(a: ReadonlyMap<string, Float32Array>, b: ReadonlyMap<string, Float32Array>): number {
  let worst = a.size === b.size ? 0 : Number.NaN;
  for (const [name, ours] of a) {
    const theirs = b.get(name);
    const size = ours.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-30);
    for (const [at, value] of ours.entries()) {
      const gap = Math.abs(value - (theirs?.[at] ?? Number.NaN)) / size;
      if (!(gap <= worst)) worst = gap;
    }
  }
  return worst;
}
