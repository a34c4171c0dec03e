// ggml's blocks of 32 to 128 values with one half-precision scale. Formulas: ggml/src/ggml-quants.c of llama.cpp v0.5.0.
import { type Decode, halfAt } from "./codec.ts";

/** The 16 levels of IQ4_NL and IQ4_XS. */
export const NONLINEAR: Int8Array = Int8Array.of(
  -127,
  -104,
  -83,
  -65,
  -49,
  -35,
  -22,
  -10,
  1,
  13,
  25,
  38,
  53,
  69,
  89,
  113,
);

/** Scale, 16 bytes of nibbles: low ones first, then high ones, minus 8. */
export const q4_0: Decode = (data, values) => {
  for (let at = 0, to = 0; to < values.length; at += 18, to += 32) {
    const d = halfAt(data, at);
    for (let i = 0; i < 16; i++) {
      const q = data[at + 2 + i] ?? 0;
      values[to + i] = ((q & 15) - 8) * d;
      values[to + 16 + i] = ((q >> 4) - 8) * d;
    }
  }
};

/** Scale, minimum, nibbles. */
export const q4_1: Decode = (data, values) => {
  for (let at = 0, to = 0; to < values.length; at += 20, to += 32) {
    const d = halfAt(data, at);
    const m = halfAt(data, at + 2);
    for (let i = 0; i < 16; i++) {
      const q = data[at + 4 + i] ?? 0;
      values[to + i] = (q & 15) * d + m;
      values[to + 16 + i] = (q >> 4) * d + m;
    }
  }
};

/** Scale, 32 fifth bits, nibbles, minus 16. */
export const q5_0: Decode = (data, values) => {
  for (let at = 0, to = 0; to < values.length; at += 22, to += 32) {
    const d = halfAt(data, at);
    const high = wordAt(data, at + 2);
    for (let i = 0; i < 16; i++) {
      const q = data[at + 6 + i] ?? 0;
      values[to + i] = (((q & 15) | (((high >>> i) & 1) << 4)) - 16) * d;
      values[to + 16 + i] = (((q >> 4) | (((high >>> (i + 16)) & 1) << 4)) - 16) * d;
    }
  }
};

/** Scale, minimum, 32 fifth bits, nibbles. */
export const q5_1: Decode = (data, values) => {
  for (let at = 0, to = 0; to < values.length; at += 24, to += 32) {
    const d = halfAt(data, at);
    const m = halfAt(data, at + 2);
    const high = wordAt(data, at + 4);
    for (let i = 0; i < 16; i++) {
      const q = data[at + 8 + i] ?? 0;
      values[to + i] = ((q & 15) | (((high >>> i) & 1) << 4)) * d + m;
      values[to + 16 + i] = ((q >> 4) | (((high >>> (i + 16)) & 1) << 4)) * d + m;
    }
  }
};

/** Scale, 32 signed bytes. */
export const q8_0: Decode = (data, values) => {
  for (let at = 0, to = 0; to < values.length; at += 34, to += 32) {
    const d = halfAt(data, at);
    for (let i = 0; i < 32; i++) values[to + i] = (((data[at + 2 + i] ?? 0) << 24) >> 24) * d;
  }
};

/** Scale, nibbles that choose one of 16 levels. */
export const iq4_nl: Decode = (data, values) => {
  for (let at = 0, to = 0; to < values.length; at += 18, to += 32) {
    const d = halfAt(data, at);
    for (let i = 0; i < 16; i++) {
      const q = data[at + 2 + i] ?? 0;
      values[to + i] = d * (NONLINEAR[q & 15] ?? 0);
      values[to + 16 + i] = d * (NONLINEAR[q >> 4] ?? 0);
    }
  }
};

/** Scale, 128 bits: the scale or its negative. */
export const q1_0: Decode = (data, values) => {
  for (let at = 0, to = 0; to < values.length; at += 18, to += 128) {
    const d = halfAt(data, at);
    for (let i = 0; i < 128; i++) values[to + i] = ((data[at + 2 + (i >> 3)] ?? 0) >> (i & 7)) & 1 ? d : -d;
  }
};

/** Scale, 64 fields of two bits, in order: -1, 0, 1, 2. */
export const q2_0: Decode = (data, values) => {
  for (let at = 0, to = 0; to < values.length; at += 18, to += 64) {
    const d = halfAt(data, at);
    for (let i = 0; i < 64; i++) values[to + i] = ((((data[at + 2 + (i >> 2)] ?? 0) >> ((i & 3) << 1)) & 3) - 1) * d;
  }
};

/** The little-endian 32-bit word at a byte, as a signed number. */
export function wordAt(data: Uint8Array, at: number): number {
  return (data[at] ?? 0) | ((data[at + 1] ?? 0) << 8) | ((data[at + 2] ?? 0) << 16) | ((data[at + 3] ?? 0) << 24);
}
