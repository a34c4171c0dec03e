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
/** Looks that the style sheet has. */
const LOOKS = 8;

/** Nothing where there is nothing to draw. */
export function lineChart({ title, series, steps, from }: ChartOptions): Markup | undefined {
  const drawn = series.map(({ points, ...rest }) => ({ ...rest, points: thinned(points.filter(isFinitePoint)) }));
  const values = drawn.flatMap(({ points }) => points.map(([, value]) => value));
  if (values.length === 0) return undefined;
  const foot = values.reduce((least, value) => Math.min(least, value), from ?? Number.POSITIVE_INFINITY);
  const top = values.reduce((most, value) => Math.max(most, value), foot);
  const height = top > foot ? top - foot : 1;
  const place = ([step, value]: Point): string =>
    `${round((1000 * step) / steps)},${round(100 - (100 * (value - foot)) / height)}`;
  const curves = drawn.map(({ points, faint, name }, at) => {
    const look = faint === true ? "faint" : `look${at % LOOKS}`;
    return html`<polyline class="curve ${look}" points="${points.map(place).join(" ")}"><title>${name}</title></polyline>
`;
  });
  const words = series.filter(({ faint }) => faint !== true).map(summary);
  return html`<figure>
<h3>${title}</h3>
${legend(series)}<div>
<span class="top">${shortNumber(top)}</span><span class="foot">${shortNumber(foot)}</span>
<svg role="img" aria-label="${`${title}. ${words.join(" ")}`}" viewBox="0 0 1000 100" preserveAspectRatio="none">
${curves}</svg>
<span class="axis"><span>step 0</span><span>step ${steps}</span></span>
</div>
<figcaption>${words.join(" ")}</figcaption>
</figure>
`;
}

function legend(series: readonly Series[]): Markup | undefined {
  if (series.length < 2) return undefined;
  const items = series.map(
    ({ name, faint }, at) => html`<li><i class="${faint === true ? "faint" : `look${at % LOOKS}`}"></i>${name}</li>`,
  );
  return html`<ul class="legend" aria-hidden="true">${items}</ul>
`;
}

/** "javascript: from 4.12 to 2.31, smallest 2.29 at step 340." */
function summary({ name, points }: Series): string {
  const finite = points.filter(isFinitePoint);
  const [first, last] = [finite[0], finite.at(-1)];
  if (first === undefined || last === undefined) return `${name}: no values.`;
  const least = finite.reduce((found, point) => (point[1] < found[1] ? point : found), first);
  const ends = `${name}: from ${shortNumber(first[1])} to ${shortNumber(last[1])}`;
  return least === first || least === last
    ? `${ends}.`
    : `${ends}, smallest ${shortNumber(least[1])} at step ${least[0]}.`;
}

/** Means over runs of equal length; the ends stay where they are. */
function thinned(points: readonly Point[]): readonly Point[] {
  const per = Math.ceil(points.length / MOST_POINTS);
  return per <= 1 ? points : means(points, per, per);
}

/** Means of `width` neighbours, one every `stride` points, each at its last point. */
export function means(points: readonly Point[], width: number, stride: number): readonly Point[] {
  const result: Point[] = [];
  for (let end = stride; end < points.length + stride; end += stride) {
    const part = points.slice(Math.max(0, end - width), end);
    const last = part.at(-1);
    if (last !== undefined) result.push([last[0], part.reduce((sum, [, value]) => sum + value, 0) / part.length]);
  }
  return result;
}

function isFinitePoint([, value]: Point): boolean {
  return Number.isFinite(value);
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
