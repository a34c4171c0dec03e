// Names and contents of everything `expand` leaves behind. Lays files out; writes none.
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { fileSettings } from "../architecture/onnx/files.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ExpandError } from "../errors.ts";
import type { Expansion } from "../expansion/apply.ts";
import { planGguf } from "../formats/gguf/write.ts";
import { planSafetensors } from "../formats/safetensors/write.ts";
import { JsonDocument, type JsonObject, type JsonValue } from "../json.ts";
import type { FilePlan, WrittenFile } from "../storage/file-plan.ts";
import { isInside } from "../storage/output.ts";
import { VERSION } from "../version.ts";

export const MANIFEST_SCHEMA = "expand-checkpoint/manifest/1";

/** Where things go. Sidecars are plan.json, mask.json, ... in a directory of our own, and STEM.plan.json beside a .gguf file. */
export interface OutputNames {
  /** Absolute. */
  readonly directory: string;
  /** The same, as the user wrote it. */
  readonly shown: string;
  /** Name of the checkpoint's first file for GGUF, and for ONNX where the user named one; undefined when the output is a directory of its own. */
  readonly file: string | undefined;
  readonly sidecar: (name: string) => string;
}

/** Throws "usage" when the output's form does not fit the source's format. */
export function outputNames(checkpoint: Checkpoint, output: string): OutputNames {
  const toFile = /\.gguf$/i.test(output);
  if (checkpoint.format === "onnx" && /\.onnx$/i.test(output)) return fileNames(output, /\.onnx$/i);
  if (checkpoint.format !== "gguf") {
    if (!toFile) return { directory: path.resolve(output), shown: output, file: undefined, sidecar: (name) => name };
    throw new ExpandError(
      "usage",
      `the source is ${checkpoint.format}; expand keeps the format and cannot write a .gguf file`,
      {
        at: output,
        fix:
          checkpoint.format === "onnx"
            ? "Name a directory, or a .onnx file."
            : "Name a directory, or convert the expanded checkpoint with llama.cpp's convert_hf_to_gguf.py.",
      },
    );
  }
  const base = (checkpoint.shards[0]?.name ?? "model.gguf").replace(/(?:-\d{5}-of-\d{5})?\.gguf$/i, "");
  if (!toFile) return { directory: path.resolve(output), shown: output, file: `${base}.gguf`, sidecar: (name) => name };
  return fileNames(output, /\.gguf$/i);
}

function fileNames(output: string, ending: RegExp): OutputNames {
  const file = path.basename(output);
  const stem = file.replace(ending, "");
  const shown = path.dirname(output);
  return { directory: path.resolve(shown), shown, file, sidecar: (name) => `${stem}.${name}` };
}

/** The files that hold tensors, and after them the index where there is one. */
export async function weightFiles(
  { checkpoint, groups }: Expansion,
  names: OutputNames,
  shardSize: number | undefined,
): Promise<readonly FilePlan[]> {
  const limit = shardSize === undefined ? {} : { shardSize };
  if (checkpoint.graph !== undefined) {
    // What writes graphs is loaded for graphs only.
    const { planOnnx } = await import("../formats/onnx/write.ts");
    return planOnnx(checkpoint.graph, { name: names.file ?? checkpoint.shards[0]?.name ?? "model.onnx", ...limit });
  }
  if (checkpoint.config.dialect === "gguf") {
    const { metadata } = checkpoint.config;
    return planGguf({ metadata, tensors: checkpoint.tensors }, { name: names.file ?? "model.gguf", ...limit });
  }
  return planSafetensors(
    groups.map(({ source, tensors, originals }) => ({
      tensors,
      originals,
      source,
      ...(source.metadata === undefined ? {} : { metadata: source.metadata }),
    })),
    { ...limit, ...(checkpoint.index === undefined ? {} : { indexMetadata: checkpoint.index }) },
  );
}

/** Settings as JSON files, and the source's other files byte for byte. `weights` are the files beside which they will stand. */
export function companionFiles(checkpoint: Checkpoint, weights: readonly FilePlan[]): readonly FilePlan[] {
  const documents = [...documentsOf(checkpoint, weights)].map(([name, document]) => textFile(name, document.text));
  const assets = [...checkpoint.assets].map(([name, source]): FilePlan => {
    const segments = source.size === 0 ? [] : [{ kind: "copy" as const, to: 0, length: source.size, source, from: 0 }];
    return { name, size: source.size, segments };
  });
  return [...documents, ...assets];
}

function documentsOf({ config }: Checkpoint, weights: readonly FilePlan[]): ReadonlyMap<string, JsonDocument> {
  if (config.dialect !== "onnx") return config.dialect === "hf" ? config.documents : new Map();
  const documents = new Map(config.documents);
  const names = weights.map(({ name }) => name);
  for (const { document, path: keys, after } of fileSettings(config.documents, names)) {
    const found = documents.get(document);
    if (found !== undefined) documents.set(document, found.with(keys, after));
  }
  return documents;
}

export function textFile(name: string, text: string): FilePlan {
  const data = Buffer.from(text);
  return { name, size: data.length, segments: data.length === 0 ? [] : [{ kind: "bytes", to: 0, data }] };
}

export function jsonFile(name: string, value: unknown): FilePlan {
  return textFile(name, `${JSON.stringify(value, null, 2)}\n`);
}

/** Every file with its size and SHA-256, so that a download can be checked and a later run knows what is ours. */
export function manifestFile(
  name: string,
  plan: string,
  written: readonly WrittenFile[],
  small: readonly FilePlan[],
  hash: boolean,
  repository?: { readonly repo: string; readonly commit: string },
): FilePlan {
  const entries = [
    ...written.map(({ name: file, size, sha256 }) => ({
      name: file,
      size,
      ...(sha256 === undefined ? {} : { sha256 }),
    })),
    ...small.map((file) => ({ name: file.name, size: file.size, ...(hash ? { sha256: digest(file) } : {}) })),
  ];
  const source = repository === undefined ? {} : { source: { repository: repository.repo, commit: repository.commit } };
  return jsonFile(name, {
    schema: MANIFEST_SCHEMA,
    tool: `expand-checkpoint ${VERSION}`,
    plan,
    ...source,
    files: entries,
  });
}

/** What a user names to open the output: its directory, or the first file of a GGUF model. */
export function openingPath(names: OutputNames, files: readonly WrittenFile[]): string {
  return path.join(names.shown, names.file === undefined ? "" : (files[0]?.name ?? names.file));
}

/** Only for files whose bytes are all in memory. */
function digest(file: FilePlan): string {
  const hash = createHash("sha256");
  for (const segment of file.segments) if (segment.kind === "bytes") hash.update(segment.data);
  return hash.digest("hex");
}

export interface ManifestEntry {
  readonly name: string;
  readonly size: number;
  readonly sha256?: string;
}

/** Entries of a manifest that this tool wrote; undefined when there is none. Names that would leave the directory are dropped. */
export function readManifest(file: string): readonly ManifestEntry[] | undefined {
  if (!fs.existsSync(file)) return undefined;
  const value = JsonDocument.parse(file, fs.readFileSync(file)).value;
  if (!isObject(value) || value.schema !== MANIFEST_SCHEMA || !Array.isArray(value.files)) return undefined;
  return value.files.flatMap((entry: JsonValue): ManifestEntry[] => {
    if (!isObject(entry)) return [];
    const { name, size, sha256 } = entry;
    if (typeof name !== "string" || typeof size !== "number") return [];
    if (path.isAbsolute(name) || name.split(/[\\/]/).includes("..")) return [];
    return [{ name, size, ...(typeof sha256 === "string" ? { sha256 } : {}) }];
  });
}

/**
 * A shard that an earlier, replaced run left behind would be read as part of this one. A manifest may be somebody else's: what is not
 * a regular file of its size, really inside the directory, stays.
 */
export function removeStale(
  { directory, sidecar }: OutputNames,
  earlier: readonly ManifestEntry[],
  written: readonly WrittenFile[],
): void {
  const kept = new Set([...written.map(({ name }) => name), sidecar("verification.json")]);
  for (const { name, size } of earlier.filter((entry) => !kept.has(entry.name))) {
    const file = path.join(directory, name);
    const stat = fs.lstatSync(file, { throwIfNoEntry: false });
    if (stat?.isFile() && stat.size === size && isInside(file, directory)) fs.rmSync(file);
  }
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}
