// Compares two ONNX models by running them: as they are, and once more as their twins, block by block.
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { ExpandError } from "../../errors.ts";
import type { Run, RunEvent } from "../../events.ts";
import type { Runtime } from "../../runtime/runtime.ts";
import { sittingsFor } from "./inputs.ts";
import { judge } from "./judge.ts";
import { compare, Lockstep, type Walk } from "./lockstep.ts";
import { type Measure, NOTHING, together } from "./measure.ts";
import type { Wishes } from "./options.ts";
import { type NumbersOutcome, outcomeOf } from "./outcome.ts";
import { checkTokens, unlike } from "./streamed.ts";
import { vocabularyOf } from "./whole-inputs.ts";
import { type Outputs, runTwin, runWhole, twinFor, type WholeRun } from "./whole-run.ts";

/** Throws "unsupported" when onnxruntime refuses a model or nothing says how to feed it. */
export async function* compareWhole(
  before: Checkpoint,
  after: Checkpoint,
  runtime: Runtime,
  wishes: Wishes,
): Run<NumbersOutcome> {
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
  const findings = judge({ ...looked, logits, tolerance: wishes.tolerance, stateTolerance: 0 });
  const walk = looked.walk === undefined ? {} : { walk: looked.walk };
  return { findings, numeric: outcomeOf({ runtime, method: "whole", wishes, logits, ...walk }) };
}

interface Looked {
  readonly embedding?: Measure;
  readonly walk?: Walk;
}

/** Every block's state, from models in which no rounding is fused away: equality is asked for. */
async function* compareTwins(
  before: Checkpoint,
  after: Checkpoint,
  run: WholeRun,
): AsyncGenerator<RunEvent, Looked, void> {
  const twins = [twinFor(before), twinFor(after)] as const;
  for (const [at, twin] of twins.entries()) {
    if (!("reason" in twin)) continue;
    const name = at === 0 ? "BEFORE" : "AFTER";
    yield { kind: "note", level: "info", text: `blocks of ${name} are not looked at one by one: ${twin.reason}` };
    return {};
  }
  const [was, is] = twins;
  if ("reason" in was || "reason" in is) return {};
  yield { kind: "phase", name: "run blocks of BEFORE" };
  const start = await runTwin("BEFORE", before, was, run);
  yield { kind: "phase", name: "run blocks of AFTER" };
  const entered = await runTwin("AFTER", after, is, run);
  const [enteredState, startState] = [await entered.enter(), await start.enter()];
  const walk = yield* new Lockstep(start, entered, 0, startState).run(enteredState);
  return { embedding: compare(enteredState, startState), walk };
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
