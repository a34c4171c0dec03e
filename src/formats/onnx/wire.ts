// Protobuf's wire format over a file that is read in pieces: tags, lengths, skipping. Knows no message, believes no length.
import { ExpandError } from "../../errors.ts";
import type { ByteSource } from "../../tensor/source.ts";

/** Bytes. */
const WINDOW = 65536;
/** The longest tag and length together: two varints of 10 bytes. */
const HEAD = 20;

export const WIRE = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

/** A position in a file, and the bytes around it that have been read. */
export class WireCursor {
  at = 0;
  readonly size: number;
  readonly #source: ByteSource;
  #bytes: Uint8Array = new Uint8Array(0);
  #start = 0;

  constructor(source: ByteSource) {
    this.#source = source;
    this.size = source.size;
  }

  /** True when the next field's head can be read. */
  get isReady(): boolean {
    const end = this.#start + this.#bytes.length;
    return this.at >= this.#start && (this.at + HEAD <= end || end === this.size);
  }

  /** True when `length` bytes from here can be taken. */
  holds(length: number): boolean {
    return this.at >= this.#start && this.at + length <= this.#start + this.#bytes.length;
  }

  /** Reads on from here: a window, or more when `length` asks for it. What was taken before stays valid. */
  async load(length: number = HEAD): Promise<void> {
    const wanted = Math.min(Math.max(WINDOW, length), this.size - this.at);
    const bytes = await this.#source.read(this.at, wanted);
    // A Buffer's slice would share memory; a plain Uint8Array's copies.
    this.#bytes = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#start = this.at;
  }

  /** The bytes from `from` to here, in the memory of the window. */
  since(from: number): Uint8Array {
    return this.#bytes.subarray(from - this.#start, this.at - this.#start);
  }

  /** A number of up to 64 bits. Beyond 2^53 it is not exact, and larger than any size. */
  varint(): number {
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = this.#bytes[this.at - this.#start];
      if (byte === undefined) this.fail("ends inside a number");
      this.at++;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    return this.fail("has a number of more than 10 bytes");
  }

  fail(
    message: string,
    tag: "damaged" | "unsupported" = "damaged",
    fix = "Download or export the model again.",
  ): never {
    throw new ExpandError(tag, `${message} (byte ${this.at})`, { at: this.#source.name, fix });
  }
}

/** The shortest form of a number below 2^53. */
export function encodeVarint(value: number): readonly number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...bytes, rest];
    bytes.push((rest % 128) + 128);
  }
}
