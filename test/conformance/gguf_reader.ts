// The Python package gguf against the files that we write; real files read and written again.
// Usage: tsx gguf_reader.ts PYTHON [FILE...], with an interpreter that has the package, and models of one canonical file each.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { isDeepStrictEqual } from "node:util";
import { tinyLlama, writePlan, writeTinyGguf } from "../../fixtures/gguf.ts";
import { EVERY_TYPE } from "../../fixtures/gguf-types.ts";
import { type GgufEntry, type GgufScalar, ggufValue } from "../../src/checkpoint/gguf-metadata.ts";
import { type GgufHeader, readGgufHeader } from "../../src/formats/gguf/header.ts";
import { openGguf } from "../../src/formats/gguf/read.ts";
import { planGguf } from "../../src/formats/gguf/write.ts";
import { fileSource } from "../../src/tensor/source.ts";

/** Value types as the package names them. */
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
/** Types that gguf 0.19.0 does not know. */
const UNKNOWN_TO_PYTHON: readonly string[] = ["of.Q2_0"];

const [python = "python3", ...models] = process.argv.slice(2);
const directory = fs.mkdtempSync(path.join(os.tmpdir(), "gguf-reader-"));
const tensors = EVERY_TYPE.tensors.filter(({ name }) => !UNKNOWN_TO_PYTHON.includes(name));
const files = [
  ...writeTinyGguf(path.join(directory, "every-type.gguf"), { ...EVERY_TYPE, tensors }),
  ...writeTinyGguf(path.join(directory, "split.gguf"), tinyLlama({ shardSize: 100_000 })),
];
for (const file of [...files, ...models]) await compare(file);
for (const model of models) await rewrite(model);
fs.rmSync(directory, { recursive: true });

async function compare(file: string): Promise<void> {
  const script = path.join(import.meta.dirname, "gguf_reader.py");
  const theirs = JSON.parse(execFileSync(python, [script, file], { encoding: "utf8", maxBuffer: 2 ** 26 }));
  const ours = describe(await readGgufHeader(fileSource(file)), fs.readFileSync(file));
  for (const part of ["alignment", "metadata", "tensors"] as const) {
    const same = isDeepStrictEqual(theirs[part], ours[part]);
    console.log(`${same ? "ok" : "not ok"} Python's gguf reads the ${part} of ${path.basename(file)} as we do`);
    if (!same) console.log(JSON.stringify({ theirs: theirs[part], ours: ours[part] }));
  }
}

async function rewrite(model: string): Promise<void> {
  const { config, tensors } = await openGguf(model);
  const plans = config.dialect === "gguf" ? planGguf({ metadata: config.metadata, tensors }, { name: "out.gguf" }) : [];
  for (const plan of plans) writePlan(directory, plan);
  const same = fs.readFileSync(path.join(directory, "out.gguf")).equals(fs.readFileSync(model));
  console.log(`${same ? "ok" : "not ok"} ${path.basename(model)}, read and written again, is the same file`);
}

/** What gguf_reader.py prints. */
function describe(header: GgufHeader, data: Buffer) {
  const tensors = header.tensors.map(({ name, shape, dtype, bytes, offset }) => {
    const start = header.dataStart + offset;
    const sha256 = createHash("sha256")
      .update(data.subarray(start, start + bytes))
      .digest("hex");
    return { name, shape, type: dtype, offset: start, bytes, sha256 };
  });
  const metadata = Object.fromEntries([...header.entries].map(([key, entry]) => [key, describeEntry(entry)]));
  return { alignment: header.alignment, metadata, tensors };
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
