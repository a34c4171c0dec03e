// Builds GGUF files byte by byte, right or wrong, in any version and byte order. Shares no code with the reader or the writer.
import type { ByteSource } from "../../src/tensor/source.ts";

/** Writes numbers in one byte order; lengths as u32 in version 1. */
export class Fields {
  readonly #parts: Buffer[] = [];
  readonly #big: boolean;
  readonly #narrow: boolean;

  constructor(version: number, big: boolean) {
    this.#big = big;
    this.#narrow = version === 1;
  }

  raw(bytes: Uint8Array | readonly number[]): this {
    this.#parts.push(Buffer.from(bytes));
    return this;
  }

  u16(value: number): this {
    return this.#ordered(2, (b) => b.writeUInt16LE(value));
  }

  u32(value: number): this {
    return this.#ordered(4, (b) => b.writeUInt32LE(value >>> 0));
  }

  u64(value: number | bigint): this {
    return this.#ordered(8, (b) => b.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value))));
  }

  f32(value: number): this {
    return this.#ordered(4, (b) => b.writeFloatLE(value));
  }

  f64(value: number): this {
    return this.#ordered(8, (b) => b.writeDoubleLE(value));
  }

  length(value: number | bigint): this {
    return this.#narrow ? this.u32(Number(value)) : this.u64(value);
  }

  string(value: string | Uint8Array): this {
    const bytes = Buffer.from(value as string);
    return this.length(bytes.length).raw(bytes);
  }

  bytes(): Buffer {
    return Buffer.concat(this.#parts);
  }

  #ordered(size: number, write: (bytes: Buffer) => void): this {
    const bytes = Buffer.alloc(size);
    write(bytes);
    this.#parts.push(this.#big ? bytes.reverse() : bytes);
    return this;
  }
}

/** Writes a value behind its type id. */
export type Value = (fields: Fields) => Fields;

export const u32 =
  (value: number): Value =>
  (f) =>
    f.u32(4).u32(value);
export const u16 =
  (value: number): Value =>
  (f) =>
    f.u32(2).u16(value);
export const i32 =
  (value: number): Value =>
  (f) =>
    f.u32(5).u32(value);
export const text =
  (value: string | Uint8Array): Value =>
  (f) =>
    f.u32(8).string(value);

export interface Info {
  readonly name: string | Uint8Array;
  /** ne[0] first, as stored. */
  readonly ne: readonly (number | bigint)[];
  readonly type: number;
  readonly bytes: number;
  /** Instead of the right one. */
  readonly offset?: number | bigint;
}

export interface File {
  readonly magic?: string;
  readonly version?: number;
  readonly big?: boolean;
  readonly alignment?: number;
  /** Written between the counts and the keys. */
  readonly body?: Value;
  readonly keys?: readonly (readonly [key: string | Uint8Array, value: Value])[];
  readonly tensors?: readonly Info[];
  /** Instead of the right ones. */
  readonly keyCount?: number | bigint;
  readonly tensorCount?: number | bigint;
  /** Bytes to leave out at the end. */
  readonly cut?: number;
  readonly after?: Uint8Array;
}

/** Data byte `i` of a tensor is `i * 7 + the first byte of its name`. */
export function build(file: File = {}): Buffer {
  const { magic = "GGUF", version = 3, big = false, alignment = 32, keys = [], tensors = [] } = file;
  const fields = new Fields(version, big).raw(Buffer.from(magic)).u32(version);
  fields.length(file.tensorCount ?? tensors.length).length(file.keyCount ?? keys.length);
  file.body?.(fields);
  for (const [key, value] of keys) value(fields.string(key));
  let offset = 0;
  for (const info of tensors) {
    fields.string(info.name).u32(info.ne.length);
    for (const size of info.ne) fields.length(size);
    fields.u32(info.type).u64(info.offset ?? offset);
    offset += Math.ceil(info.bytes / alignment) * alignment;
  }
  const parts = [pad(fields.bytes(), alignment)];
  for (const { name, bytes } of tensors) {
    const first = Buffer.from(name as string)[0] ?? 0;
    parts.push(pad(Buffer.from(Array.from({ length: bytes }, (_, at) => (at * 7 + first) & 255)), alignment));
  }
  if (file.after !== undefined) parts.push(Buffer.from(file.after));
  const all = Buffer.concat(parts);
  return all.subarray(0, all.length - (file.cut ?? 0));
}

function pad(bytes: Buffer, alignment: number): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(Math.ceil(bytes.length / alignment) * alignment - bytes.length)]);
}

/** The first bytes of a file that claims to be `size` bytes long; reads beyond them give zeros. Counts what is read. */
export function claimedSource(start: Uint8Array, size: number): ByteSource & { readonly reads: [number, number][] } {
  const reads: [number, number][] = [];
  return {
    name: "x.gguf",
    size,
    identity: "claimed",
    reads,
    read: async (offset, length) => {
      reads.push([offset, length]);
      const bytes = new Uint8Array(length);
      bytes.set(start.subarray(offset, offset + length));
      return bytes;
    },
  };
}
