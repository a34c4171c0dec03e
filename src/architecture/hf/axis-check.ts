// Proves that every original block keeps its kind along one axis, or writes an explicit list that keeps it. Never lets one change silently.
import { ExpandError } from "../../errors.ts";
import type { JsonValue } from "../../json.ts";
import type { Adaptation, ConfigEdit } from "../architecture.ts";
import { type Layout, originalPositions } from "../layout.ts";
import type { Axis, KindSource } from "./axis.ts";
import type { StackContext } from "./context.ts";
import { applies, decidingSource, flat, isFormula, kindsBy, kindsOf, periodOf } from "./kinds.ts";
import { stackPeriod } from "./period.ts";
import { CONFIG, edit, type Settings } from "./settings.ts";

/** Edits that keep the kinds along one axis, and warnings for readers that will not see them. Throws "plan" where none can. */
export function checkAxis(axis: Axis, context: StackContext, layout: Layout, edits: readonly ConfigEdit[]): Adaptation {
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
  context: StackContext,
  layout: Layout,
  wanted: readonly string[],
  got: readonly string[],
): Adaptation {
  const at = layout.findIndex(
    (block, index) => wanted[index] !== got[index] && (block.kind === "original" || axis.modules !== undefined),
  );
  const block = layout[at];
  if (block === undefined) {
    return { edits: [], warnings: strayCopies(axis, wanted, got) };
  }
  const name = block.kind === "original" ? "original" : "the copy of";
  throw new ExpandError(
    "plan",
    `${name} block ${block.from} would stand at index ${at} and its ${axis.name} would change from ${label(wanted[at])} to ${label(got[at])}`,
    { at: CONFIG, fix: wayOut(axis, context) },
  );
}

/** A copy adds 0 whatever its kind; what happens to the first blocks alone is not for copies. */
function strayCopies(axis: Axis, wanted: readonly string[], got: readonly string[]): readonly string[] {
  if (axis.sources.some((source) => source.from === "leading")) return [];
  const wrong = wanted.flatMap((kind, index) => (kind === got[index] ? [] : [index]));
  return [`Copies at ${wrong.join(", ")} get another ${axis.name} kind than their source: it follows the index.`];
}

const label = (kind: string | undefined): string => (kind === undefined || kind === "" ? "none" : kind);

function wayOut(axis: Axis, context: StackContext): string {
  const source = decidingSource(axis.sources, context.settings);
  if (source?.from === "leading") {
    const kinds = kindsBy(source, context.settings, context.count);
    return `Insert behind block ${kinds.filter((kind) => kind !== "").length - 1} or later.`;
  }
  if (source?.from === "block") {
    return source.at === 0
      ? "Neither copy block 0 nor insert in front of it."
      : `Neither copy block ${context.count - 1} nor insert behind it.`;
  }
  const period = stackPeriod(context);
  if (period === 1) return "Put every copy right behind its source block.";
  const firstStays = context.axes.some((one) => one.sources.some((rule) => rule.from === "block" && rule.at === 0));
  const after = (firstStays ? 2 : 1) * period - 1;
  return `Insert whole periods of ${period} blocks behind a multiple of ${period} blocks: --per-group ${period} --after ${after}.`;
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
  context: StackContext,
  after: Settings,
  layout: Layout,
  deciding: KindSource | undefined,
): Adaptation {
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
  const list = deciding !== undefined && "field" in deciding ? deciding.field : axis.explicit;
  return {
    edits: formula.from === "every" ? stalePeriod(formula, after) : [],
    warnings: [
      `Readers that derive the ${axis.name} kind from a period of ${period} instead of ${list} (${axis.ignoredBy}) give ${plural(wrong)} (now ${moved.join(", ")}) the wrong kind. Whole periods (--per-group ${period}) avoid this.`,
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
