// Damaged Parquet files and JSON lines: read or refused with an ExpandError, soon and in bounded memory. FUZZ_RUNS sets how many of each
// kind, FUZZ_SEED where to begin.
import t from "tap";
import type { TextFile } from "../../src/corpus/document.ts";
import { openJsonLines } from "../../src/corpus/jsonl.ts";
import { openParquet } from "../../src/corpus/parquet.ts";
import { openText } from "../../src/corpus/text.ts";
import { thriftEnd } from "../../src/corpus/thrift.ts";
import { boundedSource, type FuzzedReader, fuzzed } from "../formats/mutate.ts";
import { parquetFile } from "./parquet-builder.ts";
import { SAMPLES } from "./parquet-samples.ts";

const RUNS = Number(process.env.FUZZ_RUNS ?? 1500);
const FIRST_SEED = Number(process.env.FUZZ_SEED ?? 1);
/** Bytes. What this process may take after each kind. */
const MAX_MEMORY = 2 ** 30;

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
];

for (const { name, damaged, faultOf } of READERS) {
  t.test(`${name}, damaged at random, are read or refused; nothing is thrown that is not an ExpandError`, async (t) => {
    let fault: string | undefined;
    let seed = FIRST_SEED;
    for (; seed < FIRST_SEED + RUNS && fault === undefined; seed++) {
      const data = damaged(seed);
      fault = await faultOf(data);
      if (fault !== undefined)
        t.fail(`FUZZ_SEED=${seed} FUZZ_RUNS=1: ${fault}`, { data: Buffer.from(data).toString("hex") });
    }
    t.equal(fault, undefined, `${seed - FIRST_SEED} files`);
    t.ok(process.memoryUsage().rss < MAX_MEMORY, "memory stays bounded");
  });
}

t.test("a Thrift structure is as long as it says, and none is believed that is longer than its bytes", (t) => {
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
    [[], undefined],
  ] as const) {
    t.equal(thriftEnd(Uint8Array.from(bytes), 0), end, JSON.stringify(bytes.slice(0, 8)));
  }
  t.end();
});
