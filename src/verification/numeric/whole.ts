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
import { type CachedWalk, compareCached } from "./whole-cached.ts";
import { vocabularyOf } from "./whole-inputs.ts";
import { type Outputs, runTwin, runWhole, twinsFor, type WholeRun } from "./whole-run.ts";
import { beyondText, headsOf, pastWindows, windowsOf } from "./windows.ts";

/** Throws "unsupported" when onnxruntime refuses a model or nothing says how to feed it. */
export async function* compareWhole(
  before: Checkpoint,
  after: Checkpoint,
  runtime: Runtime,
  wished: Wishes,
): Run<NumbersOutcome> {
  const vocabulary = vocabularyOf(before);
  if (vocabulary !== vocabularyOf(after)) throw unlike("vocabulary", vocabulary, vocabularyOf(after));
  checkTokens(wished, vocabulary);
  const windows = [...new Set([...windowsOf(before), ...windowsOf(after)])];
  const sides = { before, after, was: twinsFor(before), is: twinsFor(after) };
  const raised = pastWindows(wished, windows, { vocabulary, heads: Math.max(headsOf(before), headsOf(after)) });
  // Caches pass windows with less memory and time than long sequences.
  const { wishes, beyond } = hasCaches(sides) ? { wishes: wished, beyond: [] } : raised;
  if (beyond.length > 0) yield { kind: "note", level: "warning", text: beyondText(beyond, wishes.tokens) };
  const sittings = sittingsFor([{ vocabulary, context: 0, blocks: [] }], wishes);
  const run = { runtime, sittings, wishes };
  yield { kind: "phase", name: "run BEFORE" };
  const expected = await runWhole(before, run);
  yield { kind: "phase", name: "run AFTER" };
  const logits = compareOutputs(await runWhole(after, run), expected);
  expected.clear();
  const { cached, ...looked } = yield* compareTwins(sides, windows, run);
  const behind = cached === undefined ? {} : { cached: cached.walk };
  const judged = judge({ ...looked, ...behind, logits, tolerance: wishes.tolerance, stateTolerance: 0 });
  const hidden = looked.hidden === undefined ? [] : [finding("blocks-hidden", "AFTER", looked.hidden)];
  const { walk } = looked;
  const numeric = outcomeOf({
    runtime,
    method: "whole",
    wishes,
    logits,
    ...(walk && { walk }),
    ...(cached && { cached }),
  });
  return { findings: [...hidden, ...judged], numeric };
}

interface Sides {
  readonly before: Checkpoint;
  readonly after: Checkpoint;
  readonly was: ReturnType<typeof twinsFor>;
  readonly is: ReturnType<typeof twinsFor>;
}

function hasCaches({ was, is }: Sides): boolean {
  return !("reason" in was) && !("reason" in is) && was.cached !== undefined && is.cached !== undefined;
}

interface Looked {
  readonly embedding?: Measure;
  readonly walk?: Walk;
  /** The same once more, behind caches that hold something. */
  readonly cached?: CachedWalk;
  /** Why blocks are found in BEFORE and not in AFTER. */
  readonly hidden?: string;
}

/** Every block's state, from models in which no rounding is fused away: equality is asked for. */
async function* compareTwins(
  { before, after, was, is }: Sides,
  windows: readonly number[],
  run: WholeRun,
): AsyncGenerator<RunEvent, Looked, void> {
  if ("reason" in was) {
    yield { kind: "note", level: "info", text: `blocks are not looked at one by one: ${was.reason}` };
    return {};
  }
  if ("reason" in is) return { hidden: is.reason };
  yield { kind: "phase", name: "run blocks of BEFORE" };
  const start = await runTwin("BEFORE", before, was.plain, run);
  yield { kind: "phase", name: "run blocks of AFTER" };
  const entered = await runTwin("AFTER", after, is.plain, run);
  const [enteredState, startState] = [await entered.enter(), await start.enter()];
  const walk = yield* new Lockstep(start, entered, 0, startState).run(enteredState);
  const looked = { embedding: compare(enteredState, startState), walk };
  const holds = walk.missing.length === 0 && walk.steps.every((step) => step.holds);
  if (!holds || was.cached === undefined || is.cached === undefined) return looked;
  const cached = yield* compareCached([before, was.cached], [after, is.cached], { windows, walk, run });
  return cached === undefined ? looked : { ...looked, cached };
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
