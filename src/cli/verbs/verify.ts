// The words of `verify`.
import fs from "node:fs";
import path from "node:path";
import type { VerifyOptions } from "../../commands/verify.ts";
import { ExpandError } from "../../errors.ts";
import { optional, text, type Verb } from "../verb.ts";

/** How each kind of report file is written, by its ending. */
const RENDERERS = { ".json": "jsonText", ".md": "markdownText", ".xml": "junitText" } as const;
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
    const command = await import("../../commands/verify.ts");
    const files = reportFiles(args.report);
    const options: VerifyOptions = {
      before: text(args, "before") ?? "",
      after: text(args, "after") ?? "",
      signal: context.signal,
      ...optional<VerifyOptions>(args, { stack: "stack" }),
    };
    const report = await context.finish(command.verify(options));
    for (const { file, renderer } of files) fs.writeFileSync(file, command[renderer](report));
    const github = args.github ?? process.env.GITHUB_ACTIONS === "true";
    if (github === true) {
      const annotations = command.githubAnnotations(report);
      // The runner reads annotations off stdout, which --json takes for itself.
      if (!context.json && annotations !== "") context.terminal.report(annotations);
      appendForGithub(report.verdict, command.githubSummary(report));
    }
    context.terminal.report(context.json ? JSON.stringify(report) : command.terminalText(report));
    return EXITS[report.verdict];
  },
};

function reportFiles(value: unknown): { file: string; renderer: (typeof RENDERERS)[keyof typeof RENDERERS] }[] {
  return (Array.isArray(value) ? value : []).map((word) => {
    const file = String(word);
    const ending = path.extname(file).toLowerCase();
    if (ending === ".json" || ending === ".md" || ending === ".xml") return { file, renderer: RENDERERS[ending] };
    throw new ExpandError(
      "usage",
      `--report takes a file that ends in .json, .md or .xml, not ${JSON.stringify(file)}`,
      { fix: "Name FILE.json, FILE.md or FILE.xml." },
    );
  });
}

/** The runner names the files for the step's summary and outputs. */
function appendForGithub(verdict: string, summary: string): void {
  const { GITHUB_STEP_SUMMARY, GITHUB_OUTPUT } = process.env;
  if (GITHUB_STEP_SUMMARY) fs.appendFileSync(GITHUB_STEP_SUMMARY, summary);
  if (GITHUB_OUTPUT) fs.appendFileSync(GITHUB_OUTPUT, `verdict=${verdict}\n`);
}
