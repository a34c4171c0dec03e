// What stands beside the weights in a directory: settings, which are parsed, and assets, which only travel. Opens no weights.
import fs from "node:fs";
import path from "node:path";
import type { Config } from "../checkpoint/checkpoint.ts";
import { ExpandError, isSystemError } from "../errors.ts";
import { JsonDocument } from "../json.ts";
import { type ByteSource, fileSource } from "../tensor/source.ts";
import { isObject, quote } from "./shards.ts";

/** Files that may speak of blocks by number. The first is a must for an HF checkpoint. */
export const HF_DOCUMENTS: readonly string[] = [
  "config.json",
  "generation_config.json",
  "hf_quant_config.json",
  "quantize_config.json",
  "quant_config.json",
];
/** The same beside an ONNX model; genai_config.json is that of onnxruntime-genai. */
export const ONNX_DOCUMENTS: readonly string[] = ["config.json", "generation_config.json", "genai_config.json"];
/** Bytes. Settings of the largest models have some 100 KB. */
const MAX_DOCUMENT_BYTES = 20_000_000;

/** Weights of any framework, and their indexes: what an expansion replaces or makes stale. */
const WEIGHTS =
  /\.(?:safetensors|bin|pt|pth|ckpt|gguf|onnx|onnx_data(?:_\d+)?|onnx\.data|h5|msgpack|ot|tflite|npz|index\.json|pdparams|pdopt)$/i;
/** State of a trainer (transformers, DeepSpeed), and the directories of its checkpoints. */
const TRAINING = /^(?:trainer_state\.json|checkpoint-\d+|global_step\d+)$/;
/** Left by an earlier run of this package at the top of a directory. */
const OURS = new Set(["plan.json", "mask.json", "manifest.json", "verification.json"]);
/** Settings of Mistral's own loader, which describe the weights beside them that are not read here (consolidated.safetensors). */
const FOREIGN_SETTINGS = new Set(["params.json"]);

/** Far more than any repository of a model; a limit for directories that are something else. */
const MAX_ASSETS = 2000;
const MAX_DEPTH = 8;

/** The settings of an HF checkpoint. Throws "input" when there is no config.json. */
export async function readConfig(directory: string): Promise<Config> {
  const documents = await readDocuments(directory, HF_DOCUMENTS);
  if (!documents.has("config.json")) {
    throw new ExpandError("input", "has weights but no config.json, which says what model they are", {
      at: directory,
      fix: "Put the model's config.json beside its weights.",
    });
  }
  return { dialect: "hf", documents };
}

/** Those of the named JSON documents that are there. */
export async function readDocuments(
  directory: string,
  names: readonly string[],
): Promise<ReadonlyMap<string, JsonDocument>> {
  const documents = new Map<string, JsonDocument>();
  for (const name of names) {
    const file = path.join(directory, name);
    if (!fs.existsSync(file)) continue;
    const document = JsonDocument.parse(file, await readSmall(file, MAX_DOCUMENT_BYTES));
    if (!isObject(document.value)) throw new ExpandError("damaged", "is not a JSON object", { at: file });
    documents.set(name, document);
  }
  return documents;
}

/** Everything but `known` in the directory, by path with forward slashes, in order. Hidden files and directories stay out. */
export function findAssets(directory: string, known: Iterable<string>): ReadonlyMap<string, ByteSource> {
  const leftOut = new Set(known);
  const assets = new Map<string, ByteSource>();
  const visit = (folder: string, depth: number): void => {
    for (const name of listDirectory(path.join(directory, folder))) {
      const relative = folder === "" ? name : `${folder}/${name}`;
      const full = path.join(directory, relative);
      if (name.startsWith(".") || isLeftOut(name, depth) || leftOut.has(relative)) continue;
      const kind = kindOf(full);
      if (kind === "directory") {
        if (depth === MAX_DEPTH)
          tooMuch(directory, `nests directories deeper than ${MAX_DEPTH} levels (${quote(relative)})`);
        visit(relative, depth + 1);
      } else if (kind === "file") {
        if (assets.size === MAX_ASSETS) tooMuch(directory, `holds more than ${MAX_ASSETS} files beside the weights`);
        assets.set(relative, fileSource(path.resolve(full), full));
      }
    }
  };
  visit("", 0);
  return assets;
}

/** Names in a directory, sorted. */
export function listDirectory(directory: string): string[] {
  try {
    return fs.readdirSync(directory).sort();
  } catch (error) {
    if (!isSystemError(error)) throw error;
    throw new ExpandError("input", `cannot be read (${error.code})`, { at: directory, cause: error });
  }
}

/** The bytes of a small file. Throws "damaged" when it is larger than `limit` bytes. */
export async function readSmall(file: string, limit: number): Promise<Uint8Array> {
  const source = fileSource(path.resolve(file), file);
  if (source.size <= limit) return source.read(0, source.size);
  throw new ExpandError("damaged", `has ${source.size} bytes; at most ${limit} are read`, { at: file });
}

function isLeftOut(name: string, depth: number): boolean {
  if (WEIGHTS.test(name) || TRAINING.test(name) || FOREIGN_SETTINGS.has(name)) return true;
  return depth === 0 && OURS.has(name);
}

/** Links are followed to files only (the Hub's cache links to its blobs): a link to a directory could go round in circles. */
function kindOf(full: string): "directory" | "file" | "other" {
  try {
    if (fs.lstatSync(full).isDirectory()) return "directory";
    return fs.statSync(full).isFile() ? "file" : "other";
  } catch (error) {
    if (!isSystemError(error)) throw error;
    throw new ExpandError("input", `cannot be read (${error.code})`, {
      at: full,
      fix: "Download it again, or remove it.",
      cause: error,
    });
  }
}

function tooMuch(directory: string, message: string): never {
  throw new ExpandError("input", message, { at: directory, fix: "Move the checkpoint into a directory of its own." });
}
