// Looks for NaN and infinity in stored floats, a piece at a time. Reads their bits and decodes nothing.
import { blockOf, type Dtype } from "../tensor/dtype.ts";
import type { TensorRef } from "../tensor/reference.ts";

/** Bytes per read, as the comparison reads. */
const CHUNK = 1 << 18;

/** All bits of the exponent, in the value's last two or four bytes (IEEE 754; bfloat16 is the upper half of binary32). */
const EXPONENTS: Partial<Record<Dtype, number>> = { F64: 0x7ff0_0000, F32: 0x7f80_0000, F16: 0x7c00, BF16: 0x7f80 };

export interface NonFinite {
  /** Offset of the first byte of the first such value, in the tensor. */
  readonly first: number;
  /** Bytes that such values take. */
  readonly count: number;
  /** The first such value. */
  readonly element: Uint8Array;
}

/** Undefined when every value is finite, and for types that have no other values. `read` gives a run of the tensor's bytes. */
export async function firstNonFinite(
  { dtype, bytes }: TensorRef,
  read: (at: number, length: number) => Promise<Uint8Array>,
): Promise<NonFinite | undefined> {
  const mask = EXPONENTS[dtype];
  if (mask === undefined) return undefined;
  const width = blockOf(dtype).bytes;
  let found: Omit<NonFinite, "count"> | undefined;
  let count = 0;
  for (let at = 0; at < bytes; at += CHUNK) {
    const piece = await read(at, Math.min(CHUNK, bytes - at));
    const view = new DataView(piece.buffer, piece.byteOffset, piece.byteLength);
    for (let start = 0; start < piece.length; start += width) {
      const high = width === 2 ? view.getUint16(start, true) : view.getUint32(start + width - 4, true);
      // >>> 0: JavaScript's & gives a signed number.
      if ((high & mask) >>> 0 !== mask) continue;
      found ??= { first: at + start, element: piece.slice(start, start + width) };
      count += width;
    }
  }
  return found === undefined ? undefined : { ...found, count };
}
