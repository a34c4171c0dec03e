// A report as one HTML page that needs nothing else: no script, no address, no font. Never lets a name become markup.
import { VERSION } from "../../version.ts";
import { CHECKS, type NumericComparison, type TrainedComparison, type VerificationReport } from "../report.ts";
import { blockTable, layoutOf, picture } from "./html-blocks.ts";
import { html, Markup } from "./html-markup.ts";
import { charts, shortNumber } from "./html-numbers.ts";
import { STYLE } from "./html-style.ts";
import {
  bytesText,
  checksOf,
  comparedBytes,
  headline,
  resultOf,
  shownFindings,
  sizeOf,
  tokensText,
  trainedTexts,
} from "./summary.ts";

const MARKS = { identity: "✓", "not-identity": "✗", trained: "✓", "not-trained": "✗", inconclusive: "?" } as const;
/** Colours of the head. */
const LOOKS = {
  identity: "identity",
  "not-identity": "not-identity",
  trained: "identity",
  "not-trained": "not-identity",
  inconclusive: "inconclusive",
} as const;
const SEVERITIES = { refutes: "refutes", "leaves-open": "leaves open", warns: "warning", info: "info" } as const;
/** Nothing is loaded and nothing runs, whatever slips in. */
const POLICY = "default-src 'none'; style-src 'unsafe-inline'";

/** Ends with a line break. */
export function htmlText(report: VerificationReport): string {
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${new Markup(POLICY)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${headline(report)}</title>
<style>${new Markup(STYLE)}</style>
</head>
<body>
<main>
<header class="verdict ${LOOKS[report.verdict]}">
<h1><span aria-hidden="true">${MARKS[report.verdict]}</span> ${headline(report)}</h1>
<p>${scope(report)}</p>
</header>
${sides(report)}
${findings(report)}
${layoutOf(report).length === 0 ? undefined : html`<section><h2>Blocks</h2>${picture(report)}</section>`}
${report.trained === undefined ? undefined : training(report.trained)}
${report.numeric === undefined ? undefined : numbers(report.numeric)}
${layoutOf(report).length === 0 ? undefined : blockTable(report)}
${comparedBytes(report) ? checks(report) : undefined}
</main>
<footer><p>expand-checkpoint ${VERSION}, ${report.schema}</p></footer>
</body>
</html>
`;
  return page.text;
}

const SCOPES = {
  structure: "Compared: stored bytes and settings. No model was run.",
  numbers: "Compared: what the models compute. Their bytes were not compared.",
  both: "Compared: stored bytes, settings, and what the models compute.",
  trained: "Compared: stored bytes and settings of a model before and after training. No model was run.",
} as const;

function scope(report: VerificationReport): string {
  const amount = report.bytesCompared === 0 ? "" : ` ${bytesText(report.bytesCompared)},`;
  return `${SCOPES[report.mode]}${amount === "" ? "" : `${amount} ${report.seconds.toFixed(1)} s.`}`;
}

function sides(report: VerificationReport): Markup {
  const row = (side: "before" | "after"): Markup => {
    const { location, headers } = report[side];
    return html`<tr><th scope="row">${side.toUpperCase()}</th><td><code>${location}</code><br>${sizeOf(report[side])}<br><span class="quiet">headers, SHA-256</span> <code>${headers}</code></td></tr>
`;
  };
  const family = report.family === undefined ? undefined : html`<p class="quiet">Architecture: ${report.family}</p>`;
  return html`<section><h2>Checkpoints</h2>
<table><tbody>
${row("before")}${row("after")}</tbody></table>
${family}</section>`;
}

function findings(report: VerificationReport): Markup {
  const { shown, rest } = shownFindings(report.findings);
  if (shown.length === 0) return html`<section><h2>Findings</h2><p>None.</p></section>`;
  const rows = shown.map(
    (
      each,
    ) => html`<tr><td class="${each.severity}">${SEVERITIES[each.severity]}: ${each.code}</td><td><code>${each.at}</code></td><td>${each.message}</td><td>${each.fix}</td></tr>
`,
  );
  const more = rest === 0 ? undefined : html`<p>And ${rest} more; the JSON report has them all.</p>`;
  return html`<section><h2>Findings</h2>
<table class="findings"><thead><tr><th>finding</th><th>where</th><th>what</th><th>what to do</th></tr></thead>
<tbody>
${rows}</tbody></table>
${more}</section>`;
}

function training(trained: TrainedComparison): Markup {
  const { trainable, frozen } = trainedTexts(trained);
  return html`<section><h2>Training</h2>
<dl><dt>trainable</dt><dd>${trainable}</dd><dt>frozen</dt><dd>${frozen}</dd></dl></section>`;
}

function numbers(numeric: NumericComparison): Markup {
  const { logits, firstDifference: first } = numeric;
  const methods = { streamed: "block by block, one block's weights at a time", whole: "the ONNX models themselves" };
  const items: readonly (readonly [string, string])[] = [
    ["logits", `${logits.differing} of ${logits.total} differ`],
    ["largest difference", `${shortNumber(logits.maxAbs)}, ${shortNumber(logits.maxRel)} of the largest logit`],
    ["tolerance", numeric.tolerance === 0 ? "0: equality" : `${shortNumber(numeric.tolerance)} of the largest value`],
    ["inputs", `${tokensText(numeric, "×")}, seed ${numeric.seed}`],
    ["run", `on ${numeric.device}, ${methods[numeric.method]}`],
    ...(first === undefined
      ? []
      : [["first difference", `block ${first.block}, by ${shortNumber(first.maxAbs)}`] as const]),
  ];
  return html`<section><h2>Numbers</h2>
<dl>${items.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>
${numeric.blocks.length === 0 ? undefined : charts(numeric)}</section>`;
}

function checks(report: VerificationReport): Markup {
  const rows = checksOf(report).map((check) => {
    const result = RESULTS[resultOf(report, check)];
    return html`<tr><td>${CHECKS[check]}</td><td class="result ${result.replaceAll(" ", "-")}">${result}</td></tr>
`;
  });
  return html`<section><h2>Checks</h2>
<table><tbody>
${rows}</tbody></table></section>`;
}

const RESULTS = { passed: "passed", failed: "failed", open: "left open", skipped: "skipped" } as const;
