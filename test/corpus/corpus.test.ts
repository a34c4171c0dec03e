// Batches: packing, labels, order, shares, epochs, and cursors from which the very same batches follow.
import fs from "node:fs";
import path from "node:path";
import t from "tap";
import {
  type Batch,
  type Corpus,
  type CorpusOptions,
  type CorpusSource,
  type Cursor,
  openCorpus,
} from "../../src/corpus/corpus.ts";
import { fileDigest } from "../../src/corpus/digest.ts";
import { openFiles } from "../../src/corpus/files.ts";
import { DocumentReader } from "../../src/corpus/reader.ts";
import { mixed, permuted, shuffle } from "../../src/corpus/shuffle.ts";
import { encodeDocument } from "../../src/corpus/stream.ts";
import { type Tokenizer, tokenizerWithin } from "../../src/corpus/tokenizer.ts";
import { memorySource } from "../../src/tensor/source.ts";

/** A token for each word: its number, if it is one, else 99. Documents lie between 1 and 2. */
const WORDS: Tokenizer = {
  vocabulary: 10_000,
  ownVocabulary: 10_000,
  beginOfText: 1,
  endOfText: 2,
  digest: "words",
  encode: (text) =>
    text
      .split(/\s+/)
      .filter(Boolean)
      .map((word) => (/^\d+$/.test(word) ? Number(word) : 99)),
  decode: (ids) => ids.join(" "),
};
const OPTIONS: CorpusOptions = { tokenizer: WORDS, batch: 2, context: 8, seed: 7, shuffle: false, repeat: false };

const directory = t.testdir();

function file(name: string, documents: readonly string[]): string {
  const full = path.join(directory, name);
  fs.writeFileSync(full, documents.map((text) => `${JSON.stringify({ text })}\n`).join(""));
  return full;
}

const open = (sources: readonly CorpusSource[], more: Partial<CorpusOptions> = {}): Promise<Corpus> =>
  openCorpus(sources, { ...OPTIONS, ...more });

interface Item {
  readonly batch: Batch;
  readonly after: Cursor;
}

async function take(corpus: Corpus, count: number, from?: Cursor): Promise<readonly Item[]> {
  const items: Item[] = [];
  if (count === 0) return items;
  for await (const item of corpus.batches(from)) {
    items.push(item);
    if (items.length === count) break;
  }
  return items;
}

const rows = (values: BigInt64Array, context: number): readonly (readonly number[])[] =>
  Array.from({ length: values.length / context }, (_, row) =>
    Array.from(values.subarray(row * context, (row + 1) * context), Number),
  );

/** Everything of some batches, as text. */
function printed(items: readonly Item[]): string {
  return items
    .map(({ batch, after }) =>
      [batch.ids.join(), batch.labels.join(), JSON.stringify([batch.documents, after])].join("\n"),
    )
    .join("\n");
}

const ALL = Number.POSITIVE_INFINITY;

t.test(
  "documents are packed behind one another; no label is of another document; the last batch is filled up",
  async (t) => {
    const corpus = await open([{ path: file("three.jsonl", ["10 11 12", "20", "30 31 32 33 34 35 36 37 38 39"]) }]);
    const [first, second, ...others] = await take(corpus, ALL);
    t.same(others, []);
    t.same(rows(first?.batch.ids ?? new BigInt64Array(), 8), [
      [1, 10, 11, 12, 2, 1, 20, 2],
      [1, 30, 31, 32, 33, 34, 35, 36],
    ]);
    t.same(rows(first?.batch.labels ?? new BigInt64Array(), 8), [
      [10, 11, 12, 2, -100, 20, 2, -100],
      [30, 31, 32, 33, 34, 35, 36, 37],
    ]);
    t.same(
      first?.batch.documents.map(({ place }) => place),
      ["byte 0", "byte 20", "byte 34"],
    );
    const padded = [[37, 38, 39, 2, 2, 2, 2, 2], Array(8).fill(2)];
    t.same(rows(second?.batch.ids ?? new BigInt64Array(), 8), padded, "padded with the end of text");
    const ignored = [[38, 39, 2, -100, -100, -100, -100, -100], Array(8).fill(-100)];
    t.same(rows(second?.batch.labels ?? new BigInt64Array(), 8), ignored);
  },
);

t.test("a tokenizer without begin and end of text packs documents side by side", async (t) => {
  const tokenizer = { ...WORDS, beginOfText: undefined, endOfText: undefined };
  const [only] = await take(
    await open([{ path: file("two.jsonl", ["10 11", "", "  ", "20 21 22"]) }], { tokenizer, batch: 1 }),
    ALL,
  );
  t.same(rows(only?.batch.ids ?? new BigInt64Array(), 8), [[10, 11, 20, 21, 22, 0, 0, 0]]);
  t.same(rows(only?.batch.labels ?? new BigInt64Array(), 8), [[11, -100, 21, 22, -100, -100, -100, -100]]);
});

t.test("a long document ends even where nothing is left of its last piece", (t) => {
  const ref = { file: "file", place: "byte 0" };
  const ids = (text: string, begins: boolean, ends: boolean): readonly number[] =>
    encodeDocument(WORDS, { ...ref, text, begins, ends });
  t.same(ids("10", true, false), [1, 10]);
  t.same(ids("  ", false, true), [2]);
  t.same(ids("  ", false, false), []);
  t.same(ids("  ", true, true), []);
  t.end();
});

const many = Array.from({ length: 1200 }, (_, at) => `${100 + at} `.repeat(1 + ((at * 37) % 50)));
const LONG = file("many.jsonl", many);
const SHORT = file("short.jsonl", many.slice(0, 7));

t.test("from every cursor the very same batches follow", async (t) => {
  const cases: readonly (readonly [name: string, sources: readonly CorpusSource[], more: Partial<CorpusOptions>])[] = [
    ["in order", [{ path: LONG }], {}],
    ["shuffled", [{ path: LONG }], { shuffle: true }],
    ["shuffled, epochs of a short file", [{ path: SHORT }], { shuffle: true, repeat: true, context: 5 }],
    [
      "mixed",
      [
        { path: LONG, weight: 20 },
        { path: SHORT, weight: 1 },
      ],
      { shuffle: true, repeat: true, batch: 64, context: 64 },
    ],
    ["rows shorter than documents", [{ path: LONG }], { context: 3, batch: 5 }],
  ];
  for (const [name, sources, more] of cases) {
    const corpus = await open(sources, more);
    const items = await take(corpus, 45);
    const same = await take(await open(sources, more), 45);
    t.same(
      same.map(({ after }) => after),
      items.map(({ after }) => after),
      `${name}: opened again, the same`,
    );
    for (const at of [0, 37]) {
      const cursor: Cursor = JSON.parse(JSON.stringify(items[at]?.after));
      const next = await take(corpus, 3, cursor);
      t.equal(printed(next), printed(items.slice(at + 1, at + 4)), `${name}: behind batch ${at}`);
    }
  }
});

t.test("every cursor of a corpus that ends leads to its end", async (t) => {
  const corpus = await open([{ path: SHORT }], { shuffle: true });
  const items = await take(corpus, ALL);
  for (const [at, { after }] of items.entries())
    t.equal(printed(await take(corpus, ALL, after)), printed(items.slice(at + 1)));
});

function tokensOf(items: readonly Item[]): readonly number[] {
  return items.flatMap(({ batch }) => Array.from(batch.ids, Number));
}

t.test("shuffled, an epoch has every document once, in another order for every seed and epoch", async (t) => {
  const sorted = (values: readonly number[]): readonly number[] =>
    values.filter((id) => id >= 100).sort((a, b) => a - b);
  const expected = sorted(many.flatMap((text) => WORDS.encode(text)));
  const orders: string[] = [];
  for (const seed of [1, 2, 2 ** 40]) {
    const ids = tokensOf(await take(await open([{ path: LONG }], { shuffle: true, seed }), ALL));
    t.same(sorted(ids), expected);
    orders.push(ids.slice(0, 2000).join());
  }
  t.equal(new Set(orders).size, 3);
  const corpus = await open([{ path: SHORT }], { shuffle: true, repeat: true, batch: 1 });
  const count = await corpus.count();
  t.same(count, { documents: 7, tokens: many.slice(0, 7).flatMap((text) => WORDS.encode(text)).length + 14 });
});

t.test("every epoch has an order of its own", async (t) => {
  const reader = new DocumentReader("long", await openFiles(LONG, undefined), { seed: 1, shuffle: true, repeat: true });
  const epochs: string[][] = [[], [], []];
  while (reader.position.epoch < 3) {
    const document = await reader.next();
    if (document !== undefined) epochs[reader.position.epoch]?.push(document.place);
  }
  await reader.close();
  t.same(
    epochs.map((places) => places.length),
    [many.length, many.length, many.length],
  );
  t.equal(new Set(epochs.map((places) => places.join())).size, 3);
  t.equal(new Set(epochs.map((places) => [...places].sort().join())).size, 1);
});

t.test("shares of tokens come to their weights: off by no more than a document of each source", async (t) => {
  const one = file(
    "one.jsonl",
    Array.from({ length: 50 }, (_, at) => "111 ".repeat(1 + (at % 40))),
  );
  const two = file(
    "two-of.jsonl",
    Array.from({ length: 90 }, (_, at) => "222 ".repeat(1 + (at % 25))),
  );
  const three = file("three-of.jsonl", ["333 ".repeat(60)]);
  const weights = [0.6, 0.3, 0.1];
  const sources = [one, two, three].map((each, at) => ({ path: each, weight: weights[at] ?? 1 }));
  for (const shuffled of [false, true]) {
    const corpus = await open(sources, { shuffle: shuffled, repeat: true, context: 16, batch: 2048 });
    const [last] = (await take(corpus, 4)).slice(-1);
    const drawn = last?.after.start?.drawn ?? [];
    const total = drawn.reduce((sum, each) => sum + each, 0);
    t.ok(total > 100_000);
    for (const [at, weight] of weights.entries())
      t.ok(Math.abs((drawn[at] ?? 0) - weight * total) <= 84, `${drawn[at]} of ${total} for ${weight}`);
  }
  const [first] = (await take(await open(sources, { context: 16, batch: 1 }), ALL)).slice(-1);
  t.equal(first?.after.start?.drawn[2], 62, "without repeat it ends with the first source that does");
});

t.test("without weights all files are one: each document once", async (t) => {
  const corpus = await open([{ path: LONG }, { path: SHORT }]);
  t.equal((await corpus.count()).documents, 1207);
  t.same(
    corpus.files.map(({ name }) => name),
    [LONG, SHORT],
  );
  const weighed = await open([{ path: LONG, weight: 1 }, { path: SHORT }]);
  const short = many.slice(0, 7).flatMap((text) => WORDS.encode(text)).length + 14;
  t.equal((await weighed.count()).tokens, 2 * short, "with weights, until the first source ends");
});

t.test("the digest is of contents and options: an edit of one byte is seen, another place is not", async (t) => {
  const copy = file("copy.jsonl", many);
  const { digest } = await open([{ path: LONG }]);
  t.equal((await open([{ path: copy }])).digest, digest);
  const differing = [
    open([{ path: LONG, weight: 20 }]),
    open([{ path: LONG }, { path: SHORT }]),
    open([{ path: LONG }], { seed: 8 }),
    open([{ path: LONG }], { context: 9 }),
    open([{ path: LONG }], { batch: 3 }),
    open([{ path: LONG }], { repeat: true }),
    open([{ path: LONG }], { shuffle: true }),
    open([{ path: LONG }], { tokenizer: { ...WORDS, digest: "other" } }),
  ];
  for (const other of differing) t.not((await other).digest, digest);
  const [item] = await take(await open([{ path: LONG }]), 1);
  fs.writeFileSync(copy, fs.readFileSync(copy, "utf8").replace("100", "101"));
  const edited = await open([{ path: copy }]);
  await t.rejects(take(edited, 1, item?.after), {
    tag: "input",
    message: "the corpus, the tokenizer or the batches are not those that the run was begun with",
    fix: "Give the same files and options again, or start a new run.",
  });
  const bad: Cursor = { digest: edited.digest, window: 0, taken: -1 };
  await t.rejects(take(edited, 1, bad), { tag: "damaged", message: "the cursor into the corpus is not one" });
});

t.test("of a large file the digest takes samples, from the first byte to the last", async (t) => {
  const size = 2 ** 27;
  const changedAt = async (at: number): Promise<string> =>
    fileDigest({
      ...memorySource("large", new Uint8Array(0)),
      size,
      read: async (offset, length) => {
        const bytes = new Uint8Array(length);
        if (at >= offset && at < offset + length) bytes[at - offset] = 1;
        return bytes;
      },
    });
  const plain = await changedAt(-1);
  for (const at of [0, 65_535, size - 65_536, size - 1]) t.not(await changedAt(at), plain, `byte ${at}`);
  t.equal(await changedAt(100_000), plain, "what lies between samples is not seen");
});

t.test("a permutation is a bijection for every count, and another for every seed", (t) => {
  for (const count of [0, 1, 2, 3, 5, 16, 17, 255, 1000, 4097]) {
    const seen = new Set(Array.from({ length: count }, (_, index) => permuted(index, count, 3)));
    t.equal(seen.size, count);
    t.ok([...seen].every((at) => Number.isInteger(at) && at >= 0 && at < count));
  }
  const big = 2 ** 32;
  t.ok([0, 1, big - 1].every((index) => permuted(index, big, 1) < big));
  t.same(
    Array.from({ length: 8 }, (_, index) => permuted(index, 8, 1)),
    EXPECTED.permutation,
    "the same on every platform",
  );
  const items = [0, 1, 2, 3, 4, 5, 6, 7];
  shuffle(items, 1);
  t.same(items, EXPECTED.shuffled);
  t.same([mixed(), mixed(0), mixed(1, 2), mixed(2 ** 52)], EXPECTED.mixed);
  // Each element comes to each place about as often: 4 standard deviations.
  const counts = Array.from({ length: 10 }, () => 0);
  for (let seed = 0; seed < 2000; seed++) counts[permuted(3, 10, seed)] = (counts[permuted(3, 10, seed)] ?? 0) + 1;
  t.ok(
    counts.every((count) => Math.abs(count - 200) < 4 * Math.sqrt(180)),
    counts.join(),
  );
  t.end();
});

const EXPECTED: {
  readonly permutation: readonly number[];
  readonly shuffled: readonly number[];
  readonly mixed: readonly number[];
} = {
  permutation: [7, 4, 5, 1, 2, 6, 0, 3],
  shuffled: [4, 6, 0, 1, 2, 7, 3, 5],
  mixed: [3954623016, 1746965550, 1241440815, 1076057930],
};

t.test("what cannot be a corpus is refused", async (t) => {
  const nothing = file("nothing.jsonl", ["", ""]);
  const white = file("white.jsonl", [" \n", "\t\u3000"]);
  const empty = path.join(directory, "empty.txt");
  fs.writeFileSync(empty, "");
  const blank = path.join(directory, "blank.txt");
  fs.writeFileSync(blank, "\ufeff \r\n".repeat(20_000));
  const holdsNone = { tag: "input", message: /holds no text$/, fix: "Give a file with text." };
  for (const each of [empty, blank, nothing, white]) {
    await t.rejects(open([{ path: each }]), { ...holdsNone, message: `${each}: holds no text` });
    await t.rejects(open([{ path: SHORT, weight: 1 }, { path: each }]), { message: `${each}: holds no text` });
    await t.resolves(open([{ path: each }, { path: SHORT }]), "one pool");
  }
  const mute = { ...WORDS, encode: () => [] };
  await t.rejects(
    take(await open([{ path: SHORT }], { tokenizer: mute, repeat: true }), 1),
    holdsNone,
    "nothing is left of the text",
  );
  const beyond = file("beyond.jsonl", ["", "2000", "1"]);
  const within = tokenizerWithin({ ...WORDS, ownVocabulary: 1000 }, 1000, "model");
  await t.rejects(open([{ path: beyond }], { tokenizer: within }), {
    tag: "input",
    message: `${beyond} (byte 12): holds "2000", which is token 2000, and the last of model is 999`,
  });
  const latin = path.join(directory, "latin.txt");
  fs.writeFileSync(latin, Buffer.from("one\ncaf\xe9\n", "latin1"));
  await t.rejects(open([{ path: SHORT }, { path: latin }]), {
    tag: "damaged",
    message: `${latin}: is not UTF-8: byte 7 is 0xe9`,
    fix: "Convert the file to UTF-8.",
  });
  for (const [sources, more, message, fix] of [
    [[], {}, "no corpus was given", "Give --corpus FILE."],
    [
      [{ path: SHORT, weight: 0 }],
      {},
      `${SHORT}: weight must be above 0, not 0`,
      "Give FILE=weight, such as code.jsonl=0.8.",
    ],
    [
      [{ path: SHORT, weight: Number.NaN }],
      {},
      `${SHORT}: weight must be above 0, not NaN`,
      "Give FILE=weight, such as code.jsonl=0.8.",
    ],
    [[{ path: SHORT }], { batch: 0 }, "batch must be a whole number from 1 up, not 0", "Give --batch 1 or more."],
    [
      [{ path: SHORT }],
      { context: 1.5 },
      "context must be a whole number from 1 up, not 1.5",
      "Give --context 1 or more.",
    ],
    [[{ path: SHORT }], { seed: -1 }, "seed must be a whole number from 0 up, not -1", "Give --seed 0 or more."],
  ] as const) {
    await t.rejects(open(sources, more), { tag: "usage", message, fix });
  }
  const stopped = new AbortController();
  const corpus = await open([{ path: SHORT }], { signal: stopped.signal });
  stopped.abort();
  const interrupted = { tag: "interrupted", message: "interrupted" };
  await t.rejects(take(corpus, 1), interrupted);
  await t.rejects(open([{ path: SHORT }], { signal: stopped.signal }), interrupted);
});

t.test("memory does not grow with the corpus: epochs pass through one window", async (t) => {
  const corpus = await open([{ path: LONG }], { shuffle: true, repeat: true, batch: 64, context: 128 });
  const before = process.memoryUsage();
  let tokens = 0;
  for await (const { batch } of corpus.batches()) {
    tokens += batch.ids.length;
    if (tokens > 400_000) break;
  }
  const after = process.memoryUsage();
  t.ok(after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers < 2 ** 27);
});
