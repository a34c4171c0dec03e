// Compares the blocks of two ONNX models behind caches that hold something: so many tokens that every sliding window cuts some off.
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { ExpandError } from "../../errors.ts";
import type { RunEvent } from "../../events.ts";
import { sittingsFor } from "./inputs.ts";
import { Lockstep, type Walk } from "./lockstep.ts";
import type { Twin } from "./twin.ts";
import { type Aliases, vocabularyOf } from "./whole-inputs.ts";
import { runTwin, type WholeRun } from "./whole-run.ts";
import { beyondText, pastOf } from "./windows.ts";

/** Tokens that caches hold at least, and tokens that are run behind them at most: within any context. */
const PAST = 7;

export type Side = readonly [checkpoint: Checkpoint, twin: Twin];

export interface CachedWalk {
  readonly walk: Walk;
  readonly tokens: number;
  /** Tokens that the caches held. */
  readonly past: number;
}

interface Asked {
  readonly windows: readonly number[];
  /** Without caches: which block of AFTER is which of BEFORE. */
  readonly walk: Walk;
  readonly run: WholeRun;
}

/** Undefined where onnxruntime refuses such a run, or nothing says how to feed it: that is noted, and the windows that are not passed. */
export async function* compareCached(
  before: Side,
  after: Side,
  asked: Asked,
): AsyncGenerator<RunEvent, CachedWalk | undefined, void> {
  const { windows, run } = asked;
  const { past, beyond } = pastOf(before[0], windows, PAST);
  // Beyond its context a model may have no row for a position: then it is run behind a few tokens all the same.
  for (const each of new Set([past, PAST])) {
    yield { kind: "phase", name: `run blocks behind caches of ${each} tokens` };
    const missed = each === past ? beyond : windows;
    try {
      const walk = yield* runBehind(before, after, asked, each);
      if (missed.length > 0) yield { kind: "note", level: "warning", text: beyondText(missed, run.wishes.tokens) };
      return walk;
    } catch (error) {
      if (!(error instanceof ExpandError) || error.tag !== "unsupported") throw error;
      yield { kind: "note", level: "info", text: `not run behind caches of ${each} tokens: ${error.message}` };
    }
  }
  if (windows.length > 0) yield { kind: "note", level: "warning", text: beyondText(windows, run.wishes.tokens) };
  return undefined;
}

/** Caches of equal blocks get equal values: one that is numbered wrong shows at the block that reads it. */
async function* runBehind(
  before: Side,
  after: Side,
  { walk: { steps }, run }: Asked,
  past: number,
): AsyncGenerator<RunEvent, CachedWalk, void> {
  // One sample: GroupQueryAttention takes no more where there is a past.
  const few = { ...run.wishes, samples: 1, tokens: Math.min(run.wishes.tokens, PAST) };
  const sittings = sittingsFor([{ vocabulary: vocabularyOf(before[0]), context: 0, blocks: [] }], few).map((each) => ({
    ...each,
    past,
    positions: each.positions.map((at) => at + BigInt(past)),
  }));
  const sources = after[1].caches.map((_, at) => (steps[at]?.kind === "original" ? steps[at]?.from : undefined));
  const start = await runTwin("BEFORE", ...before, {
    ...run,
    sittings,
    aliases: aliasesOf(before[1], [...before[1].caches.keys()]),
  });
  const entered = await runTwin("AFTER", ...after, { ...run, sittings, aliases: aliasesOf(after[1], sources) });
  const walk = yield* new Lockstep(start, entered, 0, await start.enter()).run(await entered.enter());
  return { walk, tokens: sittings[0]?.length ?? 0, past };
}

/**
 * Which cache of which block of BEFORE each cache stands for, by its name: the one with the k-th number belongs to the k-th block that has
 * one of its kind, whatever block reads it. Whoever calls the model hands caches back by these names.
 */
function aliasesOf({ caches }: Twin, sources: readonly (number | undefined)[]): Aliases {
  const kinds = new Map<string, { readonly names: string[]; readonly blocks: number[] }>();
  for (const [block, names] of caches.entries()) {
    for (const name of names) {
      const kind = kinds.get(name.replace(/\d+/, "#")) ?? { names: [], blocks: [] };
      kinds.set(name.replace(/\d+/, "#"), kind);
      kind.names.push(name);
      kind.blocks.push(block);
    }
  }
  const number = (name: string): number => Number(/\d+/.exec(name)?.[0] ?? 0);
  return new Map(
    [...kinds].flatMap(([kind, { names, blocks }]) => {
      const sorted = names.toSorted((a, b) => number(a) - number(b));
      return sorted.map((name, at) => [name, `${kind} of ${sources[blocks[at] ?? 0] ?? "a copy"}`] as const);
    }),
  );
}
