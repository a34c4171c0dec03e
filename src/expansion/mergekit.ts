// Reads a mergekit passthrough YAML as a layout. Ranges are half-open, as there. Refuses whatever would not be an identity expansion;
// `dtype` and tokenizer settings are not followed, since originals are kept byte for byte.
import { isNode, LineCounter, parseDocument, visit } from "yaml";
import { type Layout, type LayoutBlock, sourceIndex } from "../architecture/layout.ts";
import { ExpandError } from "../errors.ts";
import type { JsonObject, JsonValue } from "../json.ts";

type Path = readonly (string | number)[];

/** The parsed file; `fail` knows the line of each member. */
interface Recipe {
  readonly value: JsonValue;
  fail(path: Path, message: string): never;
}

const TOP: ReadonlySet<string> = new Set(["slices", "merge_method", "dtype", "out_dtype", "tokenizer_source"]);

/** Substrings that select the projections that close each half of a block (mergekit compares them with tensor names). */
const ATTENTION: ReadonlySet<string> = new Set(["o_proj", "out_proj", "c_proj", "dense", "wo"]);
const MLP: ReadonlySet<string> = new Set([
  "down_proj",
  "w2",
  "fc2",
  "c_proj",
  "dense",
  "dense_4h_to_h",
  "fc_out",
  "wo",
]);

/** Slices scaled to 0 in their output projections are copies, all others originals. Throws "plan" with the line of what it cannot be. */
export function parseMergekit(name: string, text: string): Layout {
  const recipe = readYaml(name, text);
  const top = mapAt(recipe, recipe.value, []);
  for (const key of Object.keys(top)) {
    if (!TOP.has(key)) recipe.fail([key], `"${key}" has no meaning in an expansion`);
  }
  if (top.merge_method !== "passthrough") {
    recipe.fail(
      ["merge_method"],
      `expected merge_method passthrough, found ${JSON.stringify(top.merge_method ?? null)}`,
    );
  }
  const slices = top.slices;
  if (!Array.isArray(slices) || slices.length === 0) return recipe.fail(["slices"], "expected a list of slices");
  const models = new Set<string>();
  const layout: LayoutBlock[] = [];
  slices.forEach((slice: JsonValue, at) => {
    const found = readSlice(recipe, slice, ["slices", at]);
    models.add(found.model);
    if (models.size > 1)
      recipe.fail(["slices", at], `takes blocks from ${[...models].join(" and ")}; an expansion has one source`);
    addSlice(recipe, layout, found, ["slices", at]);
  });
  return layout;
}

function readYaml(name: string, text: string): Recipe {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const failAt = (offset: number, message: string): never => {
    throw new ExpandError("plan", message, {
      at: `${name}:${lines.linePos(offset).line}`,
      fix: "Give a passthrough recipe of one model whose repeated slices scale o_proj and down_proj to 0.0.",
    });
  };
  const [error] = document.errors;
  if (error !== undefined) failAt(error.pos[0], `is not YAML: ${error.message.split(" at line")[0]}`);
  // An alias could make a small file huge.
  visit(document, { Alias: (_, node) => failAt(node.range?.[0] ?? 0, "uses a YAML alias") });
  return {
    value: document.toJS() as JsonValue,
    fail: (path, message) => {
      for (let depth = path.length; depth > 0; depth--) {
        const node = document.getIn(path.slice(0, depth), true);
        if (isNode(node) && node.range) return failAt(node.range[0], message);
      }
      return failAt(0, message);
    },
  };
}

interface Slice {
  readonly model: string;
  readonly from: number;
  readonly to: number;
  readonly copy: boolean;
}

function readSlice(recipe: Recipe, value: JsonValue, path: Path): Slice {
  const slice = mapAt(recipe, value, path);
  onlyKeys(recipe, slice, ["sources"], path);
  const { sources } = slice;
  if (!Array.isArray(sources) || sources.length !== 1) {
    return recipe.fail([...path, "sources"], "expected one source per slice");
  }
  const at = [...path, "sources", 0];
  const source = mapAt(recipe, sources[0] ?? null, at);
  onlyKeys(recipe, source, ["model", "layer_range", "parameters"], at);
  const { model, layer_range: range } = source;
  if (typeof model !== "string" || model.includes("+")) {
    return recipe.fail([...at, "model"], `expected a model without a LoRA, found ${JSON.stringify(model ?? null)}`);
  }
  const [from, to] = Array.isArray(range) && range.length === 2 ? range : [];
  if (!isIndex(from) || !isIndex(to) || from >= to) {
    const found = JSON.stringify(range ?? null);
    return recipe.fail([...at, "layer_range"], `expected layer_range [first, last + 1], found ${found}`);
  }
  return { model, from, to, copy: isClosed(recipe, source.parameters, [...at, "parameters"]) };
}

/** True when the scales are 0 for both kinds of output projection and 1 for the rest; false when there are none. */
function isClosed(recipe: Recipe, value: JsonValue | undefined, path: Path): boolean {
  if (value === undefined || value === null) return false;
  const parameters = mapAt(recipe, value, path);
  onlyKeys(recipe, parameters, ["scale"], path);
  const { scale = null } = parameters;
  const at = [...path, "scale"];
  if (!Array.isArray(scale))
    return recipe.fail(at, `scales a whole slice by ${JSON.stringify(scale)}; that is no identity`);
  const zeros: string[] = [];
  for (const [i, entry] of scale.entries()) {
    const rule = mapAt(recipe, entry, [...at, i]);
    onlyKeys(recipe, rule, ["filter", "value"], [...at, i]);
    const { filter = "*", value: factor } = rule;
    if (factor !== 1 && (factor !== 0 || filter === "*" || typeof filter !== "string")) {
      recipe.fail([...at, i], `expected a scale of 1, or of 0 for a filter, found ${JSON.stringify(rule)}`);
    }
    // mergekit takes the first rule that fits a tensor, and a rule without a filter fits all.
    if (filter === "*" || filter === null) break;
    if (factor === 0) zeros.push(String(filter));
  }
  const attention = zeros.some((filter) => ATTENTION.has(filter));
  const mlp = zeros.some((filter) => MLP.has(filter));
  if (attention && mlp) return true;
  if (zeros.length === 0) return false;
  return recipe.fail(at, `scales only ${zeros.join(", ")} to 0, so the copy would not be identity`);
}

/** Originals come once each and in order; a copy may repeat any block. */
function addSlice(recipe: Recipe, layout: LayoutBlock[], { from, to, copy }: Slice, path: Path): void {
  const next = layout.filter((block) => block.kind === "original").length;
  if (!copy && from < next) {
    recipe.fail(path, `repeats block ${from} without scaling its output projections to 0, so it would not be identity`);
  }
  if (!copy && from > next) recipe.fail(path, `goes on with block ${from}, but block ${next} has not come yet`);
  for (let index = from; index < to; index++) {
    layout.push({ kind: copy ? "copy" : "original", from: sourceIndex(index) });
  }
}

function onlyKeys(recipe: Recipe, value: JsonObject, keys: readonly string[], path: Path): void {
  for (const key of Object.keys(value)) {
    if (!keys.includes(key)) recipe.fail([...path, key], `"${key}" has no meaning in an expansion`);
  }
}

function mapAt(recipe: Recipe, value: JsonValue, path: Path): JsonObject {
  if (value !== null && typeof value === "object" && !Array.isArray(value)) return value as JsonObject;
  return recipe.fail(path, `expected a mapping, found ${JSON.stringify(value)}`);
}

const isIndex = (value: JsonValue | undefined): value is number =>
  typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
