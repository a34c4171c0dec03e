// Planning safetensors: which tensors share a file, where each byte comes from, and what the header says.
import t from "tap";
import type { Shard } from "../../src/checkpoint/checkpoint.ts";
import { openSafetensorsFile } from "../../src/formats/safetensors/read.ts";
import { planSafetensors, type ShardContents } from "../../src/formats/safetensors/write.ts";
import type { OpenedShard } from "../../src/formats/shards.ts";
import { JsonDocument } from "../../src/json.ts";
import type { FilePlan } from "../../src/storage/file-plan.ts";
import { filled, type TensorRef, ZERO } from "../../src/tensor/reference.ts";
import { type ByteSource, memorySource } from "../../src/tensor/source.ts";
import { refusal } from "./refusal.ts";
import { materialise, safetensorsFile, tensorFile } from "./safetensors-builder.ts";

const open = (data: Uint8Array, name = "x.safetensors"): Promise<OpenedShard> =>
  openSafetensorsFile(memorySource(name, data), name);

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
    ["an empty tensor less", { source: { ...shard, tensors: ["a", "b", "e"] }, originals: 2, tensors: [...tensors] }],
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

t.test("a small copy does not overtake a large one that did not fit", async (t) => {
  const { source, tensors, originals } = heavy("1", "ab", "ABC", 2e9);
  const sized = tensors.map(
    ([name, tensor]) => [name, name === "C" ? { ...tensor, shape: [5], bytes: 5 } : tensor] as const,
  );
  t.equal(await contentsOf(planSafetensors([{ ...(source && { source }), tensors: sized, originals }])), "ab ABC");
});

t.test("ranges of two sources never become one, even where their numbers touch", async (t) => {
  const first = await open(tensorFile({ a: ["U8", [5], 5], b: ["U8", [6], 6] }), "1");
  const second = await open(tensorFile({ c: ["U8", [5], 5], d: ["U8", [6], 6] }), "2");
  const a = first.tensors.get("a") as TensorRef;
  const d = second.tensors.get("d") as TensorRef;
  const [plan] = planSafetensors([
    {
      tensors: [
        ["a", a],
        ["d", d],
      ],
      originals: 2,
    },
  ]);
  t.same(
    plan?.segments.map((segment) => (segment.kind === "copy" ? segment.source.name : segment.kind)),
    ["bytes", "1", "2"],
  );
});

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
