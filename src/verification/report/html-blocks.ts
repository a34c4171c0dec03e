// The picture of an expanded model: its blocks along the residual stream, and a table that says the same in words.
import type { BlockComparison, FoundBlock, VerificationReport } from "../report.ts";
import { html, type Markup } from "./html-markup.ts";
import { isFaulty, shortNumber } from "./html-numbers.ts";
import { blockCounts } from "./summary.ts";

const LEGEND = {
  original: "original, byte for byte",
  copy: "copy of an original",
  unknown: "neither",
} as const;

/** The layout as far as it was found: by bytes, else by numbers. */
export function layoutOf(report: VerificationReport): readonly FoundBlock[] {
  return report.blocks.length > 0 ? report.blocks : (report.numeric?.blocks ?? []);
}

/** Tiles in the order of AFTER, wrapped to the width of the page. */
export function picture(report: VerificationReport): Markup {
  const blocks = layoutOf(report);
  const faults = faultyBlocks(report);
  const kinds = (["original", "copy", "unknown"] as const).filter((kind) => blocks.some((each) => each.kind === kind));
  const zeros = blocks.some((each) => (each.closed ?? []).length > 0);
  return html`<p>${blockCounts(blocks)}. The residual stream runs from block 0 to block ${blocks.length - 1}.</p>
<ul class="legend" aria-hidden="true">${kinds.map((kind) => html`<li><i class="${kind}"></i>${LEGEND[kind]}</li>`)}${
    zeros ? html`<li><i class="zero"></i> closed: what this branch adds to the stream is exactly 0</li>` : undefined
  }</ul>
<ol class="stream" start="0">
${blocks.map((block, at) => tile(block, at, faults.has(at)))}
</ol>`;
}

function tile(block: FoundBlock, at: number, fault: boolean): Markup {
  const marks = (block.closed ?? []).map((each) => html`<span class="zero" aria-hidden="true">${each.branch}</span>`);
  const what = block.kind === "copy" ? html`<span aria-hidden="true">copy of ${block.from}</span>` : undefined;
  const label = `${describe(block, at)}${fault ? "; at fault" : ""}`;
  const look = `${block.kind}${fault ? " fault" : ""}`;
  return html`<li class="${look}" title="${label}"><span class="spoken">${label}</span><b aria-hidden="true">${at}</b>${what}${marks}</li>
`;
}

/** "block 5: copy of block 3; attention closed by projection". */
function describe(block: FoundBlock, at: number): string {
  const from = block.from === undefined ? "" : ` of block ${block.from}`;
  const what = block.kind === "original" ? `original block ${block.from ?? at}` : `${block.kind}${from}`;
  const closed = (block.closed ?? []).map((each) => `; ${each.branch} closed by ${each.factor}`);
  return `block ${at}: ${what}${closed.join("")}`;
}

/** Blocks that a finding or a number speaks against. */
function faultyBlocks(report: VerificationReport): ReadonlySet<number> {
  const grave = report.findings.filter((each) => each.severity === "refutes" && each.block !== undefined);
  const numeric = report.numeric;
  const differing = (numeric?.blocks ?? []).filter((each) => isFaulty(each, numeric?.tolerance ?? 0));
  return new Set([...grave.flatMap((each) => each.block ?? []), ...differing.map((each) => each.at)]);
}

/** Every block with its tensors and numbers, folded away on a screen. */
export function blockTable(report: VerificationReport): Markup {
  const numbers = new Map((report.numeric?.blocks ?? []).map((each) => [each.at, each]));
  const head = numbers.size === 0 ? [] : ["norm", "difference", "relative", "not finite"];
  return html`<details><summary>Every block in a table</summary><div class="scroll">
<table><thead><tr><th>block</th><th>is</th><th>closed by</th>${head.map((each) => html`<th class="number">${each}</th>`)}</tr></thead>
<tbody>
${layoutOf(report).map((block, at) => tableRow(block, at, numbers.get(at), numbers.size > 0))}
</tbody></table></div></details>`;
}

function tableRow(block: FoundBlock, at: number, number: BlockComparison | undefined, numeric: boolean): Markup {
  const closed = (block.closed ?? []).map(
    (each) =>
      html`<div>${each.branch}: ${each.factor} ${each.tensors.map((name) => html`<code>${name}</code> `)}</div>`,
  );
  const cells = [number?.norm, number?.maxAbs, number?.maxRel, number?.nonFinite].map(
    (value) => html`<td class="number">${value === undefined ? "" : shortNumber(value)}</td>`,
  );
  const from = block.from === undefined ? "" : block.kind === "copy" ? ` of ${block.from}` : ` ${block.from}`;
  return html`<tr><th scope="row">${at}</th><td class="result">${block.kind}${from}</td><td>${closed}</td>${numeric ? cells : undefined}</tr>
`;
}
