// An evaluation as Markdown, for model cards and issues. Never lets a name become markup.
import { visible } from "../../verification/report/summary.ts";
import type { EvaluationReport } from "../report.ts";
import { COLUMNS, cellsOf, copyLines, NOTES, runText, sizeText, warningsOf } from "./words.ts";

/** Ends with a line break. */
export function markdownText(report: EvaluationReport): string {
  const models = report.models.map((model, at) => `${at + 1}. ${code(model.location)}: ${sizeText(model)}`);
  const rows = report.corpora.flatMap(({ name }) =>
    report.models.flatMap((model, at) => {
      const result = model.results.find(({ corpus }) => corpus === name);
      return result === undefined ? [] : [row([plain(name), String(at + 1), ...cellsOf(model, result)])];
    }),
  );
  const head = ["corpus", "model", ...COLUMNS];
  const copies = report.models.flatMap((model, at) =>
    copyLines(model).map((line) => `- model ${at + 1}, copy: ${line}`),
  );
  const shifts = report.models.some(({ results }) => results.some(({ shift }) => shift !== undefined));
  return `${[
    "## Evaluation",
    "",
    ...models,
    "",
    row(head),
    row(head.map(() => "---")),
    ...rows,
    "",
    ...(copies.length > 0 ? [...copies.map(visible), ""] : []),
    ...warningsOf(report).flatMap((text) => [`**Warning:** ${plain(text)}.`, ""]),
    `Read: ${plain(runText(report))}. ${plain(NOTES.interval)} ${plain(NOTES.window)}`,
    ...(shifts ? ["", plain(NOTES.shift)] : []),
  ].join("\n")}\n`;
}

function row(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}

function plain(text: string): string {
  return visible(text).replace(/[\\`*_[\]<>|#&]/g, "\\$&");
}

function code(text: string): string {
  return `\`${visible(text).replaceAll("`", "'")}\``;
}
