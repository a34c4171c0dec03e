// What a comparison in numbers hands over, however it was made.
import type { Runtime } from "../../runtime/runtime.ts";
import type { BlockComparison, Finding, NumericComparison } from "../report.ts";
import type { Step, Walk } from "./lockstep.ts";
import { type Measure, relative } from "./measure.ts";
import type { Wishes } from "./options.ts";

export interface NumbersOutcome {
  /** Absent when nothing could be run. */
  readonly numeric?: NumericComparison;
  readonly findings: readonly Finding[];
  /** Why nothing could be run. */
  readonly reason?: string;
}

interface Ran {
  readonly runtime: Runtime;
  readonly method: NumericComparison["method"];
  readonly wishes: Wishes;
  /** Absent where no block was looked at. */
  readonly walk?: Walk;
  readonly logits: Measure;
  /** The run behind caches that hold something, where there was one. */
  readonly cached?: { readonly tokens: number; readonly past: number; readonly walk: Walk };
}

export function outcomeOf({ runtime, method, wishes, walk, logits, cached }: Ran): NumericComparison {
  const { samples, tokens, seed, tolerance } = wishes;
  const first = [...(walk?.steps ?? []), ...(cached?.walk.steps ?? [])].find((step) => !step.holds);
  const { maxAbs, differing, total } = logits;
  return {
    device: runtime.device,
    method,
    samples,
    tokens,
    ...(cached === undefined ? {} : { cached: { tokens: cached.tokens, past: cached.past } }),
    seed,
    tolerance,
    logits: { maxAbs, maxRel: relative(logits), differing, total },
    blocks: walk?.steps.map(reported) ?? [],
    ...(first === undefined ? {} : { firstDifference: { block: first.at, maxAbs: first.maxAbs } }),
  };
}

function reported({ holds: _, nonFiniteBefore: __, ...block }: Step): BlockComparison {
  return block;
}
