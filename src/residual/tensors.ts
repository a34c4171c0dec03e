// What a copy of a block gets for itself: one tensor for each use of a weight, so that training it never touches an original.

import { OnnxType } from "../graph/onnx.ts";
import type { BlockTensor, Slot } from "./blocks.ts";
import type { Body } from "./body.ts";
import type { RoleSlot } from "./roles.ts";
import { isWeight } from "./trainable.ts";
import { sizeOf } from "./values.ts";

/** One block in one body. */
export interface BlockSlots {
  readonly body: Body;
  readonly slots: readonly RoleSlot[];
  readonly made: ReadonlySet<string>;
  /** Slots that can close a branch, as "node.slot". */
  readonly closing: ReadonlySet<string>;
}

export const slotKey = ({ node, slot }: Slot): string => `${node}.${slot}`;

type Draft = { -readonly [Key in keyof BlockTensor]: BlockTensor[Key] } & { uses: Slot[][] };

/** By block, of the block in each body. Uses in different bodies meet by initializer, in the order of the block. */
export function blockTensors(
  blocks: readonly (readonly BlockSlots[])[],
  reads: ReadonlyMap<string, number>,
): readonly (readonly BlockTensor[])[] {
  const drafts = blocks.map((bodies) => draftsOf(bodies, reads));
  const claimed = new Map<string, number>();
  for (const { initializer, uses } of drafts.flat()) {
    claimed.set(initializer, (claimed.get(initializer) ?? 0) + uses.flat().length);
  }
  const owners = new Map<string, number>();
  for (const { initializer } of drafts.flat()) owners.set(initializer, (owners.get(initializer) ?? 0) + 1);
  for (const [index, own] of drafts.entries()) {
    const stems = new Set(own.map(({ initializer }) => initializer));
    const seen = new Set<string>();
    for (const draft of own) {
      const { initializer } = draft;
      let stem = initializer;
      for (let use = 2; seen.has(initializer) && stems.has(stem); use++) stem = `${initializer}#${use}`;
      stems.add(stem);
      seen.add(initializer);
      draft.stem = stem;
      const only = owners.get(initializer) === 1 && claimed.get(initializer) === reads.get(initializer);
      draft.name = only ? initializer : `${stem} (block ${index})`;
    }
  }
  return drafts;
}

function draftsOf(bodies: readonly BlockSlots[], reads: ReadonlyMap<string, number>): readonly Draft[] {
  const drafts = new Map<string, Draft>();
  const all = bodies.flatMap(({ slots }) => slots);
  for (const [at, { body, slots, made, closing }] of bodies.entries()) {
    const seen = new Map<string, number>();
    for (const slot of slots) {
      const trainable = isWeight(body, slot, made);
      if (!trainable && !closing.has(slotKey(slot)) && !isPart(body, slot, all, reads)) continue;
      const use = seen.get(slot.initializer) ?? 0;
      seen.set(slot.initializer, use + 1);
      const key = JSON.stringify([slot.initializer, use]);
      const { role, initializer } = slot;
      const draft: Draft = drafts.get(key) ?? {
        role,
        initializer,
        name: "",
        stem: "",
        trainable,
        uses: bodies.map(() => []),
      };
      drafts.set(key, draft);
      draft.uses[at]?.push({ node: slot.node, slot: slot.slot });
    }
  }
  return [...drafts.values()];
}

const AXES_AND_SHAPES: ReadonlySet<number> = new Set([OnnxType.INT64, OnnxType.INT32, OnnxType.BOOL, OnnxType.STRING]);

/**
 * Parts of quantized weights that only this block reads. Optimizers of runtimes fuse such parts into an operator, and do so in another way
 * when two operators read them.
 */
function isPart(
  body: Body,
  { initializer }: RoleSlot,
  slots: readonly RoleSlot[],
  reads: ReadonlyMap<string, number>,
): boolean {
  const tensor = body.initializers.get(initializer);
  if (tensor === undefined || AXES_AND_SHAPES.has(tensor.dataType) || sizeOf(tensor) <= 1) return false;
  return slots.filter((other) => other.initializer === initializer).length === reads.get(initializer);
}

/** How many times each initializer is read in all bodies, outputs of the graph included. */
export function readCounts(bodies: readonly Body[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  const count = (name: string): void => void counts.set(name, (counts.get(name) ?? 0) + 1);
  for (const body of bodies) {
    for (const reads of body.reads) for (const name of reads) count(name);
    for (const name of body.outputs) count(name);
  }
  return counts;
}
