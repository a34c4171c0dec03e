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
 * Bytes moved at once. Larger buffered writes draw on 2 MiB pages, which are dear on virtual machines (3 to 7 times the CPU); smaller ones cost system calls.
 */
export const CHUNK = 512 * 1024;

/**
 * How many bytes may wait in the page cache before they are sent on their way: bounds the wait of the last fsync, which nothing can interrupt.
 */
const FLUSH_EVERY = 256 * 1024 * 1024;

const flushFile = promisify(fs.fdatasync);
const syncFile = promisify(fs.fsync);

/** Writes through the page cache, relative to each run's start. */
export class BufferedSink implements Sink {
  readonly #fd: number;
  readonly #buffer: Uint8Array;
  readonly #sparse: boolean;
  readonly #flushes: Promise<unknown>[] = [];
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
    fs.ftruncateSync(this.#fd, size);
  }

  room(wanted: number): Uint8Array {
    return this.#buffer.subarray(0, wanted);
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
    if (this.#unflushed >= FLUSH_EVERY) this.#flush();
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
    // An error of writing back is reported once per open file, so these answers count as much as the last one.
    for (const outcome of await Promise.all(this.#flushes)) if (outcome !== undefined) throw outcome;
    await syncFile(this.#fd);
  }

  async close(): Promise<void> {
    await Promise.all(this.#flushes);
    fs.closeSync(this.#fd);
  }

  #flush(): void {
    this.#unflushed = 0;
    this.#flushes.push(flushFile(this.#fd).catch((error: unknown) => error));
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
