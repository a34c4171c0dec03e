// The words of `delta`: extract, apply, strip.
import type { ApplyReport, ExtractReport, StripReport } from "../../commands/delta.ts";
import { ExpandError } from "../../errors.ts";
import { formatBytes, formatItems } from "../terminal.ts";
import { type Arguments, HUB_OPTIONS, text, type Verb, type VerbContext } from "../verb.ts";

type Action = "extract" | "apply" | "strip";

/** What each action takes. */
const WORDS: Readonly<Record<Action, string>> = {
  extract: "EXPANDED OUT.safetensors --base SOURCE",
  apply: "BASE DELTA OUT",
  strip: "EXPANDED OUT",
};

export const deltaVerb: Verb = {
  name: "delta",
  positionals: "<action> [first] [second] [third]",
  summary:
    "extract EXPANDED OUT.safetensors --base SOURCE: the copies alone, as one file. apply BASE DELTA OUT: the expanded checkpoint again, byte for byte. strip EXPANDED OUT: the source again, byte for byte.",
  options: {
    base: {
      group: "extract:",
      requiresArg: true,
      type: "string",
      describe: "The checkpoint that was expanded: a path, or a repository of the Hub",
    },
    stack: { group: "extract:", requiresArg: true, type: "string", describe: "Which stack was expanded" },
    unproved: {
      group: "strip:",
      type: "boolean",
      default: false,
      describe: "Strip it although nothing shows that its originals are still the source's",
    },
    inexact: {
      group: "strip:",
      type: "boolean",
      default: false,
      describe: "Without source.json: the source's tensors and settings, in files whose headers and shards may differ",
    },
    force: { group: "Output:", type: "boolean", default: false, describe: "Replace files of the same names" },
    resume: {
      group: "apply and strip:",
      type: "boolean",
      describe: "Go on where an interrupted run stopped [default: true] (--no-resume)",
    },
    link: {
      group: "apply and strip:",
      type: "boolean",
      default: false,
      describe: "Hard-link files that are the same on both sides",
    },
    ...HUB_OPTIONS,
  },
  examples: [
    ["delta extract ./trained copies.safetensors --base ./Llama-3.2-1B", "what was trained, and nothing else"],
    ["delta apply ./Llama-3.2-1B copies.safetensors ./again", "the trained checkpoint, byte for byte"],
    ["delta strip ./trained ./source", "the model as it was before the expansion, byte for byte"],
  ],
  exits:
    "0 done, 2 usage, 3 another base, a damaged delta, or no proof to strip by, 4 the output is refused, 5 Hub or network, 7 --inexact cannot show it, 130 interrupted",
  run: async (args, context) => {
    const action = actionOf(args);
    const report = await RUNNERS[action](args, context);
    context.terminal.report(context.json ? JSON.stringify(report.json) : report.text);
    return 0;
  },
};

interface Told {
  readonly json: unknown;
  readonly text: string;
}

const RUNNERS: Readonly<Record<Action, (args: Arguments, context: VerbContext) => Promise<Told>>> = {
  extract: async (args, context) => {
    const { extractDelta } = await import("../../commands/delta.ts");
    const base = text(args, "base");
    if (base === undefined) {
      throw new ExpandError("usage", "a delta is taken against the checkpoint that was expanded", {
        fix: "Name it with --base SOURCE.",
      });
    }
    const [stack, token] = [text(args, "stack"), text(args, "token")];
    const report = await context.finish(
      extractDelta({
        ...{ expanded: text(args, "first") ?? "", output: text(args, "second") ?? "", base },
        ...(stack === undefined ? {} : { stack }),
        ...(token === undefined ? {} : { token }),
        force: args.force === true,
        signal: context.signal,
      }),
    );
    return { json: report, text: extractText(report) };
  },
  apply: async (args, context) => {
    const { applyDelta } = await import("../../commands/delta.ts");
    const token = text(args, "token");
    const report = await context.finish(
      applyDelta({
        ...{ base: text(args, "first") ?? "", delta: text(args, "second") ?? "", output: text(args, "third") ?? "" },
        ...(token === undefined ? {} : { token }),
        ...writing(args),
        signal: context.signal,
      }),
    );
    return { json: report, text: applyText(report) };
  },
  strip: async (args, context) => {
    const { stripExpansion } = await import("../../commands/delta.ts");
    const report = await context.finish(
      stripExpansion({
        ...{ expanded: text(args, "first") ?? "", output: text(args, "second") ?? "" },
        unproved: args.unproved === true,
        inexact: args.inexact === true,
        ...writing(args),
        signal: context.signal,
      }),
    );
    return { json: report, text: stripText(report) };
  },
};

function writing(args: Arguments): { readonly force: boolean; readonly resume: boolean; readonly link: boolean } {
  return { force: args.force === true, resume: args.resume !== false, link: args.link === true };
}

/** Words that not every action heeds. */
const HEEDED_BY: Readonly<Record<string, readonly Action[]>> = {
  base: ["extract"],
  stack: ["extract"],
  unproved: ["strip"],
  inexact: ["strip"],
  resume: ["apply", "strip"],
  link: ["apply", "strip"],
  token: ["extract", "apply"],
};

function actionOf(args: Arguments): Action {
  const action = text(args, "action") ?? "";
  if (!isAction(action)) {
    throw new ExpandError("usage", `delta does not know ${JSON.stringify(action)}`, {
      fix: "Say extract, apply or strip.",
    });
  }
  const given = ["first", "second", "third"].filter((word) => text(args, word) !== undefined).length;
  if (given !== (action === "apply" ? 3 : 2)) {
    throw new ExpandError("usage", `delta ${action} takes ${WORDS[action]}`, {
      fix: "Run expand-checkpoint delta --help.",
    });
  }
  const isSaid = (word: string): boolean => args[word] !== undefined && (word === "resume" || args[word] !== false);
  const stray = Object.keys(HEEDED_BY).find((word) => isSaid(word) && !HEEDED_BY[word]?.includes(action));
  if (stray === undefined) return action;
  const word = args[stray] === false ? `--no-${stray}` : `--${stray}`;
  throw new ExpandError("usage", `${word} belongs to delta ${HEEDED_BY[stray]?.join(" and ")}`, {
    fix: "Leave it out.",
  });
}

function isAction(word: string): word is Action {
  return word in WORDS;
}

function extractText(report: ExtractReport): string {
  const { copies, tensors, others, bytes, expandedBytes, base, files, changed, leftOut, output, sha256 } = report;
  const lines = [
    `base      ${base.location}, headers ${base.headers.slice(0, 12)}`,
    `copies    ${copies.length === 0 ? "none known; what the base does not have" : copies.join(", ")}`,
    `delta     ${output}: ${formatItems(tensors, "tensor")}, ${formatBytes(bytes)} for ${formatItems(files.length, "file")} of ${formatBytes(expandedBytes)}`,
    `sha256    ${sha256}`,
  ];
  if (others.length > 0 && copies.length > 0) lines.push(`others    ${short(others)}: no copy's, and not the base's`);
  if (changed.length > 0) lines.push(`changed   ${short(changed)}: not what the manifest says, and taken as it is`);
  if (leftOut.length > 0) lines.push(`left out  ${short(leftOut)}`);
  return lines.join("\n");
}

function applyText({ output, files, bytes }: ApplyReport): string {
  return `applied   ${output}: ${formatItems(files.length, "file")}, ${formatBytes(bytes)}, each with the SHA-256 that it had`;
}

function stripText({ output, files, bytes, shown, compared, notCarried }: StripReport): string {
  const proof = SHOWN[shown];
  const known = compared === 0 ? "" : `; ${compared} with the SHA-256 that ${compared === 1 ? "it" : "they"} had`;
  const lines = [`stripped  ${output}: ${formatItems(files.length, "file")}, ${formatBytes(bytes)}: ${proof}${known}`];
  if (notCarried.length > 0)
    lines.push(`not here  ${short(notCarried)}: stood beside the source, and no expansion carries it`);
  return lines.join("\n");
}

const SHOWN: Readonly<Record<StripReport["shown"], string>> = {
  proved: "the source byte for byte, by the proof of the expansion",
  nothing: "not proved to be the source",
  tensors: "every tensor and setting of the source, by its bytes; headers, shards and spelling of settings may differ",
};

function short(names: readonly string[]): string {
  const rest = names.length - 8;
  return names.slice(0, 8).join(", ") + (rest > 0 ? ` and ${rest} more` : "");
}
