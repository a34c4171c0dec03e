// Where the bytes of one file go, in order: through the page cache here, past it in direct.ts. Never knows where they come from.
import fs from "node:fs";
import { promisify } from "node:util";
import type { CloneRange } from "./clone.ts";

/** Takes the bytes of one file from first to last: ask for room, fill it, commit it. */
export interface Sink {
  /** Memory for the next bytes: at least one, at most `wanted`. */
  room(wanted: number): Uint8Array | Promise<Uint8Array>;
  /** The first `length` bytes of the last room are the next bytes of the file. */
  commit(length: number): void;
  /** How many of the next `length` bytes, all zeros, were left as a hole; 0 when they have to be written. */
  hole(length: number): number;
  /** Tries to let the next `length` bytes share those of an open source. Where true, they are still committed, but not written. */
  clone(fd: number, from: number, length: number): boolean;
  /** Returns when every byte is on the disk. */
  finish(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Bytes moved at once. What was read has to be in the processor's cache still when it is hashed and written: 512 KiB took 1.3 times the
 * CPU of 128 KiB, and 64 KiB more again, in system calls.
 */
export const CHUNK = 128 * 1024;

/**
 * After so many bytes they are sent on their way to the disk, while the next ones are copied. Bounds what the last fsync waits for,
 * because nothing can interrupt that, and the page-cache memory that waits for a slow disk.
 */
const FLUSH_EVERY = 64 * 1024 * 1024;

const flushFile = promisify(fs.fdatasync);
const syncFile = promisify(fs.fsync);

/** Writes through the page cache, relative to each run's start. */
export class BufferedSink implements Sink {
  readonly #fd: number;
  readonly #buffer: Uint8Array;
  readonly #sparse: boolean;
  /** Settles with the error of the last flush, if any. */
  #flushed: Promise<unknown> = Promise.resolve(undefined);
  readonly #cloneRange: CloneRange | undefined;
  #at = 0;
  /** Bytes before this one share a source's. */
  #cloned = 0;
  #unflushed = 0;

  /** `buffer` is used until `close`, by this file alone. */
  constructor(path: string, size: number, sparse: boolean, buffer: Uint8Array, cloneRange?: CloneRange) {
    this.#cloneRange = cloneRange;
    this.#fd = fs.openSync(path, "wx");
    this.#buffer = buffer;
    this.#sparse = sparse;
    try {
      fs.ftruncateSync(this.#fd, size);
    } catch (error) {
      fs.closeSync(this.#fd);
      throw error;
    }
  }

  room(wanted: number): Uint8Array | Promise<Uint8Array> {
    const room = this.#buffer.subarray(0, wanted);
    return this.#unflushed < FLUSH_EVERY ? room : this.#flush().then(() => room);
  }

  commit(length: number): void {
    if (this.#at < this.#cloned) {
      this.#at += length;
      return;
    }
    let done = 0;
    // A disk that fills up answers with a short write first, and with ENOSPC the next time.
    while (done < length) done += fs.writeSync(this.#fd, this.#buffer, done, length - done, this.#at + done);
    this.#at += length;
    this.#unflushed += length;
  }

  hole(length: number): number {
    if (!this.#sparse) return 0;
    this.#at += length;
    return length;
  }

  clone(fd: number, from: number, length: number): boolean {
    if (this.#cloneRange?.(fd, from, this.#fd, this.#at, length) !== true) return false;
    this.#cloned = this.#at + length;
    return true;
  }

  async finish(): Promise<void> {
    // An error of writing back is reported once per open file: the last answer alone may be a good one.
    await this.#settle();
    await syncFile(this.#fd);
  }

  async close(): Promise<void> {
    await this.#flushed;
    fs.closeSync(this.#fd);
  }

  /** Waits for the flush before this one, and starts this one. */
  async #flush(): Promise<void> {
    await this.#settle();
    this.#unflushed = 0;
    this.#flushed = flushFile(this.#fd).catch((error: unknown) => error);
  }

  async #settle(): Promise<void> {
    const outcome = await this.#flushed;
    if (outcome !== undefined) throw outcome;
  }
}

/** Takes bytes that are in place already, because the file is a hard link: they are only hashed. */
export class ReadOnly implements Sink {
  readonly #buffer: Uint8Array;

  constructor(buffer: Uint8Array) {
    this.#buffer = buffer;
  }

  room(wanted: number): Uint8Array {
    return this.#buffer.subarray(0, wanted);
  }

  commit(): void {}

  hole(): number {
    return 0;
  }

  clone(): boolean {
    return true;
  }

  async finish(): Promise<void> {}

  async close(): Promise<void> {}
}
