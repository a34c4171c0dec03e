// ggml's K-quants: super-blocks of 256 values with quantized scales. Formulas: ggml/src/ggml-quants.c of llama.cpp v0.5.0.
import { type Decode, halfAt } from "./codec.ts";
import { NONLINEAR } from "./legacy.ts";

/** 16 scale bytes (scale low, minimum high), 64 bytes of two-bit fields, d, dmin. */
export const q2_k: Decode = (data, values) => {
  for (let at = 0, to = 0; to < values.length; at += 84, to += 256) {
    const d = halfAt(data, at + 80);
    const min = halfAt(data, at + 82);
    // Group g of 16 values: half g >> 3, shift 2 * ((g >> 1) & 3), bytes 16 * (g & 1) on.
    for (let g = 0; g < 16; g++) {
      const scale = data[at + g] ?? 0;
      const dl = d * (scale & 15);
      const ml = min * (scale >> 4);
      const shift = g & 6;
      const from = at + 16 + ((g >> 3) << 5) + ((g & 1) << 4);
      for (let i = 0; i < 16; i++) values[to + g * 16 + i] = dl * (((data[from + i] ?? 0) >> shift) & 3) - ml;
    }
  }
};

/** 32 bytes of third bits, 64 bytes of two-bit fields, 12 bytes of six-bit scales, d. */
export const q3_k: Decode = (data, values) => {
  for (let at = 0, to = 0; to < values.length; at += 110, to += 256) {
    const d = halfAt(data, at + 108);
    for (let g = 0; g < 16; g++) {
      const low = ((data[at + 96 + (g & 7)] ?? 0) >> (g < 8 ? 0 : 4)) & 15;
      const high = ((data[at + 104 + (g & 3)] ?? 0) >> ((g >> 2) << 1)) & 3;
      const dl = d * ((low | (high << 4)) - 32);
      const shift = g & 6;
      const mask = 1 << (g >> 1);
      const bits = at + ((g & 1) << 4);
      const from = at + 32 + ((g >> 3) << 5) + ((g & 1) << 4);
      for (let i = 0; i < 16; i++) {
        const missing = (data[bits + i] ?? 0) & mask ? 0 : 4;
        values[to + g * 16 + i] = dl * ((((data[from + i] ?? 0) >> shift) & 3) - missing);
      }
    }
  }
};

/** d, dmin, 12 bytes of six-bit scales and minimums, 128 bytes of nibbles. */
export const q4_k: Decode = (data, values) => {
  for (let at = 0, to = 0; to < values.length; at += 144, to += 256) {
    const d = halfAt(data, at);
    const min = halfAt(data, at + 2);
    for (let g = 0; g < 8; g++) {
      const dl = d * scaleOf(data, at + 4, g);
      const ml = min * minimumOf(data, at + 4, g);
      const from = at + 16 + ((g >> 1) << 5);
      const shift = (g & 1) << 2;
      for (let i = 0; i < 32; i++) values[to + g * 32 + i] = dl * (((data[from + i] ?? 0) >> shift) & 15) - ml;
    }
  }
};

/** d, dmin, scales as in Q4_K, 32 bytes of fifth bits, 128 bytes of nibbles. */
export const q5_k: Decode = (data, values) => {
  for (let at = 0, to = 0; to < values.length; at += 176, to += 256) {
    const d = halfAt(data, at);
    const min = halfAt(data, at + 2);
    for (let g = 0; g < 8; g++) {
      const dl = d * scaleOf(data, at + 4, g);
      const ml = min * minimumOf(data, at + 4, g);
      const from = at + 48 + ((g >> 1) << 5);
      const shift = (g & 1) << 2;
      for (let i = 0; i < 32; i++) {
        const fifth = (((data[at + 16 + i] ?? 0) >> g) & 1) << 4;
        values[to + g * 32 + i] = dl * ((((data[from + i] ?? 0) >> shift) & 15) + fifth) - ml;
      }
    }
  }
};

/** 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 signed scales, d. */
export const q6_k: Decode = (data, values) => {
  for (let at = 0, to = 0; to < values.length; at += 210, to += 256) {
    const d = halfAt(data, at + 208);
    for (let g = 0; g < 16; g++) {
      const dl = d * (((data[at + 192 + g] ?? 0) << 24) >> 24);
      // Of each half of 128 values: four runs of 32; runs 0 and 2 share the nibbles' bytes, and so do 1 and 3.
      const run = (g >> 1) & 3;
      const low = at + ((g >> 3) << 6) + ((run & 1) << 5) + ((g & 1) << 4);
      const high = at + 128 + ((g >> 3) << 5) + ((g & 1) << 4);
      const nibble = (run >> 1) << 2;
      const pair = run << 1;
      for (let i = 0; i < 16; i++) {
        const q = (((data[low + i] ?? 0) >> nibble) & 15) | ((((data[high + i] ?? 0) >> pair) & 3) << 4);
        values[to + g * 16 + i] = dl * (q - 32);
      }
    }
  }
};

/** d, 16 high bit pairs, 8 low nibbles of scales, 128 bytes of nibbles that choose one of 16 levels. */
export const iq4_xs: Decode = (data, values) => {
  for (let at = 0, to = 0; to < values.length; at += 136, to += 256) {
    const d = halfAt(data, at);
    const high = (data[at + 2] ?? 0) | ((data[at + 3] ?? 0) << 8);
    for (let g = 0; g < 8; g++) {
      const low = ((data[at + 4 + (g >> 1)] ?? 0) >> ((g & 1) << 2)) & 15;
      const dl = d * ((low | (((high >> (2 * g)) & 3) << 4)) - 32);
      for (let i = 0; i < 16; i++) {
        const q = data[at + 8 + g * 16 + i] ?? 0;
        values[to + g * 32 + i] = dl * (NONLINEAR[q & 15] ?? 0);
        values[to + g * 32 + 16 + i] = dl * (NONLINEAR[q >> 4] ?? 0);
      }
    }
  }
};

/** Six-bit scale `g` of 8 in the 12 bytes at `at`: the last four keep their high bits in the first four's bytes. */
function scaleOf(data: Uint8Array, at: number, g: number): number {
  if (g < 4) return (data[at + g] ?? 0) & 63;
  return ((data[at + g + 4] ?? 0) & 15) | (((data[at + g - 4] ?? 0) >> 6) << 4);
}

function minimumOf(data: Uint8Array, at: number, g: number): number {
  if (g < 4) return (data[at + g + 4] ?? 0) & 63;
  return ((data[at + g + 4] ?? 0) >> 4) | (((data[at + g] ?? 0) >> 6) << 4);
}
