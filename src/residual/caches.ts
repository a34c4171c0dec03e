// How the names of caches are numbered, read off the names themselves: the number that differs from block to block.
import { ExpandError, quote } from "../errors.ts";
import type { CacheTemplate, GraphBlock } from "./blocks.ts";

interface Numbered {
  readonly block: number;
  readonly name: string;
  /** Texts and numbers in turn, as in the name. */
  readonly parts: readonly string[];
}

/** Templates of the caches' names. Throws "unsupported" where a name does not say which block it belongs to. */
export function cacheTemplates(blocks: readonly Pick<GraphBlock, "index" | "passages">[]): readonly CacheTemplate[] {
  const groups = new Map<string, Map<number, Numbered>>();
  for (const { index, passages } of blocks) {
    const names = new Set(
      passages.flatMap(({ cacheInputs, cacheOutputs }) => [...cacheInputs, ...cacheOutputs.map(({ name }) => name)]),
    );
    for (const name of names) {
      const parts = name.split(/(\d+)/);
      const shape = parts.map((part, at) => (at % 2 === 1 ? "#" : part)).join("");
      const group = groups.get(shape) ?? new Map<number, Numbered>();
      if (group.has(index)) refuse(name, `block ${index} has several caches of this kind`);
      groups.set(shape, group.set(index, { block: index, name, parts }));
    }
  }
  return [...groups.values()].map((group) => template([...group.values()]));
}

function template(entries: readonly Numbered[]): CacheTemplate {
  const [first] = entries;
  if (first === undefined) throw new ExpandError("bug", "a cache without names");
  const places = first.parts.flatMap((_, at) => (at % 2 === 1 && ascends(entries, at) ? [at] : []));
  const [place, another] = places;
  if (place === undefined) refuse(first.name, "its name does not say which block it belongs to");
  if (another !== undefined && entries.length === 1)
    refuse(first.name, "its name has several numbers, and no other block has such a cache");
  for (const { name, parts } of entries) {
    if (parts.some((part, at) => at !== place && part !== first.parts[at]))
      refuse(name, "its name has several numbers that change");
  }
  const number = (entry: Numbered): number => Number(entry.parts[place]);
  const before = first.parts.slice(0, place).join("");
  const after = first.parts.slice(place + 1).join("");
  const names = new Map(entries.map(({ block, name }) => [block, name]));
  const offset = number(first) - first.block;
  if (entries.every((entry) => number(entry) - entry.block === offset))
    return { before, after, counts: "index", offset, names };
  const start = number(first);
  if (entries.every((entry, rank) => number(entry) === start + rank))
    return { before, after, counts: "rank", offset: start, names };
  refuse(first.name, "the numbers of such names follow neither the blocks nor each other");
}

function ascends(entries: readonly Numbered[], at: number): boolean {
  return entries.every(
    (entry, index) => index === 0 || Number(entry.parts[at]) > Number(entries[index - 1]?.parts[at]),
  );
}

function refuse(name: string, message: string): never {
  throw new ExpandError("unsupported", message, {
    at: `cache ${quote(name)}`,
    fix: "Export the model with caches that are named by block, such as past_key_values.0.key.",
  });
}
