// A report for GitHub Actions: workflow commands that become annotations, a step summary and outputs. Writes to no file and no stream.
import { randomUUID } from "node:crypto";
import { type Finding, isProved, type VerificationReport } from "../report.ts";
import { markdownText } from "./markdown.ts";
import { blocksOf, headline, visible } from "./summary.ts";

/** GitHub shows at most this many annotations of each level for a step. */
const PER_LEVEL = 10;

/** Workflow commands for stdout, one a line; ends with a line break. */
export function githubAnnotations(report: VerificationReport): string {
  const grave = report.findings.filter((each) => each.severity === "refutes" || each.severity === "leaves-open");
  const warnings = report.findings.filter((each) => each.severity === "warns");
  const lines = isProved(report.verdict) ? [command("notice", report.verdict, headline(report))] : [];
  // The headline takes one place of ten.
  if (!isProved(report.verdict)) lines.push(command("error", report.verdict, headline(report)));
  lines.push(...grave.slice(0, PER_LEVEL - 1).map((each) => command("error", each.code, textOf(each))));
  lines.push(...warnings.slice(0, PER_LEVEL).map((each) => command("warning", each.code, textOf(each))));
  return `${lines.join("\n")}\n`;
}

/** Markdown for the file that GITHUB_STEP_SUMMARY names. */
export function githubSummary(report: VerificationReport): string {
  return markdownText(report);
}

/**
 * Lines for the file that GITHUB_OUTPUT names. What was not found out is empty: max-abs-diff where no model ran, the numbers of blocks
 * where nothing could be compared.
 */
export function githubOutputs(report: VerificationReport, reportPath: string | undefined): string {
  const { before, after } = blocksOf(report);
  return outputLines({
    verdict: report.verdict,
    "max-abs-diff": report.numeric?.logits.maxAbs,
    "blocks-before": before,
    "blocks-after": after,
    "report-path": reportPath,
  });
}

/** For a run that ended with an error before it could compare anything. */
export function githubFailure(message: string): { readonly annotation: string; readonly outputs: string } {
  return {
    annotation: `${command("error", "inconclusive", visible(message))}\n`,
    outputs: outputLines({ verdict: "inconclusive" }),
  };
}

/** In the form with a delimiter that nobody can guess, so that no line break in a path starts an output of its own. */
function outputLines(outputs: Readonly<Record<string, string | number | undefined>>): string {
  const end = `end-${randomUUID()}`;
  return Object.entries(outputs)
    .map(([name, value]) => `${name}<<${end}\n${value ?? ""}\n${end}\n`)
    .join("");
}

function textOf(each: Finding): string {
  return visible(`${each.at}: ${each.message}. ${each.fix}`);
}

/** Values are escaped as the runner decodes them, so that no name can start a command of its own. */
function command(level: "error" | "warning" | "notice", title: string, message: string): string {
  return `::${level} title=${data(title).replaceAll(":", "%3A").replaceAll(",", "%2C")}::${data(message)}`;
}

function data(text: string): string {
  return text.replaceAll("%", "%25").replaceAll("\r", "%0D").replaceAll("\n", "%0A");
}
