// From a run of segments to the borders of single blocks. A period may hold several blocks of different kinds: attention and MLP, then
// recurrence and MLP. Works on digests and positions; never looks into a segment.
import type { Run } from "./runs.ts";

/** A row of segments. `major`: has a matrix of its own (a cast or a norm alone does not make a part of a block). */
export interface Row {
  readonly digests: readonly string[];
  readonly major: readonly boolean[];
}

/** A major segment with what stands around it up to the next. */
interface Unit {
  readonly start: number;
  readonly length: number;
  readonly digest: string;
  /** Segments after the major one. */
  readonly trailing: number;
}

/** Borders of the blocks of a run: block i goes from segment [i] up to segment [i + 1]. */
export function bordersOf(row: Row, run: Run): readonly number[] {
  const units = unitsOf(row, run.start, run.period);
  const parts = partsPerBlock(units);
  const borders: number[] = [];
  for (let repeat = 0; repeat < run.repeats; repeat++) {
    for (let at = 0; at < units.length; at += parts)
      borders.push((units[at]?.start ?? run.start) + repeat * run.period);
  }
  borders.push(run.start + run.repeats * run.period);
  return borders;
}

/**
 * The blocks next to a run that are like its blocks in some part (the same attention, another MLP), as borders before and after.
 * Nearest first.
 */
export function neighboursOf(
  row: Row,
  run: Run,
): { readonly before: readonly number[]; readonly after: readonly number[] } {
  const units = unitsOf(row, run.start, run.period);
  const parts = partsPerBlock(units);
  const shape = units.slice(0, parts).map((unit) => unit.trailing + 1);
  const length = shape.reduce((sum, each) => sum + each, 0);
  const anchors = units.slice(0, parts).map((unit, offset) => {
    return units.every((each, at) => at % parts !== offset || each.digest === unit.digest) ? unit.digest : undefined;
  });
  // Segments that lead the first major one make the shape ambiguous.
  if (!row.major[run.start]) return { before: [], after: [] };
  const fits = (start: number): boolean => {
    const found = unitsOf(row, start, length);
    const sameShape = found.length === parts && found.every((unit, at) => unit.trailing + 1 === shape[at]);
    return sameShape && found.some((unit, at) => unit.digest === anchors[at]);
  };
  const before: number[] = [];
  for (let start = run.start - length; start >= 0 && row.major[start] && fits(start); start -= length)
    before.push(start);
  const after: number[] = [];
  const end = run.start + run.repeats * run.period;
  for (let start = end; start + length <= row.digests.length && row.major[start] && fits(start); start += length) {
    after.push(start + length);
  }
  return { before, after };
}

function unitsOf({ digests, major }: Row, start: number, length: number): readonly Unit[] {
  const starts: number[] = [];
  for (let at = start; at < start + length; at++) if (major[at]) starts.push(at);
  if (starts.length === 0) starts.push(start);
  return starts.map((own, index) => {
    const from = index === 0 ? start : own;
    const to = starts[index + 1] ?? start + length;
    return { start: from, length: to - from, digest: digests.slice(from, to).join(), trailing: to - own - 1 };
  });
}

/** Units in one block: the fewest, two at least, so that all blocks of the period have one of them in common at the same place. */
function partsPerBlock(units: readonly Unit[]): number {
  for (let parts = 2; parts < units.length; parts++) {
    if (units.length % parts !== 0) continue;
    for (let offset = 0; offset < parts; offset++) {
      if (units.every((unit, at) => at % parts !== offset || unit.digest === units[offset]?.digest)) return parts;
    }
  }
  return units.length;
}
