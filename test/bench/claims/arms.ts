// What is compared: which tensors of which checkpoint are trained. Trains nothing.
import fs from "node:fs";
import path from "node:path";
import type { Checkpoint } from "../../../src/checkpoint/checkpoint.ts";
import { expand } from "../../../src/commands/expand.ts";
import { trainableTensors } from "../../../src/commands/trainable.ts";
import { finish } from "../../../src/events.ts";
import type { PlacementOptions } from "../../../src/expansion/placement.ts";
import { openCheckpoint } from "../../../src/formats/open.ts";
import { elementCount } from "../../../src/tensor/dtype.ts";
import type { TensorRef } from "../../../src/tensor/reference.ts";
import { isAdapter, merged, withAdapters } from "./lora.ts";
import { replaced, withValues, zeros } from "./weights.ts";

/** Ready to be trained. */
export interface Start {
  readonly checkpoint: Checkpoint;
  readonly trainable: ReadonlySet<string>;
  /** What came of it, as a checkpoint like any other. */
  result(values: ReadonlyMap<string, Float32Array>): Promise<Checkpoint> | Checkpoint;
}

export interface Arm {
  readonly name: string;
  /** `work` is for files. */
  start(source: string, work: string, seed: number): Promise<Start>;
}

/** Of two copies, 90,880 parameters; seven projections in five blocks have 5,780 a rank. */
const LORA_RANK = 16;
/** After blocks 1 and 4, as two copies of five blocks stand. */
const COPIED = [1, 4];

export const ARMS: readonly Arm[] = [
  copies("1 copy", { add: 1 }),
  copies("2 copies", { add: 2 }),
  copies("5 copies", { every: 1 }),
  copies("2 copies, suffix", { add: 2, place: "suffix" }),
  copies("2 copies, prefix", { add: 2, place: "prefix" }),
  { name: "2 copies, norms zeroed", start: zeroedNorms },
  {
    name: "2 original blocks",
    start: (source) => some(source, (name) => COPIED.some((at) => name.startsWith(`model.layers.${at}.`))),
  },
  { name: "all blocks and ends", start: (source) => some(source, () => true) },
  { name: `LoRA, rank ${LORA_RANK}`, start: (source, _work, seed) => adapters(source, seed) },
];

function copies(name: string, options: PlacementOptions): Arm {
  return {
    name,
    start: async (source, work) => {
      const output = path.join(work, name.replaceAll(/\W+/g, "-"));
      if (!fs.existsSync(output)) await finish(expand({ source, output, ...options }));
      const checkpoint = await openCheckpoint(output);
      const trainable = await trainableTensors(checkpoint);
      return { checkpoint, trainable, result: (values) => withValues(checkpoint, values) };
    },
  };
}

/** Identity the other way: projections as in the original, and norms that give zero. */
async function zeroedNorms(source: string, work: string): Promise<Start> {
  const start = await copies("2 copies", { add: 2 }).start(source, work, 0);
  const original = await openCheckpoint(source);
  const tensors = new Map<string, TensorRef>();
  for (const name of start.trainable) {
    const [, block = "", rest = ""] = /^model\.layers\.(\d+)\.(.+)$/.exec(name) ?? [];
    // Copies stand at 2 and 6.
    const from = original.tensors.get(`model.layers.${block === "2" ? 1 : 4}.${rest}`);
    if (from !== undefined) tensors.set(name, /norm/.test(rest) ? zeros(from.shape) : from);
  }
  const checkpoint = replaced(
    { ...start.checkpoint, location: `${start.checkpoint.location} with its norms zeroed` },
    tensors,
  );
  return { checkpoint, trainable: start.trainable, result: (values) => withValues(checkpoint, values) };
}

async function some(source: string, isTrained: (name: string) => boolean): Promise<Start> {
  const checkpoint = await openCheckpoint(source);
  const trainable = new Set([...checkpoint.tensors.keys()].filter(isTrained));
  return { checkpoint, trainable, result: (values) => withValues(checkpoint, values) };
}

async function adapters(source: string, seed: number): Promise<Start> {
  const plain = await openCheckpoint(source);
  const checkpoint = withAdapters(plain, LORA_RANK, seed);
  const trainable = new Set([...checkpoint.tensors.keys()].filter(isAdapter));
  return { checkpoint, trainable, result: (values) => merged(plain, values) };
}

/** Values that are trained. */
export function trainedIn({ checkpoint, trainable }: Start): number {
  return [...trainable].reduce((sum, name) => sum + (elementCount(checkpoint.tensors.get(name)?.shape ?? []) ?? 0), 0);
}
