// Files that are planned, as if they were written already: read without a disk, and held against what was written in the end.
import fs from "node:fs";
import { setImmediate as nextTurn } from "node:timers/promises";
import { ExpandError, throwIfAborted } from "../errors.ts";
import type { Run } from "../events.ts";
import type { TensorRef } from "../tensor/reference.ts";
import { type ByteSource, readFully } from "../tensor/source.ts";
import type { FilePlan, Segment } from "./file-plan.ts";

/** Bytes compared at once. */
const CHUNK = 4 << 20;

/** The bytes that a file will have. */
export function plannedSource(file: FilePlan): ByteSource {
  return {
    name: file.name,
    size: file.size,
    identity: `planned:${file.name}:${file.size}`,
    read: async (offset, length) => {
      if (offset < 0 || length < 0 || offset + length > file.size) {
        throw new ExpandError("bug", `bytes ${offset} to ${offset + length} of ${file.size} were asked for`, {
          at: file.name,
        });
      }
      const target = new Uint8Array(length);
      for (const segment of segmentsIn(file, offset, offset + length)) {
        const from = Math.max(offset, segment.to);
        const to = Math.min(offset + length, endOf(segment));
        await fill(target.subarray(from - offset, to - offset), segment, from - segment.to);
      }
      return target;
    },
  };
}

/** The same tensor at its origin, where its bytes are one run of another source or one repeated pattern. */
export function resolved(tensor: TensorRef, file: FilePlan): TensorRef {
  if (tensor.kind === "fill") return tensor;
  const [segment, more] = segmentsIn(file, tensor.offset, tensor.offset + tensor.bytes);
  if (segment === undefined || more !== undefined) return tensor;
  const at = tensor.offset - segment.to;
  if (segment.kind === "copy") return { ...tensor, source: segment.source, offset: segment.from + at };
  if (segment.kind !== "fill" || at % segment.pattern.length !== 0) return tensor;
  const { dtype, shape, bytes } = tensor;
  return { kind: "fill", dtype, shape, bytes, pattern: segment.pattern };
}

/** Reads a written file back from the disk. Throws "output" where it is not byte for byte what was planned. */
export async function* compareWritten(path: string, file: FilePlan, signal: AbortSignal | undefined): Run<void> {
  const planned = plannedSource(file);
  const buffer = Buffer.allocUnsafeSlow(CHUNK);
  const fd = fs.openSync(path, "r");
  try {
    if (fs.fstatSync(fd).size !== file.size) throw differs(file.name, 0);
    for (let at = 0; at < file.size; at += CHUNK) {
      const found = readFully(fd, buffer.subarray(0, Math.min(CHUNK, file.size - at)), at, file.name);
      if (Buffer.compare(found, await planned.read(at, found.length)) !== 0) throw differs(file.name, at);
      if ((at / CHUNK) % 8 === 7) {
        await nextTurn();
        throwIfAborted(signal);
        yield { kind: "bytes", done: at, total: file.size };
      }
    }
  } finally {
    fs.closeSync(fd);
  }
}

function differs(name: string, at: number): ExpandError {
  return new ExpandError("output", `is not on the disk what was written (from byte ${at} on)`, {
    at: name,
    fix: "Check the disk, then run again.",
  });
}

function endOf(segment: Segment): number {
  return segment.to + (segment.kind === "bytes" ? segment.data.length : segment.length);
}

/** In order. Segments touch each other, so that the first is found by halving. */
function segmentsIn({ segments }: FilePlan, start: number, end: number): readonly Segment[] {
  let [low, high] = [0, segments.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const segment = segments[middle];
    if (segment !== undefined && endOf(segment) <= start) low = middle + 1;
    else high = middle;
  }
  let last = low;
  while ((segments[last]?.to ?? end) < end) last++;
  return segments.slice(low, last);
}

async function fill(target: Uint8Array, segment: Segment, at: number): Promise<void> {
  if (segment.kind === "bytes") target.set(segment.data.subarray(at, at + target.length));
  else if (segment.kind === "copy") target.set(await segment.source.read(segment.from + at, target.length));
  else for (let i = 0; i < target.length; i++) target[i] = segment.pattern[(at + i) % segment.pattern.length] ?? 0;
}
