// The values of one page of a flat column of strings, as bytes. Everything is bounded by the page and by the number of values it may have.
import type { ParquetLibrary } from "./parquet-library.ts";

/** Thrown for bytes that contradict themselves; the page's reader says where. */
export class PageFault extends RangeError {}

/** Lengths, each followed by its bytes. */
export function plainValues(page: Uint8Array, count: number): readonly Uint8Array[] {
  const view = viewOf(page);
  const values: Uint8Array[] = [];
  for (let at = 0; values.length < count; ) {
    if (at + 4 > page.length) throw new PageFault(`has ${values.length} values, not ${count}`);
    const end = at + 4 + view.getUint32(at, true);
    if (end > page.length) throw new PageFault(`a value ends at byte ${end}, but the page has ${page.length}`);
    values.push(page.subarray(at + 4, end));
    at = end;
  }
  return values;
}

/** Indices into a dictionary, behind one byte that says their width in bits. */
export function dictionaryValues(page: Uint8Array, count: number, dictionary: readonly string[]): readonly string[] {
  if (count === 0) return [];
  const width = page[0] ?? 0;
  if (width > 32) throw new PageFault(`claims indices of ${width} bits`);
  const indices = hybrid(page.subarray(1), width, count);
  return Array.from(indices, (index) => {
    const value = dictionary[index];
    if (value === undefined) throw new PageFault(`names value ${index} of a dictionary of ${dictionary.length}`);
    return value;
  });
}

/** All lengths, delta encoded, then all bytes. */
export function deltaLengthValues(library: ParquetLibrary, page: Uint8Array, count: number): readonly Uint8Array[] {
  const [lengths, from] = deltas(library, page, count);
  let at = from;
  return Array.from(lengths, (length) => {
    const start = at;
    at += length;
    if (length < 0 || at > page.length)
      throw new PageFault(`a value ends at byte ${at}, but the page has ${page.length}`);
    return page.subarray(start, at);
  });
}

/**
 * How much of the value before each one begins with, delta encoded; then what follows it, as above. A value may repeat all of the one before, so
 * that a page of a few bytes comes to any size: more than `most` bytes in all are refused.
 */
export function deltaValues(
  library: ParquetLibrary,
  page: Uint8Array,
  count: number,
  most: number,
): readonly Uint8Array[] {
  const [shared, from] = deltas(library, page, count);
  const rest = deltaLengthValues(library, page.subarray(from), count);
  let [before, total] = [new Uint8Array(0), 0];
  return rest.map((end, at) => {
    const kept = shared[at] ?? 0;
    if (kept < 0 || kept > before.length)
      throw new PageFault(`a value begins with ${kept} bytes of one that has ${before.length}`);
    total += kept + end.length;
    if (total > most) throw new PageFault(`has more than ${most} bytes of values`);
    const value = new Uint8Array(kept + end.length);
    value.set(before.subarray(0, kept));
    value.set(end, kept);
    before = value;
    return value;
  });
}

/** Delta encoded numbers, and where they end. */
function deltas(library: ParquetLibrary, page: Uint8Array, count: number): readonly [Int32Array, number] {
  const values = new Int32Array(count);
  if (count === 0) return [values, 0];
  checkDeltaHead(page, count);
  const reader = { view: viewOf(page), offset: 0 };
  library.deltaBinaryUnpack(reader, count, values);
  return [values, reader.offset];
}

/** Sizes that the library divides and steps by: the format says multiples of 128 and of 32. */
function checkDeltaHead(page: Uint8Array, count: number): void {
  const [block, afterBlock] = varint(page, 0);
  const [miniblocks, afterMiniblocks] = varint(page, afterBlock);
  const [total] = varint(page, afterMiniblocks);
  const isSound =
    block > 0 && block <= 2 ** 20 && block % 128 === 0 && miniblocks > 0 && block % (miniblocks * 8) === 0;
  if (!isSound) throw new PageFault(`claims delta blocks of ${block} values in ${miniblocks}`);
  if (total !== count) throw new PageFault(`claims ${total} lengths of ${count} values`);
}

/** Runs of equal values, and packed ones (Parquet's RLE hybrid): exactly `count` of them. */
export function hybrid(data: Uint8Array, width: number, count: number): Uint32Array {
  const values = new Uint32Array(count);
  const bytes = Math.ceil(width / 8);
  let done = 0;
  for (let at = 0; done < count; ) {
    const [head, next] = varint(data, at);
    if (head % 2 === 0) {
      const run = Math.min(head / 2, count - done);
      values.fill(littleEndian(data, next, bytes), done, done + run);
      done += run;
      at = next + bytes;
      continue;
    }
    const packed = ((head - 1) / 2) * 8;
    const taken = Math.min(packed, count - done);
    for (let value = 0; value < taken; value++) values[done + value] = bitsAt(data, next * 8 + value * width, width);
    done += taken;
    at = next + (packed / 8) * width;
  }
  return values;
}

function bitsAt(data: Uint8Array, bit: number, width: number): number {
  let value = 0;
  for (let taken = 0; taken < width; ) {
    const byte = data[Math.floor((bit + taken) / 8)];
    if (byte === undefined) throw new PageFault("ends within a run");
    const skipped = (bit + taken) % 8;
    const length = Math.min(8 - skipped, width - taken);
    value += ((byte >> skipped) % 2 ** length) * 2 ** taken;
    taken += length;
  }
  return value;
}

function littleEndian(data: Uint8Array, at: number, bytes: number): number {
  if (at + bytes > data.length) throw new PageFault("ends within a run");
  let value = 0;
  for (let byte = 0; byte < bytes; byte++) value += (data[at + byte] ?? 0) * 256 ** byte;
  return value;
}

function varint(data: Uint8Array, at: number): readonly [value: number, end: number] {
  let value = 0;
  for (let length = 0; length < 5; length++) {
    const byte = data[at + length];
    if (byte === undefined) break;
    value += (byte % 128) * 128 ** length;
    if (byte < 128) return [value, at + length + 1];
  }
  throw new PageFault("ends within a number");
}

export function viewOf(bytes: Uint8Array): DataView<ArrayBuffer> {
  return new DataView(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.byteLength);
}
