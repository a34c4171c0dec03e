// Where the entries of a torch archive are: a zip file whose entries are stored, not compressed. Never unpacks anything.
import { ExpandError } from "../../errors.ts";
import type { ByteSource } from "../../tensor/source.ts";
import { quote } from "../shards.ts";

export interface ZipEntry {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Offset of its local header, which stands before the data. */
  readonly headerAt: number;
  /** Why its bytes cannot be used where they are. */
  readonly fault?: string;
}

/** Layouts: APPNOTE.TXT 6.3, sections 4.3.7 to 4.3.16. */
const END_BYTES = 22;
const END64_BYTES = 56;
const LOCATOR_BYTES = 20;
const ENTRY_BYTES = 46;
const LOCAL_BYTES = 30;
const END_SIGNATURE = 0x06054b50;
const END64_SIGNATURE = 0x06064b50;
const LOCATOR_SIGNATURE = 0x07064b50;
const ENTRY_SIGNATURE = 0x02014b50;
const LOCAL_SIGNATURE = 0x04034b50;
const MAX_COMMENT_BYTES = 0xffff;
/** A directory of a million entries; torch writes one entry per storage. */
const MAX_DIRECTORY_BYTES = 100_000_000;

interface Directory {
  readonly count: number;
  readonly size: number;
  readonly offset: number;
}

/** Entries by name. Throws "damaged" when the directory contradicts the file. */
export async function readZipDirectory(source: ByteSource): Promise<ReadonlyMap<string, ZipEntry>> {
  const directory = await findDirectory(source);
  if (directory.size > MAX_DIRECTORY_BYTES) {
    damaged(source, `has a zip directory of ${directory.size} bytes; at most ${MAX_DIRECTORY_BYTES} are read`);
  }
  const bytes = Buffer.from(await source.read(directory.offset, directory.size));
  const entries = new Map<string, ZipEntry>();
  let at = 0;
  for (let index = 0; index < directory.count; index++) {
    const { entry, next } = parseEntry(source, bytes, at);
    if (entries.has(entry.name)) damaged(source, `has the zip entry ${quote(entry.name)} twice`);
    entries.set(entry.name, entry);
    at = next;
  }
  if (at !== bytes.length) damaged(source, `its zip directory has ${bytes.length} bytes, but its entries take ${at}`);
  return entries;
}

/** Offset of an entry's data. Throws "unsupported" when the entry is not simply stored. */
export async function zipDataStart(source: ByteSource, entry: ZipEntry): Promise<number> {
  if (entry.fault !== undefined) {
    throw new ExpandError("unsupported", `zip entry ${quote(entry.name)} ${entry.fault}`, {
      at: source.name,
      fix: "Save it again with torch.save.",
    });
  }
  const local = Buffer.from(await source.read(entry.headerAt, LOCAL_BYTES));
  if (local.readUInt32LE(0) !== LOCAL_SIGNATURE)
    damaged(source, `has no local header for the zip entry ${quote(entry.name)}`);
  const start = entry.headerAt + LOCAL_BYTES + local.readUInt16LE(26) + local.readUInt16LE(28);
  if (start + entry.size > source.size) {
    damaged(
      source,
      `zip entry ${quote(entry.name)} ends at byte ${start + entry.size}, but the file has ${source.size}`,
    );
  }
  return start;
}

async function findDirectory(source: ByteSource): Promise<Directory> {
  const length = Math.min(source.size, END_BYTES + MAX_COMMENT_BYTES + LOCATOR_BYTES);
  const tail = Buffer.from(await source.read(source.size - length, length));
  for (let at = tail.length - END_BYTES; at >= 0; at--) {
    if (tail.readUInt32LE(at) !== END_SIGNATURE) continue;
    if (at + END_BYTES + tail.readUInt16LE(at + 20) !== tail.length) continue;
    const locator = at - LOCATOR_BYTES;
    if (locator >= 0 && tail.readUInt32LE(locator) === LOCATOR_SIGNATURE) {
      return readEnd64(source, toNumber(source, tail.readBigUInt64LE(locator + 8)));
    }
    return { count: tail.readUInt16LE(at + 10), size: tail.readUInt32LE(at + 12), offset: tail.readUInt32LE(at + 16) };
  }
  return damaged(source, "begins like a zip file but has no zip directory at its end");
}

async function readEnd64(source: ByteSource, offset: number): Promise<Directory> {
  const end = Buffer.from(await source.read(offset, END64_BYTES));
  if (end.readUInt32LE(0) !== END64_SIGNATURE) damaged(source, `has no zip64 directory end at byte ${offset}`);
  const [count, size, start] = [32, 40, 48].map((at) => toNumber(source, end.readBigUInt64LE(at)));
  return { count: count ?? 0, size: size ?? 0, offset: start ?? 0 };
}

function parseEntry(source: ByteSource, bytes: Buffer, at: number): { entry: ZipEntry; next: number } {
  if (at + ENTRY_BYTES > bytes.length || bytes.readUInt32LE(at) !== ENTRY_SIGNATURE) {
    damaged(source, `its zip directory has no entry at byte ${at} of ${bytes.length}`);
  }
  const nameEnd = at + ENTRY_BYTES + bytes.readUInt16LE(at + 28);
  const extraEnd = nameEnd + bytes.readUInt16LE(at + 30);
  const next = extraEnd + bytes.readUInt16LE(at + 32);
  if (next > bytes.length) damaged(source, `its zip directory ends inside the entry at byte ${at}`);
  const name = bytes.toString("utf8", at + ENTRY_BYTES, nameEnd);
  const fields = [bytes.readUInt32LE(at + 24), bytes.readUInt32LE(at + 20), bytes.readUInt32LE(at + 42)];
  const [size = 0, packed = 0, headerAt = 0] = widen(source, name, bytes.subarray(nameEnd, extraEnd), fields);
  const fault = findFault(bytes.readUInt16LE(at + 8), bytes.readUInt16LE(at + 10), size, packed);
  return { entry: { name, size, headerAt, ...(fault === undefined ? {} : { fault }) }, next };
}

function findFault(flags: number, method: number, size: number, packed: number): string | undefined {
  if ((flags & 1) !== 0) return "is encrypted";
  if (method !== 0) return `is compressed (method ${method}), where torch stores its entries as they are`;
  return packed === size ? undefined : `has two sizes, ${size} and ${packed}`;
}

/** Replaces each all-ones field by the next 64-bit number of the zip64 extra record (id 1). */
function widen(source: ByteSource, name: string, extra: Buffer, fields: readonly number[]): number[] {
  let record: Buffer = Buffer.alloc(0);
  for (let at = 0; at + 4 <= extra.length; at += 4 + extra.readUInt16LE(at + 2)) {
    if (extra.readUInt16LE(at) === 1) record = extra.subarray(at + 4, at + 4 + extra.readUInt16LE(at + 2));
  }
  let used = 0;
  return fields.map((field) => {
    if (field !== 0xffffffff) return field;
    if (used + 8 > record.length) damaged(source, `zip entry ${quote(name)} lacks its zip64 sizes`);
    used += 8;
    return toNumber(source, record.readBigUInt64LE(used - 8));
  });
}

function toNumber(source: ByteSource, value: bigint): number {
  if (value > BigInt(source.size))
    damaged(source, `its zip directory points to ${value}, beyond the file's ${source.size} bytes`);
  return Number(value);
}

function damaged(source: ByteSource, message: string): never {
  throw new ExpandError("damaged", message, {
    at: source.name,
    fix: "Download the file again; it is cut short or damaged.",
  });
}
