// Which files of a directory are its weights. Never chooses between two sets that could both be meant.
import fs from "node:fs";
import path from "node:path";
import { ExpandError } from "../errors.ts";
import { JsonDocument } from "../json.ts";
import { listDirectory, readSmall } from "./companions.ts";
import { parseShardIndex, quote, type ShardIndex } from "./shards.ts";

/** File names inside `directory`. */
export type Weights =
  | { readonly format: "gguf"; readonly file: string }
  /** `model` is a path below `directory`: model.onnx, or onnx/model.onnx. */
  | { readonly format: "onnx"; readonly directory: string; readonly model: string }
  | {
      readonly format: "safetensors" | "torch";
      readonly directory: string;
      readonly shards: readonly string[];
      readonly index?: ShardIndex;
    };

interface Naming {
  readonly format: "safetensors" | "torch";
  readonly single: string;
  readonly index: string;
  readonly isFile: RegExp;
  readonly isIndex: RegExp;
}

/** In the order of preference, which is that of transformers. */
const NAMINGS: readonly Naming[] = [
  {
    format: "safetensors",
    single: "model.safetensors",
    index: "model.safetensors.index.json",
    isFile: /\.safetensors$/i,
    isIndex: /\.safetensors\.index\.json$/i,
  },
  {
    format: "torch",
    single: "pytorch_model.bin",
    index: "pytorch_model.bin.index.json",
    isFile: /^(?!optimizer|scheduler|scaler|rng_state|random_states|training_args).*\.(?:bin|pt|pth)$/i,
    isIndex: /\.(?:bin|pt|pth)\.index\.json$/i,
  },
];
const GGUF = /\.gguf$/i;
const ONNX = /\.onnx$/i;
/** The folder of a repository that holds its ONNX models, settings staying above (transformers.js, optimum). */
const ONNX_FOLDER = "onnx";
/** The model that is meant where there are variants of it beside. */
const ONNX_MAIN = ["model.onnx", `${ONNX_FOLDER}/model.onnx`];
const SPLIT = /^(.*)-\d{5}-of-\d{5}\.gguf$/i;
/** Shards as transformers, vLLM and llama.cpp number them. */
const NUMBERED = /-(\d+)-of-(\d+)\.[^.]+$/;
/** Bytes. 90,000 tensors take some 9 MB. */
const MAX_INDEX_BYTES = 100_000_000;

/** The weights in a directory. Throws "input" when there are none, or when several sets could be meant. */
export async function findWeights(directory: string): Promise<Weights> {
  await assertNoAdapter(directory);
  const names = listDirectory(directory).filter((name) => !name.startsWith("."));
  for (const naming of NAMINGS) {
    const found = await chooseNamed(directory, names, naming);
    if (found !== undefined) return found;
  }
  const file = chooseGguf(directory, names);
  if (file !== undefined) return { format: "gguf", file: path.join(directory, file) };
  const model = chooseOnnx(directory, names);
  if (model !== undefined) return { format: "onnx", directory, model };
  const looked = "*.safetensors (with its index), *.bin, *.pt, *.pth (with their index), *.gguf, *.onnx, onnx/*.onnx";
  refuse(directory, `holds no weights; looked for ${looked}`, "Give the directory or the file that holds the weights.");
}

/** The weights that a file stands for: itself, or the shards that an index names. */
export async function weightsOf(file: string): Promise<Weights> {
  const name = path.basename(file);
  const directory = path.dirname(file);
  if (GGUF.test(name)) return { format: "gguf", file };
  if (ONNX.test(name)) return onnxFile(directory, name);
  await assertNoAdapter(directory);
  for (const { format, isFile, isIndex } of NAMINGS) {
    if (isIndex.test(name)) return indexed(format, directory, name);
    if (!isFile.test(name)) continue;
    assertWhole(directory, name, "Give the directory, or its index file.");
    return { format, directory, shards: [name] };
  }
  const kinds =
    "a directory, .safetensors, .bin, .pt, .pth, .gguf, .onnx, or a .safetensors.index.json or .bin.index.json";
  refuse(file, `is not a kind of checkpoint that is read here: ${kinds}`, "Give one of these.");
}

async function chooseNamed(directory: string, names: readonly string[], naming: Naming): Promise<Weights | undefined> {
  const { format, single } = naming;
  const files = names.filter((name) => naming.isFile.test(name));
  const indexes = names.filter((name) => naming.isIndex.test(name));
  const index = indexes.includes(naming.index) ? naming.index : indexes[0];
  if (index !== undefined) {
    if (index !== naming.index && indexes.length > 1) severalOf(directory, "index files", indexes);
    const found = await indexed(format, directory, index);
    if (!files.includes(single) || found.shards.includes(single)) return found;
    refuse(
      directory,
      `holds both ${single} and ${index}, which does not name it`,
      "Give one of the two, not the directory.",
    );
  }
  if (files.includes(single)) return { format, directory, shards: [single] };
  const [file] = files;
  if (file === undefined) return undefined;
  assertWhole(directory, file, `Download ${naming.index} too.`);
  if (files.length > 1) severalOf(directory, `${format} files without an index`, files);
  return { format, directory, shards: [file] };
}

async function indexed(format: "safetensors" | "torch", directory: string, name: string) {
  const file = path.join(directory, name);
  const index = parseShardIndex(file, await readSmall(file, MAX_INDEX_BYTES));
  for (const shard of index.shards) {
    if (fs.existsSync(path.join(directory, shard))) continue;
    throw new ExpandError("input", `names ${quote(shard)}, which is not there`, {
      at: file,
      fix: "Download the missing shard.",
    });
  }
  return { format, directory, shards: index.shards, index };
}

function chooseGguf(directory: string, names: readonly string[]): string | undefined {
  const files = names.filter((name) => GGUF.test(name));
  const sets = new Set(files.map((name) => SPLIT.exec(name)?.[1] ?? name));
  if (sets.size > 1) severalOf(directory, "GGUF models", files);
  return files[0];
}

function chooseOnnx(directory: string, names: readonly string[]): string | undefined {
  const folder = path.join(directory, ONNX_FOLDER);
  const below = names.includes(ONNX_FOLDER) && fs.statSync(folder).isDirectory() ? listDirectory(folder) : [];
  const files = [...names, ...below.map((name) => `${ONNX_FOLDER}/${name}`)].filter((name) => ONNX.test(name));
  const main = ONNX_MAIN.find((name) => files.includes(name));
  if (main === undefined && files.length > 1) severalOf(directory, "ONNX models", files);
  return main ?? files[0];
}

/** A model in a repository's onnx folder has its settings one level up. */
function onnxFile(directory: string, name: string): Weights {
  const above = path.dirname(path.resolve(directory));
  const isFolder = path.basename(path.resolve(directory)) === ONNX_FOLDER;
  const has = (folder: string): boolean => fs.existsSync(path.join(folder, "config.json"));
  if (!isFolder || has(directory) || !has(above)) return { format: "onnx", directory, model: name };
  return { format: "onnx", directory: path.join(directory, ".."), model: `${ONNX_FOLDER}/${name}` };
}

/** One shard of a numbered set is a part of a model, which must not pass for the whole. */
function assertWhole(directory: string, name: string, fix: string): void {
  const [, number, count] = NUMBERED.exec(name) ?? [];
  if (count === undefined || Number(count) === 1) return;
  refuse(path.join(directory, name), `is shard ${Number(number)} of ${Number(count)}, not a whole checkpoint`, fix);
}

async function assertNoAdapter(directory: string): Promise<void> {
  const file = path.join(directory, "adapter_config.json");
  if (!fs.existsSync(file)) return;
  const replication = JsonDocument.parse(file, await readSmall(file, MAX_INDEX_BYTES)).get(["layer_replication"]);
  const repeats = replication !== undefined && replication !== null;
  throw new ExpandError(
    "unsupported",
    repeats
      ? "has layer_replication: this PEFT adapter repeats blocks of its base model, and holds none of its own"
      : "makes this directory a PEFT adapter, which holds no blocks of its own",
    {
      at: file,
      fix: repeats
        ? "Expand the base model instead, and train an adapter on the result."
        : "Merge the adapter into its base model (merge_and_unload), and expand that.",
    },
  );
}

function severalOf(directory: string, what: string, names: readonly string[]): never {
  const shown = names.slice(0, 5).map(quote).join(", ") + (names.length > 5 ? ", ..." : "");
  refuse(
    directory,
    `holds ${names.length} ${what} (${shown}): which one is meant is not sure`,
    "Give one file, not the directory.",
  );
}

function refuse(at: string, message: string, fix: string): never {
  throw new ExpandError("input", message, { at, fix });
}
