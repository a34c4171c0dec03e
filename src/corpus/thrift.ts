// Holds a compact Thrift structure against the bytes it stands in, before a reader believes its sizes. Reads no values.
import { ExpandError } from "../errors.ts";

const [TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, STRUCT] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12];
/** Bytes of a varint of 64 bits. */
const MAX_VARINT = 10;
/** Parquet's own structures are eight deep. */
const MAX_DEPTH = 32;
/** Fields and elements of one structure: a reader makes an object of 100 bytes of a single one. A footer of 100,000 column chunks has as many. */
export const MAX_THRIFT = 2 ** 22;

interface Walk {
  readonly bytes: Uint8Array;
  values: number;
}

/** Where the structure at `offset` ends; undefined when it does not end in these bytes, or is none. */
export function thriftEnd(bytes: Uint8Array, offset: number): number | undefined {
  try {
    return structEnd({ bytes, values: 0 }, offset, 0);
  } catch (error) {
    if (error instanceof ExpandError) return undefined;
    throw error;
  }
}

function structEnd(walk: Walk, offset: number, depth: number): number {
  if (depth > MAX_DEPTH) stop();
  const { bytes } = walk;
  for (let at = offset; ; ) {
    const head = byteAt(bytes, at++);
    if (head % 16 === 0) return at;
    if (head < 16) at = varint(bytes, at).end;
    at = valueEnd(walk, at, head % 16, depth);
  }
}

function valueEnd(walk: Walk, at: number, type: number, depth: number): number {
  const { bytes } = walk;
  if (++walk.values > MAX_THRIFT) stop();
  switch (type) {
    case TRUE:
    case FALSE:
      return at;
    case BYTE:
      return within(bytes, at + 1);
    case I16:
    case I32:
    case I64:
      return varint(bytes, at).end;
    case DOUBLE:
      return within(bytes, at + 8);
    case BINARY: {
      const { value, end } = varint(bytes, at);
      return within(bytes, end + value);
    }
    case LIST:
      return listEnd(walk, at, depth);
    case STRUCT:
      return structEnd(walk, at, depth + 1);
    default:
      return stop();
  }
}

function listEnd(walk: Walk, offset: number, depth: number): number {
  const { bytes } = walk;
  if (depth > MAX_DEPTH) stop();
  const head = byteAt(bytes, offset);
  const short = head >> 4;
  const { value: count, end } = short === 15 ? varint(bytes, offset + 1) : { value: short, end: offset + 1 };
  // Every element takes a byte at least, so that no more of them are believed than there are bytes.
  within(bytes, end + count);
  if (count > MAX_THRIFT) stop();
  const type = head % 16;
  let at = end;
  for (let element = 0; element < count; element++) {
    at = valueEnd(walk, at, type === TRUE || type === FALSE ? BYTE : type, depth + 1);
  }
  return at;
}

function varint(bytes: Uint8Array, offset: number): { readonly value: number; readonly end: number } {
  let value = 0;
  for (let at = offset; at < offset + MAX_VARINT; at++) {
    const byte = byteAt(bytes, at);
    value += (byte % 128) * 128 ** (at - offset);
    if (byte < 128) return { value, end: at + 1 };
  }
  return stop();
}

function byteAt(bytes: Uint8Array, at: number): number {
  return bytes[at] ?? stop();
}

function within(bytes: Uint8Array, end: number): number {
  return end <= bytes.length ? end : stop();
}

function stop(): never {
  throw new ExpandError("damaged", "not a Thrift structure");
}
