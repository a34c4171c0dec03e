// Builds safetensors files byte by byte, right or wrong, and carries out file plans in memory. Shares no code with reader or writer.
import type { FilePlan } from "../../src/storage/file-plan.ts";

/** A header, given as text or as an object, and data behind it. */
export function safetensorsFile(header: unknown, data: Uint8Array = Buffer.alloc(0), padding = 0): Buffer {
  const text = typeof header === "string" ? header : JSON.stringify(header);
  const bytes = Buffer.concat([Buffer.from(text), Buffer.alloc(padding, " ")]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(bytes.length));
  return Buffer.concat([length, bytes, data]);
}

/** Tensors of the given [dtype, shape, bytes] one after another, each filled with a byte of its own. */
export function tensorFile(
  tensors: Readonly<Record<string, readonly [dtype: string, shape: readonly number[], bytes: number]>>,
  metadata?: Readonly<Record<string, string>>,
  padding = 0,
): Buffer {
  const header: Record<string, unknown> = metadata === undefined ? {} : { __metadata__: metadata };
  const parts: Buffer[] = [];
  let end = 0;
  for (const [name, [dtype, shape, bytes]] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [end, end + bytes] };
    end += bytes;
    parts.push(Buffer.alloc(bytes, parts.length + 1));
  }
  return safetensorsFile(header, Buffer.concat(parts), padding);
}

/** The bytes that a plan stands for. Fails when its segments do not touch each other or do not cover the file. */
export async function materialise(plan: FilePlan): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  let end = 0;
  for (const segment of plan.segments) {
    if (segment.to !== end) throw new RangeError(`${plan.name}: a segment begins at ${segment.to}, not at ${end}`);
    if (segment.kind === "bytes") parts.push(segment.data);
    else if (segment.kind === "copy") parts.push(await segment.source.read(segment.from, segment.length));
    else parts.push(Buffer.alloc(segment.length, segment.pattern));
    end += parts.at(-1)?.length ?? 0;
  }
  if (end !== plan.size) throw new RangeError(`${plan.name}: its segments end at ${end}, not at ${plan.size}`);
  return Buffer.concat(parts);
}
