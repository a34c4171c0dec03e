// Inputs and outputs that are numbered as blocks are, but belong to none: no copy could have its own, and every number would be wrong.
import { ExpandError, quote } from "../errors.ts";
import type { GraphBlocks } from "./blocks.ts";
import { mainGraph } from "./normalise.ts";

/** Throws "unsupported" naming the first (a decoder's caches of its encoder, where a merged graph passes them round the blocks). */
export function checkInterface({ lowered, blocks, caches }: GraphBlocks): void {
  const claimed = new Set(caches.flatMap(({ names }) => [...names.values()]));
  const { input, output } = mainGraph(lowered);
  for (const values of [input, output]) {
    const groups = new Map<string, string[]>();
    for (const { name } of values) {
      const shape = name.replace(/\d+/, "#");
      if (shape !== name && !/\d/.test(shape)) groups.set(shape, [...(groups.get(shape) ?? []), name]);
    }
    for (const names of groups.values()) {
      const [first = ""] = names;
      if (names.length !== blocks.length || names.some((name) => claimed.has(name))) continue;
      const what = values === input ? "is numbered by block, but not read by" : "is numbered by block, but not made in";
      throw new ExpandError("unsupported", `${what} one block alone`, {
        at: `${values === input ? "input" : "output"} ${quote(first)}`,
        fix: "Expand the checkpoint that this graph was exported from, and export it again.",
      });
    }
  }
}
