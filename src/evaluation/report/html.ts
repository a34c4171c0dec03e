// An evaluation as one HTML page that needs nothing else: no script, no address, no font. Never lets a name become markup.
import { html, Markup } from "../../verification/report/html-markup.ts";
import { STYLE } from "../../verification/report/html-style.ts";
import { counted } from "../../verification/report/summary.ts";
import { VERSION } from "../../version.ts";
import type { CorpusResult, EvaluatedModel, EvaluationReport } from "../report.ts";
import { intervalPicture, normCharts, type Range, shiftPicture } from "./html-charts.ts";
import { changeText, estimate, NOTES, number, runText, shiftText, sizeText, warningsOf } from "./words.ts";

/** Nothing is loaded and nothing runs, whatever slips in. */
const POLICY = "default-src 'none'; style-src 'unsafe-inline'";
const OWN_STYLE = `
.verdict { --tone: var(--original); }
td.picture { min-width: 5rem; } td.picture svg { width: 100%; height: 1.4rem; display: block; }
.picture .range { stroke: var(--original); stroke-width: 3; vector-effect: non-scaling-stroke; }
.picture .base { stroke: var(--quiet); stroke-dasharray: 3 3; vector-effect: non-scaling-stroke; }
.picture .value { stroke: var(--ink); stroke-width: 3; vector-effect: non-scaling-stroke; }
svg .unshifted { fill: var(--original); } svg .marginal { fill: var(--copy); } svg .shifted { fill: var(--bad); }
.legend i.unshifted { background: var(--original); } .legend i.marginal { background: var(--copy); }
.legend i.shifted { background: var(--bad); }
`;

/** Ends with a line break. */
export function htmlText(report: EvaluationReport): string {
  const title = `${counted(report.models.length, "model")} on ${report.corpora.map(({ name }) => name).join(", ")}`;
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${new Markup(POLICY)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Evaluation: ${title}</title>
<style>${new Markup(STYLE)}${new Markup(OWN_STYLE)}</style>
</head>
<body>
<main>
<header class="verdict">
<h1>${title}</h1>
<p>Read: ${runText(report)}; ${report.seconds.toFixed(1)} s.</p>
</header>
${warningsOf(report).map((text) => html`<p class="failed">${text}.</p>`)}
${models(report)}
${report.corpora.map(({ name, files }) => corpusSection(report, name, files))}
<section><h2>How to read this</h2><p>${NOTES.interval}</p><p>${NOTES.window}</p><p>${NOTES.shift}</p></section>
${normSection(report)}
</main>
<footer><p>expand-checkpoint ${VERSION}, ${report.schema}</p></footer>
</body>
</html>
`;
  return page.text;
}

function models({ models: all }: EvaluationReport): Markup {
  const items = all.map(
    (model, at) =>
      html`<tr><th scope="row">${at + 1}</th><td><code>${model.location}</code>${model.base ? html` <span class="quiet">base of the comparison</span>` : undefined}<br>${sizeText(model)}<br><span class="quiet">${model.format}, headers, SHA-256</span> <code>${model.headers}</code></td></tr>
`,
  );
  return html`<section><h2>Models</h2>
<table><tbody>
${items}</tbody></table></section>`;
}

function corpusSection(report: EvaluationReport, name: string, files: readonly string[]): Markup {
  const pairs = report.models.flatMap((model, at) => {
    const result = model.results.find(({ corpus }) => corpus === name);
    return result === undefined ? [] : [{ model, result, at }];
  });
  const range = rangeOf(pairs.map(({ result }) => result));
  const read = pairs.find(({ model }) => model.base)?.result;
  const shifts = pairs.some(({ result }) => result.shift !== undefined);
  return html`<section><h2>Corpus ${name}</h2>
<p class="quiet">${files.map((file) => html`<code>${file}</code> `)}${read === undefined ? "" : `${counted(read.documents, "document")} in ${counted(read.windows, "window")}`}</p>
<div class="scroll"><table><thead><tr><th>model</th><th class="number">tokens</th><th>perplexity, 95 % interval</th><th></th><th>change, 95 % interval</th><th class="number">bits/byte</th>${shifts ? html`<th>rank 1 / 2-3 / &gt;3</th><th></th>` : undefined}</tr></thead>
<tbody>
${pairs.map(({ model, result, at }) => resultRow(model, result, at, { range, base: read?.perplexity.value, shifts }))}</tbody></table></div>
${shifts ? html`<ul class="legend" aria-hidden="true"><li><i class="unshifted"></i>rank 1 under the base</li><li><i class="marginal"></i>rank 2 to 3</li><li><i class="shifted"></i>beyond 3</li></ul>` : undefined}</section>
`;
}

interface RowLook {
  readonly range: Range;
  readonly base: number | undefined;
  readonly shifts: boolean;
}

function resultRow(model: EvaluatedModel, result: CorpusResult, at: number, { range, base, shifts }: RowLook): Markup {
  const { shift } = result;
  const shiftCells = shifts
    ? html`<td class="result">${shift === undefined ? "" : shiftText(shift)}</td><td class="picture">${shift === undefined ? undefined : shiftPicture(shift)}</td>`
    : undefined;
  return html`<tr><th scope="row">${at + 1}</th><td class="number">${result.tokens}</td><td class="result">${estimate(result.perplexity)}</td><td class="picture">${intervalPicture(result.perplexity, range, base)}</td><td class="result">${changeText(model, result)}</td><td class="number">${number(result.bitsPerByte)}</td>${shiftCells}</tr>
`;
}

/** Of all intervals, so that rows share a scale. */
function rangeOf(results: readonly CorpusResult[]): Range {
  const values = results.flatMap(({ perplexity: { value, interval = [] } }) => [value, ...interval]);
  const finite = values.filter((value) => Number.isFinite(value));
  return { from: Math.min(...finite), to: Math.max(...finite) };
}

function normSection(report: EvaluationReport): Markup | undefined {
  const looked = report.models.filter(({ results }) => results.some(({ norms }) => norms !== undefined));
  if (looked.length === 0) return undefined;
  return html`<section><h2>What each block adds to the residual stream</h2>
<p class="quiet">Root mean square of a block's output less its input, as a share of that of its output.</p>
${report.models.flatMap((model, at) => normCharts(model, at) ?? [])}</section>`;
}
