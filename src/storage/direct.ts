// Writes past the page cache (O_DIRECT, Linux): less CPU for large files, and no page-cache memory, which is dear on virtual machines.
// Says where it cannot be used; never falls back by itself.
import fs from "node:fs";
import { promisify } from "node:util";
import { isSystemError } from "../errors.ts";
import type { Sink } from "./sink.ts";

const SLOT = 2 * 1024 * 1024;
/** Memory, offset and length of a direct write must be multiples of the logical block size: 512 to 4096 bytes. */
const ALIGNMENT = 4096;
/** Shorter runs of zeros are written: a hole costs an extra, shorter write. */
const SHORTEST_HOLE = 64 * 1024;
const PAGE = 64 * 1024;

/** As far as it is used here: TypeScript has these types among the browser's only. */
declare const WebAssembly: {
  readonly Memory: new (size: { readonly initial: number }) => { readonly buffer: ArrayBuffer };
};

const write = promisify(fs.write);
const syncFile = promisify(fs.fsync);

export interface DirectOptions {
  /** Leave runs of zeros as holes. */
  readonly sparse: boolean;
  /**
   * Fill the next block while one is written: half of the time where filling is slow (hashing, a network). Each hand-over to another
   * thread costs some 0.2 ms of CPU, so what is only copied is written at once, in the same time.
   */
  readonly overlap: boolean;
}

/** A sink for a new file, or undefined where this system, its limits or the file system have no direct writes. */
export function openDirect(path: string, size: number, options: DirectOptions): Sink | undefined {
  const flag = fs.constants.O_DIRECT;
  if (flag === undefined) return undefined;
  const { O_WRONLY, O_CREAT, O_EXCL } = fs.constants;
  const slots = openSlots(options.overlap ? 2 : 1);
  if (slots === undefined) return undefined;
  let fd: number | undefined;
  try {
    fd = fs.openSync(path, O_WRONLY | O_CREAT | O_EXCL | flag, 0o666);
    const sink = new DirectSink(fd, size, slots, options);
    sink.probe();
    return sink;
  } catch (error) {
    // Some file systems make the file and refuse the flag afterwards, or refuse the first write.
    if (fd !== undefined) fs.closeSync(fd);
    // EOPNOTSUPP has no other name in Node.
    if (!isSystemError(error) || !["EINVAL", "ENOTSUP"].includes(error.code ?? "")) throw error;
    fs.rmSync(path, { force: true });
    return undefined;
  }
}

interface Slot {
  readonly memory: Uint8Array;
  /** The write that last used this memory; settles with its error, if any. */
  pending: Promise<unknown>;
}

/**
 * In the only memory in Node that is sure to start on a page. Node reserves some 10 GB of addresses for it: undefined where a limit on
 * virtual memory (ulimit -v, as batch systems set it) forbids that.
 */
function openSlots(count: number): readonly Slot[] | undefined {
  try {
    const memory = new WebAssembly.Memory({ initial: (count * SLOT) / PAGE }).buffer;
    return Array.from({ length: count }, (_, index) => ({
      memory: new Uint8Array(memory, index * SLOT, SLOT),
      pending: Promise.resolve(undefined),
    }));
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

class DirectSink implements Sink {
  readonly #fd: number;
  readonly #size: number;
  readonly #options: DirectOptions;
  readonly #slots: readonly Slot[];
  #current = 0;
  /** The write before: one at a time, since two to one file wait for each other by spinning. */
  #last: Promise<unknown> = Promise.resolve(undefined);
  /** Destination of the current slot's first byte, a multiple of ALIGNMENT, and how many of its bytes are filled. */
  #at = 0;
  #filled = 0;

  constructor(fd: number, size: number, slots: readonly Slot[], options: DirectOptions) {
    this.#fd = fd;
    this.#size = size;
    this.#slots = slots;
    this.#options = options;
    fs.ftruncateSync(fd, size);
  }

  /** Writes zeros where the first block will be: throws what a direct write throws here. */
  probe(): void {
    fs.writeSync(this.#fd, this.#slot().memory, 0, ALIGNMENT, 0);
  }

  async room(wanted: number): Promise<Uint8Array> {
    const slot = this.#slot();
    if (this.#filled === 0) await settled(slot);
    return slot.memory.subarray(this.#filled, Math.min(this.#filled + wanted, SLOT));
  }

  commit(length: number): void {
    this.#filled += length;
    if (this.#filled === SLOT) this.#send();
  }

  hole(length: number): number {
    const padding = (ALIGNMENT - (this.#filled % ALIGNMENT)) % ALIGNMENT;
    const empty = Math.floor((length - padding) / ALIGNMENT) * ALIGNMENT;
    if (!this.#options.sparse || empty < SHORTEST_HOLE) return 0;
    if (this.#filled > 0) this.#send();
    this.#at += empty;
    return padding + empty;
  }

  clone(): boolean {
    return false;
  }

  async finish(): Promise<void> {
    if (this.#filled > 0) this.#send();
    for (const slot of this.#slots) await settled(slot);
    fs.ftruncateSync(this.#fd, this.#size);
    await syncFile(this.#fd);
  }

  async close(): Promise<void> {
    // A write in flight may not find its descriptor taken by another file.
    for (const slot of this.#slots) await slot.pending;
    fs.closeSync(this.#fd);
  }

  #slot(): Slot {
    return this.#slots[this.#current] as Slot;
  }

  /** Writes the current slot, filled up with zeros to the alignment, or starts to, and turns to the next one. */
  #send(): void {
    const slot = this.#slot();
    const length = Math.ceil(this.#filled / ALIGNMENT) * ALIGNMENT;
    slot.memory.fill(0, this.#filled, length);
    const [at, before] = [this.#at, this.#last];
    if (this.#options.overlap) {
      slot.pending = before
        .then((outcome) => outcome ?? writeFully(this.#fd, slot.memory, length, at))
        .catch((error: unknown) => error);
      this.#last = slot.pending;
    } else writeFullySync(this.#fd, slot.memory, length, at);
    this.#at += length;
    this.#filled = 0;
    this.#current = (this.#current + 1) % this.#slots.length;
  }
}

async function settled(slot: Slot): Promise<void> {
  const outcome = await slot.pending;
  if (outcome !== undefined) throw outcome;
}

function writeFullySync(fd: number, memory: Uint8Array, length: number, position: number): void {
  for (let done = 0; done < length; ) done += fs.writeSync(fd, memory, done, length - done, position + done);
}

async function writeFully(fd: number, memory: Uint8Array, length: number, position: number): Promise<void> {
  for (let done = 0; done < length; ) {
    done += (await write(fd, memory, done, length - done, position + done)).bytesWritten;
  }
}
