// The words of `verify`.
import fs from "node:fs";
import path from "node:path";
import {
  githubAnnotations,
  githubSummary,
  junitText,
  markdownText,
  terminalText,
  type VerificationReport,
  type VerifyOptions,
  verify,
} from "../../commands/verify.ts";
import { ExpandError } from "../../errors.ts";
import { optional, text, type Verb } from "../verb.ts";

const RENDERERS: Readonly<Record<string, (report: VerificationReport) => string>> = {
  ".json": (report) => `${JSON.stringify(report, null, 2)}\n`,
  ".md": markdownText,
  ".xml": junitText,
};
const EXITS = { identity: 0, "not-identity": 1, inconclusive: 7 } as const;

export const verifyVerb: Verb = {
  name: "verify",
  positionals: "<before> <after>",
  summary:
    "Proves or refutes that AFTER computes exactly what BEFORE computes. Reads both from disk and trusts no plan.",
  options: {
    mode: {
      group: "Proof:",
      requiresArg: true,
      choices: ["structure"],
      default: "structure",
      describe: "Byte for byte, block by block",
    },
    stack: { group: "Proof:", requiresArg: true, type: "string", describe: "Which stack was expanded" },
    report: {
      group: "Report:",
      requiresArg: true,
      type: "string",
      array: true,
      describe: "Also write FILE.json, FILE.md or FILE.xml (JUnit)",
    },
    github: {
      group: "Report:",
      type: "boolean",
      describe: "GitHub annotations, summary and outputs [default: on under GITHUB_ACTIONS]",
    },
  },
  examples: [
    ["verify ./Llama-3.2-1B ./expanded", "the proof again, from disk"],
    ["verify source.gguf expanded.gguf --report proof.md", "with a report to keep"],
    ["verify base merged --report junit.xml --json", "in CI, whatever tool made the output"],
  ],
  exits: "0 identity, 1 not identity, 2 usage, 3 a side cannot be read, 7 inconclusive, 130 interrupted",
  run: async (args, context) => {
    const files = reportFiles(args.report);
    const options: VerifyOptions = {
      before: text(args, "before") ?? "",
      after: text(args, "after") ?? "",
      signal: context.signal,
      ...optional<VerifyOptions>(args, { stack: "stack" }),
    };
    const report = await context.finish(verify(options));
    for (const { file, render } of files) fs.writeFileSync(file, render(report));
    const github = args.github ?? process.env.GITHUB_ACTIONS === "true";
    if (github === true) tellGithub(report, context.terminal.report.bind(context.terminal), context.json);
    context.terminal.report(context.json ? JSON.stringify(report) : terminalText(report));
    return EXITS[report.verdict];
  },
};

function reportFiles(value: unknown): { file: string; render: (report: VerificationReport) => string }[] {
  return (Array.isArray(value) ? value : []).map((word) => {
    const file = String(word);
    const render = RENDERERS[path.extname(file).toLowerCase()];
    if (render !== undefined) return { file, render };
    throw new ExpandError(
      "usage",
      `--report takes a file that ends in .json, .md or .xml, not ${JSON.stringify(file)}`,
    );
  });
}

/** Annotations go to stdout, where the runner reads them, unless stdout is taken by --json; files are named by the runner. */
function tellGithub(report: VerificationReport, print: (text: string) => void, json: boolean): void {
  const annotations = githubAnnotations(report);
  if (!json && annotations !== "") print(annotations);
  const { GITHUB_STEP_SUMMARY, GITHUB_OUTPUT } = process.env;
  if (GITHUB_STEP_SUMMARY) fs.appendFileSync(GITHUB_STEP_SUMMARY, githubSummary(report));
  if (GITHUB_OUTPUT) fs.appendFileSync(GITHUB_OUTPUT, `verdict=${report.verdict}\n`);
}
