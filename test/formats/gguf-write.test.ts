// Writing GGUF: what is read comes out byte for byte; split files are those of gguf-split; what GGUF cannot hold is refused.
import fs from "node:fs";
import path from "node:path";
import t from "tap";
import { tinyLlama, writePlan, writeTinyGguf } from "../../fixtures/gguf.ts";
import {
  encodeGgufArray,
  encodeGgufEntry,
  type GgufMetadata,
  ggufArray,
  ggufNumber,
  ggufString,
  ggufValue,
} from "../../src/checkpoint/gguf-metadata.ts";
import { type GgufContents, type GgufPlanOptions, planGguf } from "../../src/formats/gguf/write.ts";
import type { FilePlan } from "../../src/storage/file-plan.ts";
import { filled, type TensorRef, ZERO } from "../../src/tensor/reference.ts";
import { memorySource } from "../../src/tensor/source.ts";
import { build, type File, i32, text, u16, u32 } from "./gguf-builder.ts";
import { openGguf } from "./open-file.ts";
import { refusal } from "./refusal.ts";

/** Reads a file and writes it again; the bytes of all files that come out, by name. */
async function rewritten(file: string, options: GgufPlanOptions = { name: "out.gguf" }): Promise<Map<string, Buffer>> {
  const directory = path.dirname(file);
  const plans = planGguf(await contentsOf(file), options);
  for (const plan of plans) writePlan(directory, plan);
  return new Map(plans.map(({ name }) => [name, fs.readFileSync(path.join(directory, name))]));
}

async function contentsOf(file: string): Promise<GgufContents> {
  const { config, tensors } = await openGguf(file);
  if (config.dialect !== "gguf") throw new TypeError("not GGUF");
  return { metadata: config.metadata, tensors };
}

const equal = (a: Uint8Array | undefined, b: Uint8Array): boolean => a !== undefined && Buffer.compare(a, b) === 0;

const ODD = [
  { name: "a", ne: [5], type: 24, bytes: 5 },
  { name: "none", ne: [0, 3], type: 0, bytes: 0 },
  { name: "b", ne: [32, 2], type: 8, bytes: 68 },
];
const KEYS = [
  ["general.architecture", text("llama")],
  ["broken", text(new Uint8Array([0xef, 0xbb, 0xbf, 0xff]))],
  ["of bools that are 2", (f) => f.u32(9).u32(7).length(2).raw([2, 0])],
] as const satisfies File["keys"];

t.test("a canonical file comes out byte for byte", async (t) => {
  for (const type of ["F32", "Q4_K", "IQ1_M", "MXFP4"] as const) {
    const [file = ""] = writeTinyGguf(path.join(t.testdir({}), "in.gguf"), tinyLlama({ type, width: 256 }));
    t.ok(equal((await rewritten(file)).get("out.gguf"), fs.readFileSync(file)), type);
  }
  for (const alignment of [1, 32, 512]) {
    const keys = [...KEYS, ["general.alignment", u32(alignment)] as const];
    const bytes = build({ keys, tensors: ODD, alignment });
    const file = path.join(t.testdir({ "in.gguf": bytes }), "in.gguf");
    t.ok(equal((await rewritten(file)).get("out.gguf"), bytes), `alignment ${alignment}`);
  }
});

t.test("missing padding at the end comes out as zeros, the rest byte for byte", async (t) => {
  for (const file of [
    { keys: KEYS, tensors: ODD, cut: 28 },
    { keys: KEYS, cut: 9 },
  ]) {
    const directory = t.testdir({ "in.gguf": build(file) });
    const out = (await rewritten(path.join(directory, "in.gguf"))).get("out.gguf");
    t.ok(equal(out, build({ ...file, cut: 0 })));
  }
});

t.test("a file of an older version comes out as version 3", async (t) => {
  for (const version of [1, 2]) {
    const directory = t.testdir({ "in.gguf": build({ version, keys: KEYS, tensors: ODD }) });
    const out = (await rewritten(path.join(directory, "in.gguf"))).get("out.gguf");
    t.ok(equal(out, build({ keys: KEYS, tensors: ODD })), `version ${version}`);
  }
});

t.test("the segments of a plan touch each other, and neighbours of the source are copied at once", async (t) => {
  const tensors = ["a", "b", "c", "d"].map((name) => ({ name, ne: [16], type: 0, bytes: 64 }));
  const file = path.join(t.testdir({ "in.gguf": build({ tensors }) }), "in.gguf");
  const { metadata, tensors: read } = await contentsOf(file);
  const zeroed = new Map([...read].map(([name, ref]) => [name, name === "c" ? filled(ref, ZERO) : ref]));
  const [plan] = planGguf({ metadata, tensors: zeroed }, { name: "out.gguf" });
  t.same(shape(plan), ["bytes 0 156", "fill 156 4", "copy 160 128", "fill 288 64", "copy 352 64"]);
  const swapped = new Map([...read].reverse());
  const [backwards] = planGguf({ metadata, tensors: swapped }, { name: "out.gguf" });
  t.same(shape(backwards).slice(2), ["copy 160 64", "copy 224 64", "copy 288 64", "copy 352 64"]);
});

t.test("neighbours in number only, from two sources, are copied one by one", (t) => {
  const [first, second] = ["a", "b"].map((name) => memorySource(name, new Uint8Array(128)));
  if (first === undefined || second === undefined) throw new TypeError("two sources");
  const tensors = new Map<string, TensorRef>([
    ["a", { kind: "stored", dtype: "F32", shape: [16], bytes: 64, source: first, offset: 0 }],
    ["b", { kind: "stored", dtype: "F32", shape: [16], bytes: 64, source: second, offset: 64 }],
  ]);
  const [plan] = planGguf({ metadata: METADATA, tensors }, { name: "out.gguf" });
  t.same(shape(plan).slice(-2), ["copy 96 64", "copy 160 64"]);
  t.end();
});

t.test("split keys of a source are not written into one file", async (t) => {
  const entries = new Map(["split.no", "split.count", "k"].map((key) => [key, encodeGgufEntry(key, "u16", 3)]));
  const [plan] = planGguf({ metadata: { ...METADATA, entries }, tensors: new Map() }, { name: "out.gguf" });
  const directory = t.testdir({});
  if (plan !== undefined) writePlan(directory, plan);
  t.ok(equal(fs.readFileSync(path.join(directory, "out.gguf")), build({ keys: [["k", u16(3)]] })));
});

/** Each segment as "kind start length"; the plan's own size must be the end of the last one. */
function shape(plan: FilePlan | undefined): readonly string[] {
  let end = 0;
  const lines = (plan?.segments ?? []).map((segment) => {
    const length = segment.kind === "bytes" ? segment.data.length : segment.length;
    if (segment.to !== end) return `a gap at ${end}`;
    end += length;
    return `${segment.kind} ${segment.to} ${length}`;
  });
  return end === plan?.size ? lines : [...lines, `ends at ${end}, not at ${plan?.size}`];
}

t.test("a model of 3 tensors, 2 to a part, comes out as the files of gguf-split", async (t) => {
  const alignment = ["general.alignment", u32(64)] as const;
  const keys = [...KEYS, alignment];
  const split = (no: number) =>
    [
      ["split.no", u16(no)],
      ["split.tensors.count", i32(3)],
      ["split.count", u16(2)],
    ] as const;
  const whole = build({ keys, tensors: ODD, alignment: 64 });
  const parts = new Map([
    ["out-00001-of-00002.gguf", build({ keys: [...keys, ...split(0)], tensors: ODD.slice(0, 2), alignment: 64 })],
    ["out-00002-of-00002.gguf", build({ keys: [alignment, ...split(1)], tensors: ODD.slice(2), alignment: 64 })],
  ]);
  const directory = t.testdir({ "in.gguf": whole, parts: Object.fromEntries(parts) });
  const found = await rewritten(path.join(directory, "in.gguf"), { name: "out.gguf", shardSize: 64 });
  t.same([...found.keys()], [...parts.keys()]);
  for (const [name, bytes] of parts) t.ok(equal(found.get(name), bytes), name);
  const merged = await rewritten(path.join(directory, "out-00002-of-00002.gguf"));
  t.ok(equal(merged.get("out.gguf"), whole), "read as one, they are the whole again");
  const again = await rewritten(path.join(directory, "parts", "out-00001-of-00002.gguf"), {
    name: "x.gguf",
    shardSize: 64,
  });
  t.ok(equal(again.get("x-00002-of-00002.gguf"), parts.get("out-00002-of-00002.gguf") ?? whole), "split as before");
});

t.test(
  "a shard size that holds everything gives one plain file; one that holds nothing gives a file for each tensor",
  async (t) => {
    const file = path.join(t.testdir({ "in.gguf": build({ keys: KEYS, tensors: ODD }) }), "in.gguf");
    t.same([...(await rewritten(file, { name: "out.gguf", shardSize: 160 })).keys()], ["out.gguf"]);
    t.same(
      [...(await rewritten(file, { name: "out.gguf", shardSize: 1 })).keys()],
      ["out-00001-of-00003.gguf", "out-00002-of-00003.gguf", "out-00003-of-00003.gguf"],
    );
  },
);

const METADATA: GgufMetadata = { version: 3, bigEndian: false, alignment: 32, entries: new Map() };
const REF: TensorRef = {
  kind: "stored",
  dtype: "F32",
  shape: [2],
  bytes: 8,
  source: memorySource("m", new Uint8Array(8)),
  offset: 0,
};
const plan = (name: string, ref: TensorRef, options: GgufPlanOptions = { name: "out.gguf" }, metadata = METADATA) =>
  refusal((async () => planGguf({ metadata, tensors: new Map([[name, ref]]) }, options))());

t.test("what GGUF cannot hold is refused", async (t) => {
  t.equal(
    await plan(`${"n".repeat(62)}\u00e9`, REF),
    `unsupported: ${"n".repeat(62)}\u00e9: has a name of 64 bytes; GGUF allows 63 / Shorten it.`,
  );
  t.equal(
    await plan("t", { ...REF, dtype: "F8_E4M3" }),
    "unsupported: t: has the type F8_E4M3, which GGUF does not have / Cast it first.",
  );
  t.equal(
    await plan("t", { ...REF, shape: [1, 1, 1, 1, 2] }),
    "unsupported: t: has 5 dimensions; GGUF allows 4 / Reshape it.",
  );
  t.equal(
    await plan("t", { ...REF, dtype: "Q8_0", shape: [2, 16], bytes: 34 }),
    "unsupported: t: has rows of 16 values; Q8_0 stores them in blocks of 32 / Choose another type for it.",
  );
  t.equal(
    await plan("t", REF, { name: "out.gguf" }, { ...METADATA, bigEndian: true }),
    "unsupported: out.gguf: comes from a big-endian file, and GGUF is written little-endian only / Convert the source with gguf_convert_endian.py first.",
  );
  for (const name of ["out.safetensors", "out-00001-of-00002.gguf"]) {
    t.equal(
      await plan("t", REF, { name }),
      `usage: ${name}: a file name that ends in ".gguf" and does not name a part was expected / Choose a name such as model.gguf; parts get their numbers by themselves.`,
    );
  }
  const many = new Map(Array.from({ length: 65536 }, (_, i) => [`t${i}`, REF]));
  t.equal(
    await refusal((async () => planGguf({ metadata: METADATA, tensors: many }, { name: "out.gguf", shardSize: 8 }))()),
    "usage: out.gguf: a shard size of 8 bytes gives 65536 files; GGUF allows 65535 / Choose a larger shard size.",
  );
});

t.test("the metadata of a big-endian file can be written, its tensors cannot", async (t) => {
  const big = path.join(t.testdir({ "in.gguf": build({ big: true, keys: KEYS }) }), "in.gguf");
  t.ok(equal((await rewritten(big)).get("out.gguf"), build({ keys: KEYS })));
});

t.test("encoded values decode to what was given", async (t) => {
  const scalars = [
    encodeGgufEntry("k", "u8", 255),
    encodeGgufEntry("k", "i32", -1),
    encodeGgufEntry("k", "u32", 7n),
    encodeGgufEntry("k", "f32", 0.5),
    encodeGgufEntry("k", "bool", true),
    encodeGgufEntry("k", "u64", 2n ** 64n - 1n),
    encodeGgufEntry("k", "i64", -5),
  ];
  t.strictSame(scalars.map(ggufValue), [255, -1, 7, 0.5, true, 2n ** 64n - 1n, -5n]);
  const list = encodeGgufArray("k", "string", ["a", "", "\ufeffb"]);
  t.strictSame(
    ggufArray(list).map((item) => Buffer.from(item as Uint8Array).toString("hex")),
    ["61", "", "efbbbf62"],
  );
  t.equal(ggufString(encodeGgufEntry("k", "string", "\ufeff\u00e9")), "\ufeff\u00e9");
  t.equal(ggufNumber(encodeGgufEntry("k", "u64", 2n ** 53n - 1n)), 2 ** 53 - 1);
});

t.test("a value that does not fit its type, or is read as another, is refused", async (t) => {
  const says = (work: () => unknown): Promise<string> => refusal((async () => work())());
  const FIT = "Choose a value that the type can hold.";
  for (const [type, value] of [
    ["u8", 256],
    ["i8", -129],
    ["u32", 1.5],
    ["u64", -1],
    ["bool", 1],
    ["f32", true],
  ] as const) {
    t.equal(
      await says(() => encodeGgufEntry("k", type, value)),
      `plan: k: ${value} does not fit the type ${type} / ${FIT}`,
    );
  }
  t.equal(await says(() => encodeGgufEntry("k", "u8", "9")), `plan: k: a string does not fit the type u8 / ${FIT}`);
  t.equal(
    await says(() => encodeGgufArray("k", "i16", [0, 2 ** 15])),
    `plan: k: 32768 does not fit the type i16 / ${FIT}`,
  );
  const word = encodeGgufEntry("k", "string", new Uint8Array([0xff]));
  const huge = encodeGgufEntry("k", "u64", 2n ** 53n);
  const list = encodeGgufArray("k", "u8", [1]);
  const CONVERT = "Convert the file again with a current converter.";
  t.equal(await says(() => ggufNumber(word)), `unsupported: k: is of type string; a number was expected / ${CONVERT}`);
  t.equal(
    await says(() => ggufNumber(huge)),
    `unsupported: k: is 9007199254740992; numbers up to 2^53 - 1 are supported / ${CONVERT}`,
  );
  t.equal(await says(() => ggufArray(word)), `unsupported: k: is of type string; an array was expected / ${CONVERT}`);
  t.equal(
    await says(() => ggufString(list)),
    `unsupported: k: is of type array of u8; a string was expected / ${CONVERT}`,
  );
  t.equal(await says(() => ggufString(word)), `unsupported: k: is not UTF-8 text / ${CONVERT}`);
});
