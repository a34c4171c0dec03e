// The words of `push`.
import type { Options } from "yargs";
import type { PushOptions, PushReport, PushTarget } from "../../commands/push.ts";
import { formatBytes } from "../terminal.ts";
import { type Arguments, HUB_OPTIONS, optional, text, type Verb, type VerbContext } from "../verb.ts";

const group = "Hub:";

/** Shared with `expand --push`. */
export const TARGET_OPTIONS: Readonly<Record<string, Options>> = {
  private: {
    group,
    type: "boolean",
    default: false,
    describe: "Make a new repository private; changes none that is there",
  },
  pr: { group, type: "boolean", default: false, describe: "Open a pull request instead of committing" },
  revision: {
    group,
    requiresArg: true,
    type: "string",
    describe: "Branch, made from main where there is none [default: main]",
  },
  message: { group, requiresArg: true, type: "string", describe: "Title of the commit" },
  "base-model": {
    group,
    requiresArg: true,
    type: "string",
    describe: "owner/name of the source, where a local copy was expanded; compared with the proof",
  },
};

export const pushVerb: Verb = {
  name: "push",
  positionals: "<directory> <repository>",
  summary: "Publishes an expanded, proved checkpoint to the Hub with a model card, in one commit.",
  options: {
    ...TARGET_OPTIONS,
    ...HUB_OPTIONS,
    "dry-run": { group, type: "boolean", default: false, describe: "Print what would be published, change nothing" },
  },
  examples: [
    ["push ./expanded alice/Llama-3.2-1B-expanded --private", "a new, private repository"],
    ["push ./expanded alice/expanded --dry-run", "files, bytes and what is there already"],
    ["push expanded.gguf org/model-GGUF --pr", "a pull request with a GGUF file and its papers"],
  ],
  exits:
    "0 published, 2 usage, 3 changed since it was proved, 4 not proved, secrets, or other weights there, 5 Hub or network, 130 interrupted",
  run: async (args, context) => {
    const { push } = await import("../../commands/push.ts");
    const report = await context.finish(push(pushOptions(args, context)));
    context.terminal.report(context.json ? JSON.stringify(report) : pushText(report));
    return 0;
  },
};

function pushOptions(args: Arguments, context: VerbContext): PushOptions {
  return {
    directory: text(args, "directory") ?? "",
    ...targetOptions(args, text(args, "repository") ?? ""),
    dryRun: args["dry-run"] === true,
    signal: context.signal,
  };
}

export function targetOptions(args: Arguments, repository: string): PushTarget {
  return {
    repository,
    ...optional<PushTarget>(args, {
      private: "private",
      pullRequest: "pr",
      revision: "revision",
      token: "token",
      message: "message",
      baseModel: "base-model",
    }),
  };
}

export function pushText(report: PushReport): string {
  const { commit, files, others, bytes, created, leftOut } = report;
  const hidden =
    report.private === undefined ? "its owner's default visibility" : report.private ? "private" : "public";
  const count = (state: string): number => files.filter((file) => file.state === state).length;
  const parts = [`${count("new")} new`, `${count("changed")} changed`, `${count("same")} there already`];
  const lines = [
    `target    ${report.url} (${created ? "new, " : ""}${hidden})${report.revision === "main" ? "" : `, branch ${report.revision}`}`,
    `files     ${files.length}: ${parts.join(", ")}; ${formatBytes(bytes)} to send`,
  ];
  if (commit === undefined)
    lines.push(...files.map(({ name, size, state }) => `  ${state.padEnd(7)}  ${name}  ${formatBytes(size)}`));
  if (others.length > 0) lines.push(`stays     ${short(others)} on the Hub`);
  if (leftOut.length > 0) lines.push(`left out  ${short(leftOut)}`);
  if (commit === undefined) return [...lines, "nothing was changed (--dry-run)"].join("\n");
  if (bytes === 0) return [...lines, `has all of it already: commit ${commit}`].join("\n");
  return [
    ...lines,
    report.pullRequest === undefined ? `published commit ${commit}` : `opened    ${report.pullRequest}`,
  ].join("\n");
}

function short(names: readonly string[]): string {
  const rest = names.length - 8;
  return names.slice(0, 8).join(", ") + (rest > 0 ? ` and ${rest} more` : "");
}
