// The words for running models: on what, where, and how far apart they may be. Shared by `verify` and `expand`.
import type { Options } from "yargs";
import type { VerifyOptions } from "../commands/verify.ts";
import { ExpandError } from "../errors.ts";
import { decimal, numberList, wholeNumber } from "./values.ts";
import { type Arguments, deviceOf, deviceOption, optional } from "./verb.ts";

/** Of the runs, in `group`. */
export function numberOptions(group: string): Readonly<Record<string, Options>> {
  return {
    tolerance: {
      group,
      requiresArg: true,
      describe: "Allowed difference, as a share of the largest value [default: 0 for the same format on the CPU]",
      coerce: decimal("tolerance"),
    },
    samples: {
      group,
      requiresArg: true,
      describe: "Sequences of seeded token ids [default: 4]",
      coerce: wholeNumber("samples", 1),
    },
    tokens: {
      group,
      requiresArg: true,
      describe: "Tokens of each; their positions jump past every sliding window [default: 64]",
      coerce: wholeNumber("tokens", 1),
    },
    seed: { group, requiresArg: true, describe: "Of the token ids [default: 0]", coerce: wholeNumber("seed", 0) },
    device: deviceOption(group),
    threads: {
      group,
      requiresArg: true,
      describe: "Threads that models run on [default: all cores]",
      coerce: wholeNumber("threads", 1),
    },
  };
}

/** One text or list of ids instead of seeded ones; `verify` only. */
export function promptOptions(group: string): Readonly<Record<string, Options>> {
  return {
    "token-ids": {
      group,
      requiresArg: true,
      describe: "Run on these token ids instead, separated by commas",
      coerce: numberList("token-ids", "token ids"),
    },
    prompt: { group, requiresArg: true, type: "string", describe: "Run on this text instead (needs tokenizer.json)" },
  };
}

/** Throws "usage" for words about runs where nothing is run; `instead` is what would run the models. */
export function refuseIdle(args: Arguments, instead: string): void {
  const words = [...Object.keys(numberOptions("")), ...Object.keys(promptOptions(""))];
  const idle = words.find((word) => args[word] !== undefined);
  if (idle === undefined) return;
  throw new ExpandError("usage", `--${idle} is about running the models, and nothing is run`, {
    fix: `Add ${instead}.`,
  });
}

/** What was said of the runs, under the library's names. */
export function numbersOf(args: Arguments): Partial<VerifyOptions> {
  return {
    ...deviceOf(args),
    ...optional<VerifyOptions>(args, {
      tolerance: "tolerance",
      samples: "samples",
      tokens: "tokens",
      seed: "seed",
      threads: "threads",
      tokenIds: "token-ids",
      prompt: "prompt",
    }),
  };
}
