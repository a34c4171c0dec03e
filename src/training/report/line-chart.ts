// Curves over steps as one drawing, with words that say the same. Draws only; knows no run.
import { html, type Markup } from "../../verification/report/html-markup.ts";
import { shortNumber } from "../../verification/report/html-numbers.ts";

/** [step, value]. */
export type Point = readonly [number, number];

export interface Series {
  readonly name: string;
  readonly points: readonly Point[];
  /** A thin line behind the others: the values themselves, of which another series is the mean. */
  readonly faint?: boolean;
}

export interface ChartOptions {
  readonly title: string;
  readonly series: readonly Series[];
  readonly steps: number;
  /** The lowest value of the scale; absent: the lowest of the values. */
  readonly from?: number;
}

/** Points that a curve is drawn with at most; a screen has not many more columns. */
const MOST_POINTS = 600;
/** Looks that the style sheet has; more curves than that are one crowd. */
const LOOKS = 8;
/** A scale of positive values becomes logarithmic when the largest is this many times their median: a peak must not flatten the rest. */
const WIDE = 10;

/** Nothing where there is nothing to draw. */
export function lineChart({ title, series, steps, from }: ChartOptions): Markup | undefined {
  const drawn = series.map(({ points, ...rest }) => ({ ...rest, points: thinned(points.filter(isFinitePoint)) }));
  const values = drawn.flatMap(({ points }) => points.map(([, value]) => value));
  if (values.length === 0) return undefined;
  const scale = scaleFor(values, from);
  const place = ([step, value]: Point): string =>
    `${round((1000 * step) / steps)},${round(100 - 100 * scale.of(value))}`;
  const curves = drawn.flatMap(({ points, name }, at) => {
    if (points.length === 0) return [];
    const look = `${lookOf(series, at)}${points.length === 1 ? " dot" : ""}`;
    // A line of no length is drawn as a dot.
    const ends = points.length === 1 ? [...points, ...points] : points;
    return html`<polyline class="curve ${look}" points="${ends.map(place).join(" ")}"><title>${name}</title></polyline>
`;
  });
  const words = isCrowd(series) ? crowdWords(series) : series.filter(({ faint }) => faint !== true).map(summary);
  return html`<figure>
<h3>${title}</h3>
${legend(series)}<div>
<span class="top">${shortNumber(scale.top)}</span><span class="foot">${scale.foot === scale.top ? "" : shortNumber(scale.foot)}</span>
<svg role="img" aria-label="${`${title}. ${words.join(" ")}`}" viewBox="0 0 1000 100" preserveAspectRatio="none">
${curves}</svg>
<span class="axis"><span>step 0</span><span>${scale.logarithmic ? "logarithmic scale" : ""}</span><span>step ${steps}</span></span>
</div>
<figcaption>${words.join(" ")}</figcaption>
</figure>
`;
}

interface Scale {
  readonly top: number;
  readonly foot: number;
  readonly logarithmic: boolean;
  /** Height from 0 to 1. */
  of(value: number): number;
}

function scaleFor(values: readonly number[], from: number | undefined): Scale {
  const order = [...values].sort((a, b) => a - b);
  const [least = 0, median = 0, top = 0] = [order[0], order[order.length >> 1], order.at(-1)];
  if (from !== undefined && least > 0 && top > WIDE * median) {
    const span = Math.log(top / least);
    return { top, foot: least, logarithmic: true, of: (value) => Math.log(value / least) / span };
  }
  const foot = Math.min(least, from ?? least);
  return { top, foot, logarithmic: false, of: (value) => (top > foot ? (value - foot) / (top - foot) : 1) };
}

function isCrowd(series: readonly Series[]): boolean {
  return series.length > LOOKS;
}

function lookOf(series: readonly Series[], at: number): string {
  if (isCrowd(series)) return "crowd";
  return series[at]?.faint === true ? "faint" : `look${at}`;
}

function legend(series: readonly Series[]): Markup | undefined {
  if (series.length < 2 || isCrowd(series)) return undefined;
  const items = series.map(({ name }, at) => html`<li><i class="${lookOf(series, at)}"></i>${name}</li>`);
  return html`<ul class="legend" aria-hidden="true">${items}</ul>
`;
}

/** "200 curves; at the end from 0.1 (block 4) to 2.3 (block 199)." */
function crowdWords(series: readonly Series[]): string[] {
  const ends = series.flatMap(({ name, points }) => {
    const last = points.findLast(isFinitePoint);
    return last === undefined ? [] : [{ name, value: last[1] }];
  });
  const order = ends.sort((a, b) => a.value - b.value);
  const [low, high] = [order[0], order.at(-1)];
  if (low === undefined || high === undefined) return [];
  const said = ({ name, value }: { name: string; value: number }): string => `${shortNumber(value)} (${name})`;
  return [`${series.length} curves; at the end from ${said(low)} to ${said(high)}.`];
}

/** "javascript: from 4.12 to 2.31, smallest 2.29 at step 340." */
function summary({ name, points }: Series): string {
  const finite = points.filter(isFinitePoint);
  const [first, last] = [finite[0], finite.at(-1)];
  const lost = points.length - finite.length;
  const note = lost === 0 ? "" : ` Not a finite number at ${lost} of ${points.length}.`;
  if (first === undefined || last === undefined) return `${name}: no values.${note}`;
  const least = finite.reduce((found, point) => (point[1] < found[1] ? point : found), first);
  if (finite.length === 1) return `${name}: ${shortNumber(first[1])} at step ${first[0]}.${note}`;
  const ends = `${name}: from ${shortNumber(first[1])} to ${shortNumber(last[1])}`;
  const low = least === first || least === last ? "" : `, smallest ${shortNumber(least[1])} at step ${least[0]}`;
  return `${ends}${low}.${note}`;
}

/** The lowest and the highest of runs of equal length, in their order, so that no peak is lost; the ends stay where they are. */
function thinned(points: readonly Point[]): readonly Point[] {
  const per = Math.ceil(points.length / (MOST_POINTS / 2));
  if (per <= 2) return points;
  const kept = new Set<Point>();
  for (let from = 0; from < points.length; from += per) {
    const order = points.slice(from, from + per).sort(([, a], [, b]) => a - b);
    for (const point of [order[0], order.at(-1)]) if (point !== undefined) kept.add(point);
  }
  const last = points.length - 1;
  return points.filter((point, at) => at === 0 || at === last || kept.has(point));
}

/** At every finite point, the mean of it and those before it, `width` of them at most. */
export function means(points: readonly Point[], width: number): readonly Point[] {
  const finite = points.filter(isFinitePoint);
  let sum = 0;
  return finite.map(([step, value], at): Point => {
    sum += value - (finite[at - width]?.[1] ?? 0);
    return [step, sum / Math.min(width, at + 1)];
  });
}

function isFinitePoint([, value]: Point): boolean {
  return Number.isFinite(value);
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
