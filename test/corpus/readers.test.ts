// Text, JSON lines, Parquet and directories as documents, and what is refused of them, by the whole text of each message.
import fs from "node:fs";
import path from "node:path";
import t from "tap";
import { type Document, MAX_PIECE, pieces, type TextFile } from "../../src/corpus/document.ts";
import { openFiles } from "../../src/corpus/files.ts";
import { openJsonLines } from "../../src/corpus/jsonl.ts";
import { MAX_LINE, PART_BYTES } from "../../src/corpus/lines.ts";
import { openParquet } from "../../src/corpus/parquet.ts";
import { loadParquet } from "../../src/corpus/parquet-library.ts";
import { deltaValues } from "../../src/corpus/parquet-values.ts";
import { openText } from "../../src/corpus/text.ts";
import { type ByteSource, memorySource } from "../../src/tensor/source.ts";
import { type Lies, parquetFile } from "./parquet-builder.ts";
import { ROWS, SAMPLES } from "./parquet-samples.ts";

const source = (data: string | Uint8Array): ByteSource =>
  memorySource("file", typeof data === "string" ? Buffer.from(data) : data);

async function documents(file: TextFile): Promise<readonly Document[]> {
  const found: Document[] = [];
  for (let part = 0; part < file.parts; part++) {
    for await (const document of file.documents(part)) found.push(document);
  }
  return found;
}

const texts = async (file: TextFile): Promise<readonly string[]> => (await documents(file)).map(({ text }) => text);

t.test("a text file is one document; CR LF is LF, a byte order mark is dropped, everything else stays", async (t) => {
  for (const [data, expected] of [
    ["one\ntwo", ["one\ntwo"]],
    ["one\r\ntwo\r\n", ["one\ntwo\n"]],
    ["\ufeffone\n\ufefftwo", ["one\n\ufefftwo"]],
    ["a\0b\rc", ["a\0b\rc"]],
    ["\n\n", ["\n\n"]],
    ["last\r", ["last\r"]],
    ["", []],
    ["\ufeff", []],
  ] as const) {
    t.same(await texts(openText(source(data))), expected, JSON.stringify(data));
  }
});

t.test(
  "a long text file is read in parts of whole lines: together they are the file, and only its ends are ends",
  async (t) => {
    const lines = Array.from({ length: 9000 }, (_, line) => `line ${line} ${"x".repeat(line % 97)}`);
    for (const end of ["\n", ""]) {
      const text = lines.join("\n") + end;
      const found = await documents(openText(source(text)));
      t.ok(found.length > 10, `${found.length} parts`);
      t.equal(found.map((part) => part.text).join(""), text);
      t.same(found.map(({ begins }) => begins).lastIndexOf(true), 0);
      t.same(found.map(({ ends }) => ends).indexOf(true), found.length - 1);
      t.ok(found.slice(0, -1).every((part) => part.text.endsWith("\n")));
      t.equal(found[1]?.place, `byte ${found[0]?.text.length}`);
    }
    const one = `${"x".repeat(3 * PART_BYTES)}\nlast`;
    t.equal((await texts(openText(source(one)))).join(""), one, "a line may be longer than parts");
  },
);

t.test(
  "a text longer than what is tokenized at once is cut behind a line, else before a space, never within a character",
  (t) => {
    const ref = { file: "file", place: "row 0" };
    for (const [unit, expected] of [
      [`${"x".repeat(99)}\n`, /\n$/],
      [` ${"x".repeat(99)}`, /x$/],
      ["😀", /^(?:😀)+$/u],
    ] as const) {
      const text = unit.repeat(Math.ceil((2.5 * MAX_PIECE) / unit.length));
      const found = [...pieces(text, ref)];
      t.equal(found.map((piece) => piece.text).join(""), text);
      t.ok(found.length >= 3 && found.every((piece) => piece.text.length <= MAX_PIECE));
      t.ok(found.slice(0, -1).every((piece) => expected.test(piece.text)));
      t.same(found.map(({ begins, ends }) => [begins, ends]).slice(0, 2), [
        [true, false],
        [false, false],
      ]);
    }
    t.same([...pieces("", ref)], []);
    t.end();
  },
);

t.test("JSON lines: the field that is asked for, else text, else the only one that holds text", async (t) => {
  for (const [data, field, expected] of [
    ['{"text":"a","title":"t"}\n\n{"text":"b\\u00e9"}\n', undefined, ["a", "bé"]],
    ['\ufeff{"body":"a","n":1}\r\n{"body":"b"}\r\n', undefined, ["a", "b"]],
    ['{"text":"a","title":"t"}', "title", ["t"]],
    ['{"text":"a"}\n{"text":null}\n{"text":""}\n{"text":"b\\u0000"}', undefined, ["a", "b\0"]],
    ['{"text":null,"id":"x"}\n{"text":"a","id":"y"}', undefined, ["a"]],
    ['{"meta":"m","body":null,"n":null}\n{"body":null}\n{"meta":"m","body":"a","n":1}', "body", ["a"]],
    ["", undefined, []],
    ["\n \n", undefined, []],
  ] as const) {
    t.same(await texts(await openJsonLines(source(data), field)), expected, JSON.stringify(data));
  }
});

t.test("each line of JSON is read once, whichever part it begins in", async (t) => {
  const expected = Array.from({ length: 3000 }, (_, line) => `${line} ${"é".repeat((line * 31) % 400)}`);
  expected[1500] = "long ".repeat(PART_BYTES);
  const file = await openJsonLines(source(expected.map((text) => JSON.stringify({ text })).join("\n")), undefined);
  t.ok(file.parts > 20);
  t.same(
    await texts(file),
    expected.flatMap((text) => [...pieces(text, { file: "", place: "" })].map((piece) => piece.text)),
  );
});

t.test("a line that begins where a part does is of that part, and of no other", async (t) => {
  const expected = Array.from({ length: (3 * PART_BYTES) / 32 }, (_, line) => String(line).padStart(31, "x"));
  const found = await texts(openText(source(`${expected.join("\n")}\n`)));
  t.same(found.length, 3);
  t.same(found.join("").trimEnd().split("\n"), expected);
  t.ok(found.every((part) => part.length === PART_BYTES));
});

const LINE_FIX = "Write one JSON object per line, with the text as a string.";

t.test("JSON lines that cannot be read are refused with their line", async (t) => {
  for (const [data, message, fix] of [
    [
      '{"a":1,"b":[]}',
      'no field holds text; found "a" (not text), "b" (not text)',
      "Write the text as a string in a field.",
    ],
    ["{}", "no field holds text; found no fields", "Write the text as a string in a field."],
    [
      '{"a":"x","b":"y"}',
      'several fields hold text, and none is named text; found "a", "b"',
      "Name the field that holds the text, with --field.",
    ],
    [
      '{"meta":"m","body":null}\n{"meta":"m","body":"a"}',
      'several fields hold text, and none is named text; found "meta", "body"',
      "Name the field that holds the text, with --field.",
    ],
    [
      '{"text":["x"],"id":"y"}',
      'field "text" does not hold text; found "text" (not text), "id"',
      "Name a field that holds text, with --field.",
    ],
    [
      `{"text":null,"id":"y"}\n${'{"text":null,"id":"y"}\n'.repeat(1000)}{"text":"x"}`,
      'field "text" does not hold text; found "text" (not text), "id"',
      "Name a field that holds text, with --field.",
    ],
    ['{"text":"x"}\n{"text":"y"', "line 2 is not JSON", LINE_FIX],
    ['{"text":"x"}\n["y"]', "line 2 is JSON, but not an object", LINE_FIX],
    ['{"text":"x"}\n\n{"body":"y"}', 'line 3 field "text" is missing, not a string; the line has "body"', LINE_FIX],
    ['{"text":"x"}\n{"text":[1]}', 'line 2 field "text" is an array, not a string; the line has "text"', LINE_FIX],
    ['{"text":"x"}\n{"text":"\\ud800"}', 'line 2 field "text" holds half of a surrogate pair', LINE_FIX],
    [
      Buffer.from('{"text":"x"}\n{"text":"\xff"}', "latin1"),
      "is not UTF-8: byte 22 is 0xff",
      "Convert the file to UTF-8.",
    ],
    [
      Buffer.concat([Buffer.from('{"text":"\ufffdé\ufffd'), Buffer.from([0xe4, 0xb8])]),
      "is not UTF-8: byte 17 is 0xe4",
      "Convert the file to UTF-8.",
    ],
    ['{"text":"a\0b"}', "line 1 is not JSON", LINE_FIX],
  ] as const) {
    const read = async (): Promise<unknown> => texts(await openJsonLines(source(data), undefined));
    await t.rejects(read(), { message: `file: ${message}`, fix }, message);
  }
  await t.rejects(openJsonLines(source('{"a":1,"b":"y"}'), "a"), {
    tag: "input",
    message: 'file: field "a" does not hold text; found "a" (not text), "b"',
    fix: "Name a field that holds text, with --field.",
  });
  await t.rejects(openJsonLines(source('{"a":"y"}'), "text"), {
    message: 'file: field "text" is not there; found "a"',
  });
});

t.test("a line of 1 GB is refused when 64 MiB of it are read", async (t) => {
  const size = 2 ** 30;
  let read = 0;
  const endless: ByteSource = {
    name: "endless.jsonl",
    size,
    identity: "endless",
    read: async (_, length) => {
      read += length;
      return new Uint8Array(length).fill(120);
    },
  };
  const fault = {
    tag: "unsupported",
    message: `endless.jsonl: the line at byte 0 is longer than ${MAX_LINE} bytes`,
    fix: "Split the file into shorter lines.",
  };
  await t.rejects(openJsonLines(endless, undefined), fault);
  t.ok(read <= 3 * MAX_LINE, `${read} bytes`);
  await t.rejects(texts(openText(endless)), fault);
  read = 0;
  for await (const document of openText(endless).documents(1000)) t.fail(document.place);
  t.ok(read <= 2 * PART_BYTES, "a part in which no line begins is left at its end");
});

t.test(
  "Parquet as pyarrow writes it: every codec, both kinds of pages, dictionaries, lengths first, row groups",
  async (t) => {
    const present = ROWS.filter((row) => row !== null && row !== "");
    for (const [name, data] of Object.entries(SAMPLES)) {
      const file = await openParquet(source(Buffer.from(data, "base64")), undefined);
      const expected = name === "required" ? ROWS.map((row) => row || "-") : present;
      t.same(await texts(file), expected, name);
      t.equal(file.parts, name === "groups" ? 3 : 1);
      t.equal((await documents(file)).at(-1)?.place, "row 7");
    }
  },
);

/** A page of two values in DELTA_BYTE_ARRAY: what each shares with the one before, and one byte of its own. */
function shared(first: number, second: number): Uint8Array {
  const zigzag = (value: number): number => (value < 0 ? -2 * value - 1 : 2 * value);
  const numbers = (start: number, step: number): readonly number[] => [
    128,
    1,
    4,
    2,
    zigzag(start),
    zigzag(step),
    0,
    0,
    0,
    0,
  ];
  return Uint8Array.from([...numbers(first, second - first), ...numbers(1, 0), 97, 98]);
}

const AGAIN = "Download or write the file again.";

t.test("a Parquet file that lies is refused before anything is allocated for it", async (t) => {
  const fixFor = (instead: string): string => `Write the file again with ${instead}.`;
  const refused: readonly (readonly [lies: Lies, message: string, fix?: string])[] = [
    [{ magic: "PARE" }, "is encrypted", fixFor("no encryption")],
    [{ magic: "nope" }, "is not a Parquet file: it does not end with PAR1"],
    [{ footerLength: 2 ** 31 }, "the footer claims 2147483648 bytes, but the file has 108"],
    [{ footerLength: 7 }, "the footer cannot be read"],
    [{ codec: 3 }, "is compressed with LZO", fixFor("zstd or snappy")],
    [{ codec: 77 }, "is compressed with undefined", fixFor("zstd or snappy")],
    [{ encoding: 5 }, "a page is encoded as DELTA_BINARY_PACKED", fixFor("plain or dictionary encoding")],
    [{ stored: 2 ** 30 }, "a page claims 1073741824 bytes, but 14 are left"],
    [{ stored: -1 }, "a page claims -1 bytes, but 14 are left"],
    [{ decoded: -5 }, "a page claims -5 bytes"],
    [{ decoded: 2 ** 30 }, "a page has 1073741824 bytes, more than 268435456", fixFor("smaller pages")],
    [{ decoded: 15 }, "a page cannot be decoded: decompresses to 14 bytes, not 15"],
    [{ pageValues: 2 ** 30 }, "a page claims 1073741824 values, but 2 are left"],
    [{ pageValues: -1 }, "a page of type DATA_PAGE claims -1 values"],
    [{ pageValues: 1 }, "row group 0 has 1 rows, but the footer says 2"],
    [{ pageType: 9 }, "a page of type undefined claims undefined values"],
    [{ groupRows: 3n }, "a row group of 3 rows has 2 values"],
    [{ groupRows: 2n ** 60n }, "the footer claims a count of 1152921504606846976"],
    [{ chunkValues: -2n }, "the footer claims a count of -2"],
    [{ chunkBytes: 2n ** 40n }, "a column claims bytes 4 to 1099511627780, but data ends at 35"],
    [{ pageOffset: 2n ** 40n }, "a column claims bytes 1099511627776 to 1099511627807, but data ends at 35"],
    [
      { page: Uint8Array.of(255, 255, 255, 127) },
      "a page cannot be decoded: a value ends at byte 2147483651, but the page has 4",
    ],
    [{ page: Uint8Array.of(0, 0, 0, 0) }, "a page cannot be decoded: has 1 values, not 2"],
    [
      { page: Uint8Array.of(1, 0, 0, 0, 255, 0, 0, 0, 0) },
      "a page cannot be decoded: The encoded data was not valid for encoding utf-8",
    ],
    [{ encoding: 8, page: Uint8Array.of(1, 4, 0) }, "a page cannot be decoded: names value 0 of a dictionary of 0"],
    [{ encoding: 8, page: Uint8Array.of(40, 4, 0) }, "a page cannot be decoded: claims indices of 40 bits"],
    [
      { encoding: 8, page: Uint8Array.of(1, 255, 255, 255, 255, 255) },
      "a page cannot be decoded: ends within a number",
    ],
    [
      { encoding: 6, page: Uint8Array.of(1, 1, 2, 0) },
      "a page cannot be decoded: claims delta blocks of 1 values in 1",
    ],
    [{ encoding: 7, page: shared(2, 0) }, "a page cannot be decoded: a value begins with 2 bytes of one that has 0"],
    [{ encoding: 7, page: shared(0, -1) }, "a page cannot be decoded: a value begins with -1 bytes of one that has 1"],
    [{ filePath: "other.parquet" }, "keeps its columns in other files", fixFor("the columns in it")],
  ];
  for (const [lies, message, fix = AGAIN] of refused) {
    const read = async (): Promise<unknown> =>
      texts(await openParquet(source(parquetFile(["one", "two"], lies)), undefined));
    await t.rejects(read(), { message: `file: ${message}`, fix }, message);
  }
  await t.rejects(openParquet(source("PAR1"), undefined), { message: "file: is not a Parquet file: it has 4 bytes" });
  t.same(await texts(await openParquet(source(parquetFile(["one", "two"])), undefined)), ["one", "two"]);
});

t.test("values that repeat the ones before them are bounded in all, whatever few bytes they take", async (t) => {
  const library = await loadParquet();
  const values = (most: number): readonly string[] =>
    deltaValues(library, shared(0, 1), 2, most).map((value) => Buffer.from(value).toString());
  t.same(values(3), ["a", "ab"]);
  t.throws(() => values(2), { message: "has more than 2 bytes of values" });
});

t.test("of several columns of text in Parquet, text is taken, or the one that is asked for", async (t) => {
  const two = source(parquetFile(["x"], { columns: ["title", "body"] }));
  await t.rejects(openParquet(two, undefined), {
    tag: "input",
    message: 'file: several fields hold text, and none is named text; found "title", "body"',
  });
  t.same(await texts(await openParquet(two, "body")), ["x"]);
});

t.test(
  "a directory is its files, sorted, in all its directories; hidden names are left out, links that lead out of it refused",
  async (t) => {
    const root = t.testdir({
      "b.txt": "b",
      "a.JSONL": '{"text":"a"}',
      "read.me": "not one",
      ".hidden.txt": "h",
      "to.nothing": t.fixture("symlink", "absent"),
      sub: { "c.txt": "c", "inside.txt": t.fixture("symlink", "../b.txt"), round: t.fixture("symlink", "..") },
    });
    const files = await openFiles(root, undefined);
    t.same(
      files.map((file) => path.relative(root, file.source.name)),
      ["a.JSONL", "b.txt", "sub/c.txt", "sub/inside.txt"],
    );
    for (const [name, target] of [
      ["file.txt", "/etc/hostname"],
      ["directory", "/etc"],
      ["nothing.txt", "absent"],
    ] as const) {
      const link = path.join(root, "sub", name);
      fs.symlinkSync(target, link);
      await t.rejects(openFiles(root, undefined), {
        tag: "input",
        message: `${link}: is a link that leads ${name === "nothing.txt" ? "nowhere" : `out of ${fs.realpathSync(root)}`}`,
        fix: "Name what it leads to as a corpus of its own, or remove the link.",
      });
      fs.rmSync(link);
    }
  },
);

const isRoot = process.getuid?.() === 0;

t.test("a directory that may not be read is refused", { skip: isRoot && "nothing is forbidden to root" }, async (t) => {
  const root = t.testdir({ "a.txt": "a", closed: {} });
  const closed = path.join(root, "closed");
  fs.chmodSync(closed, 0);
  await t.rejects(openFiles(root, undefined), {
    tag: "input",
    message: `${closed}: cannot be read (EACCES)`,
    fix: "Name a file or a directory that exists.",
  });
  fs.chmodSync(closed, 0o700);
});

t.test("what is no corpus is refused by its name", async (t) => {
  const root = t.testdir({ "a.csv": "x", "a.txt": "x", empty: {} });
  const at = (name: string): string => path.join(root, name);
  await t.rejects(openFiles(at("a.csv"), undefined), {
    message: `${at("a.csv")}: is not a .txt, .jsonl or .parquet file`,
    fix: "Give a .txt, .jsonl or .parquet file.",
  });
  fs.writeFileSync(at("a.jsonl.gz"), "x");
  await t.rejects(openFiles(at("a.jsonl.gz"), undefined), {
    message: `${at("a.jsonl.gz")}: is not a .txt, .jsonl or .parquet file`,
    fix: "Unpack it first.",
  });
  await t.rejects(openFiles(at("empty"), undefined), {
    message: `${at("empty")}: holds no .txt, .jsonl or .parquet file`,
  });
  await t.rejects(openFiles(at("absent"), undefined), {
    message: `${at("absent")}: does not exist`,
    fix: "Name a file or a directory that exists.",
  });
  t.equal((await openFiles(at("a.txt"), "body"))[0]?.field, undefined, "a field is of the files that have some");
  fs.rmSync(at("a.csv"));
});
