// Reading GGUF: every version, byte order, value type and tensor type; every refusal with its whole message.
import fs from "node:fs";
import path from "node:path";
import t from "tap";
import { GGUF_TYPES, type GgufScalarType, ggufTypeName, ggufValue } from "../../src/checkpoint/gguf-metadata.ts";
import { type GgufHeader, readGgufHeader } from "../../src/formats/gguf/header.ts";
import { GGML_DTYPES, idOfDtype } from "../../src/formats/gguf/types.ts";
import { blockOf } from "../../src/tensor/dtype.ts";
import { memorySource } from "../../src/tensor/source.ts";
import { build, claimedSource, type Fields, type File, i32, text, u16, u32, type Value } from "./gguf-builder.ts";
import { AGAIN, CLAIMS, REFUSALS } from "./gguf-refusals.ts";
import { openGguf } from "./open-file.ts";
import { refusal } from "./refusal.ts";

const header = (bytes: Uint8Array): Promise<GgufHeader> => readGgufHeader(memorySource("x.gguf", bytes));

const BOM_AND_BROKEN = Buffer.from([0xef, 0xbb, 0xbf, 0x61, 0xff]);
/** One key for every value type: how it is stored, and what it decodes to. */
const VALUES: Readonly<Record<GgufScalarType, readonly [(f: Fields) => Fields, unknown]>> = {
  u8: [(f) => f.raw([200]), 200],
  i8: [(f) => f.raw([200]), -56],
  u16: [(f) => f.u16(60000), 60000],
  i16: [(f) => f.u16(60000), -5536],
  u32: [(f) => f.u32(4e9), 4e9],
  i32: [(f) => f.u32(4e9), 4e9 - 2 ** 32],
  f32: [(f) => f.f32(0.5), 0.5],
  bool: [(f) => f.raw([1]), true],
  string: [(f) => f.string(BOM_AND_BROKEN), BOM_AND_BROKEN],
  u64: [(f) => f.u64(-1), 2n ** 64n - 1n],
  i64: [(f) => f.u64(-1), -1n],
  f64: [(f) => f.f64(0.1), 0.1],
};
const scalars = Object.keys(VALUES) as GgufScalarType[];
const ALL_KEYS: readonly (readonly [string, Value])[] = scalars.flatMap((type) => {
  const id = GGUF_TYPES.indexOf(type);
  const [write] = VALUES[type];
  return [
    [type, (f: Fields) => write(f.u32(id))],
    [`three ${type}`, (f: Fields) => write(write(write(f.u32(9).u32(id).length(3))))],
    [`no ${type}`, (f: Fields) => f.u32(9).u32(id).length(0)],
  ] as const;
});

for (const version of [1, 2, 3]) {
  for (const big of [false, true]) {
    t.test(
      `version ${version}, ${big ? "big" : "little"}-endian: all values decode, and read as v3 stores them`,
      async (t) => {
        const tensors = [{ name: "a", ne: [3, 2], type: 0, bytes: 24 }];
        const found = await header(build({ version, big, keys: ALL_KEYS, tensors }));
        const stored = await header(build({ keys: ALL_KEYS, tensors }));
        t.match(found, { version, bigEndian: big, alignment: 32 });
        t.same(found.tensors, [{ name: "a", dtype: "F32", shape: [2, 3], bytes: 24, offset: 0 }]);
        t.same([...found.entries.keys()], [...stored.entries.keys()]);
        for (const [key, entry] of found.entries) {
          t.equal(Buffer.compare(entry.raw, stored.entries.get(key)?.raw ?? Buffer.alloc(0)), 0, `${key}: same bytes`);
        }
        for (const type of scalars) {
          const value = VALUES[type][1];
          const read = (key: string): unknown => {
            const entry = found.entries.get(key);
            return entry && [ggufTypeName(entry), entry.count, ggufValue(entry)];
          };
          t.strictSame(read(type), [type, 1, asRead(value)]);
          t.strictSame(read(`three ${type}`), [`array of ${type}`, 3, [value, value, value].map(asRead)]);
          t.strictSame(read(`no ${type}`), [`array of ${type}`, 0, []]);
        }
      },
    );
  }
}

function asRead(value: unknown): unknown {
  return value instanceof Buffer ? new Uint8Array(value) : value;
}

t.test("every type of a file has its id and its size", async (t) => {
  const facts = new URL("../../../shared/facts/ggml-types.json", import.meta.url);
  t.equal(GGML_DTYPES.length, 33);
  for (const dtype of GGML_DTYPES) {
    const { values, bytes } = blockOf(dtype);
    const info = { name: "a", ne: [values, 2, 3], type: idOfDtype(dtype) ?? -1, bytes: 6 * bytes };
    const found = await header(build({ tensors: [info] }));
    t.same(found.tensors, [{ name: "a", dtype, shape: [3, 2, values], bytes: 6 * bytes, offset: 0 }], dtype);
  }
  if (!fs.existsSync(facts)) return t.comment("the facts of llama.cpp are not here; ids and sizes are not compared");
  const { types } = JSON.parse(fs.readFileSync(facts, "utf8"));
  const expected = types
    .filter((type: { runtime_only?: boolean }) => !type.runtime_only)
    .map((type: { id: number; name: string; block: number; bytes: number }) => {
      return `${type.id} ${type.name.toUpperCase()} ${type.block} ${type.bytes}`;
    });
  const ours = GGML_DTYPES.map(
    (dtype) => `${idOfDtype(dtype)} ${dtype} ${blockOf(dtype).values} ${blockOf(dtype).bytes}`,
  );
  t.same(ours, expected);
});

t.test("a name keeps its byte order mark", async (t) => {
  const keys = [["\ufeffk", u32(1)] as const, ["k", u32(2)] as const];
  const tensors = ["\ufeffa", "a"].map((name) => ({ name, ne: [8], type: 0, bytes: 32 }));
  const found = await header(build({ keys, tensors }));
  t.same([...found.entries.keys()], ["\ufeffk", "k"]);
  t.same(
    found.tensors.map(({ name }) => name),
    ["\ufeffa", "a"],
  );
});

t.test("data starts at the next multiple of the alignment, and each tensor too", async (t) => {
  const tensors = [
    { name: "a", ne: [5], type: 24, bytes: 5 },
    { name: "b", ne: [0, 2], type: 0, bytes: 0 },
    { name: "scalar", ne: [], type: 28, bytes: 8 },
  ];
  for (const alignment of [1, 8, 256]) {
    const keys = [["general.alignment", u32(alignment)] as const];
    const bytes = build({ keys, tensors, alignment });
    const found = await header(bytes);
    t.equal(found.dataStart % alignment, 0);
    t.same(
      found.tensors.map(({ offset }) => offset),
      [0, Math.ceil(5 / alignment) * alignment, Math.ceil(5 / alignment) * alignment],
    );
    t.same(
      found.tensors.map(({ shape }) => shape),
      [[5], [2, 0], []],
    );
  }
});

t.test("the padding behind the last tensor, or behind a header without tensors, may be missing", async (t) => {
  const tensors = [{ name: "a", ne: [5], type: 24, bytes: 5 }];
  t.equal((await header(build({ tensors, cut: 27 }))).tensors.length, 1);
  const none = build({ keys: [["k", text("some text")]] });
  t.equal((await header(none.subarray(0, none.length - 1))).entries.size, 1);
});

t.test("a header of 5 MB in a file of 1 TB is read in windows that double, and no data is read", async (t) => {
  const words = Array.from({ length: 500_000 }, (_, i) => String(i));
  const tokens: Value = (f) =>
    words.reduce((fields, word) => fields.string(word), f.u32(9).u32(8).length(words.length));
  const ne = [2 ** 38 - 2 ** 26];
  const file = build({ keys: [["tokens", tokens]], tensors: [{ name: "a", ne, type: 0, bytes: 0 }] });
  const source = claimedSource(file, file.length + 4 * (2 ** 38 - 2 ** 26));
  const found = await readGgufHeader(source);
  t.equal(found.entries.get("tokens")?.count, 500_000);
  const MiB = 2 ** 20;
  t.same(source.reads, [
    [0, MiB],
    [MiB, MiB],
    [2 * MiB, 2 * MiB],
    [4 * MiB, 4 * MiB],
  ]);
});

for (const [title, file, expected] of REFUSALS) {
  t.test(`a file that ${title} is refused`, async (t) => {
    t.equal(await refusal(header(Buffer.isBuffer(file) ? file : build(file))), expected);
  });
}

for (const [title, file, expected] of CLAIMS) {
  t.test(`${title} in a file of 1 TB are refused after one read`, async (t) => {
    const source = claimedSource(build(file), 2 ** 40);
    t.equal(await refusal(readGgufHeader(source)), `unsupported: x.gguf: ${expected} / ${AGAIN}`);
    t.same(source.reads, [[0, 2 ** 20]]);
  });
}

const part = (no: number, count: number, extra: File["keys"] = [], name = `t${no}`): Buffer =>
  build({
    keys: [...extra, ["split.no", u16(no)], ["split.tensors.count", i32(3)], ["split.count", u16(count)]],
    tensors: [{ name, ne: [32], type: 0, bytes: 128 }],
  });
const PARTS = {
  "m-00001-of-00003.gguf": part(0, 3, [["k", text("v")]]),
  "m-00002-of-00003.gguf": part(1, 3),
  "m-00003-of-00003.gguf": part(2, 3, [["k", text("v")]]),
};

const SPLIT_AGAIN = "Download or split the model again.";
/** [what is wrong, files instead of the right ones, the refusal when part 1 is opened] */
const SPLITS: readonly (readonly [string, Readonly<Record<string, Buffer | undefined>>, string])[] = [
  [
    "two parts are missing",
    { "m-00002-of-00003.gguf": undefined, "m-00003-of-00003.gguf": undefined },
    "input: m-00001-of-00003.gguf: 2 of its 3 parts are missing: m-00002-of-00003.gguf, m-00003-of-00003.gguf / Download the missing parts into the same folder.",
  ],
  [
    "part 1 has no split keys",
    { "m-00001-of-00003.gguf": build() },
    'damaged: m-00001-of-00003.gguf: is named as part 1 of 3, but has no key "split.count" / Rename the file if it is a whole model; else download all parts again.',
  ],
  [
    "part 1 says that it is part 2",
    { "m-00001-of-00003.gguf": part(1, 3) },
    "damaged: m-00001-of-00003.gguf: is part 2 of 3, but its name does not say so / Rename it to NAME-00002-of-00003.gguf.",
  ],
  [
    "part 1 counts 4 parts",
    { "m-00001-of-00003.gguf": part(0, 4) },
    "damaged: m-00001-of-00003.gguf: is part 1 of 4, but its name does not say so / Rename it to NAME-00001-of-00004.gguf.",
  ],
  [
    "part 2 says that it is part 3",
    { "m-00002-of-00003.gguf": part(2, 3) },
    `damaged: m-00002-of-00003.gguf: says it is part 3 of 3; part 2 of 3 was expected / ${SPLIT_AGAIN}`,
  ],
  [
    "part 2 has no split keys",
    { "m-00002-of-00003.gguf": build() },
    `damaged: m-00002-of-00003.gguf: says it is part 1 of 1; part 2 of 3 was expected / ${SPLIT_AGAIN}`,
  ],
  [
    "part 2 is big-endian",
    {
      "m-00002-of-00003.gguf": build({
        big: true,
        keys: [
          ["split.no", u16(1)],
          ["split.count", u16(3)],
        ],
      }),
    },
    `damaged: m-00002-of-00003.gguf: has another byte order than part 1 / ${SPLIT_AGAIN}`,
  ],
  [
    "part 2 has a setting of its own",
    { "m-00002-of-00003.gguf": part(1, 3, [["own", u32(1)]]) },
    `damaged: m-00002-of-00003.gguf: key "own" is not in part 1 / ${SPLIT_AGAIN}`,
  ],
  [
    "part 2 has another value of a setting",
    { "m-00002-of-00003.gguf": part(1, 3, [["k", text("w")]]) },
    `damaged: m-00002-of-00003.gguf: key "k" has another value than in part 1 / ${SPLIT_AGAIN}`,
  ],
  [
    "part 2 has a tensor of part 1",
    { "m-00002-of-00003.gguf": part(1, 3, [], "t0") },
    `damaged: m-00002-of-00003.gguf: tensor "t0" is in an earlier part too / ${SPLIT_AGAIN}`,
  ],
  [
    "part 2 has no tensor",
    {
      "m-00002-of-00003.gguf": build({
        keys: [
          ["split.no", u16(1)],
          ["split.count", u16(3)],
        ],
      }),
    },
    `damaged: m-00001-of-00003.gguf: key "split.tensors.count" is 3, but the parts hold 2 tensors / ${SPLIT_AGAIN}`,
  ],
  [
    "split.count is a u32",
    { "m-00001-of-00003.gguf": build({ keys: [["split.count", u32(3)]] }) },
    `damaged: m-00001-of-00003.gguf: key "split.count" is of type u32; u16 was expected / ${SPLIT_AGAIN}`,
  ],
];
t.test("a split model opens by the path of any part", async (t) => {
  const directory = t.testdir(PARTS);
  for (const name of Object.keys(PARTS)) {
    const found = await openGguf(path.join(directory, name));
    t.equal(found.location, path.join(directory, name));
    t.same([...found.tensors.keys()], ["t0", "t1", "t2"]);
    t.same(
      found.shards.map(({ name, tensors }) => [name, tensors]),
      Object.keys(PARTS).map((name, i) => [name, [`t${i}`]]),
    );
    t.ok(found.config.dialect === "gguf" && [...found.config.metadata.entries.keys()].join() === "k", "no split keys");
    for (const [i, { source, dataStart }] of found.shards.entries()) {
      t.match(found.tensors.get(`t${i}`), { kind: "stored", source, offset: dataStart, dtype: "F32", shape: [32] });
    }
  }
});

for (const [title, files, expected] of SPLITS) {
  t.test(`a split model is refused when ${title}`, async (t) => {
    const present = Object.entries({ ...PARTS, ...files }).filter(([, bytes]) => bytes !== undefined);
    const directory = t.testdir(Object.fromEntries(present) as Record<string, Buffer>);
    t.equal(await refusal(openGguf(path.join(directory, "m-00001-of-00003.gguf")), directory), expected);
  });
}
