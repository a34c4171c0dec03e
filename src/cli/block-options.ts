// Options that decide where copies stand, shared by `plan` and `expand`.
import type { Options } from "yargs";
import type { PrepareOptions } from "../commands/plan.ts";
import { numberList, wholeNumber } from "./values.ts";
import { type Arguments, HUB_OPTIONS, optional, text } from "./verb.ts";

const group = "Blocks:";

export const BLOCK_OPTIONS: Readonly<Record<string, Options>> = {
  add: {
    group,
    requiresArg: true,
    describe: "Number of copies, spread evenly [default: one per four blocks]",
    coerce: wholeNumber("add", 1),
  },
  every: { group, requiresArg: true, describe: "A copy after every M-th block", coerce: wholeNumber("every", 1) },
  after: {
    group,
    requiresArg: true,
    type: "string",
    describe: "Copies after these blocks, counted from 0: 3,7,11",
    coerce: numberList("after"),
  },
  "per-group": {
    group,
    requiresArg: true,
    describe: "Copy the top P blocks of each group [default: 1]",
    coerce: wholeNumber("per-group", 1),
  },
  place: {
    group,
    requiresArg: true,
    choices: ["interleave", "suffix", "prefix"],
    describe: "Where copies stand [default: interleave]",
  },
  plan: { group, requiresArg: true, type: "string", describe: "Replay a saved plan, or a mergekit passthrough YAML" },
  zero: {
    group,
    requiresArg: true,
    choices: ["auto", "projections", "norm-gain"],
    describe: "What closes a copy's branches [default: auto]",
  },
  ...HUB_OPTIONS,
  stack: { group, requiresArg: true, type: "string", describe: "Which stack, where a model has several (see inspect)" },
};

/** The part of a command line that says what to expand and how. */
export function prepareOptions(args: Arguments, signal: AbortSignal): PrepareOptions {
  return {
    source: text(args, "source") ?? "",
    signal,
    ...optional<PrepareOptions>(args, {
      add: "add",
      every: "every",
      after: "after",
      perGroup: "per-group",
      place: "place",
      plan: "plan",
      zero: "zero",
      stack: "stack",
      token: "token",
    }),
  };
}
