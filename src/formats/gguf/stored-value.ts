// Reads one metadata value of any version and byte order as the bytes that a v3 little-endian file stores. Decodes nothing.
import { GGUF_TYPES, type GgufScalarType, type GgufType, ggufTypeBytes } from "../../checkpoint/gguf-metadata.ts";
import type { HeaderCursor } from "./cursor.ts";

export interface StoredValue {
  readonly type: GgufType;
  readonly element?: GgufScalarType;
  readonly count: number;
  readonly raw: Uint8Array;
}

const DROP_KEY = "Remove the key with gguf_new_metadata.py --remove-metadata.";

/** A value and the type in front of it. The bytes are the header's own where they are already as v3 little-endian stores them. */
export function readStoredValue(cursor: HeaderCursor): StoredValue {
  const type = readType(cursor);
  const start = cursor.at;
  const element = type === "array" ? readElementType(cursor) : type;
  const count = type === "array" ? cursor.count("elements", ggufTypeBytes(element) ?? cursor.lengthBytes) : 1;
  const from = cursor.at;
  passOver(cursor, element, count);
  const asStored = !cursor.bigEndian && !cursor.narrow;
  const values = asStored ? cursor.bytes.subarray(start, cursor.at) : recoded(cursor, element, count, from);
  if (type !== "array") return { type, count, raw: values };
  return { type, element, count, raw: asStored ? values : withHead(element, count, values) };
}

function readType(cursor: HeaderCursor): GgufType {
  const id = cursor.u32();
  return GGUF_TYPES[id] ?? cursor.fail(`has the value type id ${id}; 0 to ${GGUF_TYPES.length - 1} are known`);
}

function readElementType(cursor: HeaderCursor): GgufScalarType {
  const type = readType(cursor);
  if (type !== "array") return type;
  return cursor.fail("is an array of arrays, which llama.cpp refuses too", "unsupported", DROP_KEY);
}

function passOver(cursor: HeaderCursor, type: GgufScalarType, count: number): void {
  const width = ggufTypeBytes(type);
  if (width !== undefined) cursor.skip(count * width);
  else for (let i = 0; i < count; i++) cursor.string();
}

/** The values from `from` to the cursor as little-endian, with lengths of 8 bytes. */
function recoded(cursor: HeaderCursor, type: GgufScalarType, count: number, from: number): Uint8Array {
  const width = ggufTypeBytes(type);
  if (width !== undefined) return swapped(cursor.bytes.slice(from, cursor.at), cursor.bigEndian ? width : 1);
  const target = new Uint8Array(cursor.at - from + count * (8 - cursor.lengthBytes));
  const view = new DataView(target.buffer);
  let at = 0;
  cursor.at = from;
  for (let i = 0; i < count; i++) {
    const string = cursor.string();
    view.setBigUint64(at, BigInt(string.length), true);
    target.set(string, at + 8);
    at += 8 + string.length;
  }
  return target;
}

/** An array's element type (i32) and count (u64) in front of its values. */
function withHead(element: GgufScalarType, count: number, values: Uint8Array): Uint8Array {
  const raw = new Uint8Array(12 + values.length);
  const view = new DataView(raw.buffer);
  view.setInt32(0, GGUF_TYPES.indexOf(element), true);
  view.setBigUint64(4, BigInt(count), true);
  raw.set(values, 12);
  return raw;
}

/** Reverses the bytes of every value, in place. */
function swapped(values: Uint8Array, width: number): Uint8Array {
  for (let at = 0; width > 1 && at < values.length; at += width) values.subarray(at, at + width).reverse();
  return values;
}
