// `use_external_data_format` of config.json: how many data files a model has, which transformers.js must know before it fetches them
// (packages/transformers/src/utils/model-loader.js). Reads names of files only.
import type { JsonDocument, JsonValue } from "../../json.ts";
import { CONFIG, isObject } from "../hf/settings.ts";

/** A key with a dot in it, so a path of its own. */
const PATH: readonly string[] = ["transformers.js_config", "use_external_data_format"];

export interface ChunkSetting {
  readonly document: string;
  readonly path: readonly string[];
  readonly before: JsonValue;
  readonly after: JsonValue;
}

/**
 * The setting for a model whose files are `names`, the .onnx file first; undefined where it is right or nobody set it. It is one number for
 * every model of the directory, or one by file name; `true` counts as 1, and a model without one has no data files.
 */
export function chunkSetting(
  documents: ReadonlyMap<string, JsonDocument>,
  names: readonly string[],
): ChunkSetting | undefined {
  const before = documents.get(CONFIG)?.get(PATH);
  if (before === undefined) return undefined;
  const [model = "", ...data] = names.map((name) => name.slice(name.lastIndexOf("/") + 1));
  const isChunk = (name: string): boolean =>
    name.startsWith(model) && /^_data(?:_[0-9]+)?$/.test(name.slice(model.length));
  const count = data.filter(isChunk).length;
  if (!isObject(before))
    return Number(before) === count ? undefined : { document: CONFIG, path: PATH, before, after: count };
  const key = Object.keys(before).find((name) => name === model.replace(/\.onnx$/, "")) ?? model;
  if (Number(before[key] ?? 0) === count) return undefined;
  return { document: CONFIG, path: PATH, before, after: { ...before, [key]: count } };
}
