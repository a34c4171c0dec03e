// Reads the header of one GGUF file: metadata entries and tensor infos. Never reads tensor data, never believes a length.
import type { GgufEntry } from "../../checkpoint/gguf-metadata.ts";
import { ExpandError } from "../../errors.ts";
import type { ByteSource } from "../../tensor/source.ts";
import { assertDownloaded } from "../intact.ts";
import { quote } from "../shards.ts";
import { CUT_SHORT, DOWNLOAD_AGAIN, HeaderCursor, MoreNeeded } from "./cursor.ts";
import { alignmentOf, padded } from "./layout.ts";
import { readStoredValue } from "./stored-value.ts";
import { readTensorInfos, type TensorInfo } from "./tensor-info.ts";

/** One file's header. Entries share the header's bytes. */
export interface GgufHeader {
  readonly version: number;
  readonly bigEndian: boolean;
  readonly alignment: number;
  readonly entries: ReadonlyMap<string, GgufEntry>;
  readonly tensors: readonly TensorInfo[];
  /** Offset of the first tensor's data in the file. */
  readonly dataStart: number;
}

const FIRST_WINDOW = 2 ** 20;
/** Bounds what a hostile file makes us hold. The longest header known to us is that of gemma-4 (262k tokens): 16 MB. */
const MAX_HEADER = 2 ** 28;
/** The format's own limit (ggml/docs/gguf.md). */
const MAX_KEY_BYTES = 65535;
/** Far above any model; they bound the memory that a header of small items takes. */
const MAX_KEYS = 2 ** 16;
const MAX_TENSORS = 2 ** 20;

/** Reads and checks a header. The window doubles until the header fits, so that no more than twice its length is read. */
export async function readGgufHeader(source: ByteSource): Promise<GgufHeader> {
  await assertDownloaded(source);
  let window = await source.read(0, Math.min(FIRST_WINDOW, source.size));
  for (;;) {
    try {
      return parseHeader(source, window);
    } catch (error) {
      if (!(error instanceof MoreNeeded)) throw error;
      window = await longer(source, window, error.upTo);
    }
  }
}

/** The first bytes of the file: twice as many as before, or as many as are known to be needed. */
async function longer(source: ByteSource, window: Uint8Array, needed: number): Promise<Uint8Array> {
  if (needed > MAX_HEADER) {
    throw new ExpandError(
      "unsupported",
      `has a header of at least ${needed} bytes; at most ${MAX_HEADER} are supported`,
      { at: source.name, fix: DOWNLOAD_AGAIN },
    );
  }
  const length = Math.min(source.size, MAX_HEADER, Math.max(needed, window.length * 2));
  const more = await source.read(window.length, length - window.length);
  const both = new Uint8Array(length);
  both.set(window);
  both.set(more, window.length);
  return both;
}

function parseHeader(source: ByteSource, window: Uint8Array): GgufHeader {
  const cursor = new HeaderCursor(source.name, window, source.size);
  const version = readVersion(cursor, source);
  // A tensor has a name, a number of dimensions, a type and an offset; a key has a name, a type and a value.
  const tensorCount = cursor.count("tensors", cursor.lengthBytes + 1 + 4 + 4 + 8, MAX_TENSORS);
  const keyCount = cursor.count("keys", cursor.lengthBytes + 1 + 4 + 1, MAX_KEYS);
  const entries = new Map<string, GgufEntry>();
  for (let i = 0; i < keyCount; i++) {
    cursor.subject = `key ${i + 1}`;
    const key = cursor.name(MAX_KEY_BYTES);
    cursor.subject = `key ${quote(key)}`;
    if (entries.has(key)) cursor.fail("is there twice");
    entries.set(key, { key, ...readStoredValue(cursor) });
  }
  const alignment = alignmentOf(source.name, entries);
  const tensors = readTensorInfos(cursor, tensorCount, alignment);
  const dataStart = padded(cursor.at, alignment);
  checkEnd(source, tensors, dataStart, alignment);
  return { version, bigEndian: cursor.bigEndian, alignment, entries, tensors, dataStart };
}

/** Reads the magic and the version, and sets the cursor up for them. */
function readVersion(cursor: HeaderCursor, source: ByteSource): number {
  const magic = new TextDecoder("latin1").decode(cursor.bytes.subarray(0, 4));
  if (magic !== "GGUF") {
    throw new ExpandError("damaged", `starts with ${JSON.stringify(magic)}, not with "GGUF"`, {
      at: source.name,
      fix: "Name a GGUF file, or download it again.",
    });
  }
  cursor.skip(4);
  let version = cursor.u32();
  // The low half of a small number is 0 when its bytes are in the other order.
  if ((version & 0xffff) === 0 && version !== 0) {
    cursor.bigEndian = true;
    cursor.at -= 4;
    version = cursor.u32();
  }
  if (version < 1 || version > 3) {
    throw new ExpandError("unsupported", `is GGUF version ${version}; versions 1 to 3 are known`, {
      at: source.name,
      fix: "Update expand-checkpoint if the version is new; else download the file again.",
    });
  }
  cursor.narrow = version === 1;
  return version;
}

/** The data must be there whole; only the padding behind the last tensor may be missing. Nothing may follow it. */
function checkEnd(source: ByteSource, tensors: readonly TensorInfo[], dataStart: number, alignment: number): void {
  for (const { name, offset, bytes } of tensors) {
    const end = dataStart + offset + bytes;
    if (end <= source.size) continue;
    throw new ExpandError("damaged", `tensor ${quote(name)} ends at byte ${end}, but the file has ${source.size}`, {
      at: source.name,
      fix: CUT_SHORT,
    });
  }
  const last = tensors.at(-1);
  const end = dataStart + (last === undefined ? 0 : last.offset + padded(last.bytes, alignment));
  if (source.size <= end) return;
  throw new ExpandError("damaged", `has ${source.size - end} bytes after its data, which ends at byte ${end}`, {
    at: source.name,
    fix: `Download the file again, or cut it with "truncate -s ${end}" if the rest is known to be no part of the model.`,
  });
}
