// f32 values in the storage type that a tensor had, each rounded once to the nearest, ties to even. Reads what is asked for and no more.
import { ExpandError } from "../errors.ts";
import { decodeInto } from "../tensor/decode.ts";
import { blockOf, byteLength, type Dtype } from "../tensor/dtype.ts";
import type { TensorRef } from "../tensor/reference.ts";
import type { ByteSource } from "../tensor/source.ts";

/** Values at a time: 4 MiB of f32. */
const CHUNK = 2 ** 20;

/** f32 values (little-endian) to bytes of another type. */
type Encode = (values: Float32Array, bytes: Uint8Array) => void;

/** From here on the nearest value is an infinity: halfway between the largest one and what would come after it. */
const ENDS: Partial<Record<Dtype, { readonly end: number; readonly largest: number }>> = {
  F16: { end: 65520, largest: 65504 },
  BF16: { end: (2 - 2 ** -8) * 2 ** 127, largest: (2 - 2 ** -7) * 2 ** 127 },
};

const ENCODERS: Partial<Record<Dtype, Encode>> = {
  F32: (values, bytes) => bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength)),
  F64: (values, bytes) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    values.forEach((value, at) => {
      view.setFloat64(at * 8, value, true);
    });
  },
  BF16: (values, bytes) => halves(values, bytes, toBf16),
  F16: (values, bytes) => halves(values, bytes, toF16),
};

/** The tensor `values` (F32) as `dtype`, cast whenever it is read. Throws "bug" for a type that nothing is trained in. */
export function castTensor(name: string, values: TensorRef, dtype: Dtype): TensorRef {
  const encode = ENCODERS[dtype];
  const bytes = byteLength(dtype, values.shape);
  if (encode === undefined || bytes === undefined || values.kind !== "stored") {
    throw new ExpandError("bug", `a trained tensor cannot be stored as ${dtype}`, { at: name });
  }
  const width = blockOf(dtype).bytes;
  const source: ByteSource = {
    name,
    size: bytes,
    identity: `cast:${dtype}:${values.source.identity}:${values.offset}`,
    read: async (offset, length) => {
      const first = Math.floor(offset / width);
      const count = Math.ceil((offset + length) / width) - first;
      const target = new Uint8Array(count * width);
      for (let done = 0; done < count; done += CHUNK) {
        const part = new Float32Array(Math.min(CHUNK, count - done));
        await decodeInto(values, first + done, part);
        refuseBeyond(name, part, dtype);
        encode(part, target.subarray(done * width, (done + part.length) * width));
      }
      return target.subarray(offset - first * width, offset - first * width + length);
    },
  };
  return { kind: "stored", dtype, shape: values.shape, bytes, source, offset: 0 };
}

/** A value that is not finite, or that the type could only store as an infinity. */
function refuseBeyond(name: string, values: Float32Array, dtype: Dtype): void {
  const { end, largest } = ENDS[dtype] ?? { end: Number.POSITIVE_INFINITY };
  const beyond = values.find((value) => !(Math.abs(value) < end));
  if (beyond === undefined) return;
  const why = Number.isFinite(beyond) ? `, and ${dtype} ends at ${largest}` : "";
  throw new ExpandError("output", `a trained value is ${beyond}${why}`, {
    at: name,
    fix: "Train again with a lower --lr or more --decay, or from a checkpoint in F32.",
  });
}

function halves(values: Float32Array, bytes: Uint8Array, round: (bits: number) => number): void {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const target = new Uint16Array(bytes.buffer, bytes.byteOffset, bits.length);
  for (let i = 0; i < bits.length; i++) target[i] = round(bits[i] ?? 0);
}

/** Bits of an f32 to those of the nearest bf16. */
export function toBf16(bits: number): number {
  // A NaN stays one: rounding its fraction up could make it an infinity.
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** Bits of an f32 to those of the nearest f16; beyond 65504 it is an infinity. */
export function toF16(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const rest = bits & 0x7fffffff;
  if (rest > 0x7f800000) return sign | 0x7e00;
  // ENDS.F16.
  if (rest >= 0x477ff000) return sign | 0x7c00;
  if (rest >= 0x38800000) {
    const rounded = rest + 0xfff + ((rest >>> 13) & 1);
    return sign | ((rounded - 0x38000000) >>> 13);
  }
  // 2^-25 and below round to 0; above it, multiples of 2^-24.
  const exponent = rest >>> 23;
  if (exponent < 102) return sign;
  const fraction = (rest & 0x7fffff) | 0x800000;
  const shift = 126 - exponent;
  const half = 2 ** (shift - 1);
  const floor = fraction >>> shift;
  const left = fraction & (2 ** shift - 1);
  return sign | (floor + (left > half || (left === half && (floor & 1) === 1) ? 1 : 0));
}
