// What every verb of the command line is made of, and the options that all of them share.
import type { Options } from "yargs";
import type { Run } from "../events.ts";
import type { Terminal } from "./terminal.ts";
import { deviceName } from "./values.ts";

export interface VerbContext {
  readonly terminal: Terminal;
  readonly json: boolean;
  readonly signal: AbortSignal;
  /** Runs a verb, showing its events. */
  finish<Report>(run: Run<Report>): Promise<Report>;
}

/** Parsed options, by long name. Values have passed their `coerce`. */
export type Arguments = Readonly<Record<string, unknown>>;

export interface Verb {
  readonly name: string;
  /** Positional arguments as yargs writes them: "<source> <output>". */
  readonly positionals: string;
  /** Purpose in one line. */
  readonly summary: string;
  readonly options: Readonly<Record<string, Options>>;
  readonly examples: readonly (readonly [command: string, meaning: string])[];
  /** Exit codes that this verb gives a meaning of its own, one line. */
  readonly exits: string;
  /** Gives the exit code. */
  run(args: Arguments, context: VerbContext): Promise<number>;
}

export const COMMON_OPTIONS: Readonly<Record<string, Options>> = {
  quiet: {
    alias: "q",
    type: "boolean",
    default: false,
    group: "Common:",
    describe: "Print the report and errors only",
  },
  verbose: { alias: "v", type: "boolean", default: false, group: "Common:", describe: "Print notes as well" },
  json: {
    type: "boolean",
    default: false,
    group: "Common:",
    describe: "One JSON object on stdout, everything else on stderr",
  },
  progress: { type: "boolean", default: true, group: "Common:", describe: "Show progress on stderr (--no-progress)" },
  color: {
    choices: ["auto", "always", "never"],
    requiresArg: true,
    default: "auto",
    group: "Common:",
    describe: "Colours",
  },
};

/** For verbs that read checkpoints. */
export const HUB_OPTIONS: Readonly<Record<string, Options>> = {
  token: {
    group: "Hub:",
    requiresArg: true,
    type: "string",
    describe: "Token for owner/name [default: HF_TOKEN, HF_TOKEN_PATH or $HF_HOME/token]",
  },
};

export function text(args: Arguments, name: string): string | undefined {
  const value = args[name];
  return typeof value === "string" ? value : undefined;
}

/** Where models run, for verbs that run them. */
export function deviceOption(group: string): Options {
  const describe = "Where models run: cpu, cuda, or one GPU of several such as cuda:1 [default: cpu]";
  return { group, requiresArg: true, describe, coerce: deviceName };
}

/** What `--device` said, under the library's names. */
export function deviceOf(args: Arguments): { readonly device?: "cpu" | "cuda"; readonly deviceId?: number } {
  const [device, id] = text(args, "device")?.split(":") ?? [];
  if (device === undefined) return {};
  return { device: device === "cuda" ? "cuda" : "cpu", ...(id === undefined ? {} : { deviceId: Number(id) }) };
}

/**
 * The options of the command line that are set, under the library's names. `words` maps a library option to its word; the values
 * have the right types because each word's `coerce`, `choices` or `type` made them.
 */
export function optional<Target>(
  args: Arguments,
  words: { readonly [Name in keyof Target]?: string },
): Partial<Target> {
  const entries = Object.entries<string | undefined>(words).flatMap(([name, word]) =>
    word === undefined || args[word] === undefined ? [] : [[name, args[word]]],
  );
  return Object.fromEntries(entries) as Partial<Target>;
}
