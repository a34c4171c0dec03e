// A run as one HTML page that needs nothing else: no script, no address, no font. Says only what the metrics say.

import { html, Markup } from "../../verification/report/html-markup.ts";
import { shortNumber } from "../../verification/report/html-numbers.ts";
import { STYLE } from "../../verification/report/html-style.ts";
import { VERSION } from "../../version.ts";
import type { Metric, MetricsHead } from "../metrics.ts";
import { computedIn, tokensPerStep } from "../recipe.ts";
import { lineChart, means, type Point, type Series } from "./line-chart.ts";
import { CURVE_STYLE } from "./style.ts";

type StepLine = Extract<Metric, { kind: "step" }>;

/** Nothing is loaded and nothing runs, whatever slips in. */
const POLICY = "default-src 'none'; style-src 'unsafe-inline'";

/** Ends with a line break. */
export function trainingPage(head: MetricsHead, lines: readonly Metric[]): string {
  const steps = lines.filter((line) => line.kind === "step");
  const done = steps.at(-1)?.step ?? 0;
  const { recipe } = head;
  const title = `Training: ${done} of ${recipe.steps} steps`;
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${new Markup(POLICY)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<style>${new Markup(STYLE)}${new Markup(CURVE_STYLE)}</style>
</head>
<body>
<main>
<header><h1>${title}</h1>
<p class="quiet">From <code>${head.source}</code></p></header>
${outcome(head, lines, steps)}
${curves(head, lines, steps)}
${updates(lines)}
${numbers(head)}
</main>
<footer><p>expand-checkpoint ${VERSION}, ${recipe.schema}</p></footer>
</body>
</html>
`.text;
}

/** What it came to, before any curve. */
function outcome({ recipe }: MetricsHead, lines: readonly Metric[], steps: readonly StepLine[]): Markup {
  const last = steps.at(-1);
  const tokens = steps.reduce((sum, each) => sum + each.tokens, 0);
  const skipped = steps.filter((each) => each.skipped === true).length;
  const names = [...new Set(lines.flatMap((line) => (line.kind === "evaluation" ? line.name : [])))];
  const speed = last === undefined ? "" : `, ${Math.round(tokens / Math.max(last.seconds, 1e-9))} tokens/s`;
  const rows = names.map((name) => evaluationRow(name, pointsOf(lines, name)));
  const table =
    rows.length === 0
      ? undefined
      : html`<table><thead><tr><th>text</th><th class="number">loss before</th><th class="number">now</th><th class="number">perplexity before</th><th class="number">now</th><th class="number">change</th></tr></thead>
<tbody>
${rows}</tbody></table>`;
  return html`<section><p class="lead">${tokens.toLocaleString("en-US")} tokens in ${durationOf(last?.seconds ?? 0)}${speed}; ${tokensPerStep(recipe)} positions a step.${
    skipped === 0
      ? ""
      : ` ${skipped === 1 ? "1 step was" : `${skipped} steps were`} skipped: gradients were not finite in f16.`
  }</p>
${table}</section>`;
}

function evaluationRow(name: string, points: readonly Point[]): Markup {
  const [before, now] = [points[0]?.[1] ?? Number.NaN, points.at(-1)?.[1] ?? Number.NaN];
  const change = Math.exp(now - before) - 1;
  const cells = [
    shortNumber(before),
    shortNumber(now),
    shortNumber(Math.exp(before)),
    shortNumber(Math.exp(now)),
    percent(change),
  ];
  return html`<tr><th scope="row">${name}</th>${cells.map((cell) => html`<td class="number">${cell}</td>`)}</tr>
`;
}

function curves({ recipe }: MetricsHead, lines: readonly Metric[], steps: readonly StepLine[]): Markup {
  const raw = steps.map(({ step, loss }): Point => [step, loss]);
  const width = Math.max(1, Math.round(recipe.steps / 25));
  const smooth: Series = { name: width === 1 ? "loss" : `mean of ${width} steps`, points: means(raw, width) };
  const loss = width === 1 ? [smooth] : [smooth, { name: "each step", points: raw, faint: true }];
  const names = [...new Set(lines.flatMap((line) => (line.kind === "evaluation" ? line.name : [])))];
  const measured = names.map((name): Series => ({ name, points: pointsOf(lines, name) }));
  const of = (key: "rate" | "norm"): readonly Point[] => steps.map((line) => [line.step, line[key]]);
  const chart = (title: string, series: readonly Series[], from?: number): Markup | undefined =>
    lineChart({ title, series, steps: recipe.steps, ...(from === undefined ? {} : { from }) });
  if (lines.length === 0) return html``;
  return html`<section><h2>Loss</h2>
${chart("Training: mean over the step's tokens, in nats", loss)}
${chart("Texts that are not trained on, in nats", measured)}
</section>
<section><h2>Steps</h2><div class="pair">
${chart("Learning rate", [{ name: "rate", points: of("rate") }], 0)}
${chart("Global norm of the gradients, before clipping", [{ name: "norm", points: of("norm") }], 0)}
</div></section>`;
}

/** How far each block has come from where it was. */
function updates(lines: readonly Metric[]): Markup | undefined {
  const saves = lines.filter((line) => line.kind === "update");
  const last = saves.at(-1);
  if (last === undefined) return undefined;
  const series = last.blocks.map(({ block }): Series => {
    const points = saves.map((save): Point => [save.step, save.blocks.find((each) => each.block === block)?.norm ?? 0]);
    return { name: nameOf(block), points: [[0, 0], ...points] };
  });
  const rows = last.blocks.map(
    ({ block, norm, start }) =>
      html`<tr><th scope="row">${nameOf(block)}</th><td class="number">${shortNumber(norm)}</td><td class="number">${shortNumber(start)}</td><td class="number">${start === 0 ? "" : `${shortNumber((100 * norm) / start)} %`}</td></tr>
`,
  );
  return html`<section><h2>Blocks</h2>
${lineChart({ title: "Update: norm of what was added to each block's trainable weights", series, steps: last.step, from: 0 })}
<div class="scroll"><table><thead><tr><th>trained</th><th class="number">norm of the update</th><th class="number">norm at the start</th><th class="number">relative</th></tr></thead>
<tbody>
${rows}</tbody></table></div></section>`;
}

function numbers({ recipe }: MetricsHead): Markup {
  const { schedule, adam } = recipe;
  const items: readonly (readonly [string, string])[] = [
    ["learning rate", `${schedule.peak}, ${schedule.kind}, ${schedule.warmup} steps of warm-up`],
    ["batch", `${recipe.batch} × ${recipe.accumulate} sequences of ${recipe.context} tokens`],
    ["AdamW", `betas ${adam.beta1} and ${adam.beta2}, epsilon ${adam.epsilon}, decay ${adam.decay}`],
    ["gradients", recipe.clip === undefined ? "not clipped" : `clipped to a norm of ${recipe.clip}`],
    ["computed", `in ${computedIn(recipe)} on ${recipe.device}, layout ${recipe.layout}`],
    ["seed", String(recipe.seed)],
  ];
  return html`<section><h2>Recipe</h2>
<dl>${items.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl></section>`;
}

function pointsOf(lines: readonly Metric[], name: string): readonly Point[] {
  return lines.flatMap((line): Point[] =>
    line.kind === "evaluation" && line.name === name ? [[line.step, line.loss]] : [],
  );
}

function nameOf(block: string): string {
  return /^\d+$/.test(block) ? `block ${block}` : block;
}

function percent(share: number): string {
  return `${share > 0 ? "+" : ""}${shortNumber(100 * share)} %`;
}

function durationOf(seconds: number): string {
  if (seconds < 100) return `${seconds.toFixed(1)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 100 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
