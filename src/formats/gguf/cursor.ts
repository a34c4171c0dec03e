// Reads the fields of a GGUF header in any version and byte order. Checks every length against the file before believing it.
import { ExpandError } from "../../errors.ts";

/** llama.cpp refuses longer strings and arrays (GGUF_MAX_STRING_LENGTH, GGUF_MAX_ARRAY_ELEMENTS). */
const MAX_LENGTH = 2 ** 30;

/** What to do about the faults of this format. */
export const DOWNLOAD_AGAIN = "Download or convert the file again.";
export const CUT_SHORT = "Download the file again; it is cut short.";

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Thrown when the header goes on beyond the bytes read so far. Never leaves `readGgufHeader`. */
export class MoreNeeded {
  /** Bytes from the start of the file that the next attempt must have. */
  readonly upTo: number;

  constructor(upTo: number) {
    this.upTo = upTo;
  }
}

/** A position in the first bytes of a file of `fileSize` bytes. */
export class HeaderCursor {
  /** What is being read; errors begin with it. */
  subject = "the header";
  at = 0;
  /** v1 stores lengths, counts and dimensions as u32. */
  narrow = false;
  bigEndian = false;
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  readonly #fileSize: number;
  readonly #file: string;

  constructor(file: string, bytes: Uint8Array, fileSize: number) {
    this.#file = file;
    // A Buffer's slice would share memory; a plain Uint8Array's copies.
    this.bytes = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#fileSize = fileSize;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Bytes from here to the end of the file. */
  get left(): number {
    return this.#fileSize - this.at;
  }

  /** Bytes of a stored length. */
  get lengthBytes(): number {
    return this.narrow ? 4 : 8;
  }

  u32(): number {
    return this.#view.getUint32(this.skip(4), !this.bigEndian);
  }

  /** A u64 (an i64 below 0 reads as 2^63 or more). Exact below 2^53; `exact` spells the others. */
  u64(): number {
    const at = this.skip(8);
    const first = this.#view.getUint32(at, !this.bigEndian);
    const second = this.#view.getUint32(at + 4, !this.bigEndian);
    return this.bigEndian ? first * 2 ** 32 + second : second * 2 ** 32 + first;
  }

  /** A length, count or dimension: u64, or u32 in v1. */
  length(): number {
    return this.narrow ? this.u32() : this.u64();
  }

  /** The number just read, of `bytes` bytes, with all its digits. */
  exact(bytes: number = this.lengthBytes): string {
    const at = this.at - bytes;
    const little = !this.bigEndian;
    return String(bytes === 4 ? this.#view.getUint32(at, little) : this.#view.getBigUint64(at, little));
  }

  /** A count of items of at least `each` bytes, checked against what is left of the file. */
  count(what: string, each: number, most: number = MAX_LENGTH): number {
    const count = this.length();
    if (count * each > this.left) {
      this.fail(
        `claims ${this.exact()} ${what} of at least ${each} bytes each, but the file has ${this.left} bytes left`,
      );
    }
    if (count > most) this.fail(`claims ${this.exact()} ${what}; at most ${most} are supported`, "unsupported");
    return count;
  }

  /** A string's bytes, shared with the header's. */
  string(): Uint8Array {
    const length = this.length();
    if (length > this.left) {
      this.fail(`claims a string of ${this.exact()} bytes, but the file has ${this.left} bytes left`);
    }
    if (length > MAX_LENGTH) {
      this.fail(`claims a string of ${this.exact()} bytes; at most ${MAX_LENGTH} are supported`, "unsupported");
    }
    return this.bytes.subarray(this.skip(length), this.at);
  }

  /** The name of a key or tensor: a string that is UTF-8, is not empty and has no NUL (C readers would cut it there). */
  name(maxBytes: number): string {
    const bytes = this.string();
    if (bytes.length === 0) this.fail("has no name");
    if (bytes.length > maxBytes) this.fail(`has a name of ${bytes.length} bytes; at most ${maxBytes} are allowed`);
    if (bytes.includes(0)) this.fail("has a NUL in its name");
    try {
      return UTF8.decode(bytes);
    } catch {
      return this.fail("has a name that is not UTF-8");
    }
  }

  /** Moves on by `length` bytes, which then lie in `bytes`, and gives the position before them. */
  skip(length: number): number {
    const start = this.at;
    const end = start + length;
    if (end > this.#fileSize) {
      this.fail(`goes on to byte ${end}, but the file has ${this.#fileSize}`, "damaged", CUT_SHORT);
    }
    if (end > this.bytes.length) throw new MoreNeeded(end);
    this.at = end;
    return start;
  }

  fail(message: string, tag: "damaged" | "unsupported" = "damaged", fix: string = DOWNLOAD_AGAIN): never {
    throw new ExpandError(tag, `${this.subject} ${message}`, { at: this.#file, fix });
  }
}
