// ggml's codebook types: runs of four or eight values looked up as one, with signs apart. Formulas: ggml-quants.c of llama.cpp v0.5.0.
import { type Decode, HALF, halfAt } from "./codec.ts";
import { IQ1_S_GRID, IQ2_S_GRID, IQ2_XS_GRID, IQ2_XXS_GRID, IQ3_S_GRID, IQ3_XXS_GRID } from "./iq-grids.ts";
import { wordAt } from "./legacy.ts";

/** IQ1's offset from the levels. */
const DELTA = 0.125;

/** Eight signs from seven stored ones: an eighth makes their number even. */
const EVEN_SIGNS: Uint8Array = Uint8Array.from({ length: 128 }, (_, bits) => {
  let odd = 0;
  for (let i = 0; i < 7; i++) odd ^= (bits >> i) & 1;
  return bits | (odd << 7);
});

/** d; for each 32 values four codes, then a word of four times seven signs and a four-bit scale. */
export const iq2_xxs: Decode = (data, values) => {
  for (let at = 0, to = 0; to < values.length; at += 66, to += 256) {
    const d = halfAt(data, at);
    for (let g = 0; g < 8; g++) {
      const from = at + 2 + g * 8;
      const word = wordAt(data, from + 4);
      const scale = d * (0.5 + (word >>> 28)) * 0.25;
      for (let l = 0; l < 4; l++) {
        const signs = EVEN_SIGNS[(word >>> (7 * l)) & 127] ?? 0;
        signed(values, to + g * 32 + l * 8, IQ2_XXS_GRID, (data[from + l] ?? 0) * 8, 8, scale, signs);
      }
    }
  }
};

/** d; 32 words of a nine-bit code and seven signs; 8 bytes of two scales, for 16 values each. */
export const iq2_xs: Decode = (data, values) => {
  for (let at = 0, to = 0; to < values.length; at += 74, to += 256) {
    const d = halfAt(data, at);
    for (let l = 0; l < 32; l++) {
      const word = (data[at + 2 + 2 * l] ?? 0) | ((data[at + 3 + 2 * l] ?? 0) << 8);
      const scale = d * (0.5 + nibbleAt(data, at + 66, l >> 1)) * 0.25;
      signed(values, to + l * 8, IQ2_XS_GRID, (word & 511) * 8, 8, scale, EVEN_SIGNS[word >> 9] ?? 0);
    }
  }
};

/** d; 32 codes, 32 bytes of signs, 8 bytes of the codes' top bit pairs, 8 bytes of two scales. */
export const iq2_s: Decode = (data, values) => {
  for (let at = 0, to = 0; to < values.length; at += 82, to += 256) {
    const d = halfAt(data, at);
    for (let l = 0; l < 32; l++) {
      const top = ((data[at + 66 + (l >> 2)] ?? 0) >> ((l & 3) << 1)) & 3;
      const code = (data[at + 2 + l] ?? 0) | (top << 8);
      const scale = d * (0.5 + nibbleAt(data, at + 74, l >> 1)) * 0.25;
      signed(values, to + l * 8, IQ2_S_GRID, code * 8, 8, scale, data[at + 34 + l] ?? 0);
    }
  }
};

/** d; 64 codes of four values; for each 32 values a word of four times seven signs and a four-bit scale. */
export const iq3_xxs: Decode = (data, values) => {
  for (let at = 0, to = 0; to < values.length; at += 98, to += 256) {
    const d = halfAt(data, at);
    for (let l = 0; l < 64; l++) {
      const word = wordAt(data, at + 66 + ((l >> 3) << 2));
      const scale = d * (0.5 + (word >>> 28)) * 0.5;
      const signs = (EVEN_SIGNS[(word >>> (7 * ((l >> 1) & 3))) & 127] ?? 0) >> ((l & 1) << 2);
      signed(values, to + l * 4, IQ3_XXS_GRID, (data[at + 2 + l] ?? 0) * 4, 4, scale, signs);
    }
  }
};

/** d; 64 codes of four values, 8 bytes of their ninth bits, 32 bytes of signs, 4 bytes of two scales for 32 values each. */
export const iq3_s: Decode = (data, values) => {
  for (let at = 0, to = 0; to < values.length; at += 110, to += 256) {
    const d = halfAt(data, at);
    for (let l = 0; l < 64; l++) {
      const code = (data[at + 2 + l] ?? 0) | ((((data[at + 66 + (l >> 3)] ?? 0) >> (l & 7)) & 1) << 8);
      const scale = d * (1 + 2 * nibbleAt(data, at + 106, l >> 3));
      const signs = (data[at + 74 + (l >> 1)] ?? 0) >> ((l & 1) << 2);
      signed(values, to + l * 4, IQ3_S_GRID, code * 4, 4, scale, signs);
    }
  }
};

/** d; 32 codes; for each 32 values a word of the codes' top bits (3 each), a three-bit scale, and the sign of the offset. */
export const iq1_s: Decode = (data, values) => {
  for (let at = 0, to = 0; to < values.length; at += 50, to += 256) {
    const d = halfAt(data, at);
    for (let l = 0; l < 32; l++) {
      const word = (data[at + 34 + ((l >> 2) << 1)] ?? 0) | ((data[at + 35 + ((l >> 2) << 1)] ?? 0) << 8);
      const code = (data[at + 2 + l] ?? 0) | (((word >> (3 * (l & 3))) & 7) << 8);
      const scale = d * (2 * ((word >> 12) & 7) + 1);
      shifted(values, to + l * 8, code * 8, scale, word & 0x8000 ? -DELTA : DELTA);
    }
  }
};

/** 32 codes; 16 bytes of the codes' top bits and the offsets' signs; four words of four three-bit scales and a quarter of d each. */
export const iq1_m: Decode = (data, values) => {
  for (let at = 0, to = 0; to < values.length; at += 56, to += 256) {
    let half = 0;
    for (let i = 0; i < 4; i++) half |= ((data[at + 49 + 2 * i] ?? 0) >> 4) << (4 * i);
    const d = HALF[half] ?? 0;
    for (let l = 0; l < 32; l++) {
      const top = nibbleAt(data, at + 32, l);
      const code = (data[at + l] ?? 0) | ((top & 7) << 8);
      const word = (data[at + 48 + ((l >> 3) << 1)] ?? 0) | ((data[at + 49 + ((l >> 3) << 1)] ?? 0) << 8);
      const scale = d * (2 * ((word >> (3 * ((l >> 1) & 3))) & 7) + 1);
      shifted(values, to + l * 8, code * 8, scale, top & 8 ? -DELTA : DELTA);
    }
  }
};

/** Nibble `index` of the bytes at `at`, low halves first. */
function nibbleAt(data: Uint8Array, at: number, index: number): number {
  return ((data[at + (index >> 1)] ?? 0) >> ((index & 1) << 2)) & 15;
}

/** `count` levels of a codebook times the scale; bit i of `signs` makes level i negative. */
function signed(
  values: Float32Array,
  to: number,
  grid: Int8Array,
  from: number,
  count: number,
  scale: number,
  signs: number,
): void {
  for (let i = 0; i < count; i++) {
    const value = scale * (grid[from + i] ?? 0);
    values[to + i] = (signs >> i) & 1 ? -value : value;
  }
}

/** Eight ternary levels plus the offset, times the scale. */
function shifted(values: Float32Array, to: number, from: number, scale: number, offset: number): void {
  for (let i = 0; i < 8; i++) values[to + i] = scale * ((IQ1_S_GRID[from + i] ?? 0) + offset);
}
