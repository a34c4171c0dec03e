// The lines of a byte range of a file: those that begin in it, so that ranges side by side have every line once. Never holds more than a line.
import { ExpandError } from "../errors.ts";
import type { ByteSource } from "../tensor/source.ts";

/** Bytes of a file that are read as one part. */
export const PART_BYTES = 2 ** 15;
/** Bytes. A longer line is refused; it would have to be held in memory. */
export const MAX_LINE = 2 ** 26;

const CHUNK = 2 ** 16;
const NEWLINE = 10;
const BYTE_ORDER_MARK = "\ufeff";
const REPLACEMENT = "\ufffd";
/** Keeps byte order marks: only a file's first character is one. */
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export interface Line {
  /** Byte of the file at which it begins. */
  readonly offset: number;
  /** Without its line feed. */
  readonly bytes: Uint8Array;
}

/** How many parts a file of so many bytes has. */
export function partsOf(size: number): number {
  return Math.ceil(size / PART_BYTES);
}

/** The lines that begin in a part. */
export function linesOfPart(source: ByteSource, part: number): AsyncGenerator<Line> {
  return lines(source, part * PART_BYTES, Math.min((part + 1) * PART_BYTES, source.size));
}

/** The lines that begin at a byte in [from, to). */
export async function* lines(source: ByteSource, from: number, to: number): AsyncGenerator<Line> {
  // A line begins at 0 and behind every line feed; the byte before the range may be one.
  let [base, start] = from === 0 ? [0, 0] : [from - 1, -1];
  let data: Uint8Array = new Uint8Array(0);
  let scanned = 0;
  for (;;) {
    const end = data.indexOf(NEWLINE, scanned);
    if (end >= 0) {
      if (start >= 0) yield { offset: base + start, bytes: data.subarray(start, end) };
      start = end + 1;
      scanned = start;
      if (base + start >= to) return;
      continue;
    }
    const next = base + data.length;
    if (start < 0 && next >= to) return;
    if (next >= source.size) {
      if (start >= 0 && start < data.length) yield { offset: base + start, bytes: data.subarray(start) };
      return;
    }
    const kept = start < 0 ? data.subarray(data.length) : data.subarray(start);
    if (kept.length > MAX_LINE) refuseLine(source, next - kept.length);
    base = next - kept.length;
    start = start < 0 ? -1 : 0;
    scanned = kept.length;
    // As much as there is already, so that a long line is not copied at every step.
    data = joined(kept, await source.read(next, Math.min(Math.max(CHUNK, kept.length), source.size - next)));
  }
}

/** Bytes of a file as text. Throws "damaged" where they are not UTF-8; drops a byte order mark at the file's beginning. */
export function decodeText(source: ByteSource, bytes: Uint8Array, offset: number): string {
  try {
    const text = decoder.decode(bytes);
    return offset === 0 && text.startsWith(BYTE_ORDER_MARK) ? text.slice(1) : text;
  } catch (cause) {
    const at = faultAt(bytes);
    throw new ExpandError(
      "damaged",
      `is not UTF-8: byte ${offset + at} is 0x${bytes[at]?.toString(16).padStart(2, "0")}`,
      {
        at: source.name,
        fix: "Convert the file to UTF-8.",
        cause,
      },
    );
  }
}

/** Where the first bytes stand that are no character: what is put in their place is not what the text itself has there. */
function faultAt(bytes: Uint8Array): number {
  const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  let [from, at] = [0, 0];
  for (let found = text.indexOf(REPLACEMENT); found >= 0; found = text.indexOf(REPLACEMENT, from)) {
    at += Buffer.byteLength(text.slice(from, found));
    if (Buffer.compare(bytes.subarray(at, at + 3), Buffer.from(REPLACEMENT)) !== 0) return at;
    at += 3;
    from = found + 1;
  }
  return at;
}

/** The number of the line that begins at a byte, from 1 up; reads the file up to there. */
export async function lineNumber(source: ByteSource, offset: number): Promise<number> {
  let number = 1;
  for (let at = 0; at < offset; at += CHUNK) {
    const chunk = await source.read(at, Math.min(CHUNK, offset - at));
    for (let found = chunk.indexOf(NEWLINE); found >= 0; found = chunk.indexOf(NEWLINE, found + 1)) number++;
  }
  return number;
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array {
  if (first.length === 0) return second;
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

function refuseLine(source: ByteSource, offset: number): never {
  throw new ExpandError("unsupported", `the line at byte ${offset} is longer than ${MAX_LINE} bytes`, {
    at: source.name,
    fix: "Split the file into shorter lines.",
  });
}
