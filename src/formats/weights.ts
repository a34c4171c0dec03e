// Which files of a directory are its weights. Never chooses between two sets that could both be meant.
import { ExpandError } from "../errors.ts";
import { JsonDocument } from "../json.ts";
import type { Folder } from "../tensor/folder.ts";
import { readSmall } from "./companions.ts";
import { parseShardIndex, quote, type ShardIndex } from "./shards.ts";

/** Paths inside the folder. */
export type Weights =
  | { readonly format: "gguf"; readonly file: string }
  /** model.onnx, or onnx/model.onnx. */
  | { readonly format: "onnx"; readonly model: string }
  | {
      readonly format: "safetensors" | "torch";
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

/** The weights in a folder. Throws "input" when there are none, or when several sets could be meant. */
export async function findWeights(folder: Folder): Promise<Weights> {
  await assertNoAdapter(folder);
  const names = folder.names("").filter((name) => !name.startsWith("."));
  for (const naming of NAMINGS) {
    const found = await chooseNamed(folder, names, naming);
    if (found !== undefined) return found;
  }
  const file = chooseGguf(folder, names);
  if (file !== undefined) return { format: "gguf", file };
  const model = chooseOnnx(folder, names);
  if (model !== undefined) return { format: "onnx", model };
  const looked = "*.safetensors (with its index), *.bin, *.pt, *.pth (with their index), *.gguf, *.onnx, onnx/*.onnx";
  refuse(
    folder.shown(""),
    `holds no weights; looked for ${looked}`,
    "Give the directory or the file that holds the weights.",
  );
}

/** The weights that a file of the folder stands for: itself, or the shards that an index names. */
export async function weightsOf(folder: Folder, name: string): Promise<Weights> {
  if (GGUF.test(name)) return { format: "gguf", file: name };
  if (ONNX.test(name)) return { format: "onnx", model: name };
  await assertNoAdapter(folder);
  for (const { format, isFile, isIndex } of NAMINGS) {
    if (isIndex.test(name)) return indexed(format, folder, name);
    if (!isFile.test(name)) continue;
    assertWhole(folder, name, "Give the directory, or its index file.");
    return { format, shards: [name] };
  }
  const kinds =
    "a directory, .safetensors, .bin, .pt, .pth, .gguf, .onnx, or a .safetensors.index.json or .bin.index.json";
  refuse(folder.shown(name), `is not a kind of checkpoint that is read here: ${kinds}`, "Give one of these.");
}

/** True for a path to a model in a repository's onnx folder, whose settings stand one level up. */
export function standsInOnnxFolder(root: Folder, file: string): boolean {
  const steps = file.split("/");
  const [folder, name = ""] = steps.slice(-2);
  if (steps.length < 2 || folder !== ONNX_FOLDER || !ONNX.test(name)) return false;
  const has = (count: number): boolean => root.kind([...steps.slice(0, count), "config.json"].join("/")) !== undefined;
  return !has(steps.length - 1) && has(steps.length - 2);
}

async function chooseNamed(folder: Folder, names: readonly string[], naming: Naming): Promise<Weights | undefined> {
  const { format, single } = naming;
  const files = names.filter((name) => naming.isFile.test(name));
  const indexes = names.filter((name) => naming.isIndex.test(name));
  const index = indexes.includes(naming.index) ? naming.index : indexes[0];
  if (index !== undefined) {
    if (index !== naming.index && indexes.length > 1) severalOf(folder, "index files", indexes);
    const found = await indexed(format, folder, index);
    if (!files.includes(single) || found.shards.includes(single)) return found;
    refuse(
      folder.shown(""),
      `holds both ${single} and ${index}, which does not name it`,
      "Give one of the two, not the directory.",
    );
  }
  if (files.includes(single)) return { format, shards: [single] };
  const [file] = files;
  if (file === undefined) return undefined;
  assertWhole(folder, file, `Download ${naming.index} too.`);
  if (files.length > 1) severalOf(folder, `${format} files without an index`, files);
  return { format, shards: [file] };
}

async function indexed(format: "safetensors" | "torch", folder: Folder, name: string) {
  const index = parseShardIndex(folder.shown(name), await readSmall(folder, name, MAX_INDEX_BYTES));
  for (const shard of index.shards) {
    if (folder.kind(shard) !== undefined) continue;
    throw new ExpandError("input", `names ${quote(shard)}, which is not there`, {
      at: folder.shown(name),
      fix: "Download the missing shard.",
    });
  }
  return { format, shards: index.shards, index };
}

function chooseGguf(folder: Folder, names: readonly string[]): string | undefined {
  const files = names.filter((name) => GGUF.test(name));
  const sets = new Set(files.map((name) => SPLIT.exec(name)?.[1] ?? name));
  if (sets.size > 1) severalOf(folder, "GGUF models", files);
  return files[0];
}

function chooseOnnx(folder: Folder, names: readonly string[]): string | undefined {
  const below = folder.kind(ONNX_FOLDER) === "directory" ? folder.names(ONNX_FOLDER) : [];
  const files = [...names, ...below.map((name) => `${ONNX_FOLDER}/${name}`)].filter((name) => ONNX.test(name));
  const main = ONNX_MAIN.find((name) => files.includes(name));
  if (main === undefined && files.length > 1) severalOf(folder, "ONNX models", files);
  return main ?? files[0];
}

/** One shard of a numbered set is a part of a model, which must not pass for the whole. */
function assertWhole(folder: Folder, name: string, fix: string): void {
  const [, number, count] = NUMBERED.exec(name) ?? [];
  if (count === undefined || Number(count) === 1) return;
  refuse(folder.shown(name), `is shard ${Number(number)} of ${Number(count)}, not a whole checkpoint`, fix);
}

async function assertNoAdapter(folder: Folder): Promise<void> {
  const name = "adapter_config.json";
  if (folder.kind(name) === undefined) return;
  const document = JsonDocument.parse(folder.shown(name), await readSmall(folder, name, MAX_INDEX_BYTES));
  const replication = document.get(["layer_replication"]);
  const repeats = replication !== undefined && replication !== null;
  throw new ExpandError(
    "unsupported",
    repeats
      ? "has layer_replication: this PEFT adapter repeats blocks of its base model, and holds none of its own"
      : "makes this directory a PEFT adapter, which holds no blocks of its own",
    {
      at: folder.shown(name),
      fix: repeats
        ? "Expand the base model instead, and train an adapter on the result."
        : "Merge the adapter into its base model (merge_and_unload), and expand that.",
    },
  );
}

function severalOf(folder: Folder, what: string, names: readonly string[]): never {
  const shown = names.slice(0, 5).map(quote).join(", ") + (names.length > 5 ? ", ..." : "");
  refuse(
    folder.shown(""),
    `holds ${names.length} ${what} (${shown}): which one is meant is not sure`,
    "Give one file, not the directory.",
  );
}

function refuse(at: string, message: string, fix: string): never {
  throw new ExpandError("input", message, { at, fix });
}
