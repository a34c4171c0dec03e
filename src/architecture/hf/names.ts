// Splits tensor names into blocks and the rest. Goes by anchored prefixes; a digit inside a name is never taken for a block.
import { ExpandError } from "../../errors.ts";
import type { Stack } from "./family.ts";

export interface SplitNames {
  /** Base found in this checkpoint: "model.", "language_model.model.", "". */
  readonly base: string;
  /** Block index to (name inside the block to full name), in checkpoint order. */
  readonly blocks: ReadonlyMap<number, ReadonlyMap<string, string>>;
  readonly rest: readonly string[];
}

/** Full prefix of one block, with its final dot. */
export function blockPrefix(stack: Stack, base: string, index: number): string {
  return base + stack.block.replace("{i}", String(index));
}

/** Throws "unsupported" when no tensor, or tensors under two bases, look like blocks of this stack. */
export function splitNames(names: Iterable<string>, stack: Stack): SplitNames {
  const all = [...names];
  const bases = stack.bases.filter((base) => {
    const pattern = blockPattern(stack, base);
    return all.some((name) => pattern.test(name));
  });
  const [base, second] = bases;
  if (base === undefined) {
    const expected = stack.bases.map((one) => blockPrefix(stack, one, 0)).join(" or ");
    throw new ExpandError("unsupported", `no tensor name starts with ${expected}`, {
      fix: "Check that config.json belongs to these weights.",
    });
  }
  if (second !== undefined) {
    throw new ExpandError(
      "unsupported",
      `blocks stand under two prefixes, ${blockPrefix(stack, base, 0)} and ${blockPrefix(stack, second, 0)}`,
      { fix: "Keep only one copy of the weights in the directory." },
    );
  }
  return { base, ...split(all, blockPattern(stack, base)) };
}

function split(names: readonly string[], pattern: RegExp): Omit<SplitNames, "base"> {
  const blocks = new Map<number, Map<string, string>>();
  const rest: string[] = [];
  for (const name of names) {
    const [, index, suffix] = pattern.exec(name) ?? [];
    if (index === undefined || suffix === undefined) {
      rest.push(name);
      continue;
    }
    const block = blocks.get(Number(index)) ?? new Map<string, string>();
    blocks.set(Number(index), block.set(suffix, name));
  }
  return { blocks, rest };
}

function blockPattern(stack: Stack, base: string): RegExp {
  const [before = "", after = ""] = (base + stack.block).split("{i}").map(escaped);
  return new RegExp(`^${before}(0|[1-9][0-9]*)${after}(.+)$`);
}

export function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
