// Opens a GGUF model, in one file or split, as a Checkpoint. Reads headers only.
import path from "node:path";
import type { Checkpoint, Shard } from "../../checkpoint/checkpoint.ts";
import { type GgufEntry, type GgufType, ggufNumber, ggufTypeName } from "../../checkpoint/gguf-metadata.ts";
import { ExpandError } from "../../errors.ts";
import type { Folder } from "../../tensor/folder.ts";
import type { TensorRef } from "../../tensor/reference.ts";
import type { ByteSource } from "../../tensor/source.ts";
import { quote } from "../shards.ts";
import { type GgufHeader, readGgufHeader } from "./header.ts";
import { ALIGNMENT_KEY, parsePartName, partName, SPLIT_KEYS } from "./layout.ts";

/** One file of a model. */
interface Part {
  readonly source: ByteSource;
  readonly header: GgufHeader;
}

const SPLIT_KEY_NAMES: ReadonlySet<string> = new Set(Object.values(SPLIT_KEYS));

/**
 * Opens a model by its file in a folder, or by any of its parts. The metadata is that of part 1 without the split.* keys.
 * Throws "input" when a file is missing, "damaged" when bytes contradict themselves, "unsupported" when they are fine and not known here.
 */
export async function openGguf(folder: Folder, file: string): Promise<Checkpoint> {
  const parts = await openParts(folder, file);
  const tensors = new Map<string, TensorRef>();
  for (const { source, header } of parts) {
    for (const { name, dtype, shape, bytes, offset } of header.tensors) {
      if (tensors.has(name)) throw damaged(source.name, `tensor ${quote(name)} is in an earlier part too`);
      tensors.set(name, { kind: "stored", dtype, shape, bytes, source, offset: header.dataStart + offset });
    }
  }
  const [first] = parts;
  const { version, bigEndian, alignment, entries } = first.header;
  checkTensorCount(first, tensors.size);
  const metadata = { version, bigEndian, alignment, entries: withoutSplitKeys(entries) };
  return {
    format: "gguf",
    location: folder.shown(file),
    config: { dialect: "gguf", metadata },
    tensors,
    shards: parts.map(shardOf),
    assets: new Map(),
  };
}

function shardOf({ source, header }: Part): Shard {
  return {
    name: path.basename(source.name),
    source,
    dataStart: header.dataStart,
    tensors: header.tensors.map(({ name }) => name),
  };
}

/** All parts, in order. */
async function openParts(folder: Folder, file: string): Promise<readonly [Part, ...Part[]]> {
  const location = folder.shown(file);
  const given = await openPart(folder, file);
  const count = splitNumber(given, SPLIT_KEYS.count, "u16") ?? 1;
  const name = parsePartName(path.posix.basename(file));
  if (count <= 1) {
    if (name === undefined || name.count <= 1) return [given];
    const found = `is named as part ${name.index + 1} of ${name.count}, but has no key "${SPLIT_KEYS.count}"`;
    throw damaged(location, found, "Rename the file if it is a whole model; else download all parts again.");
  }
  const index = splitNumber(given, SPLIT_KEYS.no, "u16") ?? 0;
  if (name?.index !== index || name.count !== count) {
    const expected = partName({ stem: "NAME", index, count });
    throw damaged(
      location,
      `is part ${index + 1} of ${count}, but its name does not say so`,
      `Rename it to ${expected}.`,
    );
  }
  const paths = Array.from({ length: count }, (_, i) =>
    path.posix.join(path.posix.dirname(file), partName({ stem: name.stem, index: i, count })),
  );
  checkPresent(folder, location, paths);
  const open = async (part: string, i: number): Promise<Part> => (i === index ? given : await openPart(folder, part));
  const [one = file, ...others] = paths;
  const first = await open(one, 0);
  const parts: [Part, ...Part[]] = [first];
  for (const [i, other] of others.entries()) {
    const part = await open(other, i + 1);
    checkPart(first, part, i + 1, count);
    parts.push(part);
  }
  return parts;
}

async function openPart(folder: Folder, file: string): Promise<Part> {
  const source = folder.source(file);
  return { source, header: await readGgufHeader(source) };
}

function checkPresent(folder: Folder, location: string, paths: readonly string[]): void {
  const missing = paths.filter((file) => folder.kind(file) === undefined).map((file) => path.posix.basename(file));
  if (missing.length === 0) return;
  const more = missing.length > 3 ? ` and ${missing.length - 3} more` : "";
  const message = `${missing.length} of its ${paths.length} parts are missing: ${missing.slice(0, 3).join(", ")}${more}`;
  throw new ExpandError("input", message, { at: location, fix: "Download the missing parts into the same folder." });
}

/** A later part must say its place, and hold no settings that part 1 does not hold: llama.cpp reads only those of part 1. */
function checkPart(first: Part, part: Part, index: number, count: number): void {
  const at = part.source.name;
  const no = splitNumber(part, SPLIT_KEYS.no, "u16");
  const of = splitNumber(part, SPLIT_KEYS.count, "u16");
  if (no !== index || of !== count) {
    throw damaged(at, `says it is part ${(no ?? 0) + 1} of ${of ?? 1}; part ${index + 1} of ${count} was expected`);
  }
  if (part.header.bigEndian !== first.header.bigEndian) {
    throw damaged(at, "has another byte order than part 1");
  }
  for (const { key, type, raw } of part.header.entries.values()) {
    if (SPLIT_KEY_NAMES.has(key) || key === ALIGNMENT_KEY) continue;
    const same = first.header.entries.get(key);
    if (same?.type === type && Buffer.compare(same.raw, raw) === 0) continue;
    throw damaged(
      at,
      `key ${quote(key)} ${same === undefined ? "is not in part 1" : "has another value than in part 1"}`,
    );
  }
}

/** Part 1 says how many tensors all parts have together. */
function checkTensorCount(first: Part, found: number): void {
  const expected = splitNumber(first, SPLIT_KEYS.tensors, "i32");
  if (expected === undefined || expected === found) return;
  throw damaged(first.source.name, `key "${SPLIT_KEYS.tensors}" is ${expected}, but the parts hold ${found} tensors`);
}

/** A split.* value. llama.cpp accepts just one type for each. */
function splitNumber(part: Part, key: string, type: GgufType): number | undefined {
  const entry = part.header.entries.get(key);
  if (entry === undefined) return undefined;
  if (entry.type === type) return ggufNumber(entry);
  throw damaged(part.source.name, `key "${key}" is of type ${ggufTypeName(entry)}; ${type} was expected`);
}

function withoutSplitKeys(entries: ReadonlyMap<string, GgufEntry>): ReadonlyMap<string, GgufEntry> {
  return new Map([...entries].filter(([key]) => !SPLIT_KEY_NAMES.has(key)));
}

function damaged(at: string, message: string, fix = "Download or split the model again."): ExpandError {
  return new ExpandError("damaged", message, { at, fix });
}
