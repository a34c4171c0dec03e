// Settings that speak of an ONNX model's files: their number, which transformers.js must know before it fetches them, and the name that
// onnxruntime-genai opens. Reads names of files only.
import type { JsonDocument, JsonValue } from "../../json.ts";
import { CONFIG, isObject } from "../hf/settings.ts";
import { GENAI } from "./settings.ts";

/** packages/transformers/src/utils/model-loader.js. A key with a dot in it, so a path of its own. */
const CHUNKS: readonly string[] = ["transformers.js_config", "use_external_data_format"];
const FILE: readonly string[] = ["model", "decoder", "filename"];

export interface FileSetting {
  readonly document: string;
  readonly path: readonly string[];
  readonly before: JsonValue;
  readonly after: JsonValue;
}

/** The settings that are to change for a model whose files are `names`, the .onnx file first. */
export function fileSettings(
  documents: ReadonlyMap<string, JsonDocument>,
  names: readonly string[],
): readonly FileSetting[] {
  const [model = "", ...data] = names.map((name) => name.slice(name.lastIndexOf("/") + 1));
  const wanted = [
    { document: CONFIG, path: CHUNKS, after: (before: JsonValue) => chunks(before, model, data) },
    { document: GENAI, path: FILE, after: () => model },
  ];
  return wanted.flatMap(({ document, path, after: change }): FileSetting[] => {
    const before = documents.get(document)?.get(path);
    if (before === undefined) return [];
    const after = change(before);
    return after === before ? [] : [{ document, path, before, after }];
  });
}

/** One number for every model of the directory, or one by file name; `true` counts as 1, and a model without one has no data files. */
function chunks(before: JsonValue, model: string, data: readonly string[]): JsonValue {
  const count = data.filter((name) => isChunk(name, model)).length;
  if (!isObject(before)) return Number(before) === count ? before : count;
  const key = Object.keys(before).find((name) => name === model.replace(/\.onnx$/, "")) ?? model;
  return Number(before[key] ?? 0) === count ? before : { ...before, [key]: count };
}

function isChunk(name: string, model: string): boolean {
  return name.startsWith(model) && /^_data(?:_[0-9]+)?$/.test(name.slice(model.length));
}
