// Reads one metadata value of any version and byte order as the bytes that a v3 little-endian file stores. Decodes nothing.
import { GGUF_TYPES, type GgufScalarType, type GgufType, ggufTypeBytes } from "../../checkpoint/gguf-metadata.ts";
import type { HeaderCursor } from "./cursor.ts";

export interface StoredValue {
  readonly type: GgufType;
  readonly element?: GgufScalarType;
  readonly count: number;
  readonly raw: Uint8Array;
}

/** A value and the type in front of it. The bytes are the header's own where they are already as v3 little-endian stores them. */
export function readStoredValue(cursor: HeaderCursor): StoredValue {
  const type = readType(cursor);
  const start = cursor.at;
  if (type !== "array") return { type, count: 1, raw: scan(cursor, type, 1, start, new Uint8Array(0)) };
  const element = readType(cursor);
  if (element === "array") cursor.fail("is an array of arrays, which llama.cpp refuses too", "unsupported", DROP_KEY);
  const count = cursor.count("elements", ggufTypeBytes(element) ?? cursor.lengthBytes);
  return { type, element, count, raw: scan(cursor, element, count, start, arrayHead(element, count)) };
}

const DROP_KEY = "Remove the key with gguf_new_metadata.py --remove-metadata.";

function readType(cursor: HeaderCursor): GgufType {
  const id = cursor.u32();
  return GGUF_TYPES[id] ?? cursor.fail(`has the value type id ${id}; 0 to ${GGUF_TYPES.length - 1} are known`);
}

/** Element type (i32) and count (u64). */
function arrayHead(element: GgufScalarType, count: number): Uint8Array {
  const head = new Uint8Array(12);
  const view = new DataView(head.buffer);
  view.setInt32(0, GGUF_TYPES.indexOf(element), true);
  view.setBigUint64(4, BigInt(count), true);
  return head;
}

/** Passes over `count` values; `head` and they, little-endian and with u64 lengths. */
function scan(cursor: HeaderCursor, type: GgufScalarType, count: number, start: number, head: Uint8Array): Uint8Array {
  const width = ggufTypeBytes(type);
  const asStored = !cursor.bigEndian && !cursor.narrow;
  if (width !== undefined) {
    const from = cursor.skip(count * width);
    if (asStored) return cursor.bytes.subarray(start, cursor.at);
    return joined([head, swapped(cursor.bytes.slice(from, cursor.at), cursor.bigEndian ? width : 1)]);
  }
  const parts = [head];
  for (let i = 0; i < count; i++) {
    const string = cursor.string();
    if (!asStored) parts.push(stringLength(string), string);
  }
  return asStored ? cursor.bytes.subarray(start, cursor.at) : joined(parts);
}

/** Reverses the bytes of every value, in place. */
function swapped(values: Uint8Array, width: number): Uint8Array {
  for (let at = 0; width > 1 && at < values.length; at += width) values.subarray(at, at + width).reverse();
  return values;
}

function stringLength(string: Uint8Array): Uint8Array {
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(string.length), true);
  return length;
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
