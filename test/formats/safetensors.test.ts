// Reading safetensors: every type, every refusal with its whole message, and the agreement of shards with their index.
import fs from "node:fs";
import path from "node:path";
import t from "tap";
import { readHeader } from "../../src/formats/safetensors/header.ts";
import { openSafetensorsFile } from "../../src/formats/safetensors/read.ts";
import { joinShards, naturalOrder, type OpenedShard, parseShardIndex } from "../../src/formats/shards.ts";
import { type ByteSource, fileSource, memorySource } from "../../src/tensor/source.ts";
import { refusal } from "./refusal.ts";
import { safetensorsFile, tensorFile } from "./safetensors-builder.ts";
import { REFUSALS, shaped } from "./safetensors-refusals.ts";

const INDEX = "Download the checkpoint again, or write its index anew.";
const open = (data: Uint8Array, name = "x.safetensors"): Promise<OpenedShard> =>
  openSafetensorsFile(memorySource(name, data), name);

t.test("each fault of a safetensors file is refused with its own message", async (t) => {
  for (const [title, data, message] of REFUSALS) t.equal(await refusal(open(data)), message, `a file that ${title}`);
});

t.test("a header that claims 2^63 or 99 MB is refused before anything of that size is read", async (t) => {
  for (const claim of [2n ** 63n, 99_000_000n]) {
    const data = Buffer.alloc(100, "{");
    data.writeBigUInt64LE(claim);
    const inner = memorySource("x.safetensors", data);
    const asked: number[] = [];
    const source: ByteSource = {
      ...inner,
      read: (offset, length) => {
        asked.push(length);
        return inner.read(offset, length);
      },
    };
    await refusal(readHeader(source));
    t.same(asked, [8]);
  }
});

t.test("a header of 4 MB is read, and so is a name of 12 MB; two million values are the limit", async (t) => {
  const many = Object.fromEntries(
    Array.from({ length: 20_000 }, (_, at) => [`${"x".repeat(140)}.${at}`, shaped(at, at + 1)]),
  );
  t.equal((await open(safetensorsFile(many, Buffer.alloc(20_000)))).tensors.size, 20_000);
  const long = `${"n".repeat(10_000_000)}${"é".repeat(1_000_000)}`;
  t.ok((await open(safetensorsFile({ [long]: shaped(0, 0) }))).shard.tensors[0] === long);
  const list = `{"a":[${"0,".repeat(2_000_000)}0]}`;
  t.equal(
    await refusal(open(safetensorsFile(list))),
    'damaged: x.safetensors header: is not JSON: line 1: expected at most 2000000 values, found "0,0,0]}" / Correct the file, or take it again from where it came.',
  );
});

t.test("every type of the format is read with its size", async (t) => {
  const sizes: Readonly<Record<string, number>> = {
    BOOL: 12,
    F4: 6,
    F6_E2M3: 9,
    F6_E3M2: 9,
    U8: 12,
    I8: 12,
    F8_E5M2: 12,
    F8_E4M3: 12,
    F8_E8M0: 12,
    F8_E4M3FNUZ: 12,
    F8_E5M2FNUZ: 12,
    I16: 24,
    U16: 24,
    F16: 24,
    BF16: 24,
    I32: 48,
    U32: 48,
    F32: 48,
    C64: 96,
    F64: 96,
    I64: 96,
    U64: 96,
  };
  const file = tensorFile(
    Object.fromEntries(Object.entries(sizes).map(([dtype, bytes]) => [dtype, [dtype, [3, 4], bytes]])),
  );
  const { tensors } = await open(file);
  for (const [name, tensor] of tensors) {
    t.match(tensor, { kind: "stored", dtype: name, shape: [3, 4], bytes: sizes[name] });
  }
  t.same([...tensors.keys()], Object.keys(sizes));
});

t.test("tensors come in the order of their data, metadata in the order of the file", async (t) => {
  const header = {
    z: shaped(2, 5),
    __metadata__: { b: "1", a: "é\n" },
    e: shaped(2, 2),
    __proto__x: shaped(0, 2),
    s: {},
  };
  const scalar = { dtype: "U8", shape: [], data_offsets: [5, 6] };
  const data = Buffer.from([1, 2, 3, 4, 5, 6]);
  const { shard, tensors } = await open(safetensorsFile({ ...header, s: scalar }, data, 13));
  t.same(shard.tensors, ["__proto__x", "e", "z", "s"]);
  t.same(
    [...(shard.metadata ?? [])],
    [
      ["b", "1"],
      ["a", "é\n"],
    ],
  );
  t.equal(shard.dataStart % 8, (8 + 13 + JSON.stringify({ ...header, s: scalar }).length + 1) % 8);
  const z = tensors.get("z");
  t.same(z?.kind === "stored" && (await z.source.read(z.offset, z.bytes)), Buffer.from([3, 4, 5]));
});

t.test("a file without tensors or metadata is read", async (t) => {
  const { shard, tensors } = await open(safetensorsFile("{}      "));
  t.same([shard.dataStart, shard.metadata, tensors.size], [16, undefined, 0]);
});

/** [what the index does, the index, the refusal] */
const INDEX_REFUSALS: readonly (readonly [string, unknown, string])[] = [
  ["is a list", [], "has no weight_map, the object that says which file holds which tensor"],
  ["has a list for a map", { weight_map: [] }, "has no weight_map, the object that says which file holds which tensor"],
  ["has text for metadata", { metadata: "", weight_map: { a: "a" } }, "has a metadata that is not an object"],
  ["maps a tensor to a number", { weight_map: { a: 1 } }, 'gives no file name for tensor "a"'],
  ["is empty", { weight_map: {} }, "names no tensor: its weight_map is empty"],
];
const OUTSIDE = ["../x", "a/../../x", "/etc/x", "a\\x", "..", ".", "", "a//b", "a/", "C:x", "x\0.safetensors"];

t.test("each fault of an index is refused, and so is every way out of the directory", async (t) => {
  const parse = async (index: unknown) => parseShardIndex("i.json", Buffer.from(JSON.stringify(index)));
  for (const [title, index, message] of INDEX_REFUSALS) {
    t.equal(await refusal(parse(index)), `damaged: i.json: ${message} / ${INDEX}`, `an index that ${title}`);
  }
  for (const file of OUTSIDE) {
    t.equal(
      await refusal(parse({ weight_map: { a: file } })),
      `damaged: i.json: places tensor "a" in ${JSON.stringify(file)}, which is not a plain path inside the directory / ` +
        "Do not use this checkpoint: an index that points outside its directory is not to be trusted.",
    );
  }
  const index = await parse({ weight_map: { a: "s-10", b: "s-9", c: "sub/s-1" }, metadata: { total_size: 3 } });
  t.same([index.shards, index.metadata], [["s-9", "s-10", "sub/s-1"], { total_size: 3 }]);
  t.same(["a10", "a9", "a09", "a1b", "a1"].sort(naturalOrder), ["a1", "a1b", "a09", "a9", "a10"]);
});

t.test("an index and its shards must agree, both ways", async (t) => {
  const one = await open(tensorFile({ a: ["U8", [1], 1], b: ["U8", [1], 1] }), "one");
  const two = await open(tensorFile({ c: ["U8", [1], 1] }), "two");
  const index = (map: object) => parseShardIndex("i.json", Buffer.from(JSON.stringify({ weight_map: map })));
  const join = async (map: object, shards = [one, two]) => joinShards(shards, index(map));
  const right = { a: "one", b: "one", c: "two" };
  t.same([...(await join(right)).keys()], ["a", "b", "c"]);
  for (const [map, message] of [
    [{ ...right, d: "two" }, 'i.json: places tensor "d" in two, which does not hold it'],
    [{ a: "one", c: "two" }, 'one: holds tensor "b", which i.json does not name'],
    [{ ...right, b: "two" }, 'one: holds tensor "b", which i.json places in two'],
  ] as const) {
    t.equal(await refusal(join(map)), `damaged: ${message} / ${INDEX}`);
  }
  const again = await open(tensorFile({ c: ["U8", [1], 1] }), "three");
  t.equal(
    await refusal(join(right, [one, two, again])),
    `damaged: three: holds tensor "c", which two holds too / ${INDEX}`,
  );
});

t.test("a file in the system is read through its path, in place", async (t) => {
  const file = path.join(t.testdir({}), "m.safetensors");
  fs.writeFileSync(file, tensorFile({ a: ["F32", [2], 8] }));
  const { tensors } = await openSafetensorsFile(fileSource(file, "m.safetensors"), "m.safetensors");
  const a = tensors.get("a");
  t.same(a?.kind === "stored" && (await a.source.read(a.offset, a.bytes)), Buffer.alloc(8, 1));
});
