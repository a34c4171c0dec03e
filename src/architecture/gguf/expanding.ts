// What rules share: counts, lists and edits as a layout needs them, and the refusal of one.
import { ExpandError } from "../../errors.ts";
import type { ConfigEdit } from "../architecture.ts";
import type { Expanding } from "./family.ts";
import type { Settings } from "./settings.ts";

/** `<a>.block_count` of the source. */
export function countBefore({ blocks, tail }: Pick<Expanding, "blocks" | "tail">): number {
  return blocks + tail;
}

/** `<a>.block_count` of the result. */
export function countAfter({ layout, tail }: Pick<Expanding, "layout" | "tail">): number {
  return layout.length + tail;
}

/** A list with one element per source block as the layout needs it; elements of the tail stay last. */
export function rearranged<T>({ layout, blocks }: Expanding, list: readonly T[], copyValue?: T): readonly T[] {
  const moved = layout.flatMap(({ kind, from }) => {
    if (kind === "copy" && copyValue !== undefined) return [copyValue];
    const value = list[from];
    return value === undefined ? [] : [value];
  });
  return [...moved, ...list.slice(blocks)];
}

/** An edit of one key of the architecture. `type` only where the key is new or its type changes. */
export function edit(settings: Settings, name: string, after: ConfigEdit["after"], type?: string): ConfigEdit {
  const before = settings.value(name);
  return {
    document: "metadata",
    path: settings.key(name),
    ...(before === undefined ? {} : { before }),
    ...(after === undefined ? {} : { after }),
    ...(type === undefined ? {} : { type }),
  };
}

/** The layout cannot be written down: what would change, and the way out. */
export function refuseLayout(settings: Settings, message: string, fix: string): never {
  throw new ExpandError("plan", `${settings.architecture}: ${message}`, { fix });
}
