// What a corpus is, in one number: the content of its files in their order, and how it is read. Paths and times do not matter.
import { createHash } from "node:crypto";
import type { ByteSource } from "../tensor/source.ts";

/** Bytes. Up to here a file is hashed whole; 0.05 s. */
const WHOLE = 2 ** 26;
const SAMPLES = 256;
const SAMPLE = 2 ** 16;

/** SHA-256 of a file's size and content; of a large file, of 256 stretches of 64 KiB, evenly spread from the first byte to the last. */
export async function fileDigest(source: ByteSource): Promise<string> {
  const hash = createHash("sha256").update(`${source.size}\n`);
  const isWhole = source.size <= WHOLE;
  const count = isWhole ? Math.ceil(source.size / SAMPLE) : SAMPLES;
  for (let at = 0; at < count; at++) {
    const offset = isWhole ? at * SAMPLE : Math.floor(((source.size - SAMPLE) / (SAMPLES - 1)) * at);
    hash.update(await source.read(offset, Math.min(SAMPLE, source.size - offset)));
  }
  return hash.digest("hex");
}

/** SHA-256 of a value that is plain JSON. */
export function valueDigest(value: unknown): string {
  return createHash("sha256").update(JSON.stringify(value)).digest("hex");
}
