// What a codec is, and the half-precision numbers that most of them share. Holds no storage type of its own.

/**
 * Decodes whole blocks: `data` holds n blocks, `values` has room for n times their values. Sums and products are taken in double
 * precision and rounded once on the store; every formula here is exact until then, so this equals C's float arithmetic bit by bit.
 */
export type Decode = (data: Uint8Array, values: Float32Array) => void;

/** The f32 bits of all 65,536 half-precision numbers; NaN keeps its payload. */
export const HALF_BITS: Uint32Array = Uint32Array.from({ length: 65536 }, (_, half) => widen(half));

/** The same as numbers. */
export const HALF: Float32Array = new Float32Array(HALF_BITS.buffer);

/** The little-endian half-precision number at a byte. */
export function halfAt(data: Uint8Array, at: number): number {
  return HALF[(data[at] ?? 0) | ((data[at + 1] ?? 0) << 8)] ?? 0;
}

function widen(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >> 10) & 31;
  const mantissa = half & 1023;
  if (exponent === 31) return (sign | 0x7f800000 | (mantissa << 13)) >>> 0;
  if (exponent > 0) return (sign | ((exponent + 112) << 23) | (mantissa << 13)) >>> 0;
  if (mantissa === 0) return sign >>> 0;
  // A subnormal m * 2^-24 is normal in f32: its leading bit becomes the implicit one.
  const lead = 31 - Math.clz32(mantissa);
  return (sign | ((lead + 103) << 23) | ((mantissa << (23 - lead)) & 0x7fffff)) >>> 0;
}
