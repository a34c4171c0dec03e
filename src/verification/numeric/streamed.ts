// Compares two checkpoints block by block, through the same small models: one block's weights in memory, whatever the depth.
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { ExpandError } from "../../errors.ts";
import type { Run, RunEvent } from "../../events.ts";
import type { Runtime } from "../../runtime/runtime.ts";
import type { BlockComparison } from "../report.ts";
import { Forward, type Side, type State, sideOf, vocabularyRuns } from "./forward.ts";
import { sittingsFor } from "./inputs.ts";
import { firstDifference, judge } from "./judge.ts";
import { compare, Lockstep, type Step } from "./lockstep.ts";
import { type Measure, NOTHING, relative, together } from "./measure.ts";
import type { NumbersOutcome } from "./numbers.ts";
import type { Wishes } from "./options.ts";

/** Throws "unsupported" when either side's computation is not known. */
export async function* compareStreamed(
  before: Checkpoint,
  after: Checkpoint,
  runtime: Runtime,
  wishes: Wishes,
): Run<NumbersOutcome> {
  return yield* compareSides(sideOf("BEFORE", before), sideOf("AFTER", after), runtime, wishes);
}

/** The same for sides whose stages are there already. */
export async function* compareSides(before: Side, after: Side, runtime: Runtime, wishes: Wishes): Run<NumbersOutcome> {
  const { samples, tokens, seed, tolerance } = wishes;
  checkTokens(before, after, wishes);
  const sittings = sittingsFor([before.spec, after.spec], wishes);
  const forward = new Forward(runtime, [before, after], sittings, wishes.signal);
  try {
    yield { kind: "phase", name: "run blocks" };
    const start = await forward.embed(before);
    const entered = await forward.embed(after);
    const walk = yield* new Lockstep(forward, before, after, tolerance, start).run(entered);
    yield { kind: "phase", name: "compare logits" };
    const logits = yield* compareLogits(forward, before, after, walk);
    const first = firstDifference(walk.steps);
    return {
      findings: judge(compare(entered, start), walk, logits, tolerance),
      numeric: {
        device: runtime.device,
        method: "streamed",
        samples,
        tokens,
        seed,
        tolerance,
        logits: {
          maxAbs: logits.maxAbs,
          maxRel: relative(logits),
          differing: logits.differing,
          total: logits.total,
        },
        blocks: walk.steps.map(reported),
        ...(first === undefined ? {} : { firstDifference: first }),
      },
    };
  } finally {
    await forward.close();
  }
}

/** A run of the vocabulary at a time: neither the head matrix nor all logits are ever in memory. */
async function* compareLogits(
  forward: Forward,
  before: Side,
  after: Side,
  states: { readonly before: State; readonly after: State },
): AsyncGenerator<RunEvent, Measure, void> {
  let sum = NOTHING;
  const runs = [...vocabularyRuns(before)];
  for (const [done, [from, to]] of runs.entries()) {
    yield { kind: "bytes", done, total: runs.length };
    const expected = await forward.logits(before, states.before, from, to);
    sum = together(sum, compare(await forward.logits(after, states.after, from, to), expected));
  }
  return sum;
}

function checkTokens(before: Side, after: Side, { tokenIds = [] }: Wishes): void {
  const [was, is] = [before.spec, after.spec];
  for (const key of ["vocabulary", "hidden"] as const) {
    if (was[key] === is[key]) continue;
    throw new ExpandError(
      "unsupported",
      `BEFORE has ${key} ${was[key]}, AFTER ${is[key]}: no two values belong together`,
    );
  }
  const wrong = tokenIds.find((id) => !Number.isSafeInteger(id) || id < 0 || id >= was.vocabulary);
  if (wrong === undefined) return;
  throw new ExpandError("usage", `token id ${wrong} is not one of the model's, 0 to ${was.vocabulary - 1}`);
}

function reported({ holds: _, nonFiniteBefore: __, ...block }: Step): BlockComparison {
  return block;
}
