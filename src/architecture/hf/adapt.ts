// The settings of an expanded stack, and the proof that every original block keeps its kind under them. Refuses what would change one.
import { ExpandError } from "../../errors.ts";
import type { JsonValue } from "../../json.ts";
import type { Adaptation, ConfigEdit } from "../architecture.ts";
import { type Layout, originalPositions } from "../layout.ts";
import type { Axis, KindSource, Stack } from "./family.ts";
import { applies, decidingSource, isFormula, kindsBy, kindsOf, periodOf } from "./kinds.ts";
import { checkLinks } from "./links.ts";
import { type Growth, type Rewrite, rewriteFor, rewriteOf } from "./rewrite.ts";
import { CONFIG, isList, type Settings } from "./settings.ts";

/** What the engine knows about the stack that grows. */
export interface AdaptContext {
  readonly stack: Stack;
  readonly axes: readonly Axis[];
  readonly settings: Settings;
  readonly count: number;
  readonly tail: number;
  /** Why a block cannot be copied, by its index. */
  readonly locked: ReadonlyMap<number, string>;
}

export function adaptSettings(context: AdaptContext, layout: Layout): Adaptation {
  checkLocked(context, layout);
  const growth: Growth = { layout, count: context.count, tail: context.tail };
  const edits = [...countEdits(context, layout.length), ...fieldEdits(context, growth)];
  const warnings: string[] = [];
  for (const axis of context.axes) {
    const found = checkAxis(axis, context, layout, edits);
    edits.push(...found.edits);
    warnings.push(...found.warnings);
  }
  checkLinks(context, layout);
  return { edits: merged(edits), warnings };
}

function checkLocked(context: AdaptContext, layout: Layout): void {
  const copy = layout.find((block) => block.kind === "copy" && context.locked.has(block.from));
  if (copy === undefined) return;
  const free = layout.filter((block) => block.kind === "original" && !context.locked.has(block.from));
  throw new ExpandError("plan", `block ${copy.from} cannot be copied: ${context.locked.get(copy.from)}`, {
    at: CONFIG,
    fix: `Copy some of the blocks ${free.map((block) => block.from).join(", ")}: --after with those numbers.`,
  });
}

/** One edit per path: the first value before, the last one after; none where they agree. */
function merged(edits: readonly ConfigEdit[]): readonly ConfigEdit[] {
  const byPath = new Map<string, ConfigEdit>();
  for (const next of edits) {
    const key = `${next.document}:${next.path}`;
    const first = byPath.get(key) ?? next;
    byPath.set(key, edit(next.document, next.path, first.before, next.after));
  }
  return [...byPath.values()].filter((one) => !same(one.before, one.after));
}

function countEdits(context: AdaptContext, after: number): ConfigEdit[] {
  const { stack, settings, count } = context;
  const present = stack.count.flatMap((field) => settings.paths(field));
  const listed = stack.countList !== undefined && settings.paths(stack.countList).length > 0;
  const added = listed ? [] : [settings.home(stack.count[0] ?? "num_hidden_layers")];
  const paths = present.length > 0 ? present : added;
  const edits = paths.map((path) => {
    const before = settings.at(path);
    const value = isList(before) ? before.map((size, at) => (at === stack.countIndex ? after : size)) : after;
    return edit(CONFIG, path, before, value);
  });
  const pins = (stack.pins ?? []).filter((field) => settings.paths(field).length === 0);
  return [...edits, ...pins.map((field) => edit(CONFIG, settings.home(field), undefined, count))];
}

/** Every per-block field on disk, whether it decides or not: no reader may find a list of the old length. */
function fieldEdits(context: AdaptContext, growth: Growth): ConfigEdit[] {
  const rewrites = new Map<string, { rewrite: Rewrite; document: string }>();
  const add = (field: string, rewrite: Rewrite | undefined, document: string): void => {
    if (rewrite !== undefined) rewrites.set(field, { rewrite, document });
  };
  for (const source of context.axes.flatMap((axis) => axis.sources.flatMap(flat))) {
    if ("field" in source && source.field !== undefined) add(source.field, rewriteOf(source), CONFIG);
  }
  for (const rule of context.stack.fields ?? []) add(rule.field, rewriteFor(rule), rule.document ?? CONFIG);
  return [...rewrites].flatMap(([field, { rewrite, document }]) =>
    context.settings.paths(field, document).flatMap((path) => {
      const before = context.settings.at(path, document) ?? null;
      const after = rewrite(before, growth, path);
      return after === undefined ? [] : [edit(document, path, before, after)];
    }),
  );
}

/** A source and the sources inside it. */
export function flat(source: KindSource): readonly KindSource[] {
  if (source.from === "split") return [source, source.below, source.above];
  return source.from === "all" ? source.of.flat().flatMap(flat) : [source];
}

function checkAxis(
  axis: Axis,
  context: AdaptContext,
  layout: Layout,
  edits: readonly ConfigEdit[],
): { edits: readonly ConfigEdit[]; warnings: readonly string[] } {
  const before = kindsOf(axis, context.settings, context.count);
  const wanted = layout.map((block) => before[block.from] ?? "");
  const plain = context.settings.with(edits);
  const got = kindsOf(axis, plain, layout.length);
  if (got.every((kind, at) => kind === wanted[at])) {
    return ignored(axis, context, plain, layout, decidingSource(axis.sources, plain));
  }
  const explicit = explicitSource(axis);
  if (explicit !== undefined) {
    const added = explicitEdits(axis, explicit, wanted, plain);
    const after = plain.with(added);
    const fixed = kindsOf(axis, after, layout.length);
    if (fixed.every((kind, at) => kind === wanted[at])) {
      const found = ignored(axis, context, after, layout, explicit);
      return { edits: [...added, ...found.edits], warnings: found.warnings };
    }
  }
  return verdict(axis, context, layout, wanted, got);
}

/** Nothing can be written down: fine when only copies change kind and their tensors stay right, else refused. */
function verdict(
  axis: Axis,
  context: AdaptContext,
  layout: Layout,
  wanted: readonly string[],
  got: readonly string[],
): { edits: readonly ConfigEdit[]; warnings: readonly string[] } {
  const at = layout.findIndex(
    (block, index) => wanted[index] !== got[index] && (block.kind === "original" || axis.modules !== undefined),
  );
  const block = layout[at];
  if (block === undefined) {
    const wrong = layout.flatMap((_, index) => (wanted[index] === got[index] ? [] : [index]));
    return {
      edits: [],
      warnings: [
        `Copies at ${wrong.join(", ")} get another ${axis.name} kind than their source: it follows the index.`,
      ],
    };
  }
  const name = block.kind === "original" ? "original" : "the copy of";
  throw new ExpandError(
    "plan",
    `${name} block ${block.from} would stand at index ${at} and its ${axis.name} would change from ${label(wanted[at])} to ${label(got[at])}`,
    { at: CONFIG, fix: wayOut(axis, context) },
  );
}

const label = (kind: string | undefined): string => (kind === undefined || kind === "" ? "none" : kind);

function wayOut(axis: Axis, context: AdaptContext): string {
  const source = decidingSource(axis.sources, context.settings);
  const period = source === undefined ? 1 : periodOf(source, context.settings, context.count);
  if (period > 1) {
    return `Insert whole periods of ${period} blocks behind a multiple of ${period} blocks: --per-group ${period} --after ${period - 1}.`;
  }
  if (source?.from === "leading") {
    const kinds = kindsBy(source, context.settings, context.count);
    return `Insert behind block ${kinds.filter((kind) => kind !== "").length - 1} only.`;
  }
  if (source?.from === "block") {
    return source.at === 0
      ? "Neither copy block 0 nor insert in front of it."
      : `Neither copy block ${context.count - 1} nor insert behind it.`;
  }
  return "Put every copy right behind its source block.";
}

type Explicit = Extract<KindSource, { from: "list" | "indices" }>;

function explicitSource(axis: Axis): Explicit | undefined {
  return axis.sources
    .flatMap(flat)
    .find(
      (source): source is Explicit =>
        (source.from === "list" || source.from === "indices") && source.field === axis.explicit,
    );
}

function explicitEdits(axis: Axis, source: Explicit, wanted: readonly string[], settings: Settings): ConfigEdit[] {
  const value = source.from === "list" ? listed(source, wanted) : indexed(axis, source, wanted);
  const set = { [source.field]: value, ...axis.set };
  return Object.entries(set).flatMap(([field, after]) => {
    const paths = settings.paths(field);
    const homes = paths.length > 0 ? paths : [settings.home(field)];
    return homes.map((path) => edit(CONFIG, path, settings.at(path), after));
  });
}

function listed(source: Extract<KindSource, { from: "list" }>, wanted: readonly string[]): JsonValue {
  const spellings = new Map(Object.entries(source.values ?? {}).map(([value, kind]) => [kind, value]));
  return wanted.map((kind) => {
    const spelling = spellings.get(kind);
    if (spelling === undefined) return kind;
    return /^-?[0-9]+$/.test(spelling) ? Number(spelling) : spelling;
  });
}

function indexed(axis: Axis, source: Extract<KindSource, { from: "indices" }>, wanted: readonly string[]): JsonValue {
  const last = axis.sources.at(-1);
  // A list inside an "all" names exceptions: the blocks that are not `hit`.
  const inverted = last?.from === "all" && source.miss === last.hit;
  const kind = inverted ? last.miss : source.hit;
  return wanted.flatMap((one, at) => (one === kind ? [at + (source.base ?? 0)] : []));
}

/** Readers that go by the formula although an explicit list is there: a warning, and no field that tells them a wrong period. */
function ignored(
  axis: Axis,
  context: AdaptContext,
  after: Settings,
  layout: Layout,
  deciding: KindSource | undefined,
): { edits: readonly ConfigEdit[]; warnings: readonly string[] } {
  const formula = axis.sources.find((source) => isFormula(source) && applies(source, context.settings));
  if (formula === undefined || formula === deciding || axis.ignoredBy === undefined) return { edits: [], warnings: [] };
  const before = kindsOf(axis, context.settings, context.count);
  const agreed = kindsBy(formula, context.settings, context.count).every((kind, index) => kind === before[index]);
  if (!agreed) return { edits: [], warnings: [] };
  const now = kindsBy(formula, after, layout.length);
  const positions = originalPositions(layout);
  const wrong = positions.flatMap((at, index) => (now[at] === before[index] ? [] : [index]));
  if (wrong.length === 0) return { edits: [], warnings: [] };
  const period = periodOf(formula, context.settings, context.count);
  const moved = wrong.map((index) => positions[index]);
  return {
    edits: formula.from === "every" ? stalePeriod(formula, after) : [],
    warnings: [
      `Readers that derive the ${axis.name} kind from a period of ${period} instead of ${axis.explicit} (${axis.ignoredBy}) give ${plural(wrong)} (now ${moved.join(", ")}) the wrong kind. Whole periods (--per-group ${period}) avoid this.`,
    ],
  };
}

function plural(blocks: readonly number[]): string {
  return `${blocks.length === 1 ? "original" : "originals"} ${blocks.join(", ")}`;
}

/** A period that no longer holds is removed: next to an explicit list it only misleads. */
function stalePeriod(formula: Extract<KindSource, { from: "every" }>, settings: Settings): ConfigEdit[] {
  if (formula.field === undefined) return [];
  return settings.paths(formula.field).map((path) => edit(CONFIG, path, settings.at(path), undefined));
}

function edit(document: string, path: string, before: JsonValue | undefined, after: JsonValue | undefined): ConfigEdit {
  return { document, path, ...(before === undefined ? {} : { before }), ...(after === undefined ? {} : { after }) };
}

function same(a: JsonValue | undefined, b: JsonValue | undefined): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
