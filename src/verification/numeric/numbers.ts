// Runs BEFORE and AFTER on the same token ids and compares what they compute. Knows nothing of plans, and never takes "could not run" for "the same".
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { ExpandError } from "../../errors.ts";
import type { Run, RunOptions } from "../../events.ts";
import type { Runtime } from "../../runtime/runtime.ts";
import { type NumbersOptions, withDefaults } from "./options.ts";
import type { NumbersOutcome } from "./outcome.ts";
import { compareStreamed } from "./streamed.ts";

/** Throws what reading throws, "backend" when the device fails, "usage" for token ids that the model does not have, and "interrupted". */
export async function* compareNumbers(
  before: Checkpoint,
  after: Checkpoint,
  runtime: Runtime,
  options: NumbersOptions & RunOptions = {},
): Run<NumbersOutcome> {
  try {
    const wishes = withDefaults(options, before, after, runtime.device);
    const graphs = [before, after].filter((each) => each.graph !== undefined).length;
    if (graphs === 0) return yield* compareStreamed(before, after, runtime, wishes);
    const compare =
      graphs === 2 ? (await import("./whole.ts")).compareWhole : (await import("./mixed.ts")).compareMixed;
    return yield* compare(before, after, runtime, wishes);
  } catch (error) {
    if (!(error instanceof ExpandError) || error.tag !== "unsupported") throw error;
    return { findings: [], reason: `the models could not be run: ${error.message}` };
  }
}
