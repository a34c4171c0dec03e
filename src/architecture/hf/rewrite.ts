// How one setting changes when blocks are inserted: value in, value out. Knows no family and decides nothing about identity.
import { ExpandError } from "../../errors.ts";
import type { JsonValue } from "../../json.ts";
import { type Layout, originalPositions } from "../layout.ts";
import type { FieldRule, KindSource } from "./family.ts";
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
      return (value, growth, field) => (insertEntries([...String(value)], growth, field) as readonly string[]).join("");
    case "indices":
      return (value, growth) =>
        typeof value === "string" ? remap(csv(value), growth, 0).join(",") : remapList(value, growth, source.base ?? 0);
    case "below":
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
    case "depth-scale":
      return scaleByDepth;
    case "zero":
      return () => 0;
    case "keep":
      return undefined;
  }
}

/** A list with one entry per block: a copy gets its source's entry. Entries for the tail stay last. */
function insertEntries(value: JsonValue, growth: Growth, field: string): JsonValue {
  if (!isList(value) || (value.length !== growth.count && value.length !== growth.count + growth.tail)) {
    const found = isList(value) ? `${value.length} entries` : JSON.stringify(value);
    throw new ExpandError("unsupported", `${field} has ${found}, but the model has ${growth.count} blocks`, {
      at: "config.json",
      fix: `Give ${field} one entry per block.`,
    });
  }
  return [...growth.layout.map((block) => value[block.from] ?? null), ...value.slice(growth.count)];
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

/** A list that repeats is written out. */
function unroll(value: JsonValue, growth: Growth): JsonValue {
  if (!isList(value) || value.length === 0) return value;
  return growth.layout.map((block) => value[block.from % value.length] ?? null);
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

function byBlock(value: JsonValue, growth: Growth): JsonValue {
  if (!isObject(value)) return value;
  const entries = growth.layout.flatMap((block, at): [string, JsonValue][] => {
    const found = value[String(block.from)];
    return found === undefined ? [] : [[String(at), found]];
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

/** A residual multiplier of scale / sqrt(blocks) keeps its value. */
function scaleByDepth(value: JsonValue, growth: Growth): JsonValue {
  return typeof value === "number" ? value * Math.sqrt(growth.layout.length / growth.count) : value;
}
