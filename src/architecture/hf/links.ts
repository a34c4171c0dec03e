// Blocks that read a result of an earlier block must still read the same block. Refuses a copy that would take the earlier one's place.
import { ExpandError } from "../../errors.ts";
import type { Layout } from "../layout.ts";
import type { StackContext } from "./context.ts";
import type { Link } from "./family.ts";
import { kindsOf } from "./kinds.ts";
import { CONFIG } from "./settings.ts";

/** Throws "plan" when an original would read a copy, and a copy nothing. */
export function checkLinks(context: StackContext, layout: Layout): void {
  for (const link of context.stack.links ?? []) checkLink(link, context, layout);
}

function checkLink(link: Link, context: StackContext, layout: Layout): void {
  const axis = context.axes.find((one) => one.name === link.axis);
  if (axis === undefined) throw new ExpandError("bug", `no axis ${link.axis} for a link`);
  const kinds = kindsOf(axis, context.settings, context.count);
  const tail = link.from === "tail" ? (context.settings.number(link.count) ?? 0) : 0;
  const wide = layout.map((block) => kinds[block.from] ?? "");
  const wideTail = layout.filter((block) => block.from >= context.count - tail).length;
  const before = sourcesOf(link, kinds, tail);
  const after = sourcesOf(link, wide, wideTail);
  layout.forEach((block, at) => {
    const wanted = before[block.from];
    const found = after[at];
    const source = found === undefined ? undefined : layout[found];
    if (block.kind === "copy" && wanted !== undefined && found === undefined) throw nothingToRead(link, block.from, at);
    if (block.kind === "copy" || ((source?.kind ?? "original") === "original" && source?.from === wanted)) return;
    throw new ExpandError(
      "plan",
      `original block ${block.from} reads the ${link.what} of block ${wanted} and would read those of the copy at index ${found}`,
      {
        at: CONFIG,
        fix: `Put no copy of a ${kinds[wanted ?? 0]} block between block ${wanted} and block ${block.from}.`,
      },
    );
  });
}

function nothingToRead({ what }: Link, from: number, at: number): ExpandError {
  const message = `the copy of block ${from} would stand at index ${at}, where no block before it gives the ${what} that it reads`;
  return new ExpandError("plan", message, { at: CONFIG, fix: "Put every copy right behind its source block." });
}

/** For each block, the block it reads; undefined where it reads none. */
function sourcesOf(link: Link, kinds: readonly string[], tail: number): readonly (number | undefined)[] {
  const first = kinds.length - tail;
  return kinds.map((kind, index) => {
    if (link.from === "tail") return index < first ? undefined : lastIndexBefore(first, kinds, kind);
    return kind === link.reader ? lastIndexBefore(index, kinds, link.source) : undefined;
  });
}

function lastIndexBefore(end: number, kinds: readonly string[], kind: string): number | undefined {
  const found = kinds.slice(0, end).lastIndexOf(kind);
  return found < 0 ? undefined : found;
}
