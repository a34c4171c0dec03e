// GGUF files for other people's readers, written by this project, and what this project holds them to contain. Judges nothing.
// Usage: tsx gguf-files.ts WORK RESULTS [GGUF], a model to expand besides the fixture.
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { tinyLlama, writeTinyGguf } from "../../fixtures/gguf.ts";
import { EVERY_TYPE } from "../../fixtures/gguf-types.ts";
import { type GgufEntry, type GgufScalar, ggufValue } from "../../src/checkpoint/gguf-metadata.ts";
import { readGgufHeader } from "../../src/formats/gguf/header.ts";
import { ExpandError, expand, finish } from "../../src/index.ts";
import { fileSource } from "../../src/tensor/source.ts";

/** Value types as Python's gguf names them. */
const NAMES = {
  u8: "UINT8",
  i8: "INT8",
  u16: "UINT16",
  i16: "INT16",
  u32: "UINT32",
  i32: "INT32",
  f32: "FLOAT32",
  bool: "BOOL",
  string: "STRING",
  array: "ARRAY",
  u64: "UINT64",
  i64: "INT64",
  f64: "FLOAT64",
} as const;
/** Types that Python's gguf 0.19.0 does not know. */
const UNKNOWN_TO_PYTHON: readonly string[] = ["of.Q2_0"];
const FIXTURE = path.resolve(import.meta.dirname, "../../fixtures/llama.gguf");

const [work, resultsFile, model] = process.argv.slice(2);
if (work === undefined || resultsFile === undefined) {
  throw new ExpandError("usage", "expected two paths", { fix: "Run tsx gguf-files.ts WORK RESULTS [GGUF]." });
}
const folder = (name: string): string => {
  const directory = path.join(work, name);
  fs.mkdirSync(directory, { recursive: true });
  return directory;
};
const results = {
  gguf: await Promise.all(writeGguf().map(describeGguf)),
  expanded: [await expandGguf(FIXTURE, 2, 300_000), ...(model === undefined ? [] : [await expandGguf(model, 8)])],
};
fs.writeFileSync(resultsFile, JSON.stringify(results));

function writeGguf(): readonly string[] {
  const directory = folder("gguf");
  const tensors = EVERY_TYPE.tensors.filter(({ name }) => !UNKNOWN_TO_PYTHON.includes(name));
  return [
    ...writeTinyGguf(path.join(directory, "every-type.gguf"), { ...EVERY_TYPE, tensors }),
    ...writeTinyGguf(path.join(directory, "split.gguf"), tinyLlama({ shardSize: 100_000 })),
  ];
}

async function describeGguf(file: string) {
  const header = await readGgufHeader(fileSource(file));
  const data = fs.readFileSync(file);
  const tensors = header.tensors.map(({ name, shape, dtype, bytes, offset }) => {
    const start = header.dataStart + offset;
    return { name, shape, type: dtype, offset: start, bytes, sha256: sha256(data.subarray(start, start + bytes)) };
  });
  const metadata = Object.fromEntries([...header.entries].map(([key, entry]) => [key, describeEntry(entry)]));
  return { file, alignment: header.alignment, metadata, tensors };
}

function describeEntry(entry: GgufEntry) {
  const value = ggufValue(entry);
  // The package learns an array's element type from its first element.
  const types = [entry.type, ...(entry.element === undefined || entry.count === 0 ? [] : [entry.element])];
  return {
    types: types.map((type) => NAMES[type]),
    value: Array.isArray(value) ? value.map(plain) : plain(value as GgufScalar),
  };
}

function plain(value: GgufScalar): string | number | boolean {
  if (typeof value === "bigint") return String(value);
  return value instanceof Uint8Array ? Buffer.from(value).toString("hex") : value;
}

async function expandGguf(source: string, add: number, shardSize?: number) {
  const output = path.join(folder("expanded"), path.basename(source));
  const limit = shardSize === undefined ? {} : { shardSize };
  const { plan, files, verification } = await finish(expand({ source, output, add, force: true, ...limit }));
  const weights = files
    .filter(({ name }) => name.endsWith(".gguf"))
    .map(({ name }) => path.join(folder("expanded"), name));
  return { source, files: weights, blocks: plan.blocks, verdict: verification?.verdict };
}

function sha256(data: Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}
