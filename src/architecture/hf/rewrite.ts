// How one setting changes when blocks are inserted: value in, value out. Knows no family and decides nothing about identity.
import { ExpandError } from "../../errors.ts";
import type { JsonValue } from "../../json.ts";
import { type Layout, originalPositions } from "../layout.ts";
import type { KindSource } from "./axis.ts";
import type { FieldRule } from "./family.ts";
import { isList, isObject } from "./settings.ts";

/** What a rule knows about the stack. */
export interface Growth {
  readonly layout: Layout;
  /** Blocks before. */
  readonly count: number;
  /** Blocks behind the stack that keep standing last (multi-token prediction). */
  readonly tail: number;
}

export type Rewrite = (value: JsonValue, growth: Growth, field: string) => JsonValue | undefined;

/** The rule for a kind source's field; undefined when the value does not change. */
export function rewriteOf(source: KindSource): Rewrite | undefined {
  switch (source.from) {
    case "list":
      return insertEntries;
    case "chars":
      return insertLetters;
    case "indices":
      return (value, growth) =>
        typeof value === "string" ? remap(csv(value), growth, 0).join(",") : remapList(value, growth, source.base ?? 0);
    case "below":
    case "split":
      return shiftThreshold;
    case "upTo":
      return shiftLast;
    case "cycle":
      return unroll;
    case "runs":
      return rewriteRuns;
    case "share":
      return rewriteShare;
    default:
      return undefined;
  }
}

export function rewriteFor(rule: FieldRule): Rewrite | undefined {
  switch (rule.rule) {
    case "list":
      return insertEntries;
    case "list-if-list":
      return (value, growth, field) => (isList(value) ? insertEntries(value, growth, field) : undefined);
    case "indices":
      return (value, growth) => remapList(value, growth, rule.base ?? 0);
    case "by-block":
      return byBlock;
    case "pairs":
      return remapPairs;
    case "threshold":
      return shiftThreshold;
    case "tail":
      return growTail;
    case "hidden-state":
      return remapHiddenStates;
    case "stages":
      return remapStages;
    case "depth-scale":
      return scaleByDepth;
    case "zero":
      return () => 0;
    case "keep":
      return undefined;
  }
}

/** A list with one entry per block: a copy gets its source's entry. Entries for the tail stay last. */
function insertEntries(value: JsonValue, growth: Growth, field: string): JsonValue | undefined {
  if (isList(value) && value.length === 0) return undefined;
  if (!isList(value) || (value.length !== growth.count && value.length !== growth.count + growth.tail)) {
    const found = isList(value) ? `${value.length} entries` : JSON.stringify(value);
    throw new ExpandError("unsupported", `${field} has ${found}, but the model has ${growth.count} blocks`, {
      at: "config.json",
      fix: `Give ${field} one entry per block.`,
    });
  }
  return [...growth.layout.map((block) => value[block.from] ?? null), ...value.slice(growth.count)];
}

function insertLetters(value: JsonValue, growth: Growth, field: string): JsonValue | undefined {
  const letters = insertEntries([...String(value)], growth, field);
  return isList(letters) ? letters.join("") : undefined;
}

function remap(listed: readonly number[], growth: Growth, base: number): number[] {
  const wanted = new Set(listed.map((index) => index - base));
  const found: number[] = [];
  growth.layout.forEach((block, at) => {
    if (wanted.has(block.from)) found.push(at + base);
  });
  const added = growth.layout.length - growth.count;
  return [...found, ...listed.filter((index) => index - base >= growth.count).map((index) => index + added)];
}

function remapList(value: JsonValue, growth: Growth, base: number): JsonValue {
  return isList(value)
    ? remap(
        value.filter((item) => typeof item === "number"),
        growth,
        base,
      )
    : value;
}

function csv(value: string): number[] {
  return value
    .split(",")
    .filter((part) => part.trim() !== "")
    .map(Number);
}

/** Blocks below the threshold, and their copies, stay below it. */
function shiftThreshold(value: JsonValue, growth: Growth): JsonValue {
  if (typeof value !== "number") return value;
  const below = growth.layout.filter((block) => block.from < value).length;
  return below + Math.max(0, value - growth.count);
}

/** The last index of a range; -1 means the last block. */
function shiftLast(value: JsonValue, growth: Growth): JsonValue {
  if (typeof value !== "number" || value < 0) return value;
  return growth.layout.filter((block) => block.from <= value).length - 1 + Math.max(0, value - growth.count + 1);
}

/** A list or text that repeats stays while it still fits, else it is written out. */
function unroll(value: JsonValue, growth: Growth): JsonValue | undefined {
  if (typeof value === "string") {
    const letters = unroll([...value], growth);
    return isList(letters) ? letters.join("") : undefined;
  }
  if (!isList(value) || value.length === 0) return undefined;
  const entryOf = (index: number): JsonValue => value[index % value.length] ?? null;
  if (growth.layout.every((block, at) => entryOf(at) === entryOf(block.from))) return undefined;
  return growth.layout.map((block) => entryOf(block.from));
}

function rewriteRuns(value: JsonValue, growth: Growth): JsonValue {
  if (!isList(value)) return value;
  const kinds = value.flatMap((run): JsonValue[] => {
    const [inner, times] = isList(run) ? run : [];
    return isList(inner) && typeof times === "number" ? Array<readonly JsonValue[]>(times).fill(inner).flat() : [];
  });
  return [[growth.layout.map((block) => kinds[block.from] ?? null), 1]];
}

/** blocks // hits must keep its value: the step is computed from both at load. */
function rewriteShare(value: JsonValue, growth: Growth): JsonValue {
  if (typeof value !== "number" || value <= 0) return value;
  const step = Math.floor(growth.count / value);
  return Math.max(1, Math.floor(growth.layout.length / step));
}

/** Keys may be padded ("05"), as transformers saves them. */
function byBlock(value: JsonValue, growth: Growth): JsonValue {
  if (!isObject(value)) return value;
  const padded = Object.keys(value).some((key) => /^0[0-9]/.test(key));
  const width = padded ? String(growth.layout.length - 1).length : 0;
  const byIndex = new Map(Object.entries(value).map(([key, entry]) => [Number(key), entry]));
  const entries = growth.layout.flatMap((block, at): [string, JsonValue][] => {
    const found = byIndex.get(block.from);
    return found === undefined ? [] : [[String(at).padStart(width, "0"), found]];
  });
  return Object.fromEntries(entries);
}

/** [[block, x], ...]: the same heads of the same original blocks. */
function remapPairs(value: JsonValue, growth: Growth): JsonValue {
  const positions = originalPositions(growth.layout);
  if (!isList(value)) return value;
  return value.map((pair) => {
    const [block, ...rest] = isList(pair) ? pair : [];
    return typeof block === "number" ? [positions[block] ?? block, ...rest] : pair;
  });
}

/** Number of blocks at the end that share: copies of those blocks share too. */
function growTail(value: JsonValue, growth: Growth): JsonValue {
  if (typeof value !== "number") return value;
  return growth.layout.filter((block) => block.from >= growth.count - value).length;
}

/** hidden_states[k] is the stream behind block k-1, the last one that behind the whole stack; negative k counts from the end. */
function hiddenState(index: number, growth: Growth): number {
  const positions = originalPositions(growth.layout);
  const state = index < 0 ? growth.count + 1 + index : index;
  const behind = state >= growth.count ? growth.layout.length : (positions[state - 1] ?? state - 1) + 1;
  const moved = state <= 0 ? state : behind;
  return index < 0 ? moved - growth.layout.length - 1 : moved;
}

function remapHiddenStates(value: JsonValue, growth: Growth): JsonValue {
  if (typeof value === "number") return hiddenState(value, growth);
  if (!isList(value)) return value;
  return value.map((item) => (typeof item === "number" ? hiddenState(item, growth) : item));
}

/** "stem", "stage1", ... of a backbone: either all of them, or a choice. */
function remapStages(value: JsonValue, growth: Growth): JsonValue {
  if (!isList(value)) return value;
  if (value.length === growth.count + 1) return ["stem", ...growth.layout.map((_, at) => `stage${at + 1}`)];
  return value.map((name) => {
    const number = typeof name === "string" ? /^stage([0-9]+)$/.exec(name)?.[1] : undefined;
    return number === undefined ? name : `stage${hiddenState(Number(number), growth)}`;
  });
}

/**
 * A residual multiplier of scale / sqrt(blocks) keeps its value: the neighbour of scale * sqrt(new / old) for which the quotient is
 * the same 64-bit number, or at least the same 32-bit one, in which it is used.
 */
function scaleByDepth(value: JsonValue, growth: Growth): JsonValue {
  if (typeof value !== "number") return value;
  const [before, after] = [Math.sqrt(growth.count), Math.sqrt(growth.layout.length)];
  const guess = (value / before) * after;
  const step = Math.abs(guess) * Number.EPSILON * 0.5;
  const near = [0, 1, -1, 2, -2, 3, -3, 4, -4].map((ulps) => guess + ulps * step);
  return near.find((one) => one / after === value / before) ?? guess;
}
