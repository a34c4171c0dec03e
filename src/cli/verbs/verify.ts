// The words of `verify`.
import type { VerificationReport, VerifyOptions } from "../../commands/verify.ts";
import { ExpandError } from "../../errors.ts";
import { tellGithub } from "../github.ts";
import { numberOptions, numbersOf, promptOptions, refuseIdle } from "../number-options.ts";
import { reportFiles, writeReport } from "../report-files.ts";
import { HUB_OPTIONS, optional, text, type Verb } from "../verb.ts";

/** How each kind of report file is written, by its ending. */
const RENDERERS = { ".json": "jsonText", ".md": "markdownText", ".html": "htmlText", ".xml": "junitText" } as const;
const EXITS = { identity: 0, "not-identity": 1, trained: 0, "not-trained": 1, inconclusive: 7 } as const;

export const verifyVerb: Verb = {
  name: "verify",
  positionals: "<before> <after>",
  summary:
    "Proves or refutes that AFTER computes exactly what BEFORE computes, or is BEFORE with only its copies trained. Reads both from disk and trusts no plan.",
  options: {
    mode: {
      group: "Proof:",
      requiresArg: true,
      choices: ["structure", "numbers", "both", "trained"],
      default: "structure",
      describe:
        "Compare bytes, run both models (onnxruntime) and compare what they compute, or both; trained: AFTER is BEFORE after training",
    },
    mask: {
      group: "Proof:",
      requiresArg: true,
      type: "string",
      describe: "With --mode trained: which tensors were trained [default: mask.json beside BEFORE, else its copies]",
    },
    stack: { group: "Proof:", requiresArg: true, type: "string", describe: "Which stack was expanded" },
    ...numberOptions("Running the models:"),
    ...promptOptions("Running the models:"),
    ...HUB_OPTIONS,
    report: {
      group: "Report:",
      requiresArg: true,
      type: "string",
      array: true,
      describe: "Also write FILE.json, FILE.md, FILE.html or FILE.xml (JUnit)",
    },
    github: {
      group: "Report:",
      type: "boolean",
      describe: "GitHub annotations, summary and outputs [default: on under GITHUB_ACTIONS]",
    },
  },
  examples: [
    ["verify ./Llama-3.2-1B ./expanded", "the proof again, from disk"],
    ["verify base merged --mode both --report junit.xml", "run both models as well; in CI, whatever tool made AFTER"],
    ["verify ./expanded ./trained --mode trained --report proof.html", "training left every frozen byte as it was"],
  ],
  exits:
    "0 proved, 1 refuted, 2 usage, 3 a side cannot be read, 4 a report cannot be written, 5 Hub or network, 6 onnxruntime or CUDA is missing, 7 inconclusive, 130 interrupted",
  run: async (args, context) => {
    if (args.mode === "structure" || args.mode === "trained") refuseIdle(args, "--mode numbers, or --mode both");
    if (args.mask !== undefined && args.mode !== "trained") {
      throw new ExpandError("usage", "--mask says what was trained, and only --mode trained asks for it", {
        fix: "Add --mode trained, or remove --mask.",
      });
    }
    const command = await import("../../commands/verify.ts");
    const files = reportFiles(args.report, RENDERERS);
    const options: VerifyOptions = {
      before: text(args, "before") ?? "",
      after: text(args, "after") ?? "",
      signal: context.signal,
      ...optional<VerifyOptions>(args, { mode: "mode", mask: "mask", stack: "stack", token: "token" }),
      ...numbersOf(args),
    };
    const work = async (): Promise<VerificationReport> => {
      const report = await context.finish(command.verify(options));
      // First what no disk can refuse.
      context.terminal.report(context.json ? JSON.stringify(report) : command.terminalText(report));
      for (const { file, renderer } of files) writeReport(file, command[renderer](report));
      return report;
    };
    const github = args.github ?? process.env.GITHUB_ACTIONS === "true";
    const report = github === true ? await tellGithub(context, files[0]?.file, work) : await work();
    return EXITS[report.verdict];
  },
};
