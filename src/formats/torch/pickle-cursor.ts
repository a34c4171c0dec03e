// Reads the numbers and texts of a pickle, with bounds. Knows no instruction.
import { isUtf8 } from "node:buffer";
import { ExpandError } from "../../errors.ts";

/** Longest name of a global; Python's own are far shorter. */
const MAX_LINE_BYTES = 1000;
/** Longest integer: 2^2040, as the one-byte length of LONG1 allows. */
const MAX_LONG_BYTES = 255;
const HIGHEST_PROTOCOL = 5;
const LOWEST_PROTOCOL = 2;

export class PickleCursor {
  readonly #name: string;
  readonly #data: Buffer;
  #at = 0;

  constructor(name: string, data: Uint8Array) {
    this.#name = name;
    this.#data = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  }

  byte(): number {
    return this.#data.readUInt8(this.#take(1));
  }

  uint16(): number {
    return this.#data.readUInt16LE(this.#take(2));
  }

  int32(): number {
    return this.#data.readInt32LE(this.#take(4));
  }

  uint32(): number {
    return this.#data.readUInt32LE(this.#take(4));
  }

  float64(): number {
    return this.#data.readDoubleBE(this.#take(8));
  }

  /** A length or a count; more than 2^53 can only be refused later, so the nearest number will do. */
  uint64(): number {
    return Number(this.#data.readBigUInt64LE(this.#take(8)));
  }

  /** A signed little-endian integer of `length` bytes. */
  long(length: number): number | bigint {
    if (length < 0 || length > MAX_LONG_BYTES)
      this.fail(`has an integer of ${length} bytes; at most ${MAX_LONG_BYTES} are read`);
    const hex = Buffer.from(this.bytes(length)).reverse().toString("hex");
    const value = BigInt.asIntN(length * 8, BigInt(`0x0${hex}`));
    return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  }

  bytes(length: number): Uint8Array {
    const start = this.#take(length);
    return this.#data.subarray(start, start + length);
  }

  text(length: number): string {
    const bytes = this.bytes(length);
    if (!isUtf8(bytes)) this.fail("has a text that is not UTF-8");
    return Buffer.from(bytes).toString("utf8");
  }

  line(): string {
    const end = this.#data.subarray(this.#at, this.#at + MAX_LINE_BYTES).indexOf(0x0a);
    if (end < 0) this.fail(`has a name longer than ${MAX_LINE_BYTES} bytes`);
    const line = this.text(end);
    this.#take(1);
    return line;
  }

  protocol(): void {
    const version = this.byte();
    if (version < LOWEST_PROTOCOL || version > HIGHEST_PROTOCOL) this.refuse(`protocol ${version}`);
  }

  #take(length: number): number {
    const start = this.#at;
    if (length > this.#data.length - start) {
      this.fail(`ends too early: ${length} bytes were expected at byte ${start} of ${this.#data.length}`);
    }
    this.#at += length;
    return start;
  }

  fail(fault: string): never {
    throw new ExpandError("damaged", fault, { at: this.#name, fix: "Download the file again; it is damaged." });
  }

  refuse(what: string): never {
    throw new ExpandError("unsupported", `${what} at byte ${this.#at - 1} is not one that torch.save writes: refused`, {
      at: this.#name,
      fix: "Save plain tensors alone: torch.save(model.state_dict(), PATH).",
    });
  }
}
