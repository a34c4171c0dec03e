// Damaged Parquet files, JSON lines, texts and tokenizers: read or refused with an ExpandError, soon and in bounded memory.
import t from "tap";
import type { TextFile } from "../../src/corpus/document.ts";
import { openJsonLines } from "../../src/corpus/jsonl.ts";
import { openParquet } from "../../src/corpus/parquet.ts";
import { openText } from "../../src/corpus/text.ts";
import { thriftEnd } from "../../src/corpus/thrift.ts";
import { openTokenizer } from "../../src/corpus/tokenizer.ts";
import { testDamaged } from "../formats/fuzzing.ts";
import { boundedSource, type FuzzedReader, fuzzed } from "../formats/mutate.ts";
import { charsMap } from "./charsmap-builder.ts";
import { parquetFile } from "./parquet-builder.ts";
import { SAMPLES } from "./parquet-samples.ts";

const pieces = ["<unk>", "▁", "one", "t", "w", "o", "é", "<0xC3>", "<0xA9>", "▁t"];
const precompiled_charsmap = charsMap({ Ａ: "A", é: "e" }).subarray(0, 5000).toString("base64");
const tokenizers = [
  {
    model: { type: "Unigram", unk_id: 0, byte_fallback: true, vocab: pieces.map((piece, at) => [piece, -at * 1.7]) },
    normalizer: { type: "Sequence", normalizers: [{ type: "Precompiled", precompiled_charsmap }, { type: "Nmt" }] },
    pre_tokenizer: { type: "Metaspace", replacement: "▁" },
    added_tokens: [{ id: 10, content: "<s>", special: true }],
  },
  {
    model: {
      type: "BPE",
      vocab: Object.fromEntries(pieces.map((piece, at) => [piece, at])),
      merges: ["▁ t"],
      unk_token: "t",
    },
    normalizer: { type: "Replace", pattern: { Regex: "[ ]+" }, content: "▁" },
    decoder: { type: "Sequence", decoders: [{ type: "ByteFallback" }, { type: "Fuse" }] },
  },
];

async function readAll(file: TextFile): Promise<void> {
  for (let part = 0; part < file.parts; part++) {
    for await (const { text } of file.documents(part)) if (typeof text !== "string") throw new TypeError("not a text");
  }
}

const lines = Array.from({ length: 40 }, (_, line) => `{"text":"line ${line} \\u00e9 é","n":${line}}`);
const READERS: readonly FuzzedReader[] = [
  fuzzed(
    "Parquet files",
    [...Object.values(SAMPLES).map((data) => Buffer.from(data, "base64")), parquetFile(["one", "two"])],
    async (data) => readAll(await openParquet(boundedSource("fuzzed.parquet", data), "text")),
  ),
  fuzzed("JSON lines", [Buffer.from(lines.join("\n")), Buffer.from('\ufeff{"a":"x"}\r\n')], async (data) =>
    readAll(await openJsonLines(boundedSource("fuzzed.jsonl", data), undefined)),
  ),
  fuzzed("texts", [Buffer.from("one\r\ntwo é 中\n")], async (data) =>
    readAll(openText(boundedSource("fuzzed.txt", data))),
  ),
  fuzzed(
    "tokenizers",
    tokenizers.map((file) => Buffer.from(JSON.stringify(file))),
    async (data) => {
      const { encode, decode } = await openTokenizer({ tokenizer: boundedSource("tokenizer.json", data) });
      decode(encode("one\r\ntwo é Ａ\u0301 中 <s>"));
    },
  ),
];

testDamaged(READERS, 1500);

t.test(
  "a Thrift structure is as long as it says, and none is believed that is longer than its bytes, or has millions of values",
  (t) => {
    for (const [bytes, end] of [
      [[0], 1],
      [[0x15, 2, 0, 9], 3],
      [[0x18, 2, 65, 66, 0], 5],
      [[0x18, 9, 65, 66, 0], undefined],
      [[0x19, 0xf5, 0xff, 0xff, 0xff, 0xff, 0x0f, 0], undefined],
      [[0x16, ...Array(11).fill(0x80), 0], undefined],
      [Array(200).fill(0x1c), undefined],
      [Array(200).fill(0x19), undefined],
      [[0x1b, 0], undefined],
      [[0x19, 0xfc, 0x80, 0x80, 0x80, 2, ...Array(2 ** 22).fill(0), 0], undefined],
      [[0x19, 0xfc, 0x80, 0x80, 0x40, ...Array(2 ** 20).fill(0), 0], 2 ** 20 + 6],
      [Array(2 ** 23 + 3).fill(0x11), undefined],
      [[], undefined],
    ] as const) {
      t.equal(thriftEnd(Uint8Array.from(bytes), 0), end, JSON.stringify(bytes.slice(0, 8)));
    }
    t.end();
  },
);
