// Numbers of a comparison as two bar charts, one bar for each block. Draws only; says nothing that the numbers do not.
import type { BlockComparison, NumericComparison } from "../report.ts";
import { html, type Markup } from "./html-markup.ts";

/** Share of the height that the smallest positive value on a logarithmic scale still gets. */
const LEAST = 0.04;
/** A scale becomes logarithmic when the largest value is this many times the smallest. */
const WIDE = 50;

/** Both charts, or a sentence where there is nothing to draw. */
export function charts(numeric: NumericComparison): Markup {
  const norms = numeric.blocks.map((block) => block.norm);
  const differences = numeric.blocks.map((block) => block.maxRel);
  const faulty = numeric.blocks.map((block) => isFaulty(block, numeric.tolerance));
  const none = numeric.blocks.every((block) => block.maxAbs === 0);
  return html`${chart(numeric.blocks, norms, {
    title: "Hidden state after each block, root mean square",
    faulty: numeric.blocks.map((block) => block.nonFinite > 0),
  })}
${
  none
    ? html`<h3>Difference of each block</h3>
<p>None: every original gives exactly what BEFORE's block gives, and every copy gives back exactly its input.</p>`
    : chart(numeric.blocks, differences, {
        title:
          "Difference of each block, as a share of its largest value: originals against BEFORE, copies against their input",
        faulty,
        ...(numeric.tolerance > 0 ? { limit: numeric.tolerance } : {}),
      })
}`;
}

/** "0", "1.19e-7", "0.9812", "NaN". */
export function shortNumber(value: number): string {
  if (value === 0 || !Number.isFinite(value)) return String(value === 0 ? 0 : value);
  const size = Math.abs(value);
  return size >= 1e-3 && size < 1e6 ? String(Number(value.toPrecision(4))) : value.toExponential(2);
}

/** Whether a block computes something else than it must. A copy must give back its input exactly; NaN is above every tolerance. */
export function isFaulty(block: BlockComparison, tolerance: number): boolean {
  return block.nonFinite > 0 || !(block.kind === "copy" ? block.maxAbs === 0 : block.maxRel <= tolerance);
}

interface ChartOptions {
  readonly title: string;
  readonly faulty: readonly boolean[];
  readonly limit?: number;
}

function chart(blocks: readonly BlockComparison[], values: readonly number[], options: ChartOptions): Markup {
  const { title, faulty, limit } = options;
  const scale = scaleFor(limit === undefined ? values : [...values, limit]);
  const bars = blocks.map((block, at) => {
    const value = values[at] ?? 0;
    const height = Number.isFinite(value) ? 100 * scale.of(value) : 100;
    const look = faulty[at] ? "fault" : block.kind;
    return html`<rect class="${look}" x="${at + 0.1}" y="${round(100 - height)}" width="0.8" height="${round(height)}"><title>block ${block.at}: ${shortNumber(value)}</title></rect>`;
  });
  const line = limit === undefined ? undefined : round(100 - 100 * scale.of(limit));
  const last = blocks.at(-1);
  return html`<figure>
<h3>${title}</h3>
<div>
<span class="top">${shortNumber(scale.top)}</span><span class="foot">${shortNumber(scale.foot)}</span>
<svg role="img" aria-label="${`${title}. ${summary(blocks, values)}`}" viewBox="0 0 ${blocks.length} 100" preserveAspectRatio="none">
${bars}${line === undefined ? undefined : html`<line class="limit" x1="0" x2="${blocks.length}" y1="${line}" y2="${line}"/>`}
</svg>
<span class="axis"><span>block ${blocks[0]?.at ?? 0}</span><span>${scale.logarithmic ? "logarithmic scale" : ""}</span><span>block ${last?.at ?? 0}</span></span>
</div>
<figcaption>${summary(blocks, values)}${limit === undefined ? "" : ` The dashed line is the tolerance, ${shortNumber(limit)}.`}</figcaption>
</figure>`;
}

/** "Smallest 0.02 at block 0, largest 4.1 at block 31." */
function summary(blocks: readonly BlockComparison[], values: readonly number[]): string {
  const finite = [...values.entries()].filter(([, value]) => Number.isFinite(value));
  const lost = values.length - finite.length;
  const note = lost === 0 ? "" : ` Not a finite number at ${lost} of ${values.length} blocks.`;
  const order = finite.sort(([, a], [, b]) => a - b);
  const [least, most] = [order[0], order.at(-1)];
  if (least === undefined || most === undefined) return note.trim();
  const place = ([at, value]: [number, number]): string => `${shortNumber(value)} at block ${blocks[at]?.at ?? at}`;
  return `Smallest ${place(least)}, largest ${place(most)}.${note}`;
}

interface Scale {
  readonly top: number;
  readonly foot: number;
  readonly logarithmic: boolean;
  /** Height from 0 to 1. */
  of(value: number): number;
}

function scaleFor(values: readonly number[]): Scale {
  const positive = values.filter((value) => value > 0 && Number.isFinite(value));
  const top = positive.reduce((most, value) => Math.max(most, value), 0);
  const foot = positive.reduce((least, value) => Math.min(least, value), top);
  if (top === 0) return { top: 0, foot: 0, logarithmic: false, of: () => 0 };
  if (top / foot < WIDE) return { top, foot: 0, logarithmic: false, of: (value) => Math.max(0, value / top) };
  const span = Math.log(top) - Math.log(foot);
  const of = (value: number): number =>
    value <= 0 ? 0 : LEAST + (1 - LEAST) * ((Math.log(value) - Math.log(foot)) / span);
  return { top, foot, logarithmic: true, of };
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
