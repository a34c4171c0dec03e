// Tensors as f32, whatever they are stored as. Reads what is asked for and no more; never holds a second copy of a whole tensor.
import { ExpandError } from "../errors.ts";
import type { Decode } from "./codecs/codec.ts";
import { CODECS } from "./codecs/codecs.ts";
import { blockOf, elementCount } from "./dtype.ts";
import type { TensorRef } from "./reference.ts";
import type { ByteSource } from "./source.ts";

/** Stored bytes that are in memory at a time. */
const CHUNK_BYTES = 2 ** 20;

/** True when the values of this storage type can be decoded. */
export function canDecode(ref: TensorRef): boolean {
  return CODECS[ref.dtype] !== undefined;
}

/** All values, in stored order. Throws "unsupported" for a type without a codec, "damaged" when bytes are missing. */
export async function decodeTensor(ref: TensorRef): Promise<Float32Array<ArrayBuffer>> {
  const values = new Float32Array(elementCount(ref.shape) ?? 0);
  await decodeInto(ref, 0, values);
  return values;
}

/** The values of rows [from, to) of the first dimension; a tensor without dimensions is one row. */
export async function decodeRows(ref: TensorRef, from: number, to: number): Promise<Float32Array<ArrayBuffer>> {
  const [rows = 1, ...inner] = ref.shape;
  if (!(from >= 0 && from <= to && to <= rows)) {
    throw new ExpandError("bug", `rows ${from} to ${to} were asked for, of ${rows}`, { at: nameOf(ref) });
  }
  const width = elementCount(inner) ?? 0;
  const values = new Float32Array((to - from) * width);
  await decodeInto(ref, from * width, values);
  return values;
}

/** Fills `target`, which may lie in shared memory, with the values from number `from` on. */
export async function decodeInto(ref: TensorRef, from: number, target: Float32Array): Promise<void> {
  const decode = codecOf(ref);
  const { values: perBlock, bytes: blockBytes } = blockOf(ref.dtype);
  const perChunk = Math.max(1, Math.floor(CHUNK_BYTES / blockBytes)) * perBlock;
  for (let done = 0; done < target.length; ) {
    const first = from + done;
    const skipped = first % perBlock;
    const count = Math.min(perChunk - skipped, target.length - done);
    const blocks = Math.ceil((skipped + count) / perBlock);
    const data = await storedBytes(ref, ((first - skipped) / perBlock) * blockBytes, blocks * blockBytes);
    const whole = skipped === 0 && count === blocks * perBlock;
    if (whole) decode(data, target.subarray(done, done + count));
    else target.set(decodedPart(decode, data, blocks * perBlock, skipped, count), done);
    done += count;
  }
}

/** The values as little-endian f32 bytes; each read decodes what it needs. Offsets need not fall on blocks or values. */
export function decodedSource(ref: TensorRef): ByteSource {
  codecOf(ref);
  const name = `${nameOf(ref)} as F32`;
  const size = (elementCount(ref.shape) ?? 0) * 4;
  const place =
    ref.kind === "stored" ? `${ref.source.identity}:${ref.offset}` : Buffer.from(ref.pattern).toString("hex");
  return {
    name,
    size,
    identity: `decoded:${ref.dtype}:${ref.bytes}:${place}`,
    read: async (offset, length) => {
      if (!(offset >= 0 && length >= 0 && offset + length <= size)) {
        throw new ExpandError("bug", `bytes ${offset} to ${offset + length} were asked for, of ${size}`, { at: name });
      }
      const first = Math.floor(offset / 4);
      const values = new Float32Array(Math.ceil((offset + length) / 4) - first);
      await decodeInto(ref, first, values);
      return new Uint8Array(values.buffer, offset - first * 4, length);
    },
  };
}

function decodedPart(decode: Decode, data: Uint8Array, room: number, skipped: number, count: number): Float32Array {
  const values = new Float32Array(room);
  decode(data, values);
  return values.subarray(skipped, skipped + count);
}

async function storedBytes(ref: TensorRef, offset: number, length: number): Promise<Uint8Array> {
  if (ref.kind === "stored") return ref.source.read(ref.offset + offset, length);
  const { pattern } = ref;
  if (pattern.length === 1) return new Uint8Array(length).fill(pattern[0] ?? 0);
  const data = new Uint8Array(length);
  for (let at = -(offset % pattern.length); at < length; at += pattern.length) {
    data.set(pattern.subarray(Math.max(0, -at), Math.min(pattern.length, length - at)), Math.max(0, at));
  }
  return data;
}

function codecOf(ref: TensorRef): Decode {
  const decode = CODECS[ref.dtype];
  if (decode !== undefined) return decode;
  throw new ExpandError("unsupported", `values of type ${ref.dtype} cannot be decoded`, {
    at: nameOf(ref),
    fix: "Store the tensor in another type; --mode structure needs no decoding.",
  });
}

function nameOf(ref: TensorRef): string {
  return ref.kind === "stored" ? ref.source.name : `a tensor of ${ref.dtype}`;
}
