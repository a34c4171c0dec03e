// Renumbers settings that name blocks, and proves that every reader still finds the same modules. Never guesses: an entry whose meaning
// cannot be kept is refused.
import { ExpandError } from "../../../errors.ts";
import type { JsonObject, JsonValue } from "../../../json.ts";
import type { ConfigEdit } from "../../architecture.ts";
import type { Layout } from "../../layout.ts";
import { BlockMoves, findBlockNumber, ModuleTree, type MovedModule, seemsNumbered } from "./block-numbers.ts";
import { LISTS, type Matcher, RULES, type Rule } from "./readers.ts";
import type { QuantizationSettings } from "./settings.ts";

interface Context {
  readonly moves: BlockMoves;
  readonly tree: ModuleTree;
  readonly prefixes: readonly string[];
  /** True when the module's weight is stored quantized. */
  readonly quantized: (module: string) => boolean;
  /** What an error calls the entry. */
  readonly at: string;
}

/** One edit per list that changes. Throws "unsupported" naming the entry that cannot be rewritten. */
export function skipListEdits(
  settings: readonly QuantizationSettings[],
  tensors: Iterable<string>,
  layout: Layout,
  prefixes: readonly string[],
  quantized: (module: string) => boolean,
): readonly ConfigEdit[] {
  if (settings.length === 0) return [];
  const tree = new ModuleTree(tensors, prefixes);
  const moves = new BlockMoves(layout);
  const edits: ConfigEdit[] = [];
  for (const { document, path, value, method } of settings) {
    const seen = new Set<JsonValue>();
    for (const list of LISTS) {
      if (list.method !== undefined && list.method !== method) continue;
      for (const [keys, before] of membersAt(value, list.path)) {
        const names = [...path, ...keys].join(".");
        const context = { moves, tree, prefixes, quantized, at: `${document}: ${names}` };
        const after = list.keyed
          ? keyedAfter(before, RULES[list.rule], context)
          : listAfter(before, RULES[list.rule], context);
        if (after === undefined) continue;
        seen.add(before);
        if (JSON.stringify(after) !== JSON.stringify(before)) edits.push({ document, path: names, before, after });
      }
    }
    refuseUnknownNames(value, seen, prefixes, [document, ...path]);
  }
  return edits;
}

function* membersAt(value: JsonValue, path: readonly string[]): Generator<[readonly string[], JsonValue]> {
  const [key, ...rest] = path;
  if (key === undefined) yield [[], value];
  if (key === undefined || value === null || typeof value !== "object" || Array.isArray(value)) return;
  for (const [name, member] of Object.entries(value)) {
    if (key !== "*" && key !== name) continue;
    for (const [names, found] of membersAt(member, rest)) yield [[name, ...names], found];
  }
}

function listAfter(before: JsonValue, rule: Rule, context: Context): JsonValue | undefined {
  if (!Array.isArray(before)) return undefined;
  const entries: readonly JsonValue[] = before;
  const after = entries.flatMap((entry): readonly JsonValue[] =>
    typeof entry === "string" ? rewritten(entry, rule, context) : [entry],
  );
  return after.filter((entry, at) => after.indexOf(entry) === at);
}

function keyedAfter(before: JsonValue, rule: Rule, context: Context): JsonObject | undefined {
  if (before === null || typeof before !== "object" || Array.isArray(before)) return undefined;
  const after = new Map<string, JsonValue>();
  for (const [key, value] of Object.entries(before)) {
    for (const name of rewritten(key, rule, context)) {
      const other = after.get(name);
      if (other !== undefined && JSON.stringify(other) !== JSON.stringify(value)) throw refusal(key, context);
      after.set(name, value);
    }
  }
  return Object.fromEntries(after);
}

/** The entries that mean after the expansion what `entry` meant before. */
function rewritten(entry: string, rule: Rule, context: Context): readonly string[] {
  const { moves, prefixes } = context;
  const number = findBlockNumber(entry, rule.body.exec(entry)?.[0].length ?? 0, prefixes);
  const at = (index: number): string => entry.slice(0, number?.start) + index + entry.slice(number?.end);
  const renumbered = number === undefined ? [entry] : moves.of(number.index).map(at);
  const rest = number === undefined ? entry : `${entry.slice(0, number.start)}i${entry.slice(number.end)}`;
  const exact = number === undefined || number.prefix !== undefined;
  const some = observe(entry, rule, context, number?.prefix, !(exact && ignoresNumbers(rest)));
  const unread = number === undefined && seemsNumbered(entry, prefixes) && !some.readings.flat().includes(true);
  if (!unread && keepsMeaning(renumbered, rule, some)) return renumbered;
  const all = observe(entry, rule, context, number?.prefix, true);
  const names = fullNames(entry, rule, all);
  if (unread || !keepsMeaning(names, rule, all)) throw refusal(entry, context);
  return names;
}

/** True when an entry cannot tell one expert from another, so that the first of each list stands for all. */
function ignoresNumbers(entry: string): boolean {
  return /^[A-Za-z_.\\*+^$:-]*$/.test(entry) && !/\\[^.]|\.\.(?![*+])/.test(entry);
}

/** What an entry names in the source. */
interface Observation {
  readonly modules: readonly MovedModule[];
  /** For each reader of the rule, for each module: does the entry name it? */
  readonly readings: readonly (readonly boolean[])[];
  /** The reading that agrees with how the weights are stored; the newest reader's where that does not tell. */
  readonly meaning: readonly boolean[];
}

function observe(entry: string, rule: Rule, context: Context, alias: string | undefined, every: boolean): Observation {
  const modules = context.tree.moved(context.moves, alias, every);
  const readings = compiled(entry, rule, context).map((names) => modules.map((module) => names(module.before)));
  const [newest = []] = readings;
  const agree = readings.every((reading) => reading.every((named, i) => named === newest[i]));
  const contradicted = (reading: readonly boolean[]): boolean =>
    modules.some((module, i) => reading[i] === true && context.quantized(module.before));
  const meaning = agree ? newest : (readings.find((reading) => !contradicted(reading)) ?? newest);
  return { modules, readings, meaning };
}

function compiled(entry: string, rule: Rule, context: Context): readonly Matcher[] {
  try {
    return rule.readers.map((reader) => reader(entry));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw refusal(entry, context);
  }
}

/** True when each reader finds, under the new names, what it found before, or what was meant. */
function keepsMeaning(entries: readonly string[], rule: Rule, { modules, readings, meaning }: Observation): boolean {
  return rule.readers.every((reader, r) => {
    const matchers = entries.map(reader);
    const after = modules.map((module) => matchers.some((names) => names(module.after)));
    return [readings[r], meaning].some((before) => after.every((named, i) => named === before?.[i]));
  });
}

/** One entry per module that was meant; where naming a module names all inside it, only the outermost. */
function fullNames(entry: string, rule: Rule, { modules, meaning }: Observation): readonly string[] {
  const names = new Set(modules.filter((_, i) => meaning[i]).map((module) => module.after));
  const within = (name: string): boolean => {
    for (let dot = name.lastIndexOf("."); dot > 0; dot = name.lastIndexOf(".", dot - 1)) {
      if (names.has(name.slice(0, dot))) return true;
    }
    return false;
  };
  return [...names].filter((name) => !rule.covers || !within(name)).map((name) => rule.spell(name, entry));
}

/** Any other setting that names a block would go stale. */
function refuseUnknownNames(
  value: JsonValue,
  known: ReadonlySet<JsonValue>,
  prefixes: readonly string[],
  path: readonly string[],
): void {
  if (known.has(value)) return;
  if (typeof value === "string" && namesBlock(value, prefixes)) throw unknownName(value, path);
  if (value === null || typeof value !== "object") return;
  for (const [key, member] of Object.entries(value)) {
    if (namesBlock(key, prefixes)) throw unknownName(key, path);
    refuseUnknownNames(member, known, prefixes, [...path, key]);
  }
}

function namesBlock(text: string, prefixes: readonly string[]): boolean {
  const plain = text.replaceAll("\\.", ".");
  return prefixes.some((prefix) => {
    const at = plain.indexOf(prefix);
    return at >= 0 && /^\d/.test(plain.slice(at + prefix.length));
  });
}

function unknownName(text: string, path: readonly string[]): ExpandError {
  return new ExpandError(
    "unsupported",
    `${path.slice(1).join(".")} names a block in ${JSON.stringify(text)}, and no rule covers that setting`,
    {
      at: path[0] ?? "",
      fix: "Remove the setting if nothing reads it.",
    },
  );
}

function refusal(entry: string, context: Context): ExpandError {
  return new ExpandError(
    "unsupported",
    `the entry ${JSON.stringify(entry)} cannot be rewritten for other block numbers so that it names the same modules`,
    { at: context.at, fix: "Replace the entry by full module names, then expand again." },
  );
}
