// Lays tensors out in one safetensors file: the header's bytes and where every data byte comes from. Reads and writes nothing.
import { ExpandError } from "../../errors.ts";
import type { FilePlan, Segment } from "../../storage/file-plan.ts";
import { isZero, type TensorRef, ZERO } from "../../tensor/reference.ts";
import { quote } from "../shards.ts";
import { isSafetensorsDtype } from "./dtypes.ts";
import { LENGTH_BYTES, MAX_HEADER_BYTES, METADATA_KEY } from "./header.ts";

export type NamedTensor = readonly [name: string, tensor: TensorRef];
/** `__metadata__`; undefined where a file has none. */
export type Metadata = ReadonlyMap<string, string> | undefined;

/** Bytes. Page size: a range whose source and destination agree modulo this can be cloned by file systems that clone. */
export const PHASE = 4096;
/** Other writers start their data at a multiple of this. */
const ALIGNMENT = 8;

/** The file `name` with these tensors in this order. Throws "unsupported" when the format cannot hold them. */
export function layOut(name: string, tensors: readonly NamedTensor[], metadata: Metadata): FilePlan {
  const header = encodeHeader(name, tensors, metadata);
  const segments: Segment[] = [{ kind: "bytes", to: 0, data: header }];
  let to = header.length;
  for (const [, tensor] of tensors) {
    if (tensor.bytes > 0) append(segments, segmentOf(tensor, to));
    to += tensor.bytes;
  }
  return { name, size: to, segments };
}

/** `"name":{...}` as the reference writer spells it; offsets count from the first data byte. */
export function headerEntry(name: string, tensor: TensorRef, begin: number, end: number): string {
  return `${JSON.stringify(name)}:{"dtype":"${tensor.dtype}","shape":[${tensor.shape}],"data_offsets":[${begin},${end}]}`;
}

export function metadataEntry(metadata: Metadata): string {
  if (metadata === undefined) return "";
  const pairs = [...metadata].map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`);
  return `"${METADATA_KEY}":{${pairs.join(",")}}`;
}

function encodeHeader(file: string, tensors: readonly NamedTensor[], metadata: Metadata): Uint8Array {
  const entries = metadata === undefined ? [] : [metadataEntry(metadata)];
  let begin = 0;
  for (const [name, tensor] of tensors) {
    assertStorable(file, name, tensor);
    entries.push(headerEntry(name, tensor, begin, begin + tensor.bytes));
    begin += tensor.bytes;
  }
  const text = Buffer.from(`{${entries.join(",")}}`);
  const dataStart = alignedStart(LENGTH_BYTES + text.length, tensors);
  const length = dataStart - LENGTH_BYTES;
  if (length > MAX_HEADER_BYTES) {
    throw new ExpandError(
      "unsupported",
      `would need a header of ${length} bytes; readers stop at ${MAX_HEADER_BYTES}`,
      {
        at: file,
        fix: "Ask for smaller shards with --shard-size.",
      },
    );
  }
  const header = Buffer.alloc(dataStart, " ");
  header.writeBigUInt64LE(BigInt(length));
  text.copy(header, LENGTH_BYTES);
  return header;
}

/** First data byte: at least `least`, and such that the first stored tensor keeps its position modulo a page. */
function alignedStart(least: number, tensors: readonly NamedTensor[]): number {
  let relative = 0;
  for (const [, tensor] of tensors) {
    if (tensor.kind === "stored" && tensor.bytes > 0) return least + modulo(tensor.offset - relative - least, PHASE);
    relative += tensor.bytes;
  }
  return least + modulo(-least, ALIGNMENT);
}

function modulo(value: number, divisor: number): number {
  return ((value % divisor) + divisor) % divisor;
}

function assertStorable(file: string, name: string, tensor: TensorRef): void {
  if (name === METADATA_KEY || /\p{Surrogate}/u.test(name)) {
    throw new ExpandError("unsupported", `safetensors cannot hold a tensor named ${quote(name)}`, {
      at: file,
      fix: "Rename the tensor in the source.",
    });
  }
  if (!isSafetensorsDtype(tensor.dtype)) {
    throw new ExpandError("unsupported", `safetensors has no dtype ${tensor.dtype}, which tensor ${quote(name)} has`, {
      at: file,
      fix: "Keep the source's format.",
    });
  }
}

function segmentOf(tensor: TensorRef, to: number): Segment {
  const length = tensor.bytes;
  if (tensor.kind === "stored") return { kind: "copy", to, length, source: tensor.source, from: tensor.offset };
  return { kind: "fill", to, length, pattern: isZero(tensor.pattern) ? ZERO : tensor.pattern };
}

/** Adds a segment, or lengthens the last one where both continue it. */
function append(segments: Segment[], next: Segment): void {
  const last = segments.at(-1);
  if (last === undefined || last.kind === "bytes" || next.kind === "bytes" || !continues(last, next))
    segments.push(next);
  else segments[segments.length - 1] = { ...last, length: last.length + next.length };
}

function continues(last: Segment, next: Segment): boolean {
  if (last.kind === "copy" && next.kind === "copy") {
    return last.source === next.source && last.from + last.length === next.from;
  }
  return last.kind === "fill" && next.kind === "fill" && Buffer.compare(last.pattern, next.pattern) === 0;
}
