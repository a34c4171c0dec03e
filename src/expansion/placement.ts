// Decides where copies stand. Arithmetic on block numbers only; never looks at a tensor.
import type { Layout, LayoutBlock } from "../architecture/layout.ts";
import { sourceIndex } from "../architecture/layout.ts";
import { ExpandError } from "../errors.ts";

export type Place = "interleave" | "suffix" | "prefix";

/** What the user asked for. At most one of `add`, `every`, `after`; none: one copy per four blocks, as LLaMA Pro does. */
export interface PlacementOptions {
  /** Number of copies, spread as evenly as can be. */
  readonly add?: number;
  /** A copy after every M-th block. */
  readonly every?: number;
  /** Copies after these source blocks; a block named twice is copied twice. */
  readonly after?: readonly number[];
  /** Copy the top P blocks of each group instead of one (the paper's P). */
  readonly perGroup?: number;
  readonly place?: Place;
}

/** What placement needs to know of an architecture. */
export interface Stack {
  readonly blocks: number;
  /** Block kinds repeat with this period; 1 when they do not. */
  readonly period: number;
  /** True when a broken period can be written down as an explicit list. */
  readonly periodIsOptional: boolean;
}

/** A run of copies: of source blocks [first, last], standing right after original `behind` (-1: before block 0). */
interface Run {
  readonly behind: number;
  readonly first: number;
  readonly last: number;
}

/** Throws "plan" when the request does not fit the stack. */
export function placeCopies(stack: Stack, options: PlacementOptions): Layout {
  const chosen = [options.add, options.every, options.after].filter((option) => option !== undefined);
  if (chosen.length > 1) {
    throw new ExpandError("usage", "--add, --every and --after exclude each other", { fix: "Keep one of them." });
  }
  return layoutOf(stack.blocks, runsFor(stack, options));
}

function runsFor(stack: Stack, options: PlacementOptions): Run[] {
  const { blocks } = stack;
  const place = options.place ?? "interleave";
  const perGroup = options.perGroup ?? 1;
  if (place !== "interleave") return [atOneEnd(stack, options, place)];
  if (options.after !== undefined) return options.after.map((behind) => topOf(blocks, behind, perGroup));
  if (options.every !== undefined) return everyNth(blocks, options.every, perGroup);
  const add = options.add ?? defaultCount(stack, perGroup);
  if (options.perGroup === undefined && stack.period > 1) return wholePeriods(stack, add);
  return evenGroups(blocks, add, perGroup);
}

/** L/4 copies, rounded to whole groups or whole periods. */
function defaultCount({ blocks, period }: Stack, perGroup: number): number {
  const unit = Math.max(period, perGroup);
  const units = Math.max(1, unit === 1 ? Math.floor(blocks / 4) : Math.round(blocks / 4 / unit));
  return units * unit;
}

/** Group g of G ends after original floor((g+1)L/G)-1; copies of its top P blocks follow (LLaMA Pro, arXiv 2401.02415, section 3.2). */
function evenGroups(blocks: number, add: number, perGroup: number): Run[] {
  if (add % perGroup !== 0) {
    throw new ExpandError("plan", `${add} copies do not split into groups of ${perGroup}`, {
      fix: `Use --add ${add - (add % perGroup) || perGroup} or --add ${add - (add % perGroup) + perGroup}, or another --per-group.`,
    });
  }
  const groups = add / perGroup;
  if (groups > blocks) {
    throw new ExpandError("plan", `${groups} groups do not fit into ${blocks} blocks`, {
      fix: `Use --add ${blocks * perGroup} at most, or --after with repeated numbers.`,
    });
  }
  return Array.from({ length: groups }, (_, g) => topOf(blocks, Math.floor(((g + 1) * blocks) / groups) - 1, perGroup));
}

function everyNth(blocks: number, every: number, perGroup: number): Run[] {
  if (every > blocks) {
    throw new ExpandError("plan", `--every ${every} places nothing: the source has ${blocks} blocks`, {
      fix: `Use --every ${blocks} or less.`,
    });
  }
  return Array.from({ length: Math.floor(blocks / every) }, (_, g) => topOf(blocks, (g + 1) * every - 1, perGroup));
}

/** Whole periods keep the pattern of kinds in every reader; a number that is not a multiple falls back to single blocks where a list can say so. */
function wholePeriods(stack: Stack, add: number): Run[] {
  const { blocks, period } = stack;
  if (add % period !== 0) {
    if (stack.periodIsOptional) return evenGroups(blocks, add, 1);
    const below = add - (add % period);
    throw new ExpandError(
      "plan",
      `block kinds repeat every ${period} blocks, so ${add} copies would shift the kinds of later originals`,
      {
        fix: `Use --add ${below === 0 ? period : `${below} or --add ${below + period}`}.`,
      },
    );
  }
  const periods = Math.floor(blocks / period);
  const groups = add / period;
  if (groups > periods) {
    throw new ExpandError(
      "plan",
      `${groups} copied periods of ${period} blocks do not fit into the ${periods} of the source`,
      {
        fix: `Use --add ${periods * period} at most.`,
      },
    );
  }
  return Array.from({ length: groups }, (_, g) =>
    topOf(blocks, Math.floor(((g + 1) * periods) / groups) * period - 1, period),
  );
}

function atOneEnd(stack: Stack, options: PlacementOptions, place: "suffix" | "prefix"): Run {
  if (options.every !== undefined || options.after !== undefined || options.perGroup !== undefined) {
    throw new ExpandError("usage", `--place ${place} takes --add only`, {
      fix: "Remove --every, --after and --per-group.",
    });
  }
  const add = options.add ?? defaultCount(stack, 1);
  const { blocks } = stack;
  if (add > blocks) {
    throw new ExpandError("plan", `${add} copies at one end need as many source blocks, there are ${blocks}`, {
      fix: `Use --add ${blocks} at most.`,
    });
  }
  return place === "suffix" ? topOf(blocks, blocks - 1, add) : { behind: -1, first: 0, last: add - 1 };
}

function topOf(blocks: number, behind: number, count: number): Run {
  if (behind >= blocks) {
    throw new ExpandError("plan", `there is no block ${behind}: the source has blocks 0 to ${blocks - 1}`, {
      fix: `Use numbers from 0 to ${blocks - 1}.`,
    });
  }
  if (behind - count + 1 < 0) {
    throw new ExpandError(
      "plan",
      `${count} blocks cannot be copied after block ${behind}: only ${behind + 1} stand there`,
      {
        fix: `Use --per-group ${behind + 1} or less.`,
      },
    );
  }
  return { behind, first: behind - count + 1, last: behind };
}

function layoutOf(blocks: number, runs: readonly Run[]): Layout {
  const layout: LayoutBlock[] = [];
  const insert = (behind: number): void => {
    for (const run of runs.filter((candidate) => candidate.behind === behind)) {
      for (let from = run.first; from <= run.last; from++) layout.push({ kind: "copy", from: sourceIndex(from) });
    }
  };
  insert(-1);
  for (let from = 0; from < blocks; from++) {
    layout.push({ kind: "original", from: sourceIndex(from) });
    insert(from);
  }
  return layout;
}
