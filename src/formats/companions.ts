// What stands beside the weights in a directory: settings, which are parsed, and assets, which only travel. Opens no weights.
import type { Config } from "../checkpoint/checkpoint.ts";
import { ExpandError } from "../errors.ts";
import { JsonDocument } from "../json.ts";
import type { Folder } from "../tensor/folder.ts";
import type { ByteSource } from "../tensor/source.ts";
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
/** Directories of sentence-transformers, "2_Dense": what they hold is computed behind the model, and knows nothing of its blocks. */
const MODULE = /^\d+_[A-Z]\w*\//;
/** Files that say where weights are, and how a run of a trainer stood: nobody misses them. */
const UNMISSED = /(?:\.index\.json|^(?:training_args|scheduler|optimizer|rng_state.*)\.(?:bin|pt|pth))$/i;
/** State of a trainer (transformers, DeepSpeed), and the directories of its checkpoints. */
const TRAINING = /^(?:trainer_state\.json|checkpoint-\d+|global_step\d+)$/;
/** Left by an earlier run of this package at the top of a directory. */
const OURS = new Set([
  "plan.json",
  "mask.json",
  "source.json",
  "manifest.json",
  "verification.json",
  "metrics.jsonl",
  "training.html",
  "training.json",
]);
/** Settings of Mistral's own loader, which describe the weights beside them that are not read here (consolidated.safetensors). */
const FOREIGN_SETTINGS = new Set(["params.json"]);

/** Far more than any repository of a model; a limit for directories that are something else. */
const MAX_ASSETS = 2000;
const MAX_DEPTH = 8;

/** The settings of an HF checkpoint. Throws "input" when there is no config.json. */
export async function readConfig(folder: Folder): Promise<Config> {
  const documents = await readDocuments(folder, HF_DOCUMENTS);
  if (!documents.has("config.json")) {
    throw new ExpandError("input", "has weights but no config.json, which says what model they are", {
      at: folder.shown(""),
      fix: "Put the model's config.json beside its weights.",
    });
  }
  return { dialect: "hf", documents };
}

/** Those of the named JSON documents that are there. */
export async function readDocuments(
  folder: Folder,
  names: readonly string[],
): Promise<ReadonlyMap<string, JsonDocument>> {
  const documents = new Map<string, JsonDocument>();
  for (const name of names) {
    if (folder.kind(name) === undefined) continue;
    const document = JsonDocument.parse(folder.shown(name), await readSmall(folder, name, MAX_DOCUMENT_BYTES));
    if (!isObject(document.value)) throw new ExpandError("damaged", "is not a JSON object", { at: folder.shown(name) });
    documents.set(name, document);
  }
  return documents;
}

/** What stands beside the weights that were opened. */
export interface Companions {
  /** Everything but `known` in the folder, by path, in order. Hidden files and directories stay out. */
  readonly assets: ReadonlyMap<string, ByteSource>;
  /** Weights that were not opened, by path. */
  readonly leftOut: readonly string[];
}

/** `known` are settings and the weights that were opened. */
export function findCompanions(folder: Folder, known: Iterable<string>): Companions {
  const spoken = new Set(known);
  const assets = new Map<string, ByteSource>();
  const leftOut: string[] = [];
  const visit = (directory: string, depth: number): void => {
    for (const name of folder.names(directory)) {
      const inner = directory === "" ? name : `${directory}/${name}`;
      if (name.startsWith(".") || isStale(name, depth) || spoken.has(inner)) continue;
      const kind = folder.kind(inner);
      if (kind === "directory") {
        if (depth === MAX_DEPTH) tooMuch(folder, `nests directories deeper than ${MAX_DEPTH} levels (${quote(inner)})`);
        visit(inner, depth + 1);
      } else if (kind === "file" && WEIGHTS.test(name) && !isModuleFile(inner)) {
        if (!UNMISSED.test(name)) leftOut.push(inner);
      } else if (kind === "file") {
        if (assets.size === MAX_ASSETS) tooMuch(folder, `holds more than ${MAX_ASSETS} files beside the weights`);
        assets.set(inner, folder.source(inner));
      }
    }
  };
  visit("", 0);
  return { assets, leftOut };
}

/** True for what sentence-transformers computes behind the model. */
export function isModuleFile(path: string): boolean {
  return MODULE.test(path);
}

/** The bytes of a small file. Throws "damaged" when it is larger than `limit` bytes. */
export async function readSmall(folder: Folder, file: string, limit: number): Promise<Uint8Array> {
  const source = folder.source(file);
  if (source.size <= limit) return source.read(0, source.size);
  throw new ExpandError("damaged", `has ${source.size} bytes; at most ${limit} are read`, { at: folder.shown(file) });
}

function isStale(name: string, depth: number): boolean {
  if (TRAINING.test(name) || FOREIGN_SETTINGS.has(name)) return true;
  return depth === 0 && OURS.has(name);
}

function tooMuch(folder: Folder, message: string): never {
  throw new ExpandError("input", message, {
    at: folder.shown(""),
    fix: "Move the checkpoint into a directory of its own.",
  });
}
