// The content-addressed storage of the Hub double (Xet): takes xorbs and shards, and puts files together from them again.
import type { Answer } from "./faults.ts";
import { answer, type Call, readBody, refuse, type Site } from "./site.ts";

/** Entries of a shard are all of 48 bytes: header, file, segment, verification, metadata. */
const ENTRY = 48;

export async function putXorb(call: Call): Promise<Answer> {
  if (call.request.headers.authorization !== "Bearer xet-access") return refuse(401, undefined, "no access");
  await readBody(call.request);
  return answer(200, { was_inserted: true });
}

/** Reads from a shard what names its files: SHA-256 and size. Their content is not put together: zeros stand for it. */
export async function putShard(site: Site, call: Call): Promise<Answer> {
  if (call.request.headers.authorization !== "Bearer xet-access") return refuse(401, undefined, "no access");
  const shard = await readBody(call.request);
  let at = ENTRY;
  while (shard.readUInt32LE(at) !== 0xffffffff) {
    const flags = shard.readUInt32LE(at + 32);
    const segments = shard.readUInt32LE(at + 36);
    at += ENTRY;
    let size = 0;
    for (let i = 0; i < segments; i++) size += shard.readUInt32LE(at + i * ENTRY + 36);
    at += segments * ENTRY;
    if (flags & 0x80000000) at += segments * ENTRY;
    if (flags & 0x40000000) {
      // The SHA-256 as four little-endian words of 64 bits.
      const words = [0, 8, 16, 24].map((offset) =>
        shard
          .readBigUInt64LE(at + offset)
          .toString(16)
          .padStart(16, "0"),
      );
      const zeros = Buffer.alloc(1);
      site.state.addObject(words.join(""), {
        size,
        *read(from, to) {
          for (let byte = from; byte < to; byte++) yield zeros;
        },
      });
      at += ENTRY;
    }
  }
  return answer(200, { result: 1 });
}
