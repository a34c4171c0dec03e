// What kind each block is, as its settings or its index say. Reads settings only, never tensors.
import { ExpandError } from "../../errors.ts";
import type { JsonValue } from "../../json.ts";
import type { Axis, Condition, KindSource } from "./axis.ts";
import { CONFIG, isList, type Settings } from "./settings.ts";

/** Kind of every block by the first source that is on disk. */
export function kindsOf(axis: Axis, settings: Settings, count: number): readonly string[] {
  const source = decidingSource(axis.sources, settings);
  if (source === undefined) {
    throw new ExpandError("unsupported", `no setting says the ${axis.name} kind of a block`, { at: CONFIG });
  }
  return kindsBy(source, settings, count);
}

export function decidingSource(sources: readonly KindSource[], settings: Settings): KindSource | undefined {
  return sources.find((source) => applies(source, settings));
}

/** True when a source's condition holds and its field, if it needs one, is on disk. */
export function applies(source: KindSource, settings: Settings): boolean {
  if (source.when !== undefined && !holds(source.when, settings)) return false;
  if (!NEEDS_FIELD.has(source.from) || !("field" in source) || source.field === undefined) return true;
  if (source.from === "below" && source.default !== undefined) return true;
  const value = settings.get(source.field) ?? null;
  if (isList(value) && value.length === 0 && source.from === "list") return false;
  return source.from === "cycle" ? isList(value) || typeof value === "string" : value !== null;
}

const NEEDS_FIELD: ReadonlySet<KindSource["from"]> = new Set([
  ...(["list", "indices", "below", "chars", "runs", "share", "cycle"] as const),
]);

export function holds(condition: Condition, settings: Settings): boolean {
  const value = settings.get(condition.field) ?? condition.default;
  if (condition.is !== undefined) return value === condition.is;
  return value !== undefined && value !== null && value !== false && value !== 0;
}

/** A source and the sources inside it. */
export function flat(source: KindSource): readonly KindSource[] {
  if (source.from === "split") return [source, source.below, source.above];
  return source.from === "all" ? source.of.flat().flatMap(flat) : [source];
}

/** Kinds by one source, whether or not it decides. */
export function kindsBy(source: KindSource, settings: Settings, count: number): readonly string[] {
  const kindAt = evaluator(source, settings, count);
  return Array.from({ length: count }, (_, index) => kindAt(index));
}

/** A rule that counts blocks instead of listing them. */
export function isFormula(source: KindSource): boolean {
  return ["every", "middle", "all", "share", "cycle"].includes(source.from);
}

/** Period of a formula under these settings; 1 when it has none. */
export function periodOf(source: KindSource, settings: Settings, count: number): number {
  if (source.from === "every") return everyPeriod(source, settings);
  if (source.from === "middle") return settings.number(source.field) ?? source.period;
  if (source.from === "share") return sharePeriod(source, settings, count);
  if (source.from === "cycle") return cycle(source, settings).length;
  if (source.from !== "all") return 1;
  return source.of
    .map((inner) => decidingSource(inner, settings))
    .map((inner) => (inner === undefined ? 1 : periodOf(inner, settings, count)))
    .reduce(leastCommonMultiple, 1);
}

export function leastCommonMultiple(a: number, b: number): number {
  let [x, y] = [a, b];
  while (y !== 0) [x, y] = [y, x % y];
  return (a / x) * b;
}

type KindAt = (index: number) => string;

function evaluator(source: KindSource, settings: Settings, count: number): KindAt {
  switch (source.from) {
    case "always":
      return () => source.kind;
    case "block":
      return (index) => (index === (source.at < 0 ? count + source.at : source.at) ? source.hit : source.miss);
    case "list":
      return lastAs(source.last, count, fromList(list(settings, source.field, count), source.values));
    case "chars":
      return fromList([...String(settings.get(source.field))], source.values);
    case "runs":
      return fromList(runs(settings.get(source.field) ?? []));
    case "cycle": {
      const kinds = cycle(source, settings);
      const kindAt = fromList(kinds, source.values);
      return (index) => kindAt(index % Math.max(1, kinds.length));
    }
    case "leading":
      return leading(source, settings);
    case "all":
      return everyInner(source, settings, count);
    case "split": {
      const start = settings.number(source.field) ?? source.default;
      const [below, above] = [
        evaluator(source.below, settings, count),
        evaluator(source.above, settings, count - start),
      ];
      return (index) => (index < start ? below(index) : above(index - start));
    }
    default: {
      const hit = hitter(source, settings, count);
      return (index) => (hit(index) ? source.hit : source.miss);
    }
  }
}

type Hitter = Extract<KindSource, { from: "every" | "middle" | "indices" | "below" | "upTo" | "share" }>;

function hitter(source: Hitter, settings: Settings, count: number): (index: number) => boolean {
  switch (source.from) {
    case "every": {
      const period = everyPeriod(source, settings);
      const phase =
        source.phaseField === undefined ? source.phase : (settings.number(source.phaseField) ?? source.phase);
      return (index) => index % period === ((phase % period) + period) % period;
    }
    case "middle": {
      const period = settings.number(source.field) ?? source.period;
      const middle = Math.floor(period / 2);
      return (index) => (count <= middle ? index === count - 1 : index % period === middle);
    }
    case "indices": {
      const listed = new Set(indices(settings.get(source.field)).map((index) => index - (source.base ?? 0)));
      return (index) => listed.has(index);
    }
    case "below": {
      const limit = settings.number(source.field) ?? source.default ?? 0;
      return (index) => index < limit;
    }
    case "upTo": {
      const last = settings.number(source.field) ?? -1;
      return (index) => index <= (last < 0 ? count + last : last);
    }
    case "share": {
      const period = sharePeriod(source, settings, count);
      return (index) => period > 0 && (period === 1 || index % period === 1);
    }
  }
}

function everyPeriod(source: Extract<KindSource, { from: "every" }>, settings: Settings): number {
  const period = source.field === undefined ? undefined : settings.number(source.field);
  return period === undefined || period < 1 ? source.period : period;
}

/** 0 when no block is `hit`. */
function sharePeriod(source: Extract<KindSource, { from: "share" }>, settings: Settings, count: number): number {
  const hits = settings.number(source.field) ?? 0;
  return hits > 0 ? Math.floor(count / hits) : 0;
}

function cycle(source: Extract<KindSource, { from: "cycle" }>, settings: Settings): readonly JsonValue[] {
  const value = settings.get(source.field);
  return isList(value) ? value : [...String(value)];
}

function fromList(values: readonly JsonValue[], names?: Readonly<Record<string, string>>): KindAt {
  return (index) => {
    const value = String(values[index]);
    return names?.[value] ?? value;
  };
}

function lastAs(kind: string | undefined, count: number, kindAt: KindAt): KindAt {
  return kind === undefined ? kindAt : (index) => (index === count - 1 ? kind : kindAt(index));
}

function list(settings: Settings, field: string, count: number): readonly JsonValue[] {
  const value = settings.get(field);
  if (isList(value) && value.length >= count) return value;
  const found = isList(value) ? `${value.length} entries` : "no list";
  throw new ExpandError("unsupported", `${field} has ${found}, but the model has ${count} blocks`, {
    at: CONFIG,
    fix: `Give ${field} one entry per block.`,
  });
}

/** Indices in a list, or in a text of comma-separated numbers. */
export function indices(value: JsonValue | undefined): readonly number[] {
  if (typeof value === "string")
    return value
      .split(",")
      .filter((part) => part.trim() !== "")
      .map(Number);
  return isList(value) ? value.filter((item) => typeof item === "number") : [];
}

/** gpt_neo: [[["global", "local"], 12]] is the inner list 12 times over. */
function runs(value: JsonValue): readonly string[] {
  if (!isList(value)) return [];
  return value.flatMap((run) => {
    const [kinds, times] = isList(run) ? run : [];
    return isList(kinds) && typeof times === "number"
      ? Array<readonly JsonValue[]>(times).fill(kinds).flat().map(String)
      : [];
  });
}

function leading(source: Extract<KindSource, { from: "leading" }>, settings: Settings): KindAt {
  const value = settings.get(source.field) ?? settings.at(source.field);
  const length = isList(value) ? value.length : typeof value === "number" ? value : source.default;
  return (index) => (index < length ? `${source.hit} ${index}` : "");
}

function everyInner(source: Extract<KindSource, { from: "all" }>, settings: Settings, count: number): KindAt {
  const inner = source.of.flatMap((sources) => {
    const deciding = decidingSource(sources, settings);
    return deciding === undefined ? [] : [kindsBy(deciding, settings, count)];
  });
  return (index) => (inner.every((kinds) => kinds[index] === source.hit) ? source.hit : source.miss);
}
