// The entry of the command line: words in, an exit code out. Loads a verb's code only when that verb runs.

import fs from "node:fs";
import { styleText } from "node:util";
import { EXIT_CODES, ExpandError, isSystemError } from "../errors.ts";
import { finish } from "../events.ts";
import { VERSION } from "../version.ts";
import { type Streams, Terminal } from "./terminal.ts";
import type { Verb, VerbContext } from "./verb.ts";
import { loadVerb, nearestVerb, TOP_HELP, VERB_NAMES } from "./verbs.ts";
import { readWords } from "./words.ts";

/** Runs one command line and gives its exit code (design: 0 done, 1 not identity, 2 usage, 3 input, 4 output, 5 network, 6 backend, 7 inconclusive, 70 bug, 130 interrupted). */
export async function main(
  argv: readonly string[],
  streams: Streams = { out: process.stdout, err: process.stderr },
): Promise<number> {
  const terminal = terminalFor(argv, streams);
  try {
    const words = withVerb(argv);
    const name = words[0];
    if (name === undefined || name === "help" || name === "--help" || name === "-h") {
      streams.out.write(`${TOP_HELP}\n`);
      return name === undefined ? 2 : 0;
    }
    if (name === "--version" || name === "-V") {
      streams.out.write(`${VERSION}\n`);
      return 0;
    }
    return await runVerb(await loadVerb(name), words.slice(1), terminal, streams);
  } catch (error) {
    return reportFailure(error, terminal, argv.includes("--json"), streams);
  }
}

/**
 * Whoever reads the output may go before its end (`| head`), and the disk under it may be full: work that is under way goes on, since its
 * files are what counts, and only a report that nobody can have got is an error.
 */
export function guardStreams({ stdout, stderr }: Pick<NodeJS.Process, "stdout" | "stderr">): void {
  stderr.on("error", () => undefined);
  stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") return;
    stderr.write(`error: standard output: cannot be written (${error.code})\n`);
    process.exit(EXIT_CODES.output);
  });
}

/** owner/name, with a revision or a path behind it: a repository of the Hub. */
const REPOSITORY = /^(?:hf:\/\/.+|https?:\/\/.+|[A-Za-z0-9][\w.-]*\/[\w.-]+(?:[@:].+)?)$/;

/** `SOURCE OUT` means `expand SOURCE OUT` when SOURCE exists or names a repository; any other first word must be a verb. */
function withVerb(argv: readonly string[]): readonly string[] {
  const first = argv[0];
  if (first === undefined || first.startsWith("-") || first === "help" || VERB_NAMES.includes(first)) return argv;
  if (fs.existsSync(first) || REPOSITORY.test(first)) return ["expand", ...argv];
  const near = nearestVerb(first);
  if (near !== undefined) {
    throw new ExpandError("usage", `there is no command "${first}"`, { fix: `Did you mean "${near}"?` });
  }
  throw new ExpandError("usage", `"${first}" is neither a command nor a path that exists`, {
    fix: "Run expand-checkpoint --help for the commands, or check the path.",
  });
}

async function runVerb(verb: Verb, words: readonly string[], terminal: Terminal, streams: Streams): Promise<number> {
  const args = readWords(verb, words) ?? (await (await import("./explain.ts")).explain(verb, words));
  if (typeof args === "string") {
    streams.out.write(`${args}\n`);
    return 0;
  }
  return withInterrupts((signal) => {
    const context: VerbContext = {
      terminal,
      json: args.json === true,
      signal,
      finish: (run) => finish(run, terminal.onEvent),
    };
    return verb.run(args, context);
  }, terminal);
}

/** The first signal asks the run to stop; the second ends the process at once. */
async function withInterrupts(work: (signal: AbortSignal) => Promise<number>, terminal: Terminal): Promise<number> {
  const controller = new AbortController();
  const stop = (): void => {
    // Signals have their own effect from now on: process.exit would wait for a thread that runs a model.
    release();
    controller.abort();
  };
  const release = (): void => {
    process.off("SIGINT", stop);
    process.off("SIGTERM", stop);
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  try {
    return await work(controller.signal);
  } finally {
    release();
    terminal.done();
  }
}

function reportFailure(error: unknown, terminal: Terminal, json: boolean, streams: Streams): number {
  const failure = error instanceof ExpandError ? error : unexpected(error);
  terminal.error(failure.message, failure.fix);
  if (json) {
    const { tag, message, at, fix } = failure;
    streams.out.write(`${JSON.stringify({ error: { tag, message, at, fix } })}\n`);
  }
  if (failure.tag === "bug") {
    const stack = error instanceof Error ? (error.stack ?? "") : "";
    streams.err.write(
      `${stack}\nThis is a bug of expand-checkpoint ${VERSION}. Please report it with the lines above and the command you ran.\n`,
    );
  }
  return failure.exitCode;
}

function unexpected(error: unknown): ExpandError {
  if (isSystemError(error)) {
    const full = error.code === "ENOSPC" || error.code === "EDQUOT";
    const tag = full ? "disk-full" : error.syscall === "open" || error.syscall === "stat" ? "input" : "output";
    const at = error.path;
    return new ExpandError(
      tag,
      `${error.code}: ${error.syscall ?? "system call"} failed`,
      at === undefined ? {} : { at },
    );
  }
  return new ExpandError("bug", error instanceof Error ? error.message : String(error));
}

function terminalFor(argv: readonly string[], streams: Streams): Terminal {
  const flag = (...names: string[]): boolean => argv.some((word) => names.includes(word));
  const at = argv.findIndex((word) => word === "--color" || word.startsWith("--color="));
  const wish = at < 0 ? "auto" : (argv[at]?.split("=")[1] ?? argv[at + 1]);
  const plain = styleText("red", "x", { stream: process.stderr }) === "x";
  return new Terminal(streams, {
    quiet: flag("--quiet", "-q"),
    verbose: flag("--verbose", "-v"),
    progress: !flag("--no-progress"),
    color: wish === "always" || (wish !== "never" && streams.err === process.stderr && !plain),
  });
}
