// An evaluation for a terminal or a log: a table, and what must not be overlooked. No colours, no cursor codes.
import { visible } from "../../verification/report/summary.ts";
import type { EvaluationReport } from "../report.ts";
import { COLUMNS, cellsOf, copyLines, runText, sizeText, warningsOf } from "./words.ts";

/** Ends without a line break. */
export function terminalText(report: EvaluationReport): string {
  const lines = report.models.map((model, at) => `${at + 1}  ${model.location} (${sizeText(model)})`);
  const rows = report.corpora.flatMap(({ name }) =>
    report.models.flatMap((model, at) => {
      const result = model.results.find(({ corpus }) => corpus === name);
      return result === undefined ? [] : [[at === 0 ? name : "", String(at + 1), ...cellsOf(model, result)]];
    }),
  );
  lines.push("", ...aligned([["corpus", "model", ...COLUMNS], ...rows]));
  const copies = report.models.flatMap((model, at) => copyLines(model).map((line) => `model ${at + 1}, copy: ${line}`));
  if (copies.length > 0) lines.push("", ...copies);
  lines.push("", runText(report), ...warningsOf(report).map((text) => `warning: ${text}`));
  return lines.map(visible).join("\n");
}

/** Columns of digits to the right, others to the left. */
function aligned(rows: readonly (readonly string[])[]): readonly string[] {
  const columns = rows[0]?.map((_, column) => rows.map((row) => row[column] ?? "")) ?? [];
  const widths = columns.map((cells) => Math.max(...cells.map(({ length }) => length)));
  const right = columns.map((cells) => cells.slice(1).every((cell) => /^\d*$/.test(cell)));
  return rows.map((row) =>
    row
      .map((cell, at) => (right[at] ? cell.padStart(widths[at] ?? 0) : cell.padEnd(widths[at] ?? 0)))
      .join("  ")
      .trimEnd(),
  );
}
