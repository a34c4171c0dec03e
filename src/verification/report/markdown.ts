// A report as Markdown, for pull requests, step summaries and model cards. Never lets a name break its table.
import { CHECKS, type Check, FINDINGS, type NumericComparison, type VerificationReport } from "../report.ts";
import {
  blockCounts,
  blockRows,
  bytesText,
  checksOf,
  comparedBytes,
  headline,
  logitsText,
  resultOf,
  runText,
  short,
  shownFindings,
  sizeOf,
  trainedTexts,
  visible,
} from "./summary.ts";

/** Ends with a line break. */
export function markdownText(report: VerificationReport): string {
  const { before, after, blocks } = report;
  const lines = [`## ${plain(headline(report))}`, ""];
  lines.push(
    ...table(
      ["", "checkpoint", "size", "headers (SHA-256)"],
      [
        ["BEFORE", code(before.location), sizeOf(before), code(before.headers.slice(0, 16))],
        ["AFTER", code(after.location), sizeOf(after), code(after.headers.slice(0, 16))],
      ],
    ),
  );
  if (blocks.length > 0) {
    const time = `${bytesText(report.bytesCompared)} compared in ${report.seconds.toFixed(1)} s`;
    lines.push("", `${blockCounts(blocks)}; ${time}.`);
  }
  if (report.trained !== undefined) {
    const { trainable, frozen } = trainedTexts(report.trained);
    const time = `${bytesText(report.bytesCompared)} compared in ${report.seconds.toFixed(1)} s`;
    lines.push("", `Trainable: ${trainable}. Frozen: ${frozen}. ${time}.`);
  }
  if (comparedBytes(report) || report.numeric !== undefined) {
    const rows = checksOf(report).map((check) => [CHECKS[check], result(report, check)]);
    lines.push("", ...table(["check", "result"], rows));
  }
  if (blocks.length > 0) {
    lines.push(
      "",
      ...table(
        ["block", "is", "closed by"],
        blockRows(blocks).map((row) => [row.at, row.what, plain(row.closed)]),
      ),
    );
  }
  if (report.numeric !== undefined) lines.push(...numberLines(report.numeric));
  lines.push(...findingLines(report));
  return `${lines.join("\n")}\n`;
}

function numberLines(numeric: NumericComparison): readonly string[] {
  const rows = numeric.blocks.map((block) => {
    const what = block.kind === "copy" ? "a copy" : block.kind === "original" ? `block ${block.from}` : "unknown";
    return [
      `${block.at}`,
      what,
      short(block.norm),
      block.maxAbs === 0 ? "0" : short(block.maxAbs),
      `${block.nonFinite}`,
    ];
  });
  const lines = ["", `Run: ${plain(runText(numeric))}. Logits: ${logitsText(numeric)}.`];
  if (rows.length === 0) return lines;
  const head = ["block", "computes", "state, root mean square", "largest difference", "not finite"];
  return [...lines, "", ...table(head, rows)];
}

function findingLines(report: VerificationReport): readonly string[] {
  const { shown, rest } = shownFindings(report.findings);
  if (shown.length === 0) return [];
  const rows = shown.map((each) => [each.severity, each.code, code(each.at), plain(each.message), plain(each.fix)]);
  const lines = ["", ...table(["severity", "finding", "where", "what", "fix"], rows)];
  return rest > 0 ? [...lines, "", `And ${rest} more; the JSON report has them all.`] : lines;
}

function result(report: VerificationReport, check: Check): string {
  const found = resultOf(report, check);
  if (found === "failed" || found === "open") return `**${found}**`;
  const warns = report.findings.some((each) => FINDINGS[each.code].check === check && each.severity === "warns");
  return found === "passed" && warns ? "passed, with warnings" : found;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): readonly string[] {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)];
}

/** Text in which nothing is markup. */
function plain(text: string): string {
  return visible(text).replace(/[\\`*_[\]<>|#&]/g, "\\$&");
}

function code(text: string): string {
  return `\`${visible(text).replaceAll("`", "'").replaceAll("|", "\\|")}\``;
}
