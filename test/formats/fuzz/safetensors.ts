// Damaged safetensors files, and index files that disagree with them.
import assert from "node:assert";
import path from "node:path";
import { openSafetensorsFile } from "../../../src/formats/safetensors/read.ts";
import { joinShards, parseShardIndex } from "../../../src/formats/shards.ts";
import { memorySource } from "../../../src/tensor/source.ts";
import { assertInside, boundedSource, fuzzed } from "../mutate.ts";
import { safetensorsFile, tensorFile } from "../safetensors-builder.ts";

const shard = tensorFile({ a: ["F32", [2, 2], 16], "é\n": ["BF16", [3], 6], e: ["F32", [0], 0] }, { format: "pt" });
const opened = openSafetensorsFile(memorySource("a.st", shard), "a.st");

export const safetensorsFiles = fuzzed(
  "safetensors files",
  [
    shard,
    tensorFile({ x: ["F4", [2], 1], y: ["F6_E2M3", [4], 3], z: ["F8_E8M0", [], 1] }, undefined, 9),
    safetensorsFile("{}"),
    Buffer.from("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
  ],
  async (data) => {
    const { shard, tensors } = await openSafetensorsFile(boundedSource("x", data), "x");
    assertInside(shard, tensors);
  },
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
    for (const name of index.shards)
      assert.ok(!path.relative("/top", path.resolve("/top", name)).startsWith(".."), name);
    joinShards([await opened], index);
  },
);
