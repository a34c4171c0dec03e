// A report for a terminal or a log: the verdict first, then what was found and what to do. No colours, no cursor codes.
import type { VerificationReport } from "../report.ts";
import { blockCounts, blockRows, bytesText, headline, shownFindings, sizeOf, visible } from "./summary.ts";

const MARKS = { refutes: "error", "leaves-open": "open", warns: "warning", info: "info" } as const;

/** Ends without a line break. */
export function terminalText(report: VerificationReport): string {
  const { before, after, blocks, findings } = report;
  const lines = [headline(report), `  before    ${before.location} (${sizeOf(before)})`];
  lines.push(`  after     ${after.location} (${sizeOf(after)})`);
  if (blocks.length > 0) {
    lines.push(`  blocks    ${blockCounts(blocks)}`);
    for (const row of blockRows(blocks)) {
      if (row.what.startsWith("original")) continue;
      lines.push(
        `            block ${row.at} is ${article(row.what)}${row.closed === "" ? "" : `, closed by ${row.closed}`}`,
      );
    }
    lines.push(`  compared  ${bytesText(report.bytesCompared)} in ${report.seconds.toFixed(1)} s`);
  }
  for (const check of report.skipped) lines.push(`  skipped   ${check}`);
  const { shown, rest } = shownFindings(findings);
  for (const each of shown) {
    lines.push(`${MARKS[each.severity]}: ${each.code}: ${each.at}: ${each.message}`);
    if (each.severity !== "info") lines.push(`  fix: ${each.fix}`);
  }
  if (rest > 0) lines.push(`and ${rest} more; the JSON report has them all`);
  return lines.map(visible).join("\n");
}

function article(what: string): string {
  return what === "unknown" ? what : `a ${what.replace("of ", "of block ")}`;
}
