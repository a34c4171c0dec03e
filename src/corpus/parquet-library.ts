// What is used of hyparquet: footers, page headers, delta decoding, decompression; loaded when a Parquet file is met. Values are decoded in
// parquet-values.ts, because the library believes run lengths: five bytes that say 2^30 would fill memory.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import zlib from "node:zlib";
import type { parquetMetadata } from "hyparquet";
import type { parquetHeader } from "hyparquet/src/column.js";
import type { deltaBinaryUnpack } from "hyparquet/src/delta.js";
import { ExpandError } from "../errors.ts";
import type { ByteSource } from "../tensor/source.ts";

export type PageHeader = ReturnType<typeof parquetHeader>;
export type FileMetaData = ReturnType<typeof parquetMetadata>;
export type RowGroup = FileMetaData["row_groups"][number];
export type SchemaElement = FileMetaData["schema"][number];
/** Stored bytes to exactly `length` bytes. Throws whatever it likes. */
export type Decompress = (stored: Uint8Array, length: number) => Uint8Array;

export interface ParquetLibrary {
  readonly parquetMetadata: typeof parquetMetadata;
  readonly parquetHeader: typeof parquetHeader;
  readonly deltaBinaryUnpack: typeof deltaBinaryUnpack;
  readonly codecs: ReadonlyMap<string, Decompress>;
}

export async function loadParquet(): Promise<ParquetLibrary> {
  const [{ parquetMetadata }, { parquetHeader }, { deltaBinaryUnpack }, { compressors, decompressZstd }] =
    await Promise.all([
      import("hyparquet"),
      import(partOf("column.js")) as Promise<typeof import("hyparquet/src/column.js")>,
      import(partOf("delta.js")) as Promise<typeof import("hyparquet/src/delta.js")>,
      import("hyparquet-compressors"),
    ]);
  const { SNAPPY, LZ4, LZ4_RAW } = compressors;
  const codecs = new Map<string, Decompress>([
    ["UNCOMPRESSED", (stored) => stored],
    // Node's own, which stop at the length; the package has none of Zstandard before 22.15.
    ["GZIP", (stored, length) => zlib.gunzipSync(stored, { maxOutputLength: Math.max(1, length) })],
    ["BROTLI", (stored, length) => zlib.brotliDecompressSync(stored, { maxOutputLength: Math.max(1, length) })],
    [
      "ZSTD",
      (stored, length) => (length === 0 ? stored.subarray(0, 0) : decompressZstd(stored, new Uint8Array(length))),
    ],
  ]);
  if (SNAPPY !== undefined) codecs.set("SNAPPY", (stored, length) => SNAPPY(snappyOf(stored, length), length));
  if (LZ4 !== undefined) codecs.set("LZ4", LZ4);
  if (LZ4_RAW !== undefined) codecs.set("LZ4_RAW", LZ4_RAW);
  return { parquetMetadata, parquetHeader, deltaBinaryUnpack, codecs };
}

/** A file beside the library's own entry: its exports name these by a pattern that not every loader of modules knows. */
function partOf(file: string): string {
  return new URL(file, pathToFileURL(createRequire(import.meta.url).resolve("hyparquet"))).href;
}

/** The library gives back `length` bytes of its memory, whatever the data says they are. */
function snappyOf(stored: Uint8Array, length: number): Uint8Array {
  let claimed = 0;
  for (const [at, byte] of stored.subarray(0, 5).entries()) {
    claimed += (byte % 128) * 128 ** at;
    if (byte < 128) break;
  }
  if (claimed !== length) throw new RangeError(`the data says ${claimed} bytes, the page ${length}`);
  return stored;
}

export function damaged(source: ByteSource, message: string, cause?: unknown): never {
  throw new ExpandError("damaged", message, { at: source.name, fix: "Download or write the file again.", cause });
}

/** What a decoder makes of bytes. Whatever it throws, it throws because of them: fields may be of any type, or missing. */
export function orDamaged<Result>(source: ByteSource, message: string, decode: () => Result): Result {
  try {
    return decode();
  } catch (cause) {
    if (cause instanceof ExpandError) throw cause;
    return damaged(source, `${message}: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
  }
}

export function unsupported(source: ByteSource, message: string, instead: string): never {
  throw new ExpandError("unsupported", message, { at: source.name, fix: `Write the file again with ${instead}.` });
}
