// What a verification leaves behind for GitHub Actions: annotations on stdout, lines in the files that the runner names.
import fs from "node:fs";
import path from "node:path";
import type { VerificationReport } from "../commands/verify.ts";
import { ExpandError } from "../errors.ts";
import type { VerbContext } from "./verb.ts";

/** Runs `work` and tells the runner how it ended, an error included: whoever reads the outputs must never take it for a pass. */
export async function tellGithub(
  context: VerbContext,
  reportFile: string | undefined,
  work: () => Promise<VerificationReport>,
): Promise<VerificationReport> {
  const { githubAnnotations, githubFailure, githubOutputs, githubSummary } = await import("../commands/verify.ts");
  try {
    const report = await work();
    annotate(context, githubAnnotations(report));
    append("GITHUB_STEP_SUMMARY", githubSummary(report));
    append("GITHUB_OUTPUT", githubOutputs(report, reportFile === undefined ? undefined : path.resolve(reportFile)));
    return report;
  } catch (error) {
    if (error instanceof ExpandError) {
      const failure = githubFailure(error.fix === undefined ? error.message : `${error.message}. ${error.fix}`);
      annotate(context, failure.annotation);
      append("GITHUB_OUTPUT", failure.outputs);
    }
    throw error;
  }
}

/** The runner reads annotations off stdout, which --json takes for itself. */
function annotate(context: VerbContext, annotations: string): void {
  if (!context.json && annotations !== "") context.terminal.report(annotations);
}

function append(variable: "GITHUB_STEP_SUMMARY" | "GITHUB_OUTPUT", text: string): void {
  const file = process.env[variable];
  if (file) fs.appendFileSync(file, text);
}
