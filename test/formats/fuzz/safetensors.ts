// Damaged safetensors files, and index files that disagree with them.
import assert from "node:assert";
import path from "node:path";
import { openSafetensorsFile } from "../../../src/formats/safetensors/read.ts";
import { joinShards, parseShardIndex } from "../../../src/formats/shards.ts";
import { memorySource } from "../../../src/tensor/source.ts";
import { assertInside, boundedSource, fuzzed, fuzzedWith, mutate } from "../mutate.ts";
import { safetensorsFile, tensorFile } from "../safetensors-builder.ts";

const shard = tensorFile({ a: ["F32", [2, 2], 16], "é\n": ["BF16", [3], 6], e: ["F32", [0], 0] }, { format: "pt" });
const opened = openSafetensorsFile(memorySource("a.st", shard), "a.st");

const read = async (data: Uint8Array): Promise<void> => {
  const { shard, tensors } = await openSafetensorsFile(boundedSource("x", data), "x");
  assertInside(shard, tensors);
};

export const safetensorsFiles = fuzzed(
  "safetensors files",
  [
    shard,
    tensorFile({ x: ["F4", [2], 1], y: ["F6_E2M3", [4], 3], z: ["F8_E8M0", [], 1] }, undefined, 9),
    safetensorsFile("{}"),
    Buffer.from("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
  ],
  read,
);

const headerEnd = 8 + Number(shard.readBigUInt64LE());
/** Damage that the length in front agrees with. */
export const safetensorsHeaders = fuzzedWith(
  "safetensors headers",
  (random) => {
    const header = mutate(random, [shard.subarray(8, headerEnd)]);
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    return Buffer.concat([length, header, shard.subarray(headerEnd)]);
  },
  read,
);

export const indexFiles = fuzzed(
  "index files",
  [
    Buffer.from(
      JSON.stringify({ metadata: { total_size: 22 }, weight_map: { a: "a.st", "é\n": "a.st", e: "a.st" } }, null, 2),
    ),
    Buffer.from('{"weight_map":{"a":"sub/a.st","b":"../b","c":"/c","d":"C:\\\\d"}}'),
  ],
  async (data) => {
    const index = parseShardIndex("x.index.json", data);
    for (const name of index.shards) assert.ok(path.resolve("/top", name).startsWith("/top/"), name);
    joinShards([await opened], index);
  },
);
