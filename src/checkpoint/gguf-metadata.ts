// GGUF key-value metadata that can be written back byte for byte: values stay encoded until somebody asks.
import { ExpandError } from "../errors.ts";

/** Value types of the format, by id (ggml/include/gguf.h). */
export const GGUF_TYPES = [
  "u8",
  "i8",
  "u16",
  "i16",
  "u32",
  "i32",
  "f32",
  "bool",
  "string",
  "array",
  "u64",
  "i64",
  "f64",
] as const;
export type GgufType = (typeof GGUF_TYPES)[number];

/** Types of a scalar, and of an array's elements: arrays of arrays do not exist. */
export type GgufScalarType = Exclude<GgufType, "array">;

/** A decoded scalar. Strings are bytes (they need not be UTF-8); 64-bit integers are bigint. */
export type GgufScalar = number | bigint | boolean | Uint8Array;

/** A decoded value. */
export type GgufValue = GgufScalar | readonly GgufScalar[];

export interface GgufEntry {
  readonly key: string;
  readonly type: GgufType;
  /** Element type when `type` is "array". */
  readonly element?: GgufScalarType;
  /** Number of elements; 1 for a scalar. */
  readonly count: number;
  /** The value as v3 little-endian files store it, including an array's type and count. */
  readonly raw: Uint8Array;
}

/** Entries in file order. Keys are unique. */
export interface GgufMetadata {
  readonly version: number;
  readonly bigEndian: boolean;
  readonly alignment: number;
  readonly entries: ReadonlyMap<string, GgufEntry>;
}

interface FixedCodec {
  readonly bytes: number;
  read(view: DataView, at: number): GgufScalar;
  write(view: DataView, at: number, value: GgufScalar): void;
}

/** Fixed-size types, little-endian. A bool is one byte, true when it is not 0. */
const FIXED: Readonly<Record<Exclude<GgufScalarType, "string">, FixedCodec>> = {
  u8: { bytes: 1, read: (v, at) => v.getUint8(at), write: (v, at, x) => v.setUint8(at, Number(x)) },
  i8: { bytes: 1, read: (v, at) => v.getInt8(at), write: (v, at, x) => v.setInt8(at, Number(x)) },
  u16: { bytes: 2, read: (v, at) => v.getUint16(at, true), write: (v, at, x) => v.setUint16(at, Number(x), true) },
  i16: { bytes: 2, read: (v, at) => v.getInt16(at, true), write: (v, at, x) => v.setInt16(at, Number(x), true) },
  u32: { bytes: 4, read: (v, at) => v.getUint32(at, true), write: (v, at, x) => v.setUint32(at, Number(x), true) },
  i32: { bytes: 4, read: (v, at) => v.getInt32(at, true), write: (v, at, x) => v.setInt32(at, Number(x), true) },
  f32: { bytes: 4, read: (v, at) => v.getFloat32(at, true), write: (v, at, x) => v.setFloat32(at, Number(x), true) },
  bool: { bytes: 1, read: (v, at) => v.getUint8(at) !== 0, write: (v, at, x) => v.setUint8(at, x ? 1 : 0) },
  u64: { bytes: 8, read: (v, at) => v.getBigUint64(at, true), write: (v, at, x) => v.setBigUint64(at, big(x), true) },
  i64: { bytes: 8, read: (v, at) => v.getBigInt64(at, true), write: (v, at, x) => v.setBigInt64(at, big(x), true) },
  f64: { bytes: 8, read: (v, at) => v.getFloat64(at, true), write: (v, at, x) => v.setFloat64(at, Number(x), true) },
};

/** Bytes of one stored value; undefined for a string, whose length is stored before it. */
export function ggufTypeBytes(type: GgufScalarType): number | undefined {
  return type === "string" ? undefined : FIXED[type].bytes;
}

/** The decoded value of an entry. An array decodes all its elements: ask for vocabularies only when needed. */
export function ggufValue(entry: GgufEntry): GgufValue {
  const { raw, type, element, count } = entry;
  if (type !== "array") return readScalars(raw, 0, type, 1)[0] ?? raw;
  // An array stores its element type (4 bytes) and its count (8 bytes) first.
  return element === undefined ? [] : readScalars(raw, 12, element, count);
}

/** A number. 64-bit integers must be below 2^53. Throws "unsupported" for other values. */
export function ggufNumber(entry: GgufEntry): number {
  const value = ggufValue(entry);
  if (typeof value === "number") return value;
  if (typeof value !== "bigint") throw unsupported(entry, `is of type ${ggufTypeName(entry)}; a number was expected`);
  if (Number.isSafeInteger(Number(value))) return Number(value);
  throw unsupported(entry, `is ${value}; numbers up to 2^53 - 1 are supported`);
}

/** A string, decoded as UTF-8. Throws "unsupported" when the value is of another type or is not UTF-8. */
export function ggufString(entry: GgufEntry): string {
  const value = ggufValue(entry);
  if (!isBytes(value)) throw unsupported(entry, `is of type ${ggufTypeName(entry)}; a string was expected`);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(value);
  } catch (cause) {
    throw unsupported(entry, "is not UTF-8 text", cause);
  }
}

/** Elements of an array. Throws "unsupported" when the value is not an array. */
export function ggufArray(entry: GgufEntry): readonly GgufScalar[] {
  const value = ggufValue(entry);
  if (!isScalar(value)) return value;
  throw unsupported(entry, `is of type ${ggufTypeName(entry)}; an array was expected`);
}

/** Type of an entry as people write it: "u32", "array of i32". */
export function ggufTypeName(entry: GgufEntry): string {
  return entry.type === "array" ? `array of ${entry.element}` : entry.type;
}

/** An entry that holds one value. Throws "plan" when the value does not fit the type exactly. */
export function encodeGgufEntry(key: string, type: GgufScalarType, value: GgufScalar | string): GgufEntry {
  return { key, type, count: 1, raw: encodeScalars(key, type, [value], 0) };
}

/** An entry that holds an array. Throws "plan" when a value does not fit the element type exactly. */
export function encodeGgufArray(
  key: string,
  element: GgufScalarType,
  values: readonly (GgufScalar | string)[],
): GgufEntry {
  const raw = encodeScalars(key, element, values, 12);
  const view = new DataView(raw.buffer);
  view.setInt32(0, GGUF_TYPES.indexOf(element), true);
  view.setBigUint64(4, BigInt(values.length), true);
  return { key, type: "array", element, count: values.length, raw };
}

function readScalars(raw: Uint8Array, start: number, type: GgufScalarType, count: number): GgufScalar[] {
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const values: GgufScalar[] = [];
  let at = start;
  for (let i = 0; i < count; i++) {
    if (type === "string") {
      const length = Number(view.getBigUint64(at, true));
      values.push(raw.subarray(at + 8, at + 8 + length));
      at += 8 + length;
    } else {
      values.push(FIXED[type].read(view, at));
      at += FIXED[type].bytes;
    }
  }
  return values;
}

/** `reserve` bytes are left free in front. */
function encodeScalars(
  key: string,
  type: GgufScalarType,
  values: readonly (GgufScalar | string)[],
  reserve: number,
): Uint8Array {
  const items = values.map((value) => (typeof value === "string" ? new TextEncoder().encode(value) : value));
  const sizes = items.map((item) => (type === "string" ? 8 + (isBytes(item) ? item.length : 0) : FIXED[type].bytes));
  const raw = new Uint8Array(sizes.reduce((sum, size) => sum + size, reserve));
  const view = new DataView(raw.buffer);
  let at = reserve;
  for (const [i, item] of items.entries()) {
    if (!writeScalar(view, at, type, item)) {
      throw new ExpandError("plan", `${isBytes(item) ? "a string" : String(item)} does not fit the type ${type}`, {
        at: key,
        fix: "Choose a value that the type can hold.",
      });
    }
    at += sizes[i] ?? 0;
  }
  return raw;
}

/** False when what would be read back is not what was given. */
function writeScalar(view: DataView, at: number, type: GgufScalarType, value: GgufScalar): boolean {
  if (type === "string") {
    if (!isBytes(value)) return false;
    view.setBigUint64(at, BigInt(value.length), true);
    new Uint8Array(view.buffer, at + 8, value.length).set(value);
    return true;
  }
  if (isBytes(value) || (type === "bool") !== (typeof value === "boolean")) return false;
  const integer = type !== "f32" && type !== "f64" && type !== "bool";
  if (integer && typeof value === "number" && !Number.isSafeInteger(value)) return false;
  FIXED[type].write(view, at, value);
  const back = FIXED[type].read(view, at);
  // A float is rounded to the type's precision: 1e-5 has no exact f32.
  return !integer || BigInt(back as number | bigint) === BigInt(value as number | bigint);
}

function big(value: GgufScalar): bigint {
  return typeof value === "bigint" ? value : BigInt(Number(value));
}

function isScalar(value: GgufValue): value is GgufScalar {
  return !Array.isArray(value);
}

function isBytes(value: GgufValue): value is Uint8Array {
  return value instanceof Uint8Array;
}

function unsupported({ key }: GgufEntry, message: string, cause?: unknown): ExpandError {
  const fix = "Convert the file again with a current converter.";
  return new ExpandError("unsupported", message, { at: key, fix, cause });
}
