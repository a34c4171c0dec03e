// GGUF key-value metadata that can be written back byte for byte: values stay encoded until somebody asks.

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

/** A decoded value. Strings are bytes (they need not be UTF-8); 64-bit integers are bigint. */
export type GgufValue = number | bigint | boolean | Uint8Array | readonly GgufValue[];

export interface GgufEntry {
  readonly key: string;
  readonly type: GgufType;
  /** Element type when `type` is "array". */
  readonly element?: GgufType;
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
