// How many blocks there are, and where the first one stands. Numbers only; lists are in lists.ts.
import { countAfter, countBefore, edit, refuseLayout } from "../expanding.ts";
import type { Expanding, RuleResult } from "../family.ts";

/** LLAMA_MAX_LAYERS of llama.cpp v0.5.0. */
export const MAX_BLOCKS = 512;
const DENSE_KEY = "leading_dense_block_count";

export function blockCount(expanding: Expanding): RuleResult {
  const { settings, family, layout, blocks } = expanding;
  const after = countAfter(expanding);
  if (after > MAX_BLOCKS) {
    refuseLayout(
      settings,
      `the result would have ${after} blocks; llama.cpp reads at most ${MAX_BLOCKS}`,
      `Add at most ${Math.max(0, MAX_BLOCKS - countBefore(expanding))} copies.`,
    );
  }
  if (family.counts?.of.includes(layout.length)) {
    refuseLayout(settings, `with ${layout.length} blocks ${family.counts.why}`, "Add one copy more, or one less.");
  }
  // Readers take sizes that have no list of their own from element 0 of a list.
  if (layout[0]?.from !== 0) {
    refuseLayout(
      settings,
      `block 0 of the result would be a copy of block ${layout[0]?.from}, and readers take sizes that all blocks share from block 0`,
      "Place no copy but one of block 0 before block 0.",
    );
  }
  return blocks === layout.length ? {} : { edits: [edit(settings, "block_count", after)] };
}

/** The first blocks are dense, the others MoE; only their number is stored. */
export function leadingDense({ settings, layout }: Expanding): RuleResult {
  const dense = settings.number(DENSE_KEY) ?? 0;
  const isDense = layout.map(({ from }) => from < dense);
  const count = isDense.filter(Boolean).length;
  if (isDense.lastIndexOf(true) >= count) {
    refuseLayout(
      settings,
      `blocks 0 to ${dense - 1} are dense and the others MoE, and only the number of dense blocks in front is stored`,
      `Place copies of blocks 0 to ${dense - 1} before block ${dense}, and copies of the others after block ${dense - 1}.`,
    );
  }
  return count === dense ? {} : { edits: [edit(settings, DENSE_KEY, count)] };
}
