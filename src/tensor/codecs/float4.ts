// ggml's blocks of four-bit floats (E2M1) with eight-bit float scales. Formulas: ggml-quants.c and ggml-impl.h of llama.cpp v0.5.0.
import type { Decode } from "./codec.ts";

/** Twice the E2M1 values, so that they are whole; the scales below are halved in turn. */
const DOUBLED: Int8Array = Int8Array.of(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);

/** Half of UE4M3 (bias 7): 0 and 0x7f mean 0; the sign bit is ignored. */
const UE4M3: Float32Array = Float32Array.from({ length: 256 }, (_, code) => {
  const exponent = (code >> 3) & 15;
  const mantissa = code & 7;
  if (code === 0 || code === 127) return 0;
  return exponent === 0 ? mantissa * 2 ** -10 : (1 + mantissa / 8) * 2 ** (exponent - 8);
});

/** One E8M0 exponent for 32 values; 16 bytes of nibbles, low ones first. No code is NaN. */
export const mxfp4: Decode = (data, values) => {
  for (let at = 0, to = 0; to < values.length; at += 17, to += 32) {
    const d = 2 ** ((data[at] ?? 0) - 128);
    for (let i = 0; i < 16; i++) {
      const q = data[at + 1 + i] ?? 0;
      values[to + i] = (DOUBLED[q & 15] ?? 0) * d;
      values[to + 16 + i] = (DOUBLED[q >> 4] ?? 0) * d;
    }
  }
};

/** Four UE4M3 scales for 16 values each, then 32 bytes of nibbles. */
export const nvfp4: Decode = (data, values) => {
  for (let at = 0, to = 0; to < values.length; at += 36, to += 64) {
    for (let g = 0; g < 4; g++) {
      const d = UE4M3[data[at + g] ?? 0] ?? 0;
      for (let i = 0; i < 8; i++) {
        const q = data[at + 4 + g * 8 + i] ?? 0;
        values[to + g * 16 + i] = (DOUBLED[q & 15] ?? 0) * d;
        values[to + g * 16 + 8 + i] = (DOUBLED[q >> 4] ?? 0) * d;
      }
    }
  }
};
