// Builds torch archives: a zip writer and a pickle assembler, each able to err on purpose. Shares no code with the reader.

export interface ZipOptions {
  /** Sizes and places as 64-bit numbers, behind all-ones fields. */
  readonly zip64?: boolean;
  readonly method?: number;
  readonly flags?: number;
  /** Bytes after the directory, as a zip comment. */
  readonly comment?: string;
  /** Padding in local headers, as torch pads to 64 bytes. */
  readonly padding?: number;
}

/** A zip file of the given entries in this order. */
export function zip(entries: readonly (readonly [name: string, data: Uint8Array])[], options: ZipOptions = {}): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const [name, data] of entries) {
    const local = localHeader(name, data.length, options);
    directory.push(directoryEntry(name, data.length, at, options));
    parts.push(local, Buffer.from(data));
    at += local.length + data.length;
  }
  const listing = Buffer.concat(directory);
  return Buffer.concat([...parts, listing, ...ending(entries.length, listing.length, at, options)]);
}

function localHeader(name: string, size: number, { method = 0, padding = 0 }: ZipOptions): Buffer {
  const head = Buffer.alloc(30);
  head.writeUInt32LE(0x04034b50, 0);
  head.writeUInt16LE(method, 8);
  head.writeUInt32LE(size >>> 0, 18);
  head.writeUInt32LE(size >>> 0, 22);
  head.writeUInt16LE(Buffer.byteLength(name), 26);
  head.writeUInt16LE(padding, 28);
  return Buffer.concat([head, Buffer.from(name), Buffer.alloc(padding, "Z")]);
}

function directoryEntry(name: string, size: number, at: number, { method = 0, flags = 0, zip64 }: ZipOptions): Buffer {
  const head = Buffer.alloc(46);
  head.writeUInt32LE(0x02014b50, 0);
  head.writeUInt16LE(flags, 8);
  head.writeUInt16LE(method, 10);
  for (const [place, value] of [
    [20, size],
    [24, size],
    [42, at],
  ] as const) {
    head.writeUInt32LE(zip64 ? 0xffffffff : value, place);
  }
  const extra = zip64 ? Buffer.concat([Buffer.from([1, 0, 24, 0]), u64(size), u64(size), u64(at)]) : Buffer.alloc(0);
  head.writeUInt16LE(Buffer.byteLength(name), 28);
  head.writeUInt16LE(extra.length, 30);
  return Buffer.concat([head, Buffer.from(name), extra]);
}

function ending(count: number, size: number, at: number, { zip64, comment = "" }: ZipOptions): Buffer[] {
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(zip64 ? 0xffff : count, 8);
  end.writeUInt16LE(zip64 ? 0xffff : count, 10);
  end.writeUInt32LE(zip64 ? 0xffffffff : size, 12);
  end.writeUInt32LE(zip64 ? 0xffffffff : at, 16);
  end.writeUInt16LE(comment.length, 20);
  const tail = Buffer.concat([end, Buffer.from(comment)]);
  if (!zip64) return [tail];
  const end64 = Buffer.concat([
    Buffer.from("PK\x06\x06"),
    u64(44),
    Buffer.alloc(12),
    u64(count),
    u64(count),
    u64(size),
    u64(at),
  ]);
  const locator = Buffer.concat([
    Buffer.from("PK\x06\x07"),
    Buffer.alloc(4),
    u64(at + size),
    Buffer.from([1, 0, 0, 0]),
  ]);
  return [end64, locator, tail];
}

export const u64 = (value: number | bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};
const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};

/** Code that leaves one value on the stack. */
export type Code = Buffer;
const code = (...parts: readonly (string | Uint8Array)[]): Code =>
  Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(part, "latin1") : Buffer.from(part))));

export const text = (value: string): Code => code("X", u32(Buffer.byteLength(value)), Buffer.from(value));
export const int = (value: number): Code => (value < 0x80000000 ? code("J", u32(value)) : code("\x8a\x08", u64(value)));
export const none: Code = code("N");
export const no: Code = code("\x89");
export const tuple = (...items: readonly Code[]): Code => code("(", ...items, "t");
export const list = (...items: readonly Code[]): Code => code("](", ...items, "e");
export const global = (module: string, name: string): Code => code("c", module, "\n", name, "\n");
export const call = (callee: Code, ...args: readonly Code[]): Code => code(callee, tuple(...args), "R");
export const dict = (entries: readonly (readonly [Code, Code])[]): Code => code("}(", ...entries.flat(), "u");
export const ordered = call(global("collections", "OrderedDict"));
/** A whole pickle of protocol 2. */
export const pickle = (value: Uint8Array): Buffer => code("\x80\x02", value, ".");
export { code };

export interface TensorCode {
  readonly key?: string;
  readonly type?: string;
  readonly count?: number;
  readonly offset?: number;
  readonly shape: readonly number[];
  readonly strides?: readonly number[];
  /** Added as seventh argument of the rebuilding function. */
  readonly flags?: Code;
}

export const storage = (type: string, key: string, count: number, module = "torch"): Code =>
  code(tuple(text("storage"), global(module, type), text(key), text("cpu"), int(count)), "Q");

/** A tensor as _rebuild_tensor_v2 pickles it: contiguous, unless strides say otherwise. */
export function tensor({ key = "0", type = "FloatStorage", offset = 0, shape, flags, ...rest }: TensorCode): Code {
  const strides =
    rest.strides ?? shape.map((_, at) => shape.slice(at + 1).reduce((product, size) => product * size, 1));
  const count = rest.count ?? shape.reduce((product, size) => product * size, 1);
  const sizes = (values: readonly number[]) => tuple(...values.map(int));
  const args = [storage(type, key, count), int(offset), sizes(shape), sizes(strides), no, ordered];
  return call(global("torch._utils", "_rebuild_tensor_v2"), ...args, ...(flags === undefined ? [] : [flags]));
}

/** A torch archive: the pickle, its storages by key, and whatever else. */
export function torchFile(
  value: Uint8Array,
  storages: Readonly<Record<string, Uint8Array>> = {},
  more: Readonly<Record<string, string>> = {},
  options: ZipOptions = {},
): Buffer {
  const data = Object.entries(storages).map(([key, bytes]) => [`archive/data/${key}`, bytes] as const);
  const others = Object.entries({ byteorder: "little", ...more }).map(
    ([name, body]) => [`archive/${name}`, Buffer.from(body)] as const,
  );
  return zip(
    [["archive/data.pkl", pickle(value)], ...others, ...data, ["archive/version", Buffer.from("3\n")]],
    options,
  );
}

/** A state dict of named tensors. */
export const stateDict = (tensors: Readonly<Record<string, Code>>): Code =>
  dict(Object.entries(tensors).map(([name, value]) => [text(name), value]));
