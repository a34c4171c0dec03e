// Floats of 16, 32 and 64 bits, integers and truth values to f32. Floats keep NaN payloads; the rest is rounded to the nearest f32.
import { type Decode, HALF_BITS } from "./codec.ts";

export const f32: Decode = (data, values) => {
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength).set(data);
};

export const f16: Decode = (data, values) => {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = halvesOf(data);
  for (let i = 0; i < bits.length; i++) bits[i] = HALF_BITS[halves[i] ?? 0] ?? 0;
};

export const bf16: Decode = (data, values) => {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = halvesOf(data);
  for (let i = 0; i < bits.length; i++) bits[i] = (halves[i] ?? 0) << 16;
};

/** A value at a byte offset, as a number. */
type Read = (view: DataView, at: number) => number;

/** Decodes values of `bytes` bytes one by one. */
export function each(bytes: number, read: Read): Decode {
  return (data, values) => {
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    for (let i = 0; i < values.length; i++) values[i] = read(view, i * bytes);
  };
}

/** Decodes one-byte values through a table of 256. */
export function tabled(table: Float32Array): Decode {
  return (data, values) => {
    for (let i = 0; i < values.length; i++) values[i] = table[data[i] ?? 0] ?? 0;
  };
}

/** Decodes values of 2 or 4 bits, the lowest bits first; the last byte may hold fewer than it could. */
export function packed(bits: 2 | 4, signed: boolean): Decode {
  const perByte = 8 / bits;
  const sign = signed ? 1 << (bits - 1) : 0;
  return (data, values) => {
    for (let i = 0; i < values.length; i++) {
      const code = ((data[Math.floor(i / perByte)] ?? 0) >> ((i % perByte) * bits)) & ((1 << bits) - 1);
      values[i] = (code ^ sign) - sign;
    }
  };
}

/** Two-byte words; a copy only where they do not lie on even addresses. */
function halvesOf(data: Uint8Array): Uint16Array {
  // Not slice(), which on a Buffer is a view of the same bytes.
  const aligned = data.byteOffset % 2 === 0 ? data : new Uint8Array(data);
  return new Uint16Array(aligned.buffer, aligned.byteOffset, aligned.byteLength >> 1);
}
