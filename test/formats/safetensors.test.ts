// Reading and planning safetensors: every type, every refusal with its whole message, and layouts byte for byte.
import fs from "node:fs";
import path from "node:path";
import t from "tap";
import type { Shard } from "../../src/checkpoint/checkpoint.ts";
import { readHeader } from "../../src/formats/safetensors/header.ts";
import { openSafetensorsFile } from "../../src/formats/safetensors/read.ts";
import { planSafetensors, type ShardContents } from "../../src/formats/safetensors/write.ts";
import { joinShards, naturalOrder, type OpenedShard, parseShardIndex } from "../../src/formats/shards.ts";
import { JsonDocument } from "../../src/json.ts";
import type { FilePlan } from "../../src/storage/file-plan.ts";
import { filled, type TensorRef, ZERO } from "../../src/tensor/reference.ts";
import { type ByteSource, fileSource, memorySource } from "../../src/tensor/source.ts";
import { refusal } from "./refusal.ts";
import { materialise, safetensorsFile, tensorFile } from "./safetensors-builder.ts";

const AGAIN = "Download the file again, or save it anew with safetensors.";
const CUT = "Download the file again; it is cut short.";
const UPDATE = "Save the file with a released version of safetensors, or update expand-checkpoint.";
const INDEX = "Download the checkpoint again, or write its index anew.";
const open = (data: Uint8Array, name = "x.safetensors"): Promise<OpenedShard> =>
  openSafetensorsFile(memorySource(name, data), name);
const shaped = (begin: number, end: number) => ({ dtype: "U8", shape: [end - begin], data_offsets: [begin, end] });

/** [what the file does, the file, the refusal] */
const REFUSALS: readonly (readonly [string, Uint8Array, string])[] = [
  ["is empty", Buffer.alloc(0), "damaged: x.safetensors: is empty (0 bytes) / Download the file again."],
  [
    "is a Git LFS pointer",
    Buffer.from(`version https://git-lfs.github.com/spec/v1\noid sha256:${"0".repeat(64)}\nsize 9000\n`),
    'damaged: x.safetensors: is a Git LFS pointer of 129 bytes, not the file that it stands for / Run "git lfs pull" in its directory.',
  ],
  [
    "has 7 bytes",
    Buffer.alloc(7),
    `damaged: x.safetensors: has 7 bytes; a safetensors file starts with 8 that say how long its header is / ${AGAIN}`,
  ],
  [
    "claims a header of 2^63 bytes",
    Buffer.from([0, 0, 0, 0, 0, 0, 0, 0x80, 0x7b, 0x7d]),
    `damaged: x.safetensors: claims a header of 9223372036854775808 bytes; the format allows 100000000 / ${AGAIN}`,
  ],
  [
    "claims a header longer than itself",
    Buffer.from([3, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x7d]),
    `damaged: x.safetensors: claims a header of 3 bytes, but only 2 follow / ${AGAIN}`,
  ],
  ["has an empty header", safetensorsFile(""), `damaged: x.safetensors: its header does not begin with "{" / ${AGAIN}`],
  [
    "has a list for a header",
    safetensorsFile("[]"),
    `damaged: x.safetensors: its header does not begin with "{" / ${AGAIN}`,
  ],
  [
    "has a header that begins with a space",
    safetensorsFile(" {}"),
    `damaged: x.safetensors: its header does not begin with "{" / ${AGAIN}`,
  ],
  [
    "has a header that is not UTF-8",
    safetensorsFile('{"\xff":1}').map((byte) => (byte === 0xc3 || byte === 0xbf ? 0xff : byte)),
    "damaged: x.safetensors header: is not UTF-8 text / undefined",
  ],
  [
    "has a header that is not JSON",
    safetensorsFile('{"a":}'),
    'damaged: x.safetensors header: is not JSON: line 1: expected a value, found "}" / undefined',
  ],
  [
    "has text behind its header's object",
    safetensorsFile("{}\0"),
    'damaged: x.safetensors header: is not JSON: line 1: expected the end of the file, found "\\u0000" / undefined',
  ],
  [
    "has one name twice",
    safetensorsFile(`{"a":${JSON.stringify(shaped(0, 1))},"a":${JSON.stringify(shaped(1, 2))}}`, Buffer.alloc(2)),
    'damaged: x.safetensors header: has the key "a" twice / undefined',
  ],
  [
    "has metadata that is a list",
    safetensorsFile({ __metadata__: [] }),
    `damaged: x.safetensors: its __metadata__ is not an object / ${AGAIN}`,
  ],
  [
    "has metadata that is a number",
    safetensorsFile({ __metadata__: { format: 1 } }),
    `damaged: x.safetensors: its __metadata__ has "format", which is not a string / ${AGAIN}`,
  ],
  [
    "describes a tensor by a string",
    safetensorsFile({ a: "F32" }),
    `damaged: x.safetensors: tensor "a" is not described by an object / ${AGAIN}`,
  ],
  [
    "has half a surrogate in a name",
    safetensorsFile(`{"\\ud800":${JSON.stringify(shaped(0, 0))}}`),
    `damaged: x.safetensors: tensor "\\ud800" has a name that is not valid Unicode / ${AGAIN}`,
  ],
  [
    "has a name of 1000 letters without a dtype",
    safetensorsFile({ ["n".repeat(1000)]: {} }),
    `damaged: x.safetensors: tensor "${"n".repeat(200)}..." has no dtype / ${AGAIN}`,
  ],
  [
    "has a member that nobody knows",
    safetensorsFile({ a: { ...shaped(0, 0), scale: 2 } }),
    `unsupported: x.safetensors: tensor "a" has an unknown member "scale" / ${UPDATE}`,
  ],
  [
    "has a dtype that nobody knows",
    safetensorsFile({ a: { ...shaped(0, 0), dtype: "F7" } }),
    `unsupported: x.safetensors: tensor "a" has the unknown dtype "F7" / ${UPDATE}`,
  ],
  [
    "has a dtype of GGUF",
    safetensorsFile({ a: { dtype: "Q4_0", shape: [32], data_offsets: [0, 18] } }, Buffer.alloc(18)),
    `unsupported: x.safetensors: tensor "a" has the unknown dtype "Q4_0" / ${UPDATE}`,
  ],
  ...[undefined, 3, [-1], [1.5], ["1"], [2 ** 53], { length: 1 }].map(
    (shape) =>
      [
        `has the shape ${JSON.stringify(shape)}`,
        safetensorsFile({ a: { ...shaped(0, 0), shape } }),
        `damaged: x.safetensors: tensor "a" has no shape that is a list of sizes / ${AGAIN}`,
      ] as const,
  ),
  ...[undefined, 3, [], [0], [0, 0, 0], [-1, 0], [0, "1"], [0, 2 ** 60]].map(
    (offsets) =>
      [
        `has the offsets ${JSON.stringify(offsets)}`,
        safetensorsFile({ a: { ...shaped(0, 0), data_offsets: offsets } }),
        `damaged: x.safetensors: tensor "a" has no data_offsets that are two positions / ${AGAIN}`,
      ] as const,
  ),
  [
    "has a tensor that ends before it begins",
    safetensorsFile({ a: { ...shaped(0, 0), data_offsets: [2, 1] } }, Buffer.alloc(2)),
    `damaged: x.safetensors: tensor "a" begins at byte 2 and ends before it, at 1 / ${AGAIN}`,
  ],
  [
    "has a shape whose product passes 2^53",
    safetensorsFile({ a: { dtype: "F32", shape: [2 ** 40, 2 ** 40], data_offsets: [0, 4] } }, Buffer.alloc(4)),
    `damaged: x.safetensors: tensor "a" cannot have the shape [1099511627776,1099511627776] in F32: that is no whole number of bytes below 2^53 / ${AGAIN}`,
  ],
  [
    "has five 4-bit values",
    safetensorsFile({ a: { dtype: "F4", shape: [5], data_offsets: [0, 3] } }, Buffer.alloc(3)),
    `damaged: x.safetensors: tensor "a" cannot have the shape [5] in F4: that is no whole number of bytes below 2^53 / ${AGAIN}`,
  ],
  [
    "has fewer bytes than its shape needs",
    safetensorsFile({ a: { dtype: "F32", shape: [2, 3], data_offsets: [0, 20] } }, Buffer.alloc(20)),
    `damaged: x.safetensors: tensor "a" of shape [2,3] in F32 needs 24 bytes, but has 20 / ${AGAIN}`,
  ],
  [
    "has overlapping tensors",
    safetensorsFile({ a: shaped(0, 4), b: shaped(3, 6) }, Buffer.alloc(6)),
    `damaged: x.safetensors: tensor "b" begins at data byte 3, inside tensor "a", which ends at 4 / ${AGAIN}`,
  ],
  [
    "has two tensors at one place",
    safetensorsFile({ a: shaped(0, 4), b: shaped(0, 4) }, Buffer.alloc(4)),
    `damaged: x.safetensors: tensor "b" begins at data byte 0, inside tensor "a", which ends at 4 / ${AGAIN}`,
  ],
  [
    "has a hole between tensors",
    safetensorsFile({ a: shaped(0, 4), b: shaped(5, 6) }, Buffer.alloc(6)),
    `damaged: x.safetensors: tensor "b" begins at data byte 5, but the one before ends at 4: a hole / ${AGAIN}`,
  ],
  [
    "has a hole before the first tensor",
    safetensorsFile({ a: shaped(1, 4) }, Buffer.alloc(4)),
    `damaged: x.safetensors: tensor "a" begins at data byte 1, but the one before ends at 0: a hole / ${AGAIN}`,
  ],
  [
    "is cut inside a tensor",
    safetensorsFile({ a: shaped(0, 4) }, Buffer.alloc(3)),
    `damaged: x.safetensors: tensor "a" ends at data byte 4, but the file has 3 / ${CUT}`,
  ],
  [
    "goes on behind the last tensor",
    safetensorsFile({ a: shaped(0, 4) }, Buffer.alloc(5)),
    `damaged: x.safetensors: its tensors end at data byte 4, but the file has 5 / ${AGAIN}`,
  ],
];

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
    'damaged: x.safetensors header: is not JSON: line 1: expected at most 2000000 values, found "0,0,0]}" / undefined',
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

/** Header text, first data byte, and the rest of what a reader sees. */
function lookInto(file: Buffer): { header: string; dataStart: number } {
  const dataStart = 8 + Number(file.readBigUInt64LE());
  return { header: file.toString("utf8", 8, dataStart).trimEnd(), dataStart };
}

function group({ shard, tensors }: OpenedShard, copies: readonly (readonly [string, TensorRef])[] = []): ShardContents {
  return { source: shard, tensors: [...tensors, ...copies], originals: tensors.size };
}

const zero = (bytes: number, pattern = ZERO): TensorRef =>
  filled({ kind: "fill", dtype: "U8", shape: [bytes], bytes, pattern: ZERO }, pattern);

t.test("an unchanged file is one copy of the whole file, whatever its header looks like", async (t) => {
  const file = tensorFile(
    { a: ["F32", [2], 8], e: ["F32", [0], 0], b: ["U8", [3], 3] },
    { format: "pt", by: "me" },
    77,
  );
  const opened = await open(file);
  const [plan, ...rest] = planSafetensors([group(opened)]);
  t.same(rest, []);
  const source = opened.shard.source;
  t.same(plan, {
    name: "model.safetensors",
    size: file.length,
    segments: [{ kind: "copy", to: 0, length: file.length, source, from: 0 }],
  });
});

t.test("a file is laid out anew when a name, an order, a value or its metadata changes", async (t) => {
  const opened = await open(tensorFile({ a: ["F32", [2], 8], b: ["U8", [3], 3] }, { format: "pt" }));
  const { shard, tensors } = opened;
  const [a, b] = [...tensors.values()];
  if (a === undefined || b === undefined) throw new RangeError("two tensors were built");
  const variants: readonly (readonly [string, ShardContents])[] = [
    [
      "a new name",
      {
        source: shard,
        originals: 2,
        tensors: [
          ["a", a],
          ["c", b],
        ],
      },
    ],
    [
      "another order",
      {
        source: shard,
        originals: 2,
        tensors: [
          ["b", b],
          ["a", a],
        ],
      },
    ],
    [
      "a value",
      {
        source: shard,
        originals: 2,
        tensors: [
          ["a", a],
          ["b", filled(b, ZERO)],
        ],
      },
    ],
    [
      "a place",
      {
        source: shard,
        originals: 2,
        tensors: [
          ["a", a],
          ["b", { ...b, kind: "stored", source: shard.source, offset: 0 }],
        ],
      },
    ],
    ["a tensor less", { source: shard, originals: 1, tensors: [["a", a]] }],
    ["metadata", { ...group(opened), metadata: new Map([["format", "np"]]) }],
  ];
  for (const [title, contents] of variants) {
    const [plan] = planSafetensors([contents]);
    t.equal(plan?.segments[0]?.kind, "bytes", title);
    t.equal((await open(await materialise(plan as FilePlan))).tensors.size, contents.tensors.length, title);
  }
});

t.test(
  "original data keep their position modulo 4096, touching ranges become one, zeros of any kind become one",
  async (t) => {
    for (const padding of [0, 1, 2, 3, 100, 4000, 5000]) {
      const opened = await open(
        tensorFile({ a: ["U8", [5], 5], b: ["U8", [6], 6], c: ["U8", [7], 7] }, undefined, padding),
      );
      const [a, b, c] = [...opened.tensors.values()] as [TensorRef, TensorRef, TensorRef];
      const copies: [string, TensorRef][] = [
        ["d", b],
        ["e", c],
        ["f", a],
        ["g", zero(3)],
        ["h", zero(4, new Uint8Array(2))],
        ["empty", zero(0)],
        ["i", zero(6, Uint8Array.of(0, 0x3c))],
        ["j", zero(2, Uint8Array.of(0, 0x3c))],
      ];
      const [plan] = planSafetensors([group(opened, copies)]);
      const file = await materialise(plan as FilePlan);
      const { header, dataStart } = lookInto(file);
      t.equal(dataStart % 4096, opened.shard.dataStart % 4096, `padding ${padding}`);
      t.ok(dataStart - Buffer.byteLength(header) - 8 < 4096);
      t.same(
        plan?.segments.map((segment) => [segment.kind, segment.to - dataStart]),
        [
          ["bytes", -dataStart],
          ["copy", 0],
          ["copy", 18],
          ["copy", 31],
          ["fill", 36],
          ["fill", 43],
        ],
      );
      const data = [..."aaaaabbbbbbcccccccbbbbbbcccccccaaaaa"].map((letter) => "_abc".indexOf(letter));
      t.same([...file.subarray(dataStart)], [...data, 0, 0, 0, 0, 0, 0, 0, ...[0, 1, 2, 3].flatMap(() => [0, 0x3c])]);
      t.equal((await open(file)).tensors.size, 11);
    }
  },
);

t.test(
  "the first stored tensor sets the position, also behind others; without one, data begin at a multiple of 8",
  async (t) => {
    const opened = await open(tensorFile({ a: ["U8", [500], 500] }, undefined, 3));
    const a = opened.tensors.get("a") as TensorRef & { offset: number };
    const [late] = planSafetensors([
      {
        tensors: [
          ["z", zero(10)],
          ["a", a],
        ],
        originals: 0,
      },
    ]);
    const { dataStart } = lookInto(await materialise(late as FilePlan));
    t.equal((dataStart + 10) % 4096, a.offset % 4096);
    const [none] = planSafetensors([{ tensors: [["z", zero(10)]], originals: 1 }]);
    t.equal(lookInto(await materialise(none as FilePlan)).dataStart % 8, 0);
  },
);

t.test("the header is spelled as the reference writer spells it, with metadata first and names escaped", async (t) => {
  const tensors: [string, TensorRef][] = [
    ['a"\\é\u0001', { ...zero(6), shape: [2, 3] }],
    ["s", { ...zero(1), shape: [] }],
  ];
  const text = async (contents: Partial<ShardContents>) => {
    const [plan] = planSafetensors([{ tensors, originals: 2, ...contents }]);
    return lookInto(await materialise(plan as FilePlan)).header;
  };
  const entries =
    '"a\\"\\\\é\\u0001":{"dtype":"U8","shape":[2,3],"data_offsets":[0,6]},"s":{"dtype":"U8","shape":[],"data_offsets":[6,7]}';
  const { shard } = await open(safetensorsFile("{}"));
  t.equal(await text({}), `{"__metadata__":{"format":"pt"},${entries}}`, "pt is the default without a source");
  t.equal(await text({ source: shard }), `{${entries}}`, "none where the source has none");
  t.equal(await text({ metadata: new Map() }), `{"__metadata__":{},${entries}}`);
  t.equal(
    await text({
      metadata: new Map([
        ["b", "\n"],
        ["a", "x"],
      ]),
    }),
    `{"__metadata__":{"b":"\\n","a":"x"},${entries}}`,
  );
  t.equal(lookInto(await materialise(planSafetensors([])[0] as FilePlan)).header, '{"__metadata__":{"format":"pt"}}');
});

/** A shard of the given tensors that claim `bytes` each; nothing is stored. */
function heavy(name: string, names: string, copies: string, bytes: number): ShardContents {
  const source: ByteSource = {
    name,
    size: 1e13,
    identity: name,
    read: () => Promise.reject(new RangeError("headers only")),
  };
  const shard: Shard = { name, source, dataStart: 4096, tensors: [...names], metadata: new Map([["format", "pt"]]) };
  const ref = (at: number): TensorRef => ({
    kind: "stored",
    dtype: "U8",
    shape: [bytes],
    bytes,
    source,
    offset: 4096 + at * bytes,
  });
  const tensors = [...names, ...copies].map((tensor, at) => [tensor, ref(at % names.length)] as const);
  return { source: shard, tensors, originals: names.length };
}

/** Names of the tensors in each file. */
async function contentsOf(plans: readonly FilePlan[]): Promise<string> {
  const files = plans.filter((plan) => plan.name.endsWith(".safetensors"));
  return files
    .map(({ segments: [first] }) => {
      if (first?.kind !== "bytes") return "whole";
      const header = JSON.parse(Buffer.from(first.data.subarray(8)).toString());
      return Object.keys(header)
        .filter((name) => name !== "__metadata__")
        .join("");
    })
    .join(" ");
}

t.test(
  "originals stay in their shard; copies join them up to 5 GB, and what is left goes to shards of its own",
  async (t) => {
    const GB = 1e9;
    for (const [title, groups, expected] of [
      ["all fit", [heavy("1", "ab", "AB", GB), heavy("2", "cd", "CD", GB)], "abAB cdCD"],
      ["nothing fits", [heavy("1", "ab", "AB", 2.4 * GB), heavy("2", "cd", "CD", 2.4 * GB)], "ab cd AB CD"],
      [
        "some fit, and later ones do not jump the queue",
        [heavy("1", "abc", "ABC", 1.2 * GB), heavy("2", "d", "D", GB)],
        "abcA dD BC",
      ],
      ["originals alone are above the limit", [heavy("1", "abcdef", "A", GB), heavy("2", "g", "", GB)], "abcdef g A"],
      ["one tensor is above the limit", [heavy("1", "a", "AB", 6 * GB)], "a A B"],
      ["an empty shard vanishes", [heavy("1", "", "", 1), heavy("2", "a", "A", 1)], "aA"],
    ] as const) {
      t.equal(await contentsOf(planSafetensors(groups)), expected, title);
    }
  },
);

t.test("with a shard size no file is larger unless one tensor alone is", async (t) => {
  const groups = [heavy("1", "abcd", "AB", 1e6), heavy("2", "efg", "E", 1e6)];
  for (const [shardSize, expected] of [
    [2e6, "a b c d A B e f g E"],
    [2.01e6, "ab cd AB ef gE"],
    [1e9, "abcdABefgE"],
    [1000, "a b c d A B e f g E"],
  ] as const) {
    const plans = planSafetensors(groups, { shardSize });
    t.equal(await contentsOf(plans), expected, `--shard-size ${shardSize}`);
    if (shardSize > 1e6) t.ok(plans.every((plan) => plan.size <= shardSize || plan.size < 1_005_000));
  }
  const other = { ...heavy("3", "h", "", 1e6), metadata: new Map([["format", "np"]]) };
  t.equal(
    await contentsOf(planSafetensors([...groups, other], { shardSize: 1e9 })),
    "abcdABefgE h",
    "metadata are never mixed",
  );
});

t.test("a shard that is not touched stays a whole copy beside others that change", async (t) => {
  const first = await open(tensorFile({ a: ["U8", [5], 5] }, { format: "pt" }), "one.safetensors");
  const second = await open(tensorFile({ b: ["U8", [5], 5] }, { format: "pt" }), "two.safetensors");
  const plans = planSafetensors([group(first), group(second, [["c", zero(5)]])], {
    indexMetadata: { total_size: 10, total_parameters: 10, note: "kept" },
  });
  t.equal(await contentsOf(plans), "whole bc");
  t.same(
    plans.map(({ name }) => name),
    ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"],
  );
  const index = (await materialise(plans[2] as FilePlan)).toString();
  t.equal(
    index,
    `{
  "metadata": {
    "total_size": 15,
    "note": "kept"
  },
  "weight_map": {
    "a": "model-00001-of-00002.safetensors",
    "b": "model-00002-of-00002.safetensors",
    "c": "model-00002-of-00002.safetensors"
  }
}
`,
  );
  t.same(JsonDocument.parse("i", index).get(["metadata", "total_size"]), 15);
  const same = planSafetensors([group(first), group(second)], { indexMetadata: { total_parameters: 10 } });
  t.match(JSON.parse((await materialise(same[2] as FilePlan)).toString()), {
    metadata: { total_size: 10, total_parameters: 10 },
  });
});

t.test("what the format cannot hold is refused before a byte is written", async (t) => {
  const plan = async (name: string, tensor: TensorRef, more: readonly [string, TensorRef][] = []) =>
    planSafetensors([{ tensors: [[name, tensor], ...more], originals: 1 }]);
  t.equal(
    await refusal(plan("__metadata__", zero(1))),
    'unsupported: model.safetensors: safetensors cannot hold a tensor named "__metadata__" / Rename the tensor in the source.',
  );
  t.equal(
    await refusal(plan("a", { kind: "fill", dtype: "Q4_0", shape: [32], bytes: 18, pattern: ZERO })),
    'unsupported: model.safetensors: safetensors has no dtype Q4_0, which tensor "a" has / Keep the source\'s format.',
  );
  t.equal(await refusal(plan("a", zero(1), [["a", zero(1)]])), 'bug: two tensors are named "a" / undefined');
  t.equal(
    await refusal(plan("\u0001".repeat(16_700_000), zero(1))),
    "unsupported: model.safetensors: would need a header of 100200088 bytes; readers stop at 100000000 / Ask for smaller shards with --shard-size.",
  );
});
