// SHA-256 of runs of stored bytes, a piece at a time, in constant memory. Knows nothing of what they mean.
import { createHash } from "node:crypto";
import fs from "node:fs";
import { setImmediate } from "node:timers/promises";
import { throwIfAborted } from "../../errors.ts";
import type { Run } from "../../events.ts";
import type { TensorRef } from "../../tensor/reference.ts";
import { type ByteSource, readFully } from "../../tensor/source.ts";
import { SourceStream } from "../../tensor/stream.ts";

/** Bytes per read: in the second-level cache still when they are hashed. */
const CHUNK = 1 << 18;
/** Bytes between two looks at the abort signal: about 20 ms of work. */
const STEP = 16 << 20;

export interface DigestRun {
  readonly source: ByteSource;
  readonly offset: number;
  readonly length: number;
}

/** The run of a tensor that is stored somewhere; a pattern has none. */
export function runOf(tensor: TensorRef): DigestRun | undefined {
  return tensor.kind === "fill" ? undefined : { source: tensor.source, offset: tensor.offset, length: tensor.bytes };
}

/** One digest for each run, in lower-case hex. Each run is read once, however often it comes. */
export async function* digestAll(runs: readonly DigestRun[], signal: AbortSignal | undefined): Run<readonly string[]> {
  const known = new Map<string, string>();
  const distinct = new Map(runs.map((run) => [keyOf(run), run]));
  const total = [...distinct.values()].reduce((sum, { length }) => sum + length, 0);
  const buffer = Buffer.allocUnsafeSlow(CHUNK);
  let done = 0;
  let reported = 0;
  for (const [key, run] of distinct) {
    const hash = createHash("sha256");
    for await (const piece of piecesOf(run, buffer)) {
      hash.update(piece);
      done += piece.length;
      if (done - reported < STEP) continue;
      reported = done;
      await setImmediate();
      throwIfAborted(signal);
      yield { kind: "bytes", done, total };
    }
    known.set(key, hash.digest("hex"));
  }
  throwIfAborted(signal);
  return runs.map((run) => known.get(keyOf(run)) ?? "");
}

function keyOf({ source, offset, length }: DigestRun): string {
  return `${source.path ?? source.name}\n${source.identity}\n${offset}:${length}`;
}

async function* piecesOf(
  { source, offset, length }: DigestRun,
  buffer: Buffer,
): AsyncGenerator<Uint8Array, void, void> {
  const fd = source.path === undefined ? undefined : fs.openSync(source.path, "r");
  const stream = fd === undefined ? new SourceStream(source, offset, offset + length) : undefined;
  try {
    for (let at = 0; at < length; at += CHUNK) {
      const piece = buffer.subarray(0, Math.min(CHUNK, length - at));
      if (fd !== undefined) readFully(fd, piece, offset + at, source.name);
      else await stream?.fill(piece);
      yield piece;
    }
  } finally {
    await stream?.close();
    if (fd !== undefined) fs.closeSync(fd);
  }
}
