// Patterns by index, written out as lists when a layout breaks them. Whole periods are left as they are: every reader understands them.
import { edit, rearranged } from "../expanding.ts";
import type { Expanding, RuleResult } from "../family.ts";
import { type IndexPattern, RECURRENT_KEY, recurrentPattern, WINDOW_KEY, windowPattern, written } from "../patterns.ts";

export function slidingWindows(expanding: Expanding): RuleResult {
  const { family, settings } = expanding;
  return spellOut(expanding, windowPattern(family, settings), WINDOW_KEY, "have full attention");
}

export function recurrentBlocks(expanding: Expanding): RuleResult {
  const { family, settings } = expanding;
  return spellOut(expanding, recurrentPattern(family, settings), RECURRENT_KEY, "have full attention");
}

function spellOut(expanding: Expanding, pattern: IndexPattern | undefined, key: string, kind: string): RuleResult {
  if (pattern === undefined) return {};
  const { settings, layout, blocks, tail } = expanding;
  const needed = rearranged(expanding, written(pattern, blocks, tail));
  const assumed = written(pattern, layout.length, tail);
  if (needed.every((value, at) => value === assumed[at])) return {};
  const moved = layout.some(({ kind: role }, at) => role === "original" && needed[at] !== assumed[at]);
  const warning =
    `${settings.key(key)} is written as a list, because which blocks ${kind} no longer follows from their number. ` +
    `llama.cpp v0.5.0 reads it; older versions (February 2025, for one) ignore it and compute something else. ` +
    `Copies in whole groups of ${pattern.period} blocks are right in every version.`;
  return { edits: [edit(settings, key, needed, "[bool]")], warnings: moved ? [warning] : [] };
}
