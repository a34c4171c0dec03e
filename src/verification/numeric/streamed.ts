// Compares two sides block by block. A checkpoint runs through small models, one block's weights in memory, whatever the depth; an ONNX
// model against a checkpoint runs whole.
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { ExpandError } from "../../errors.ts";
import type { Run, RunEvent } from "../../events.ts";
import type { Runtime } from "../../runtime/runtime.ts";
import { Forward, sideOf, vocabularyRuns } from "./forward.ts";
import { sittingsFor } from "./inputs.ts";
import { judge } from "./judge.ts";
import { compare, Lockstep } from "./lockstep.ts";
import { type Measure, NOTHING, together } from "./measure.ts";
import type { Wishes } from "./options.ts";
import { type NumbersOutcome, outcomeOf } from "./outcome.ts";
import type { State, Walker } from "./walker.ts";

/** Throws "unsupported" when either side's computation is not known. */
export async function* compareStreamed(
  before: Checkpoint,
  after: Checkpoint,
  runtime: Runtime,
  wishes: Wishes,
): Run<NumbersOutcome> {
  const sides = [sideOf("BEFORE", before), sideOf("AFTER", after)] as const;
  const [was, is] = sides;
  for (const key of ["vocabulary", "hidden"] as const) {
    if (was.spec[key] !== is.spec[key]) throw unlike(key, was.spec[key], is.spec[key]);
  }
  checkTokens(wishes, was.spec.vocabulary);
  const context = Math.min(was.spec.context ?? wishes.tokens, is.spec.context ?? wishes.tokens);
  // Positions beyond the model's own may have no row in its table.
  const within = { ...wishes, tokens: Math.min(wishes.tokens, context) };
  const sittings = sittingsFor([was.spec, is.spec], within);
  const forward = new Forward(runtime, sides, sittings, wishes.signal);
  try {
    return yield* compareWalkers(forward.walker(was), forward.walker(is), [...vocabularyRuns(was)], runtime, within);
  } finally {
    await forward.close();
  }
}

/** `runs`: of rows of the vocabulary, whose logits are compared together. */
export async function* compareWalkers(
  before: Walker,
  after: Walker,
  runs: readonly (readonly [from: number, to: number])[],
  runtime: Runtime,
  wishes: Wishes,
): Run<NumbersOutcome> {
  const { tolerance } = wishes;
  yield { kind: "phase", name: "run blocks" };
  const start = await before.enter();
  const entered = await after.enter();
  const walk = yield* new Lockstep(before, after, tolerance, start).run(entered);
  yield { kind: "phase", name: "compare logits" };
  const logits = yield* compareLogits(before, after, walk, runs);
  const findings = judge({ embedding: compare(entered, start), walk, logits, tolerance });
  return { findings, numeric: outcomeOf({ runtime, method: "streamed", wishes, walk, logits }) };
}

/** A run of the vocabulary at a time: neither the head matrix nor all logits are ever in memory. */
export async function* compareLogits(
  before: Pick<Walker, "logits">,
  after: Pick<Walker, "logits">,
  states: { readonly before: State; readonly after: State },
  runs: readonly (readonly [from: number, to: number])[],
): AsyncGenerator<RunEvent, Measure, void> {
  let sum = NOTHING;
  for (const [done, [from, to]] of runs.entries()) {
    yield { kind: "bytes", done, total: runs.length };
    const expected = await before.logits(states.before, from, to);
    sum = together(sum, compare(await after.logits(states.after, from, to), expected));
  }
  return sum;
}

/** Throws "usage". */
export function checkTokens({ tokenIds = [] }: Wishes, vocabulary: number): void {
  const wrong = tokenIds.find((id) => !Number.isSafeInteger(id) || id < 0 || id >= vocabulary);
  if (wrong === undefined) return;
  throw new ExpandError("usage", `token id ${wrong} is not one of the model's, 0 to ${vocabulary - 1}`);
}

/** Sizes that differ: there is nothing to compare value by value. */
export function unlike(what: string, before: number, after: number): ExpandError {
  return new ExpandError("unsupported", `BEFORE has ${what} ${before}, AFTER ${after}: no two values belong together`);
}
