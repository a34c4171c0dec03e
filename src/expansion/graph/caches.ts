// Inputs and outputs that belong to blocks: those of copies stand right after those of the block before, and all are numbered anew.

import type { LayoutBlock } from "../../architecture/layout.ts";
import type { CacheTemplate, GraphBlocks } from "../../residual/blocks.ts";

/**
 * `items` with the copies' own put in. `ownerOf`: the block that an item belongs to. `twin` makes the item of the copy at an expanded index.
 * Neighbours of one block stay together: keys and values by block stay so, all keys before all values too.
 */
export function withTwins<Item>(
  items: readonly Item[],
  layout: readonly LayoutBlock[],
  ownerOf: (item: Item) => number | undefined,
  twin: (item: Item, at: number) => Item,
): Item[] {
  const owned = new Map<number, Item[]>();
  for (const item of items) {
    const owner = ownerOf(item);
    if (owner !== undefined) owned.set(owner, [...(owned.get(owner) ?? []), item]);
  }
  const behind = copiesBehind(layout);
  const result: Item[] = [];
  const done = new Map<number, number>();
  const firstOwner = items.map(ownerOf).find((owner) => owner !== undefined);
  for (let at = 0; at < items.length; ) {
    const owner = ownerOf(items[at] as Item);
    let end = at + 1;
    while (end < items.length && owner !== undefined && ownerOf(items[end] as Item) === owner) end++;
    const group = items.slice(at, end);
    const start = owner === undefined ? 0 : (done.get(owner) ?? 0);
    const twins = (copies: readonly Copy[]): Item[] =>
      copies.flatMap(({ at: position, from }) => {
        const own = owned.get(from) ?? [];
        const whole = owner !== undefined && group.length === owned.get(owner)?.length;
        return (whole ? own : own.slice(start, start + group.length)).map((item) => twin(item, position));
      });
    if (owner !== undefined && owner === firstOwner) result.push(...twins(behind.get(-1) ?? []));
    result.push(...group);
    if (owner !== undefined) {
      result.push(...twins(behind.get(owner) ?? []));
      done.set(owner, start + group.length);
    }
    at = end;
  }
  return result;
}

interface Copy {
  readonly at: number;
  readonly from: number;
}

/** Copies by the original that they stand behind; -1: before all. */
function copiesBehind(layout: readonly LayoutBlock[]): ReadonlyMap<number, readonly Copy[]> {
  const behind = new Map<number, Copy[]>();
  let last = -1;
  for (const [at, { kind, from }] of layout.entries()) {
    if (kind === "original") last = from;
    else behind.set(last, [...(behind.get(last) ?? []), { at, from }]);
  }
  return behind;
}

/** Old name to new, for every numbered name of originals and copies at once. */
export function renumbering(blocks: GraphBlocks, layout: readonly LayoutBlock[]): ReadonlyMap<string, string> {
  const renamed = new Map<string, string>();
  const ranks = new Map<CacheTemplate, number>();
  for (const [at, { kind, from }] of layout.entries()) {
    const prefix = kind === "copy" ? blocks.prefix(at) : "";
    for (const template of blocks.caches) {
      const name = template.names.get(from);
      if (name === undefined) continue;
      const rank = ranks.get(template) ?? 0;
      ranks.set(template, rank + 1);
      const number = (template.counts === "rank" ? rank : at) + template.offset;
      renamed.set(prefix + name, `${template.before}${number}${template.after}`);
    }
  }
  return renamed;
}

/** Which block a cache of the whole graph belongs to, by name. */
export function cacheOwners(blocks: GraphBlocks): ReadonlyMap<string, number> {
  return new Map(blocks.caches.flatMap(({ names }) => [...names].map(([block, name]) => [name, block] as const)));
}
