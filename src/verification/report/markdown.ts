// A report as Markdown, for pull requests, step summaries and model cards. Never lets a name break its table.
import { CHECKS, type Check, FINDINGS, type VerificationReport } from "../report.ts";
import { blockCounts, blockRows, bytesText, headline, shownFindings, sizeOf, visible } from "./summary.ts";

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
    lines.push("", `${blockCounts(blocks)}; ${time}.`, "");
    lines.push(
      ...table(
        ["check", "result"],
        (Object.keys(CHECKS) as Check[]).map((check) => [CHECKS[check], result(report, check)]),
      ),
    );
    lines.push(
      "",
      ...table(
        ["block", "is", "closed by"],
        blockRows(blocks).map((row) => [row.at, row.what, plain(row.closed)]),
      ),
    );
  }
  lines.push(...findingLines(report));
  return `${lines.join("\n")}\n`;
}

function findingLines(report: VerificationReport): readonly string[] {
  const { shown, rest } = shownFindings(report.findings);
  if (shown.length === 0) return [];
  const rows = shown.map((each) => [each.severity, each.code, code(each.at), plain(each.message), plain(each.fix)]);
  const lines = ["", ...table(["severity", "finding", "where", "what", "fix"], rows)];
  return rest > 0 ? [...lines, "", `And ${rest} more; the JSON report has them all.`] : lines;
}

function result(report: VerificationReport, check: Check): string {
  if (report.skipped.includes(check)) return "skipped";
  const found = report.findings.filter((each) => FINDINGS[each.code].check === check).map((each) => each.severity);
  if (found.includes("refutes")) return "**failed**";
  if (found.includes("leaves-open")) return "**open**";
  return found.includes("warns") ? "passed, with warnings" : "passed";
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
