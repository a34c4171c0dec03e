// What a run says when its numbers stop being numbers: which step, which documents, which block. Never lets such a step count.
import type { Batch } from "../corpus/batch.ts";
import { ExpandError } from "../errors.ts";
import type { StepResult } from "./step/trainer.ts";

/** Documents that are named before their number is. */
const SHOWN = 4;
/** Steps skipped in a row after which the loss scale cannot be what is wrong: 2^16 has been halved below 2^-33. */
const MOST_SKIPPED = 50;

/** Throws "input" for a step whose loss or gradient is not finite, unless the loss scale explains it. `step` counts from 1. */
export function checkStep(
  result: StepResult,
  step: number,
  batches: readonly Batch[],
  blockOf: (tensor: string) => string,
  skippedInRow: number,
): void {
  if (result.skipped) {
    if (skippedInRow < MOST_SKIPPED) return;
    throw new ExpandError("input", `${skippedInRow} steps in a row had gradients that are not finite in f16`, {
      at: `step ${step}`,
      fix: "Train in f32 or bf16 (--dtype), or lower --lr.",
    });
  }
  if (result.finite) return;
  const what = Number.isFinite(result.loss) ? "a gradient is not finite" : `the loss is ${result.loss}`;
  const { firstBad } = result;
  const where = firstBad === undefined || firstBad === "loss" ? "" : `; first in ${place(firstBad, blockOf)}`;
  throw new ExpandError("input", `${what}${where}. The batch holds ${documentsOf(batches)}`, {
    at: `step ${step}`,
    fix: "Look at these documents, lower --lr, or train in f32; the state before is kept.",
  });
}

function place(tensor: string, blockOf: (tensor: string) => string): string {
  const block = blockOf(tensor);
  return /^\d+$/.test(block) ? `block ${block} (${tensor})` : tensor;
}

function documentsOf(batches: readonly Batch[]): string {
  const names = [
    ...new Set(batches.flatMap(({ documents }) => documents.map((each) => `${each.file} (${each.place})`))),
  ];
  const more = names.length - SHOWN;
  return `${names.slice(0, SHOWN).join(", ")}${more > 0 ? ` and ${more} more documents` : ""}`;
}
