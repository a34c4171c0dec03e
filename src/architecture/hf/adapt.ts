// The settings of an expanded stack: counts, per-block lists, thresholds. Refuses a layout that would change what an original computes.
import { ExpandError } from "../../errors.ts";
import type { JsonValue } from "../../json.ts";
import type { Adaptation, ConfigEdit } from "../architecture.ts";
import type { Layout } from "../layout.ts";
import { checkAxis } from "./axis-check.ts";
import type { StackContext } from "./context.ts";
import { flat } from "./kinds.ts";
import { checkLinks } from "./links.ts";
import { type Growth, type Rewrite, rewriteFor, rewriteOf } from "./rewrite.ts";
import { CONFIG, edit, isList } from "./settings.ts";

export function adaptSettings(context: StackContext, layout: Layout): Adaptation {
  checkLocked(context, layout);
  const edits = [...settingEdits(context, layout)];
  const warnings: string[] = [];
  for (const axis of context.axes) {
    const found = checkAxis(axis, context, layout, edits);
    edits.push(...found.edits);
    warnings.push(...found.warnings);
  }
  checkLinks(context, layout);
  return { edits: merged(edits), warnings };
}

/** The count, and every per-block field on disk, for a layout whose safety others vouch for. */
export function settingEdits(context: StackContext, layout: Layout): readonly ConfigEdit[] {
  const growth: Growth = { layout, count: context.count, tail: context.tail };
  return merged([...countEdits(context, layout.length), ...fieldEdits(context, growth)]);
}

function checkLocked(context: StackContext, layout: Layout): void {
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

function countEdits(context: StackContext, after: number): ConfigEdit[] {
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
function fieldEdits(context: StackContext, growth: Growth): ConfigEdit[] {
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

function same(a: JsonValue | undefined, b: JsonValue | undefined): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
