// Takes copies out of an expanded checkpoint that does not remember its source: on references and settings, reading no weight. What comes out
// has yet to be proved to be what was expanded.
import type { Architecture } from "../architecture/architecture.ts";
import { sourceIndex } from "../architecture/layout.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ExpandError } from "../errors.ts";
import type { TensorRef } from "../tensor/reference.ts";
import { type Expansion, editConfig, type ShardGroup } from "./apply.ts";

/** `copies` are indices of blocks. Throws "unsupported" for graphs, and what adapting the settings refuses. */
export function contract(checkpoint: Checkpoint, architecture: Architecture, copies: readonly number[]): Expansion {
  if (checkpoint.graph !== undefined) {
    throw new ExpandError(
      "unsupported",
      "is a graph: its copies cannot be taken out without what expand wrote beside it",
      {
        at: checkpoint.location,
        fix: "Put back the source.json that expand wrote, or export the source again.",
      },
    );
  }
  const gone = new Set(copies);
  const kept = architecture.blocks.filter(({ index }) => !gone.has(index));
  const layout = kept.map(({ index }) => ({ kind: "original" as const, from: sourceIndex(index) }));
  const { edits, resliced } = architecture.adapt(layout);
  const names = namesIn(architecture, gone);
  const groups = checkpoint.shards.map((source): ShardGroup => {
    const tensors = source.tensors.flatMap((name): (readonly [string, TensorRef])[] => {
      const tensor = resliced?.get(name) ?? checkpoint.tensors.get(name);
      const renamed = names.get(name);
      return renamed === undefined || tensor === undefined ? [] : [[renamed, tensor]];
    });
    return { source, tensors, originals: tensors.length };
  });
  const tensors = new Map(groups.flatMap((group) => group.tensors));
  return { checkpoint: { ...checkpoint, tensors, config: editConfig(checkpoint.config, edits) }, groups };
}

/** What each tensor that stays is called. */
function namesIn(architecture: Architecture, gone: ReadonlySet<number>): ReadonlyMap<string, string> {
  const names = new Map(architecture.outside.map((name) => [name, name]));
  let at = 0;
  for (const { index, tensors } of architecture.blocks) {
    if (gone.has(index)) continue;
    for (const name of tensors.values()) names.set(name, architecture.rename(name, at));
    at++;
  }
  for (const { index, tensors } of architecture.tail) {
    for (const name of tensors.values()) names.set(name, architecture.rename(name, index - gone.size));
  }
  return names;
}
