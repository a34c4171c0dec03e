// A model's bytes as they are collected: what is kept, what is put in, and the lengths that change with it. Copies verbatim otherwise.
import { encodeVarint, WIRE } from "./wire.ts";

interface Message {
  readonly number: number;
  /** Its length as the file says it. */
  readonly length: number;
  /** Where its tag and length lie among the kept bytes, and where its contents begin. */
  readonly head: number;
  readonly start: number;
  /** Bytes put in below it, less those of heads that they replace. */
  grown: number;
}

/** Replaces `remove` kept bytes at `at`. */
interface Patch {
  readonly at: number;
  readonly remove: number;
  readonly bytes: Uint8Array;
}

export class LightModel {
  #bytes = new Uint8Array(65536);
  #size = 0;
  readonly #open: Message[] = [];
  readonly #patches: Patch[] = [];

  /** Bytes kept so far. */
  get size(): number {
    return this.#size;
  }

  copy(data: Uint8Array): void {
    const end = this.#size + data.length;
    if (end > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(end, this.#bytes.length * 2));
      larger.set(this.#bytes.subarray(0, this.#size));
      this.#bytes = larger;
    }
    this.#bytes.set(data, this.#size);
    this.#size = end;
  }

  /** Begins a message whose head of `headBytes` was just copied. */
  open(number: number, length: number, headBytes: number): void {
    this.#open.push({ number, length, head: this.#size - headBytes, start: this.#size, grown: 0 });
  }

  /** Ends the innermost message, after putting bytes behind its contents. Its length, where it changed, is written anew. */
  close(insertion: Uint8Array | undefined): void {
    const message = this.#open.pop();
    if (message === undefined) return;
    const { number, head, start } = message;
    if (insertion !== undefined) {
      this.#patches.push({ at: this.#size, remove: 0, bytes: insertion });
      message.grown += insertion.length;
    }
    const length = this.#size - start + message.grown;
    const outer = this.#open.at(-1);
    if (length === message.length) {
      if (outer !== undefined) outer.grown += message.grown;
      return;
    }
    const bytes = Uint8Array.from([...encodeVarint(number * 8 + WIRE.bytes), ...encodeVarint(length)]);
    this.#patches.push({ at: head, remove: start - head, bytes });
    if (outer !== undefined) outer.grown += message.grown + bytes.length - (start - head);
  }

  assemble(): Uint8Array {
    const pieces: Uint8Array[] = [];
    let at = 0;
    // Where two stand at one place, the one put in first (the end of a message) comes before the head of the next.
    for (const patch of [...this.#patches].sort((a, b) => a.at - b.at)) {
      pieces.push(this.#bytes.subarray(at, patch.at), patch.bytes);
      at = patch.at + patch.remove;
    }
    return Buffer.concat([...pieces, this.#bytes.subarray(at, this.#size)]);
  }
}
