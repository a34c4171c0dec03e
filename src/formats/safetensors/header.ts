// The JSON header of a safetensors file as tensors and metadata: checks every claim against the file. Never reads weights.
import { ExpandError } from "../../errors.ts";
import { JsonDocument, type JsonValue } from "../../json.ts";
import { byteLength, type Shape } from "../../tensor/dtype.ts";
import type { TensorRef } from "../../tensor/reference.ts";
import type { ByteSource } from "../../tensor/source.ts";
import { isObject, quote } from "../shards.ts";
import { isSafetensorsDtype, type SafetensorsDtype } from "./dtypes.ts";

/** Bytes of the little-endian u64 that says how long the header is. */
export const LENGTH_BYTES = 8;
/** MAX_HEADER_SIZE in safetensors/src/tensor.rs: other readers stop there. */
export const MAX_HEADER_BYTES = 100_000_000;
/** numpy's limit; a shape is printed in errors. */
const MAX_DIMENSIONS = 64;
export const METADATA_KEY = "__metadata__";

export interface Header {
  /** Offset of the first data byte in the file. */
  readonly dataStart: number;
  /** In the order of the data. */
  readonly tensors: ReadonlyMap<string, TensorRef>;
  readonly metadata?: ReadonlyMap<string, string>;
}

interface Entry {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: Shape;
  /** Offsets from the first data byte. */
  readonly begin: number;
  readonly end: number;
}

/** Reads and checks a header. Throws "damaged" with the exact fault; "unsupported" for a type or member that is not known. */
export async function readHeader(source: ByteSource): Promise<Header> {
  const length = await headerLength(source);
  const bytes = await source.read(LENGTH_BYTES, length);
  if (bytes[0] !== 0x7b) damaged(source, 'its header does not begin with "{"');
  const document = JsonDocument.parse(`${source.name} header`, bytes).value;
  const { [METADATA_KEY]: metadata, ...members } = isObject(document) ? document : {};
  const entries = Object.entries(members).map(([name, info]) => parseEntry(source, name, info));
  const dataStart = LENGTH_BYTES + length;
  const tensors = new Map<string, TensorRef>();
  for (const { name, dtype, shape, begin, end } of checkCover(source, entries, source.size - dataStart)) {
    tensors.set(name, { kind: "stored", dtype, shape, bytes: end - begin, source, offset: dataStart + begin });
  }
  return { dataStart, tensors, ...(metadata === undefined ? {} : { metadata: parseMetadata(source, metadata) }) };
}

async function headerLength(source: ByteSource): Promise<number> {
  if (source.size < LENGTH_BYTES) {
    damaged(
      source,
      `has ${source.size} bytes; a safetensors file starts with ${LENGTH_BYTES} that say how long its header is`,
    );
  }
  const length = Buffer.from(await source.read(0, LENGTH_BYTES)).readBigUInt64LE();
  if (length > MAX_HEADER_BYTES) {
    damaged(source, `claims a header of ${length} bytes; the format allows ${MAX_HEADER_BYTES}`);
  }
  const rest = source.size - LENGTH_BYTES;
  if (length > rest) damaged(source, `claims a header of ${length} bytes, but only ${rest} follow`);
  return Number(length);
}

function parseMetadata(source: ByteSource, metadata: JsonValue): ReadonlyMap<string, string> {
  if (!isObject(metadata)) damaged(source, `its ${METADATA_KEY} is not an object`);
  const pairs = new Map<string, string>();
  for (const [key, value] of Object.entries(metadata)) {
    if (typeof value !== "string") damaged(source, `its ${METADATA_KEY} has ${quote(key)}, which is not a string`);
    pairs.set(key, value);
  }
  return pairs;
}

function parseEntry(source: ByteSource, name: string, info: JsonValue): Entry {
  const fail = (fault: string): never => damaged(source, `tensor ${quote(name)} ${fault}`);
  if (/\p{Surrogate}/u.test(name)) fail("has a name that is not valid Unicode");
  if (!isObject(info)) return fail("is not described by an object");
  const { dtype, shape, data_offsets: offsets, ...unknown } = info;
  for (const member of Object.keys(unknown))
    unsupported(source, `tensor ${quote(name)} has an unknown member ${quote(member)}`);
  if (typeof dtype !== "string") return fail("has no dtype");
  if (!isSafetensorsDtype(dtype)) unsupported(source, `tensor ${quote(name)} has the unknown dtype ${quote(dtype)}`);
  if (!isSizes(shape)) return fail("has no shape that is a list of sizes");
  if (shape.length > MAX_DIMENSIONS) return fail(`has ${shape.length} dimensions; at most ${MAX_DIMENSIONS} are read`);
  if (!isSizes(offsets) || offsets.length !== 2) return fail("has no data_offsets that are two positions");
  const [begin = 0, end = 0] = offsets;
  if (begin > end) return fail(`begins at byte ${begin} and ends before it, at ${end}`);
  const bytes = byteLength(dtype, shape);
  if (bytes === undefined)
    return fail(`cannot have the shape [${shape}] in ${dtype}: that is no whole number of bytes below 2^53`);
  if (bytes !== end - begin) fail(`of shape [${shape}] in ${dtype} needs ${bytes} bytes, but has ${end - begin}`);
  return { name, dtype, shape, begin, end };
}

/** Entries in the order of their data, which must touch each other and fill the file to its end. */
function checkCover(source: ByteSource, entries: readonly Entry[], size: number): readonly Entry[] {
  const sorted = [...entries].sort((a, b) => a.begin - b.begin || a.end - b.end);
  let end = 0;
  let previous = "";
  for (const entry of sorted) {
    const here = `tensor ${quote(entry.name)}`;
    if (entry.begin < end)
      damaged(source, `${here} begins at data byte ${entry.begin}, inside ${previous}, which ends at ${end}`);
    if (entry.begin > end)
      damaged(source, `${here} begins at data byte ${entry.begin}, but the one before ends at ${end}: a hole`);
    if (entry.end > size) {
      damaged(
        source,
        `${here} ends at data byte ${entry.end}, but the file has ${size}`,
        "Download the file again; it is cut short.",
      );
    }
    end = entry.end;
    previous = here;
  }
  if (end !== size) damaged(source, `its tensors end at data byte ${end}, but the file has ${size}`);
  return sorted;
}

function isSizes(value: JsonValue | undefined): value is readonly number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

function damaged(
  source: ByteSource,
  message: string,
  fix = "Download the file again, or save it anew with safetensors.",
): never {
  throw new ExpandError("damaged", message, { at: source.name, fix });
}

function unsupported(source: ByteSource, message: string): never {
  throw new ExpandError("unsupported", message, {
    at: source.name,
    fix: "Save the file with a released version of safetensors, or update expand-checkpoint.",
  });
}
