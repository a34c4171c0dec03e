// Compares two ONNX models by running them: as they are, and once more as their twins, block by block.
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { ExpandError } from "../../errors.ts";
import type { Run, RunEvent } from "../../events.ts";
import type { Runtime } from "../../runtime/runtime.ts";
import { finding } from "../report.ts";
import { sittingsFor } from "./inputs.ts";
import { judge } from "./judge.ts";
import { compare, Lockstep, type Walk } from "./lockstep.ts";
import { type Measure, NOTHING, together } from "./measure.ts";
import type { Wishes } from "./options.ts";
import { type NumbersOutcome, outcomeOf } from "./outcome.ts";
import { checkTokens, unlike } from "./streamed.ts";
import type { Twin } from "./twin.ts";
import { type Aliases, vocabularyOf } from "./whole-inputs.ts";
import { type Outputs, runTwin, runWhole, twinFor, type WholeRun } from "./whole-run.ts";
import { beyondText, pastWindows, windowsOf } from "./windows.ts";

/** Tokens that caches hold when they are to hold something, and tokens that are run behind them at most: within any context. */
const PAST = 7;

/** Throws "unsupported" when onnxruntime refuses a model or nothing says how to feed it. */
export async function* compareWhole(
  before: Checkpoint,
  after: Checkpoint,
  runtime: Runtime,
  wished: Wishes,
): Run<NumbersOutcome> {
  const { wishes, beyond } = pastWindows(wished, [...windowsOf(before), ...windowsOf(after)]);
  if (beyond.length > 0) yield { kind: "note", level: "warning", text: beyondText(beyond, wishes.tokens) };
  const vocabulary = vocabularyOf(before);
  if (vocabulary !== vocabularyOf(after)) throw unlike("vocabulary", vocabulary, vocabularyOf(after));
  checkTokens(wishes, vocabulary);
  const sittings = sittingsFor([{ vocabulary, context: 0, blocks: [] }], wishes);
  const run = { runtime, sittings, wishes };
  yield { kind: "phase", name: "run BEFORE" };
  const expected = await runWhole(before, run);
  yield { kind: "phase", name: "run AFTER" };
  const logits = compareOutputs(await runWhole(after, run), expected);
  expected.clear();
  const looked = yield* compareTwins(before, after, run);
  const judged = judge({ ...looked, logits, tolerance: wishes.tolerance, stateTolerance: 0 });
  const hidden = looked.hidden === undefined ? [] : [finding("blocks-hidden", "AFTER", looked.hidden)];
  const findings = [...hidden, ...judged];
  const walk = looked.walk === undefined ? {} : { walk: looked.walk };
  return { findings, numeric: outcomeOf({ runtime, method: "whole", wishes, logits, ...walk }) };
}

interface Looked {
  readonly embedding?: Measure;
  readonly walk?: Walk;
  /** The same once more, behind caches that hold something. */
  readonly cached?: Walk;
  /** Why blocks are found in BEFORE and not in AFTER. */
  readonly hidden?: string;
}

/** Every block's state, from models in which no rounding is fused away: equality is asked for. */
async function* compareTwins(
  before: Checkpoint,
  after: Checkpoint,
  run: WholeRun,
): AsyncGenerator<RunEvent, Looked, void> {
  const twins = [twinFor(before), twinFor(after)] as const;
  const [was, is] = twins;
  if ("reason" in was) {
    yield { kind: "note", level: "info", text: `blocks are not looked at one by one: ${was.reason}` };
    return {};
  }
  if ("reason" in is) return { hidden: is.reason };
  yield { kind: "phase", name: "run blocks of BEFORE" };
  const start = await runTwin("BEFORE", before, was, run);
  yield { kind: "phase", name: "run blocks of AFTER" };
  const entered = await runTwin("AFTER", after, is, run);
  const [enteredState, startState] = [await entered.enter(), await start.enter()];
  const walk = yield* new Lockstep(start, entered, 0, startState).run(enteredState);
  const looked = { embedding: compare(enteredState, startState), walk };
  const holds = walk.missing.length === 0 && walk.steps.every((step) => step.holds);
  if (!holds || was.caches.flat().length === 0) return looked;
  const cached = yield* compareCached([before, was], [after, is], walk, run);
  return cached === undefined ? looked : { ...looked, cached };
}

type Side = readonly [checkpoint: Checkpoint, twin: Twin];

/** Caches of equal blocks get equal values: one that is numbered wrong shows at the block that reads it. */
async function* compareCached(
  before: Side,
  after: Side,
  { steps }: Walk,
  run: WholeRun,
): AsyncGenerator<RunEvent, Walk | undefined, void> {
  yield { kind: "phase", name: "run blocks behind caches" };
  const few = { ...run.wishes, tokens: Math.min(run.wishes.tokens, PAST) };
  const sittings = sittingsFor([{ vocabulary: vocabularyOf(before[0]), context: 0, blocks: [] }], few).map((each) => ({
    ...each,
    past: PAST,
    positions: each.positions.map((at) => at + BigInt(PAST)),
  }));
  const sources = after[1].caches.map((_, at) => (steps[at]?.kind === "original" ? steps[at]?.from : undefined));
  try {
    const start = await runTwin("BEFORE", ...before, {
      ...run,
      sittings,
      aliases: aliasesOf(before[1], [...before[1].caches.keys()]),
    });
    const entered = await runTwin("AFTER", ...after, { ...run, sittings, aliases: aliasesOf(after[1], sources) });
    return yield* new Lockstep(start, entered, 0, await start.enter()).run(await entered.enter());
  } catch (error) {
    if (!(error instanceof ExpandError) || error.tag !== "unsupported") throw error;
    yield { kind: "note", level: "info", text: `not run behind caches that hold something: ${error.message}` };
    return undefined;
  }
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

function compareOutputs(found: Outputs, expected: Outputs): Measure {
  let sum = NOTHING;
  for (const [name, state] of expected) {
    const other = found.get(name);
    if (other === undefined) {
      throw new ExpandError("unsupported", `BEFORE has the output ${name}, AFTER has not`, {
        fix: "Export AFTER anew.",
      });
    }
    for (const [at, values] of state.entries()) {
      if (values.length !== other[at]?.length) throw unlike(`values in ${name}`, values.length, other[at]?.length ?? 0);
    }
    sum = together(sum, compare(other, state));
  }
  return sum;
}
