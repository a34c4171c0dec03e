// Damages files by a seed: the same seed gives the same damage. Knows formats only as far as numbers and brackets go.
import assert from "node:assert";
import type { Shard } from "../../src/checkpoint/checkpoint.ts";
import { ExpandError } from "../../src/errors.ts";
import { byteLength } from "../../src/tensor/dtype.ts";
import type { TensorRef } from "../../src/tensor/reference.ts";
import { type ByteSource, memorySource } from "../../src/tensor/source.ts";

/** Something that reads bytes nobody vouches for; fuzz.test.ts lists them all. */
export interface FuzzedReader {
  readonly name: string;
  /** A damaged file; the same seed gives the same one. */
  damaged(seed: number): Uint8Array;
  /** What is wrong with how the file was taken, apart from a refusal; undefined when nothing is. */
  faultOf(data: Uint8Array): Promise<string | undefined>;
}

/** A reader whose files are damaged from `seeds`. `read` may throw ExpandError and nothing else; what it accepts, it should check. */
export function fuzzed(
  name: string,
  seeds: readonly Uint8Array[],
  read: (data: Uint8Array) => Promise<void>,
): FuzzedReader {
  return fuzzedWith(name, (random) => mutate(random, seeds), read);
}

/** The same for files that are damaged in a way of their own. */
export function fuzzedWith(
  name: string,
  damage: (random: Random) => Uint8Array,
  read: (data: Uint8Array) => Promise<void>,
): FuzzedReader {
  return {
    name,
    damaged: (seed) => damage(seeded(seed)),
    faultOf: async (data) => {
      try {
        await read(data);
      } catch (error) {
        if (error instanceof ExpandError && error.tag !== "bug") return undefined;
        return error instanceof Error ? error.stack : String(error);
      }
      return undefined;
    },
  };
}

/** Whole numbers below `limit`. */
export type Random = (limit: number) => number;

/** Mulberry32: small, seeded, good enough to damage things. */
export function seeded(seed: number): Random {
  let state = seed >>> 0;
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  };
}

const HUGE = [
  0n,
  1n,
  7n,
  0x7fn,
  0xffn,
  0x7fffn,
  0xffffn,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  2n ** 32n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 1n,
];
const NUMBERS = [
  "-1",
  "0",
  "1",
  "0.5",
  "1e3",
  "1e400",
  "-0",
  "4294967296",
  "9007199254740991",
  "9007199254740993",
  "18446744073709551615",
  "1e-7",
  "null",
  "true",
  '"1"',
  "[]",
  "{}",
  "NaN",
  "Infinity",
];
const MARKS = [
  '"',
  "{",
  "}",
  "[",
  "]",
  ",",
  ":",
  "\\",
  " ",
  "\n",
  "\0",
  "\u00ff",
  '"\\ud800"',
  '"a":',
  "(",
  ".",
  "R",
  "c",
  "\x80",
  "\x94",
];

type Damage = (data: Buffer, random: Random, seeds: readonly Uint8Array[]) => Buffer;

const place = (data: Buffer, random: Random): number => random(data.length + 1);
const splice = (data: Buffer, start: number, end: number, middle: Uint8Array): Buffer =>
  Buffer.concat([data.subarray(0, start), middle, data.subarray(end)]);

const DAMAGES: readonly Damage[] = [
  function flipBit(data, random) {
    const at = random(Math.max(1, data.length));
    return splice(data, at, at + 1, Uint8Array.of((data[at] ?? 0) ^ (1 << random(8))));
  },
  function setByte(data, random) {
    const at = place(data, random);
    return splice(data, at, at + 1, Uint8Array.of(random(256)));
  },
  function cutEnd(data, random) {
    return data.subarray(0, place(data, random));
  },
  function cutRange(data, random) {
    const at = place(data, random);
    return splice(data, at, at + 1 + random(16), Buffer.alloc(0));
  },
  function repeatRange(data, random) {
    const from = place(data, random);
    const at = place(data, random);
    return splice(data, at, at, data.subarray(from, from + random(64)));
  },
  function spliceOther(data, random, seeds) {
    const other = seeds[random(seeds.length)] ?? data;
    const from = random(other.length + 1);
    const at = place(data, random);
    return splice(data, at, at + random(32), other.subarray(from, from + random(64)));
  },
  function hugeLength(data, random) {
    const at = place(data, random);
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(HUGE[random(HUGE.length)] ?? 0n);
    const width = [1, 2, 4, 8][random(4)] ?? 8;
    return splice(data, at, at + width, bytes.subarray(0, width));
  },
  function hugeHead(data, random) {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(HUGE[random(HUGE.length)] ?? 0n);
    return splice(data, 0, 8, bytes);
  },
  function otherNumber(data, random) {
    const text = data.toString("latin1");
    const numbers = [...text.matchAll(/\d+/g)];
    const found = numbers[random(Math.max(1, numbers.length))];
    if (found === undefined) return data;
    return splice(data, found.index, found.index + found[0].length, Buffer.from(NUMBERS[random(NUMBERS.length)] ?? ""));
  },
  function otherMark(data, random) {
    const at = place(data, random);
    return splice(data, at, at + random(2), Buffer.from(MARKS[random(MARKS.length)] ?? "", "latin1"));
  },
];

/** One of the seeds, damaged once to three times. */
export function mutate(random: Random, seeds: readonly Uint8Array[]): Buffer {
  let data: Buffer = Buffer.from(seeds[random(seeds.length)] ?? []);
  for (let times = 1 + random(3); times > 0; times--) {
    const damage = DAMAGES[random(DAMAGES.length)];
    if (damage !== undefined) data = damage(data, random, seeds);
  }
  return data;
}

/** A source in memory that fails when a reader asks for far more than the file has, in one read or in all. */
export function boundedSource(name: string, data: Uint8Array): ByteSource {
  const inner = memorySource(name, data);
  let total = 0;
  return {
    ...inner,
    read: async (offset, length) => {
      const bytes = await inner.read(offset, length);
      total += length;
      assert.ok(total <= 8 * data.length + 4096, `${total} bytes were read of a file that has ${data.length}`);
      return bytes;
    },
  };
}

/** What a reader accepted must lie inside the file and be as long as its type and shape say. */
export function assertInside(shard: Shard, tensors: ReadonlyMap<string, TensorRef>): void {
  assert.deepEqual(shard.tensors, [...tensors.keys()]);
  for (const [name, tensor] of tensors) {
    assert.equal(tensor.bytes, byteLength(tensor.dtype, tensor.shape), name);
    assert.ok(
      tensor.kind === "stored" && tensor.offset >= 0 && tensor.offset + tensor.bytes <= shard.source.size,
      name,
    );
  }
}
