// The settings beside an ONNX model: they compute nothing, but loaders size caches by them. Finds the counts and per-block lists of the
// stack that the graph has; never guesses which of several stacks is meant.
import { ExpandError } from "../../errors.ts";
import type { JsonDocument, JsonValue } from "../../json.ts";
import type { ConfigEdit } from "../architecture.ts";
import { settingEdits } from "../hf/adapt.ts";
import { coveredPaths } from "../hf/coverage.ts";
import type { Stack } from "../hf/family.ts";
import { guardSettings } from "../hf/guard.ts";
import { type Model, resolveModel } from "../hf/resolve.ts";
import { rewriteFor } from "../hf/rewrite.ts";
import { CONFIG, edit, isList, Settings } from "../hf/settings.ts";
import type { Layout } from "../layout.ts";

/** onnxruntime-genai builds its caches from this file (src/models/kv_cache.cpp). */
export const GENAI = "genai_config.json";
const GENAI_COUNT = "model.decoder.num_hidden_layers";
const GENAI_WINDOW = "model.decoder.sliding_window.layers";
/** What transformers.js reads (packages/transformers/src/configs.js), for model types that no record knows. */
const COUNTS = ["num_hidden_layers", "n_layer", "num_layers", "n_layers", "decoder_layers", "encoder_layers"];

/** Edits of config.json and the documents beside it for a graph of `count` blocks. Throws "unsupported" where they count other blocks. */
export function adaptGraphSettings(
  documents: ReadonlyMap<string, JsonDocument>,
  count: number,
  layout: Layout,
): readonly ConfigEdit[] {
  return [...configEdits(documents, count, layout), ...genaiEdits(documents.get(GENAI), count, layout)];
}

function configEdits(
  documents: ReadonlyMap<string, JsonDocument>,
  count: number,
  layout: Layout,
): readonly ConfigEdit[] {
  if (!documents.has(CONFIG)) return [];
  const own = new Map([...documents].filter(([name]) => name !== GENAI));
  const { model, settings } = stackOf(own, count);
  const { stack } = model;
  const covered = coveredPaths(model, settings);
  guardSettings(own, { count, covered, scopes: settings.scopes, blockPrefixes: [] });
  const context = { stack, axes: stack.axes ?? [], settings, count, tail: 0, locked: new Map() };
  return settingEdits(context, layout);
}

/** The stack of the record that has as many blocks as the graph. */
function stackOf(documents: ReadonlyMap<string, JsonDocument>, count: number): { model: Model; settings: Settings } {
  const candidates = modelsOf(documents).map((model) => {
    return { model, settings: Settings.of(documents, model.stack.scopes) };
  });
  const fitting = candidates.filter(({ model, settings }) => countsOf(model.stack, settings).includes(count));
  const [found, other] = fitting;
  // One setting may count the blocks of two stacks: then both are edited alike.
  if (found !== undefined && (other === undefined || sameCounts(found, other))) return found;
  if (found !== undefined && other !== undefined) throw ambiguous(found.model.stack, other.model.stack, count);
  const said = new Set(candidates.flatMap(({ model, settings }) => countsOf(model.stack, settings)));
  throw miscounted(CONFIG, said.size === 0 ? "no number of blocks" : `${[...said].join(" or ")} blocks`, count);
}

/** One for each stack. A model type that no record knows, or that is refused as weights, still counts its blocks here. */
function modelsOf(documents: ReadonlyMap<string, JsonDocument>): readonly Model[] {
  try {
    return resolveModel(documents, undefined).stacks.map((name) => resolveModel(documents, name));
  } catch (error) {
    if (!(error instanceof ExpandError) || error.tag !== "unsupported") throw error;
  }
  const stacks = COUNTS.map((name): Stack => ({ ...PLAIN, name, count: [name] }));
  const family = { name: "graph", stacks, outside: "" };
  return stacks.map((stack) => {
    return { modelType: "graph", family, stack, stacks: COUNTS, outside: "", refusals: [], notes: [] };
  });
}

const PLAIN = { scopes: ["text_config", "decoder", ""], bases: [], block: "", slots: [], outside: "" };

function sameCounts(...sides: readonly { readonly model: Model; readonly settings: Settings }[]): boolean {
  const [one, other] = sides.map(
    ({ model, settings }) => `${model.stack.count.flatMap((field) => settings.paths(field))}`,
  );
  return one === other;
}

function ambiguous(one: Stack, other: Stack, count: number): ExpandError {
  const fields = [one, other].map((stack) => stack.count[0]).join(" and ");
  return new ExpandError("unsupported", `${fields} are both ${count}, and the graph does not say which of them it is`, {
    at: CONFIG,
    fix: "Put the .onnx file and its data into a directory without config.json, and set the count by hand.",
  });
}

function countsOf(stack: Stack, settings: Settings): readonly number[] {
  const paths = stack.count.flatMap((field) => settings.paths(field));
  return paths.flatMap((path) => {
    const value = settings.at(path);
    const size = isList(value) ? value[stack.countIndex ?? 0] : value;
    return typeof size === "number" ? [size] : [];
  });
}

function genaiEdits(document: JsonDocument | undefined, count: number, layout: Layout): readonly ConfigEdit[] {
  if (document === undefined) return [];
  const found = at(document, GENAI_COUNT);
  if (found === undefined) return [];
  if (found !== count) throw miscounted(GENAI, `${JSON.stringify(found)} blocks`, count);
  const covered = new Set([GENAI_COUNT, GENAI_WINDOW].map((path) => `${GENAI}:${path}`));
  guardSettings(new Map([[GENAI, document]]), { count, covered, scopes: [""], blockPrefixes: [] });
  const edits = [edit(GENAI, GENAI_COUNT, found, layout.length)];
  const before = at(document, GENAI_WINDOW);
  const remap = rewriteFor({ field: GENAI_WINDOW, rule: "indices" });
  if (before !== undefined && remap !== undefined) {
    edits.push(edit(GENAI, GENAI_WINDOW, before, remap(before, { layout, count, tail: 0 }, GENAI_WINDOW)));
  }
  return edits;
}

function at(document: JsonDocument, path: string): JsonValue | undefined {
  return document.get(path.split("."));
}

function miscounted(document: string, said: string, count: number): ExpandError {
  return new ExpandError("unsupported", `says ${said}, but the graph has ${count} blocks`, {
    at: document,
    fix: "Put the .onnx file, its data and its own settings into a directory of their own.",
  });
}
