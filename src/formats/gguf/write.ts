// Lays out GGUF v3 little-endian files, one or split, as file plans. Moves no bytes and reads no weights.
import { encodeGgufEntry, GGUF_TYPES, type GgufEntry, type GgufMetadata } from "../../checkpoint/gguf-metadata.ts";
import { ExpandError } from "../../errors.ts";
import type { FilePlan, Segment } from "../../storage/file-plan.ts";
import { blockOf } from "../../tensor/dtype.ts";
import { type TensorRef, ZERO } from "../../tensor/reference.ts";
import {
  ALIGNMENT_KEY,
  alignmentOf,
  MAX_DIMENSIONS,
  MAX_NAME_BYTES,
  MAX_PARTS,
  padded,
  parsePartName,
  partName,
  SPLIT_KEYS,
} from "./layout.ts";
import { idOfDtype } from "./types.ts";

export interface GgufContents {
  /** Written in order; split.* keys are left out and written anew where they are needed. */
  readonly metadata: GgufMetadata;
  /** Written in order. */
  readonly tensors: ReadonlyMap<string, TensorRef>;
}

export interface GgufPlanOptions {
  /** File name that ends in .gguf; parts are named <stem>-00001-of-00003.gguf. */
  readonly name: string;
  /** Most bytes of tensor data in a part; a larger tensor gets a part of its own. One file when absent. */
  readonly shardSize?: number;
}

type NamedTensor = readonly [name: string, tensor: TensorRef];

/**
 * The files of a model: part 1 has all metadata, the others only their split keys and the alignment, as gguf-split writes them.
 * Every tensor is padded to the alignment, the last one too. Throws "usage" for a bad name, "unsupported" for what GGUF cannot hold.
 */
export function planGguf(contents: GgufContents, options: GgufPlanOptions): readonly FilePlan[] {
  const { metadata, tensors } = contents;
  checkFileName(options.name);
  if (metadata.bigEndian && [...tensors.values()].some(({ kind }) => kind === "stored")) {
    throw new ExpandError("unsupported", "comes from a big-endian file, and GGUF is written little-endian only", {
      at: options.name,
      fix: "Convert the source with gguf_convert_endian.py first.",
    });
  }
  for (const [name, tensor] of tensors) checkTensor(name, tensor);
  const splitKeys: ReadonlySet<string> = new Set(Object.values(SPLIT_KEYS));
  const entries = [...metadata.entries.values()].filter(({ key }) => !splitKeys.has(key));
  const alignment = alignmentOf(options.name, metadata.entries);
  const parts = divide([...tensors], alignment, options.shardSize ?? Number.POSITIVE_INFINITY);
  if (parts.length === 1) return [planFile(options.name, entries, [...tensors], alignment)];
  if (parts.length > MAX_PARTS) {
    throw new ExpandError(
      "usage",
      `a shard size of ${options.shardSize} bytes gives ${parts.length} files; GGUF allows ${MAX_PARTS}`,
      { at: options.name, fix: "Choose a larger shard size." },
    );
  }
  const stem = options.name.slice(0, -".gguf".length);
  const alignmentOnly = entries.filter(({ key }) => key === ALIGNMENT_KEY);
  return parts.map((part, index) => {
    const name = partName({ stem, index, count: parts.length });
    const own = [...(index === 0 ? entries : alignmentOnly), ...splitEntries(index, parts.length, tensors.size)];
    return planFile(name, own, part, alignment);
  });
}

/** In the order in which gguf-split leaves them. */
function splitEntries(index: number, count: number, tensors: number): readonly GgufEntry[] {
  return [
    encodeGgufEntry(SPLIT_KEYS.no, "u16", index),
    encodeGgufEntry(SPLIT_KEYS.tensors, "i32", tensors),
    encodeGgufEntry(SPLIT_KEYS.count, "u16", count),
  ];
}

function divide(
  tensors: readonly NamedTensor[],
  alignment: number,
  limit: number,
): readonly (readonly NamedTensor[])[] {
  const parts: NamedTensor[][] = [[]];
  let filled = 0;
  for (const named of tensors) {
    const size = padded(named[1].bytes, alignment);
    const current = parts.at(-1);
    if (current === undefined || (current.length > 0 && filled + size > limit)) {
      parts.push([named]);
      filled = size;
    } else {
      current.push(named);
      filled += size;
    }
  }
  return parts;
}

function planFile(
  name: string,
  entries: readonly GgufEntry[],
  tensors: readonly NamedTensor[],
  alignment: number,
): FilePlan {
  const header = encodeHeader(entries, tensors, alignment);
  const layout = new SegmentList();
  layout.bytes(header);
  layout.zeros(padded(header.length, alignment) - header.length);
  for (const [, tensor] of tensors) {
    layout.tensor(tensor);
    layout.zeros(padded(layout.size, alignment) - layout.size);
  }
  return { name, size: layout.size, segments: layout.segments };
}

/** Segments one behind the other; copies that continue each other are merged. */
class SegmentList {
  readonly segments: Segment[] = [];
  size = 0;

  bytes(data: Uint8Array): void {
    this.#push({ kind: "bytes", to: this.size, data }, data.length);
  }

  zeros(length: number): void {
    this.#push({ kind: "fill", to: this.size, length, pattern: ZERO }, length);
  }

  tensor(tensor: TensorRef): void {
    const length = tensor.bytes;
    if (tensor.kind === "fill") {
      this.#push({ kind: "fill", to: this.size, length, pattern: tensor.pattern }, length);
      return;
    }
    const { source, offset } = tensor;
    const last = this.segments.at(-1);
    if (last?.kind === "copy" && last.source === source && last.from + last.length === offset) {
      this.segments.pop();
      this.size = last.to;
      this.#push({ ...last, length: last.length + length }, last.length + length);
    } else {
      this.#push({ kind: "copy", to: this.size, length, source, from: offset }, length);
    }
  }

  #push(segment: Segment, length: number): void {
    if (length === 0) return;
    this.segments.push(segment);
    this.size += length;
  }
}

/** Magic, version, counts, entries and infos. */
function encodeHeader(entries: readonly GgufEntry[], tensors: readonly NamedTensor[], alignment: number): Uint8Array {
  const parts = [text("GGUF"), u32(3), u64(tensors.length), u64(entries.length)];
  for (const { key, type, raw } of entries) parts.push(string(key), u32(GGUF_TYPES.indexOf(type)), raw);
  let offset = 0;
  for (const [name, { dtype, shape, bytes }] of tensors) {
    parts.push(
      string(name),
      u32(shape.length),
      ...shape.toReversed().map(u64),
      u32(idOfDtype(dtype) ?? 0),
      u64(offset),
    );
    offset += padded(bytes, alignment);
  }
  return Buffer.concat(parts);
}

function checkFileName(name: string): void {
  if (/\.gguf$/i.test(name) && parsePartName(name) === undefined) return;
  throw new ExpandError("usage", 'a file name that ends in ".gguf" and does not name a part was expected', {
    at: name,
    fix: "Choose a name such as model.gguf; parts get their numbers by themselves.",
  });
}

function checkTensor(name: string, { dtype, shape }: TensorRef): void {
  const refuse = (found: string, fix: string): never => {
    throw new ExpandError("unsupported", found, { at: name, fix });
  };
  const length = text(name).length;
  const row = shape.at(-1) ?? 1;
  const { values } = blockOf(dtype);
  if (length > MAX_NAME_BYTES) refuse(`has a name of ${length} bytes; GGUF allows ${MAX_NAME_BYTES}`, "Shorten it.");
  if (idOfDtype(dtype) === undefined) refuse(`has the type ${dtype}, which GGUF does not have`, "Cast it first.");
  if (shape.length > MAX_DIMENSIONS) {
    refuse(`has ${shape.length} dimensions; GGUF allows ${MAX_DIMENSIONS}`, "Reshape it.");
  }
  if (row % values !== 0) {
    refuse(`has rows of ${row} values; ${dtype} stores them in blocks of ${values}`, "Choose another type for it.");
  }
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

function string(value: string): Uint8Array {
  const bytes = text(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

function u64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
  return bytes;
}
