// Compares tensors by their stored bytes, a piece at a time, in constant memory. Never holds a whole tensor, never decodes a weight.
import fs from "node:fs";
import { setImmediate } from "node:timers/promises";
import { throwIfAborted } from "../errors.ts";
import type { RunEvent } from "../events.ts";
import { blockOf, isPlainFloat } from "../tensor/dtype.ts";
import { isZero, type TensorRef } from "../tensor/reference.ts";
import { type ByteSource, readFully } from "../tensor/source.ts";
import { SourceStream } from "../tensor/stream.ts";

/** Bytes per read. Both sides stay in the second-level cache: 256 KiB costs 15 % less CPU than 1 MiB, 128 KiB no less. */
const CHUNK = 1 << 18;
/** Bytes of the first read where a difference is likely: most tensors that are not filled show it at once. */
const PROBE = 4096;
/** Bytes between two looks at the abort signal: about 10 ms of work. */
const STEP = 16 << 20;
/** Open files at a time; the shards of a checkpoint are read one after the other. */
const DESCRIPTORS = 16;

/** How a tensor differs from what was expected of it. */
export interface Difference {
  /** Offset of the first byte that differs, in the tensor. */
  readonly first: number;
  /** Number of bytes that differ; at least 1. */
  readonly bytes: number;
  /** The value that holds the first such byte. */
  readonly element: Uint8Array;
}

export interface Outcome {
  /** Absent when the tensor is as expected. */
  readonly difference?: Difference;
  /** True when 0 was expected and -0 was found, somewhere. */
  readonly negativeZero: boolean;
}

export class Comparison {
  readonly #total: number;
  readonly #signal: AbortSignal | undefined;
  readonly #descriptors = new Map<string, number>();
  readonly #patterns = new Map<string, Buffer>();
  readonly #streams: (SourceStream | undefined)[] = [];
  readonly #buffers = [Buffer.allocUnsafeSlow(CHUNK), Buffer.allocUnsafeSlow(CHUNK)] as const;
  #done = 0;
  #reported = 0;

  /** `total` is what all comparisons will add up to, in bytes of the first operand. */
  constructor(total: number, signal: AbortSignal | undefined) {
    this.#total = total;
    this.#signal = signal;
  }

  get done(): number {
    return Math.min(this.#done, this.#total);
  }

  async close(): Promise<void> {
    for (const stream of this.#streams) await stream?.close();
    for (const descriptor of this.#descriptors.values()) fs.closeSync(descriptor);
    this.#descriptors.clear();
  }

  /** Both must have the same number of bytes. `untilFirst` stops at the first piece that differs; `bytes` is then a lower limit. */
  async *compare(found: TensorRef, expected: TensorRef, untilFirst = false): AsyncGenerator<RunEvent, Outcome, void> {
    if (isSameRun(found, expected)) {
      this.#done += found.bytes;
      return { negativeZero: false };
    }
    const floats = isPlainFloat(found.dtype) && expected.kind === "fill" && isZero(expected.pattern);
    let difference: Difference | undefined;
    let negativeZero = false;
    for (let at = 0; at < found.bytes; ) {
      const length = Math.min(at === 0 && expected.kind === "fill" ? PROBE : CHUNK, found.bytes - at);
      const [one, other] = [this.#view(found, at, length, 0), this.#view(expected, at, length, 1)];
      // Only what comes over a network has to be waited for.
      const left = one instanceof Promise ? await one : one;
      const right = other instanceof Promise ? await other : other;
      if (Buffer.compare(left, right) !== 0) {
        if (floats && isSignedZero(left, blockOf(found.dtype).bytes)) negativeZero = true;
        else {
          difference = widen(difference, found, left, right, at);
          if (untilFirst) return { difference, negativeZero };
        }
      }
      at += length;
      this.#done += length;
      if (this.#done - this.#reported >= STEP) yield* this.#report();
    }
    return { ...(difference === undefined ? {} : { difference }), negativeZero };
  }

  /** A short run of a tensor's bytes, copied. */
  async sample(tensor: TensorRef, at: number, length: number): Promise<Uint8Array> {
    return Uint8Array.from(await this.#view(tensor, at, length, 0));
  }

  async *#report(): AsyncGenerator<RunEvent, void, void> {
    this.#reported = this.#done;
    await setImmediate();
    throwIfAborted(this.#signal);
    yield { kind: "bytes", done: this.done, total: this.#total };
  }

  /** Valid until the next call with the same `buffer`. */
  #view(tensor: TensorRef, at: number, length: number, buffer: 0 | 1): Uint8Array | Promise<Uint8Array> {
    if (tensor.kind === "fill") return this.#filled(tensor.pattern, at, length);
    const { source, offset } = tensor;
    const target = this.#buffers[buffer].subarray(0, length);
    if (source.path === undefined) return this.#received(source, offset + at, offset + tensor.bytes, target, buffer);
    return readFully(this.#descriptor(source.path), target, offset + at, source.name);
  }

  /** From a network, all of a tensor is asked for at once, unless only a sample of it is looked at. */
  async #received(source: ByteSource, from: number, end: number, target: Buffer, side: 0 | 1): Promise<Uint8Array> {
    if (source.stream === undefined || target.length < Math.min(CHUNK, end - from)) {
      return source.read(from, target.length);
    }
    let stream = this.#streams[side];
    if (stream?.continues(source, from) !== true) {
      await stream?.close();
      stream = new SourceStream(source, from, end);
      this.#streams[side] = stream;
    }
    await stream.fill(target);
    return target;
  }

  #filled(pattern: Uint8Array, at: number, length: number): Uint8Array {
    const key = Buffer.from(pattern).toString("hex");
    const run = this.#patterns.get(key) ?? Buffer.alloc(CHUNK + pattern.length, pattern);
    this.#patterns.set(key, run);
    const phase = at % pattern.length;
    return run.subarray(phase, phase + length);
  }

  #descriptor(path: string): number {
    const known = this.#descriptors.get(path);
    if (known !== undefined) return known;
    const oldest = this.#descriptors.entries().next();
    if (this.#descriptors.size >= DESCRIPTORS && !oldest.done) {
      fs.closeSync(oldest.value[1]);
      this.#descriptors.delete(oldest.value[0]);
    }
    const opened = fs.openSync(path, "r");
    this.#descriptors.set(path, opened);
    return opened;
  }
}

/** True when every value is 0 or -0: all bits but the sign, the top bit of a little-endian value's last byte. */
function isSignedZero(bytes: Uint8Array, width: number): boolean {
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at] ?? 0;
    if ((at % width === width - 1 ? byte & 0x7f : byte) !== 0) return false;
  }
  return true;
}

function widen(
  known: Difference | undefined,
  tensor: TensorRef,
  left: Uint8Array,
  right: Uint8Array,
  at: number,
): Difference {
  let bytes = known?.bytes ?? 0;
  let first = -1;
  for (let index = 0; index < left.length; index++) {
    if (left[index] === right[index]) continue;
    if (first < 0) first = index;
    bytes++;
  }
  if (known !== undefined) return { ...known, bytes };
  // Pieces start at multiples of every value's width, so a value never straddles two of them.
  const width = blockOf(tensor.dtype).bytes;
  const start = first - (first % width);
  return { first: at + first, bytes, element: Uint8Array.from(left.subarray(start, start + width)) };
}

/** The same bytes of the same opened file: of outputs that are proved as they are planned, before they are written. */
function isSameRun(one: TensorRef, other: TensorRef): boolean {
  if (one.kind === "fill" || other.kind === "fill") return false;
  return one.source === other.source && one.offset === other.offset && one.bytes === other.bytes;
}
