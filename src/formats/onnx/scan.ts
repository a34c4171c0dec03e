// Reads an .onnx file past its weights: the model's bytes with large raw_data replaced by (location, offset, length) references into the
// file. Holds a window of the file at a time; checks every length, type and count before the protobuf package sees a byte.
import { isUtf8 } from "node:buffer";
import { LARGE, markInside, referTo } from "../../graph/graph.ts";
import { create, type DescMessage, encodeTensor, ModelProtoSchema, TensorProtoSchema } from "../../graph/onnx.ts";
import { MAX_NESTING } from "../../graph/walk.ts";
import type { ByteSource } from "../../tensor/source.ts";
import { type FieldRule, rulesOf } from "./fields.ts";
import { LightModel } from "./light-model.ts";
import { WIRE, WireCursor } from "./wire.ts";

/** Bytes of a model without its weights. Graphs of 20,000 nodes with all their metadata take 10 MB. */
const MAX_LIGHT = 2 ** 28;
/** What decoding makes objects of. That graph has some 300,000. */
const MAX_FIELDS = 2 ** 22;
/** Numbers in float_data, int64_data and the like, each of which takes some 30 bytes when decoded. */
const MAX_NUMBERS = 2 ** 24;

/** A message that is being read. */
interface Open {
  readonly message: DescMessage;
  readonly rules: ReadonlyMap<number, FieldRule>;
  /** Where it ends in the file. */
  readonly end: number;
  /** Large raw_data of a tensor. */
  raw?: { readonly offset: number; readonly length: number };
  hasRaw?: boolean;
  /** It says itself that its data is inside (what onnx.load_external_data_for_model leaves). */
  saysInside?: boolean;
}

/** The light model: itself a valid one beside the file if `location` is the file's name. Throws "damaged" and "unsupported". */
export async function scanModel(source: ByteSource, location: string): Promise<Uint8Array> {
  return new Scan(source, location).run();
}

class Scan {
  readonly #cursor: WireCursor;
  readonly #location: string;
  readonly #light = new LightModel();
  readonly #stack: Open[] = [];
  #fields = 0;
  #numbers = 0;

  constructor(source: ByteSource, location: string) {
    this.#cursor = new WireCursor(source);
    this.#location = location;
  }

  async run(): Promise<Uint8Array> {
    const cursor = this.#cursor;
    const root: Open = { message: ModelProtoSchema, rules: rulesOf(ModelProtoSchema), end: cursor.size };
    this.#stack.push(root);
    for (let open: Open | undefined = root; open !== undefined; open = this.#stack.at(-1)) {
      if (cursor.at === open.end) {
        this.#close(open);
        continue;
      }
      if (!cursor.isReady) await cursor.load();
      const length = this.#head(open);
      if (length === undefined) continue;
      if (!cursor.holds(length.bytes)) await cursor.load(length.bytes);
      this.#contents(open, length.rule, length.bytes);
    }
    return this.#light.assemble();
  }

  /** Reads a field's tag. A message is entered, large raw_data skipped; else the bytes of the field's contents, which must be loaded. */
  #head(open: Open): { readonly rule: FieldRule | undefined; readonly bytes: number } | undefined {
    const cursor = this.#cursor;
    const start = cursor.at;
    const tag = cursor.varint();
    const number = Math.floor(tag / 8);
    const wire = tag % 8;
    if (number < 1 || number >= 2 ** 29) cursor.fail(`has a field of number ${number}`);
    if (++this.#fields > MAX_FIELDS) this.#tooMuch(`more than ${MAX_FIELDS} fields`);
    const rule = open.rules.get(number);
    if (!fits(rule, wire)) cursor.fail(`has field ${number} of ${open.message.name} in wire type ${wire}`);
    if (wire === WIRE.varint) cursor.varint();
    const bytes = wire === WIRE.bytes ? cursor.varint() : wire === WIRE.fixed32 ? 4 : wire === WIRE.fixed64 ? 8 : 0;
    const { at } = cursor;
    if (at + bytes > open.end) {
      cursor.fail(
        `has field ${number} of ${open.message.name}, which goes on to byte ${at + bytes}, but ends at byte ${open.end}`,
      );
    }
    if (rule?.kind === "raw" && this.#raw(open, bytes)) return undefined;
    if (rule?.kind === "location") open.saysInside = cursor.since(at - 1)[0] === 0;
    this.#keep(start, rule?.kind === "message" ? 0 : bytes);
    if (rule?.kind !== "message") return { rule, bytes };
    if (this.#stack.length >= MAX_NESTING) this.#tooMuch(`more than ${MAX_NESTING} messages inside each other`);
    this.#light.open(number, bytes, at - start);
    this.#stack.push({ message: rule.message, rules: rulesOf(rule.message), end: at + bytes });
    return undefined;
  }

  /** True when the data was large, and stays in the file. */
  #raw(open: Open, length: number): boolean {
    const cursor = this.#cursor;
    if (open.hasRaw) cursor.fail("has a tensor with raw_data twice");
    open.hasRaw = true;
    if (length < LARGE) return false;
    open.raw = { offset: cursor.at, length };
    cursor.at += length;
    return true;
  }

  /** Goes through what #head did not: checks it and takes it over. */
  #contents(open: Open, rule: FieldRule | undefined, bytes: number): void {
    const cursor = this.#cursor;
    const start = cursor.at;
    const end = start + bytes;
    if (rule?.kind === "number" && rule.packable && bytes > 0) this.#packed(rule.width, end, open);
    cursor.at = end;
    const data = cursor.since(start);
    if (rule?.kind === "text" && !isUtf8(data)) cursor.fail(`has a text of ${open.message.name} that is not UTF-8`);
    this.#light.copy(data);
  }

  #packed(width: 0 | 4 | 8, end: number, open: Open): void {
    const cursor = this.#cursor;
    const start = cursor.at;
    let count = 0;
    if (width > 0) count = (end - start) / width;
    else for (; cursor.at < end; count++) cursor.varint();
    if (!Number.isInteger(count) || (width === 0 && cursor.at !== end))
      cursor.fail(`has a list of ${open.message.name} that ends inside a number`);
    this.#numbers += count;
    if (this.#numbers > MAX_NUMBERS) this.#tooMuch(`more than ${MAX_NUMBERS} numbers outside of raw_data`);
  }

  #close(open: Open): void {
    this.#stack.pop();
    this.#light.close(open.raw && reference(this.#location, open.raw, open.saysInside ?? false));
  }

  #keep(start: number, more: number): void {
    if (this.#light.size + more > MAX_LIGHT) this.#tooMuch(`more than ${MAX_LIGHT} bytes outside of raw_data`);
    this.#light.copy(this.#cursor.since(start));
  }

  #tooMuch(what: string): never {
    this.#cursor.fail(`has ${what}`, "unsupported", "Export the model again, with its weights as raw data.");
  }
}

/** The fields that stand for large raw_data. */
function reference(location: string, raw: { offset: number; length: number }, saysInside: boolean): Uint8Array {
  const tensor = create(TensorProtoSchema);
  referTo(tensor, location, raw.offset, raw.length);
  if (saysInside) markInside(tensor);
  return encodeTensor(tensor);
}

/** A repeated number may come packed or one by one; all else in its own wire type. Groups (3, 4) are not used by ONNX. */
function fits(rule: FieldRule | undefined, wire: number): boolean {
  if (rule === undefined)
    return wire === WIRE.varint || wire === WIRE.fixed64 || wire === WIRE.bytes || wire === WIRE.fixed32;
  if (rule.kind === "number") return wire === rule.wire || (rule.packable && wire === WIRE.bytes);
  return wire === (rule.kind === "location" ? WIRE.varint : WIRE.bytes);
}
