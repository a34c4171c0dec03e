// Mutated GGUF files: what they are made from, and what must hold for each of them.
import { uniform } from "../../../fixtures/random.ts";
import { ggufValue } from "../../../src/checkpoint/gguf-metadata.ts";
import { ExpandError } from "../../../src/errors.ts";
import { type GgufHeader, readGgufHeader } from "../../../src/formats/gguf/header.ts";
import { planGguf } from "../../../src/formats/gguf/write.ts";
import type { TensorRef } from "../../../src/tensor/reference.ts";
import type { ByteSource } from "../../../src/tensor/source.ts";
import { build, type File, text, u32, type Value } from "../gguf-builder.ts";

const words: Value = (f) => f.u32(9).u32(8).length(3).string("one").string("").string("three");
const numbers: Value = (f) => f.u32(9).u32(5).length(2).u32(7).u32(8);
const keys = [
  ["general.architecture", text("llama")],
  ["general.alignment", u32(32)],
  ["tokens", words],
  ["numbers", numbers],
  ["big", (f) => f.u32(10).u64(2n ** 63n)],
] as const satisfies File["keys"];
const tensors = [
  { name: "token_embd.weight", ne: [32, 2], type: 8, bytes: 68 },
  { name: "blk.0.attn_norm.weight", ne: [5], type: 0, bytes: 20 },
  { name: "scalar", ne: [], type: 28, bytes: 8 },
];
const SEEDS = [1, 2, 3].flatMap((version) => [false, true].map((big) => build({ version, big, keys, tensors })));

/** Numbers that break sums: limits of the integer types and of the format, one off each way. */
const EXTREMES = [0n, 1n, 2n ** 16n, 2n ** 30n + 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n];

/** A file made from a seed by 1 to 4 changes. */
export function mutated(seed: number): Buffer {
  const next = uniform(seed);
  const below = (limit: number): number => Math.floor(next() * limit);
  let bytes: Buffer = Buffer.from(SEEDS[below(SEEDS.length)] ?? []);
  for (let changes = 1 + below(4); changes > 0; changes--) {
    const at = below(bytes.length);
    const kind = below(7);
    if (kind === 0) bytes[at] = below(256);
    if (kind === 1) bytes[at] = (bytes[at] ?? 0) ^ (1 << below(8));
    if (kind === 2) bytes = bytes.subarray(0, at);
    if (kind === 3) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(below(bytes.length))]);
    if (kind >= 4) bytes = overwritten(bytes, at, EXTREMES[below(EXTREMES.length)] ?? 0n, next() < 0.5, next() < 0.5);
  }
  return bytes;
}

function overwritten(bytes: Buffer, at: number, value: bigint, wide: boolean, big: boolean): Buffer {
  const field = Buffer.alloc(8);
  field.writeBigUInt64LE(value);
  const stored = wide ? field : field.subarray(0, 4);
  if (big) stored.reverse();
  return Buffer.concat([bytes.subarray(0, at), stored, bytes.subarray(at + stored.length)]).subarray(0, bytes.length);
}

/** Why the reader or the writer is wrong about a file; undefined when it is refused properly, or read and written back whole. */
export async function faultOf(bytes: Uint8Array): Promise<string | undefined> {
  let read = 0;
  const source: ByteSource = {
    name: "x.gguf",
    size: bytes.length,
    identity: "fuzz",
    read: async (offset, length) => {
      read += length;
      return Uint8Array.from(bytes.subarray(offset, offset + length));
    },
  };
  try {
    const header = await readGgufHeader(source);
    for (const entry of header.entries.values()) ggufValue(entry);
    if (!header.bigEndian && !(await comesBack(header, source))) return "what is written is not what was read";
  } catch (error) {
    if (!(error instanceof ExpandError)) return String(error);
    if (error.tag !== "damaged" && error.tag !== "unsupported") return `the tag is ${error.tag}`;
  }
  return read <= 2 * bytes.length + 2048 ? undefined : `${read} bytes were read of ${bytes.length}`;
}

/** The header that is planned says what the header that was read said. */
async function comesBack(header: GgufHeader, source: ByteSource): Promise<boolean> {
  const tensors = new Map<string, TensorRef>();
  for (const { name, dtype, shape, bytes, offset } of header.tensors) {
    tensors.set(name, { kind: "stored", dtype, shape, bytes, source, offset: header.dataStart + offset });
  }
  const [plan] = planGguf({ metadata: header, tensors }, { name: "out.gguf" });
  const first = plan?.segments[0];
  if (plan === undefined || first?.kind !== "bytes") return false;
  const written: ByteSource = {
    ...source,
    size: plan.size,
    read: async (offset, length) => {
      const bytes = new Uint8Array(length);
      bytes.set(first.data.subarray(offset, offset + length));
      return bytes;
    },
  };
  const again = await readGgufHeader(written);
  const equal = [...header.entries].every(
    ([key, { raw }]) => Buffer.compare(raw, again.entries.get(key)?.raw ?? ZERO) === 0,
  );
  return equal && JSON.stringify(again.tensors) === JSON.stringify(header.tensors);
}

const ZERO = new Uint8Array(0);
