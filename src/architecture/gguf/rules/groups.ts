// What the reader decides by a block's index and no setting can say: originals must keep their place in the group.
import { refuseLayout } from "../expanding.ts";
import type { Expanding, RuleResult } from "../family.ts";

export function alignedGroups({ settings, family, layout }: Expanding): RuleResult {
  const { group } = family;
  if (group === undefined) return {};
  const size = group.size(settings);
  const copySize = group.copySize?.(settings) ?? 1;
  for (const [at, { kind, from }] of layout.entries()) {
    const aligned = kind === "copy" ? copySize : size;
    if (at % aligned === from % aligned) continue;
    refuseLayout(
      settings,
      `${kind === "copy" ? "a copy of block" : "block"} ${from} would stand at ${at}, but ${group.why}`,
      `Insert copies in groups of ${size}: --add with a multiple of ${size}, or ${size} copies after one block.`,
    );
  }
  const changed = layout.some(
    ({ kind, from }, at) => kind === "copy" && group.noRope(from, settings) !== group.noRope(at, settings),
  );
  const warning = `${settings.architecture}: some copies differ from their source in position encoding, which follows from their number.`;
  return { warnings: changed ? [warning] : [] };
}
