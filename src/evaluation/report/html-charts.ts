// Numbers of an evaluation as small pictures. Draws only; says nothing that the numbers do not.

import { html, type Markup } from "../../verification/report/html-markup.ts";
import { shortNumber } from "../../verification/report/html-numbers.ts";
import type { BlockNorm } from "../norms.ts";
import type { Estimate, EvaluatedModel, TokenShift } from "../report.ts";
import { estimate, number, shiftText } from "./words.ts";

export interface Range {
  readonly from: number;
  readonly to: number;
}

/** A value and its interval on the scale of all rows; the dashed line is the base's value. */
export function intervalPicture({ value, interval }: Estimate, { from, to }: Range, base: number | undefined): Markup {
  const place = (each: number): number => (to > from ? round(3 + (94 * (each - from)) / (to - from)) : 50);
  if (!Number.isFinite(value)) return html``;
  const [low, high] = interval ?? [value, value];
  const line = (look: string, x1: number, x2: number, y1: number, y2: number): Markup =>
    html`<line class="${look}" x1="${x1}" x2="${x2}" y1="${y1}" y2="${y2}"/>`;
  const mark = base === undefined || !Number.isFinite(base) ? undefined : line("base", place(base), place(base), 0, 10);
  return html`<svg role="img" aria-label="${estimate({ value, ...(interval && { interval }) })}" viewBox="0 0 100 10" preserveAspectRatio="none">${mark}${line("range", place(low), place(high), 5, 5)}${line("value", place(value), place(value), 2, 8)}</svg>`;
}

/** One bar, cut by the shares. */
export function shiftPicture(shift: TokenShift): Markup {
  let x = 0;
  const bars = (["unshifted", "marginal", "shifted"] as const).map((part) => {
    const width = round(100 * shift[part]);
    const bar = html`<rect class="${part}" x="${round(x)}" y="1" width="${width}" height="8"/>`;
    x += width;
    return bar;
  });
  return html`<svg role="img" aria-label="${shiftText(shift)}" viewBox="0 0 100 10" preserveAspectRatio="none">${bars}</svg>`;
}

/** One chart for each corpus, and every number in a table. */
export function normCharts(model: EvaluatedModel, at: number): Markup | undefined {
  const looked = model.results.flatMap(({ corpus, norms }) => (norms === undefined ? [] : [{ corpus, norms }]));
  if (looked.length === 0) return undefined;
  const copies = new Set(model.copies);
  const top = Math.max(...looked.flatMap(({ norms }) => norms.blocks.map(shareOf)), Number.MIN_VALUE);
  const charts = looked.map(({ corpus, norms }) =>
    chart(`Model ${at + 1} on ${corpus}`, norms.blocks.map(shareOf), top, copies),
  );
  const head = looked.map(({ corpus }) => html`<th class="number">${corpus}: state</th><th class="number">added</th>`);
  const rows = Array.from({ length: model.blocks }, (_, block) => {
    const cells = looked.map(({ norms: { blocks } }) => {
      const { state, added } = blocks[block] ?? { state: 0, added: 0 };
      return html`<td class="number">${number(state)}</td><td class="number">${number(added)}</td>`;
    });
    return html`<tr><th scope="row">${block}</th><td class="result">${copies.has(block) ? "copy" : "original"}</td>${cells}</tr>
`;
  });
  return html`${charts}
<details><summary>Model ${at + 1}: every block in a table</summary><div class="scroll">
<table><thead><tr><th>block</th><th>is</th>${head}</tr></thead>
<tbody>
${rows}</tbody></table></div></details>`;
}

function shareOf({ state, added }: BlockNorm): number {
  return state > 0 ? added / state : 0;
}

function chart(title: string, shares: readonly number[], top: number, copies: ReadonlySet<number>): Markup {
  const bars = shares.map((share, at) => {
    const height = round((100 * share) / top);
    const look = copies.has(at) ? "copy" : "original";
    return html`<rect class="${look}" x="${at + 0.1}" y="${round(100 - height)}" width="0.8" height="${height}"><title>block ${at}: ${shortNumber(share)}</title></rect>`;
  });
  const text = `${title}: ${shares.map((share, at) => `block ${at} ${shortNumber(share)}`).join(", ")}`;
  return html`<figure>
<h3>${title}</h3>
<div>
<span class="top">${shortNumber(top)}</span><span class="foot">0</span>
<svg role="img" aria-label="${text}" viewBox="0 0 ${shares.length} 100" preserveAspectRatio="none">
${bars}
</svg>
<span class="axis"><span>block 0</span><span>${copies.size > 0 ? "copies in the other colour" : ""}</span><span>block ${shares.length - 1}</span></span>
</div>
</figure>`;
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
