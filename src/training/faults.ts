// What a run says when its numbers stop being numbers: which step, which documents, which block. Never lets such a step count.
import type { Batch } from "../corpus/batch.ts";
import { ExpandError } from "../errors.ts";
import { sumOfSquares } from "./optimizer/adamw.ts";
import type { Recipe } from "./recipe.ts";
import type { Fault, StepResult, TrainerState } from "./step/trainer.ts";

/** Documents that are named before their number is. */
const SHOWN = 4;
/** Steps skipped in a row after which the loss scale cannot be what is wrong: 2^16 has been halved below 2^-33. */
const MOST_SKIPPED = 50;

export interface StepFacts {
  /** Counted from 1. */
  readonly step: number;
  readonly batches: readonly Batch[];
  readonly dtype: Recipe["dtype"];
  /** The block of a tensor: its number, or "outside". */
  readonly blockOf: (tensor: string) => string;
  readonly skippedInRow: number;
  /** Where a loss that is not finite comes from, where that was found. */
  readonly fault?: Fault | undefined;
}

/** Throws "input" for a step whose loss or gradient is not finite, unless the loss scale explains it. */
export function checkStep(result: StepResult, facts: StepFacts): void {
  const at = `step ${facts.step}`;
  if (result.skipped) {
    if (facts.skippedInRow < MOST_SKIPPED) return;
    throw new ExpandError("input", `${facts.skippedInRow} steps in a row had gradients that are not finite in f16`, {
      at,
      fix: "Start again (--no-resume) in f32 or bf16 (--dtype), or with a lower --lr.",
    });
  }
  if (result.finite) return;
  const what = Number.isFinite(result.loss) ? gradientFault(result, facts) : lossFault(result, facts);
  throw new ExpandError("input", `${what}. The batch holds ${documentsOf(facts.batches)}`, {
    at,
    fix: `Look at ${facts.fault?.broken === undefined ? "" : "this weight and at "}these documents, or start again (--no-resume) with a lower --lr${facts.dtype === "f32" ? "" : ", or in f32 (--dtype)"}.`,
  });
}

function lossFault({ loss }: StepResult, { fault, blockOf }: StepFacts): string {
  if (fault === undefined) return `the loss is ${loss}`;
  const { tensors, broken } = fault;
  const found = broken === undefined ? tensors : [broken];
  const inBlock = found.find((tensor) => isBlock(blockOf(tensor)));
  const where = inBlock === undefined ? "outside of the blocks" : `in block ${blockOf(inBlock)}`;
  const at = broken === undefined ? "" : `, at weight ${broken}, which is not finite itself`;
  const among = inBlock === undefined && broken === undefined ? ` (${tensors.join(", ")})` : "";
  return `the loss is ${loss}: values stop being finite ${where}${at}${among}`;
}

/** Gradients go from the loss back: of several blocks, the last is where they first went wrong. */
function gradientFault({ bad = [] }: StepResult, { blockOf }: StepFacts): string {
  const inBlocks = bad.filter((tensor) => isBlock(blockOf(tensor)));
  const [first = bad.at(-1)] = inBlocks.sort((a, b) => Number(blockOf(b)) - Number(blockOf(a)));
  if (first === undefined) return "a gradient is not finite";
  return `a gradient is not finite; first, from the loss back, in ${isBlock(blockOf(first)) ? `block ${blockOf(first)} (${first})` : first}`;
}

/** Throws "input" for a state that a run could not go on from. `step` counts those done. */
export function checkState(state: TrainerState, step: number, blockOf: (tensor: string) => string): void {
  for (const [kind, what] of [
    ["weights", "a weight"],
    ["m", "a first moment"],
    ["v", "a second moment"],
  ] as const) {
    for (const [name, values] of state[kind]) {
      if (Number.isFinite(sumOfSquares(values))) continue;
      const block = blockOf(name);
      throw new ExpandError(
        "input",
        `${what} is no longer finite, in ${isBlock(block) ? `block ${block} (${name})` : name}`,
        {
          at: `step ${step}`,
          fix: "Start again (--no-resume) with a lower --lr.",
        },
      );
    }
  }
}

function isBlock(place: string): boolean {
  return /^\d+$/.test(place);
}

function documentsOf(batches: readonly Batch[]): string {
  const names = [
    ...new Set(batches.flatMap(({ documents }) => documents.map((each) => `${each.file} (${each.place})`))),
  ];
  const more = names.length - SHOWN;
  return `${names.slice(0, SHOWN).join(", ")}${more > 0 ? ` and ${more} more documents` : ""}`;
}
