// What an answer of the Hub double carries: bytes in memory, of a file, or computed on the fly. Holds no large content in memory.
import fs from "node:fs";

export interface Content {
  readonly size: number;
  /** Bytes from `from` to before `to`. */
  read(from: number, to: number): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

export const EMPTY: Content = bytes(new Uint8Array(0));

export function bytes(data: Uint8Array): Content {
  return { size: data.length, read: (from, to) => (from === to ? [] : [data.subarray(from, to)]) };
}

export function text(words: string): Content {
  return bytes(Buffer.from(words));
}

export function file(path: string): Content {
  return {
    size: fs.statSync(path).size,
    read: (from, to) =>
      from === to ? [] : fs.createReadStream(path, { start: from, end: to - 1, highWaterMark: 1 << 20 }),
  };
}

const BLOCK = 1 << 20;

/** Bytes that look random, computed from `seed`: as large as wanted without a disk. Repeats a block of 1 MiB. */
export function pattern(size: number, seed = 1): Content {
  const block = Buffer.alloc(BLOCK);
  const next = random(seed);
  for (let at = 0; at < BLOCK; at += 4) block.writeUInt32LE(Math.floor(next() * 2 ** 32), at);
  return {
    size,
    *read(from, to) {
      for (let at = from; at < to; ) {
        const start = at % BLOCK;
        const piece = block.subarray(start, Math.min(BLOCK, start + to - at));
        yield piece;
        at += piece.length;
      }
    },
  };
}

/** A part of another content. */
export function slice(content: Content, from: number, to: number): Content {
  return { size: to - from, read: (start, end) => content.read(from + start, from + end) };
}

/** Every byte turned over: as long, and nowhere the same. */
export function inverted(content: Content): Content {
  return {
    size: content.size,
    async *read(from, to) {
      for await (const piece of content.read(from, to)) yield piece.map((byte) => byte ^ 0xff);
    },
  };
}

export async function whole(content: Content): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of content.read(0, content.size)) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
