// ggml's ternary types: 256 values of -1, 0 or 1 (TQ2_0's fourth code is 2) times one scale. Formulas: ggml-quants.c, llama.cpp v0.5.0.
import { type Decode, halfAt } from "./codec.ts";

/** Runs of bytes that hold a power-of-three digit each: [first byte, bytes, digits]. Digits come first in a run's order of values. */
const TQ1_RUNS = [
  [0, 32, 5],
  [32, 16, 5],
  [48, 4, 4],
] as const;
const POWERS = [1, 3, 9, 27, 81];

/** Five ternary digits a byte, as a fraction: multiply by 3^n, keep 8 bits, take the top digit. */
export const tq1_0: Decode = (data, values) => {
  for (let at = 0, to = 0; to < values.length; at += 54) {
    const d = halfAt(data, at + 52);
    for (const [first, bytes, digits] of TQ1_RUNS) {
      for (let n = 0; n < digits; n++) {
        const power = POWERS[n] ?? 1;
        for (let i = 0; i < bytes; i++) {
          const q = ((data[at + first + i] ?? 0) * power) & 255;
          values[to++] = (((q * 3) >> 8) - 1) * d;
        }
      }
    }
  }
};

/** 64 bytes of four two-bit fields, minus 1; d. */
export const tq2_0: Decode = (data, values) => {
  for (let at = 0, to = 0; to < values.length; at += 66, to += 256) {
    const d = halfAt(data, at + 64);
    for (let i = 0; i < 256; i++) {
      const q = (data[at + ((i >> 7) << 5) + (i & 31)] ?? 0) >> ((i >> 4) & 6);
      values[to + i] = ((q & 3) - 1) * d;
    }
  }
};
