// How far a model's most likely tokens have moved from another's (LLaMA Pro, figure 6). Counts; judges nothing.
import { IGNORED } from "../corpus/batch.ts";
import { BEST, NONE } from "./reading.ts";
import type { TokenShift } from "./report.ts";
import type { Window } from "./window.ts";

/** Both [positions, BEST] over all of `windows`; only counted positions of `corpus` count, where both models have a most likely token. */
export function shiftOf(
  windows: readonly Window[],
  corpus: number,
  best: Int32Array,
  baseBest: Int32Array,
): TokenShift | undefined {
  const classes = { unshifted: 0, marginal: 0, shifted: 0 };
  let at = 0;
  for (const window of windows) {
    for (const label of window.labels) {
      if (window.corpus === corpus && label !== IGNORED) {
        const [own = NONE, first = NONE] = [best[at * BEST], baseBest[at * BEST]];
        const rank = baseBest.subarray(at * BEST, at * BEST + BEST).indexOf(own);
        if (own !== NONE && first !== NONE) classes[rank === 0 ? "unshifted" : rank > 0 ? "marginal" : "shifted"]++;
      }
      at++;
    }
  }
  const positions = classes.unshifted + classes.marginal + classes.shifted;
  if (positions === 0) return undefined;
  const { unshifted, marginal, shifted } = classes;
  return {
    positions,
    unshifted: unshifted / positions,
    marginal: marginal / positions,
    shifted: shifted / positions,
  };
}
