// The content-addressed storage of the Hub double (Xet): takes xorbs and shards, and puts the files together from them again.
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import type { Answer } from "./faults.ts";
import { answer, type Call, readBody, refuse, type Site } from "./site.ts";

/** Entries of a shard are all of 48 bytes: header, file, segment, verification, metadata. */
const ENTRY = 48;
const HAS_VERIFICATION = 0x80000000;
const HAS_METADATA = 0x40000000;

const xorbPath = (site: Site, hash: string): string => path.join(site.state.directory, `xorb-${hash}`);
const mayStore = (call: Call): boolean => call.request.headers.authorization === "Bearer xet-access";

export async function putXorb(site: Site, call: Call, hash: string): Promise<Answer> {
  if (!mayStore(call)) return refuse(401, undefined, "no access");
  const data = await readBody(call.request);
  const partial = site.state.newPath();
  fs.writeFileSync(partial, data);
  fs.renameSync(partial, xorbPath(site, hash));
  return answer(200, { was_inserted: true });
}

/** A shard names files, each as chunks of xorbs, with the SHA-256 that the whole must have. */
export async function putShard(site: Site, call: Call): Promise<Answer> {
  if (!mayStore(call)) return refuse(401, undefined, "no access");
  const shard = await readBody(call.request);
  for (let at = ENTRY; shard.readUInt32LE(at) !== 0xffffffff; ) {
    const flags = shard.readUInt32LE(at + 32);
    const segments = shard.readUInt32LE(at + 36);
    const terms = Array.from({ length: segments }, (_, index) => at + ENTRY * (1 + index));
    at += ENTRY * (1 + segments * (flags & HAS_VERIFICATION ? 2 : 1));
    if (!(flags & HAS_METADATA)) continue;
    const failed = assemble(site, shard, terms, hashAt(shard, at));
    if (failed !== undefined) return failed;
    at += ENTRY;
  }
  return answer(200, { result: 1 });
}

/** Writes one file from its chunks, and keeps it when its SHA-256 is right. */
function assemble(site: Site, shard: Buffer, terms: readonly number[], sha256: string): Answer | undefined {
  const partial = site.state.newPath();
  const fd = fs.openSync(partial, "w");
  const hash = createHash("sha256");
  for (const term of terms) {
    const xorb = xorbPath(site, hashAt(shard, term));
    if (!fs.existsSync(xorb)) return refuse(400, undefined, "a xorb is missing");
    const chunks = chunksOf(fs.readFileSync(xorb)).slice(shard.readUInt32LE(term + 40), shard.readUInt32LE(term + 44));
    for (const chunk of chunks) {
      hash.update(chunk);
      fs.writeSync(fd, chunk);
    }
  }
  fs.closeSync(fd);
  if (hash.digest("hex") !== sha256) return refuse(400, undefined, "a file is not what its SHA-256 says");
  site.state.adopt(sha256, partial);
  return undefined;
}

/** Four little-endian words of 64 bits. */
function hashAt(shard: Buffer, at: number): string {
  return [0, 8, 16, 24]
    .map((word) =>
      shard
        .readBigUInt64LE(at + word)
        .toString(16)
        .padStart(16, "0"),
    )
    .join("");
}

/** Chunks of a xorb: version (1 byte), packed length (3), way of packing (1), length (3), bytes. */
function chunksOf(xorb: Buffer): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  for (let at = 0; at < xorb.length; ) {
    const packed = xorb.subarray(at + 8, at + 8 + xorb.readUIntLE(at + 1, 3));
    const length = xorb.readUIntLE(at + 5, 3);
    const way = xorb[at + 4];
    chunks.push(way === 0 ? packed : way === 1 ? unpackLz4(packed, length) : regroup(unpackLz4(packed, length)));
    at += 8 + packed.length;
  }
  return chunks;
}

/** An LZ4 frame without checksums, as the client writes it. */
function unpackLz4(frame: Buffer, length: number): Uint8Array {
  const target = new Uint8Array(length);
  let done = 0;
  for (let at = 7; ; ) {
    const word = frame.readUInt32LE(at);
    at += 4;
    if (word === 0) return target;
    const block = frame.subarray(at, at + (word & 0x7fffffff));
    if (word & 0x80000000) {
      target.set(block, done);
      done += block.length;
    } else done = unpackBlock(block, target, done);
    at += block.length;
  }
}

/** Sequences of literals and of copies of what stands before. */
function unpackBlock(block: Uint8Array, target: Uint8Array, start: number): number {
  let at = 0;
  let done = start;
  const extended = (length: number): number => {
    let sum = length;
    if (length === 15) for (let more = 255; more === 255; sum += more) more = block[at++] ?? 0;
    return sum;
  };
  while (at < block.length) {
    const token = block[at++] ?? 0;
    const literals = extended(token >> 4);
    target.set(block.subarray(at, at + literals), done);
    at += literals;
    done += literals;
    if (at >= block.length) break;
    const back = (block[at] ?? 0) | ((block[at + 1] ?? 0) << 8);
    at += 2;
    for (let left = extended(token & 15) + 4; left > 0; left--, done++) target[done] = target[done - back] ?? 0;
  }
  return done;
}

/** Bytes 0, 4, 8, ... first, then 1, 5, 9, ...: back to their places. */
function regroup(grouped: Uint8Array): Uint8Array {
  const target = new Uint8Array(grouped.length);
  let at = 0;
  for (let lane = 0; lane < 4; lane++) for (let to = lane; to < target.length; to += 4) target[to] = grouped[at++] ?? 0;
  return target;
}
