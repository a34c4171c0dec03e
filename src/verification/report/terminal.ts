// A report for a terminal or a log: the verdict first, then what was found and what to do. No colours, no cursor codes.
import type { NumericComparison, VerificationReport } from "../report.ts";
import {
  blockCounts,
  blockRows,
  bytesText,
  comparedBytes,
  headline,
  logitsText,
  runText,
  short,
  shownFindings,
  sizeOf,
  trainedTexts,
  visible,
} from "./summary.ts";

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
  }
  if (report.trained !== undefined) {
    const { trainable, frozen } = trainedTexts(report.trained);
    lines.push(`  trainable ${trainable}`, `  frozen    ${frozen}`);
  }
  if (comparedBytes(report))
    lines.push(`  compared  ${bytesText(report.bytesCompared)} in ${report.seconds.toFixed(1)} s`);
  if (report.numeric !== undefined) {
    lines.push(`  run       ${runText(report.numeric)}`, `  logits    ${logitsText(report.numeric)}`);
    lines.push(`  states    ${statesText(report.numeric)}`);
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

/** Where a sum of blocks says it all, it is not drawn out. */
function statesText({ blocks, firstDifference: first }: NumericComparison): string {
  if (first !== undefined) return `block ${first.block} is the first that parts, by up to ${short(first.maxAbs)}`;
  const copies = blocks.filter((block) => block.kind === "copy").length;
  if (blocks.length === 0) return "not looked at";
  const most = Math.max(...blocks.map((block) => block.maxAbs));
  const originals =
    most === 0 ? "equal behind every original block" : `within ${short(most)} behind every original block`;
  const inputs =
    copies === 1 ? "the copy gives back its input exactly" : `all ${copies} copies give back their input exactly`;
  return copies === 0 ? originals : `${originals}; ${inputs}`;
}

function article(what: string): string {
  return what === "unknown" ? what : `a ${what.replace("of ", "of block ")}`;
}
