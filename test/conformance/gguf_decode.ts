// Random blocks of every type, decoded by us, by Python's gguf and torch, and by llama.cpp's own library: the same bits, NaN aside.
// Usage: tsx gguf_decode.ts PYTHON, an interpreter that has gguf and torch. llama.cpp is left out where llamacpp/ is not installed.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";
import { uniform } from "../../fixtures/random.ts";
import { canDecode, decodeTensor } from "../../src/tensor/decode.ts";
import { blockOf, byteLength, DTYPES, type Dtype } from "../../src/tensor/dtype.ts";
import { fileSource } from "../../src/tensor/source.ts";

/** Enough for each of the 65,536 half-precision scales to come up many times over all types. */
const BLOCKS = 4096;
const LIBRARY = path.join(
  import.meta.dirname,
  "llamacpp/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64/libggml-base.so",
);
/** Rows of 4 values for types without blocks; functions that are not called dequantize_row_<type>. */
const NAMES: Partial<Record<Dtype, string>> = { F16: "ggml_fp16_to_fp32_row", BF16: "ggml_bf16_to_fp32_row" };

type Native = (data: Uint8Array, values: Float32Array, count: number) => void;

const work = fs.mkdtempSync(path.join(os.tmpdir(), "gguf-decode-"));
const ours = new Map<Dtype, Float32Array>();
for (const dtype of DTYPES.filter((name) => canDecode({ kind: "fill", pattern: new Uint8Array(1), ...sized(name) }))) {
  const next = uniform(dtype);
  const data = Uint8Array.from({ length: sized(dtype).bytes }, () => Math.floor(next() * 256));
  const file = path.join(work, `${dtype}.bin`);
  fs.writeFileSync(file, data);
  ours.set(dtype, await decodeTensor({ kind: "stored", source: fileSource(file), offset: 0, ...sized(dtype) }));
}
comparePython();
compareLlamaCpp();
fs.rmSync(work, { recursive: true });

function sized(dtype: Dtype) {
  const shape = [BLOCKS, 2 * blockOf(dtype).values];
  return { dtype, shape, bytes: byteLength(dtype, shape) ?? 0 };
}

function comparePython(): void {
  const script = path.join(import.meta.dirname, "gguf_decode.py");
  const unknown = execFileSync(process.argv[2] ?? "python3", [script, work], { encoding: "utf8" })
    .trim()
    .split("\n");
  for (const [dtype, values] of ours) {
    if (unknown.includes(dtype)) continue;
    const bytes = fs.readFileSync(path.join(work, `${dtype}.f32`));
    report(`${dtype} as Python decodes it`, values, new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4));
  }
  console.log(`# Python knows no ${unknown.join(", ")}`);
}

function compareLlamaCpp(): void {
  if (!fs.existsSync(LIBRARY)) {
    console.log("# llama.cpp is left out: run npm ci in llamacpp/");
    return;
  }
  const require = createRequire(path.join(import.meta.dirname, "llamacpp/logits.mjs"));
  const library = require("koffi").load(LIBRARY);
  for (const [dtype, values] of ours) {
    const name = NAMES[dtype] ?? `dequantize_row_${dtype.toLowerCase().replace(/_k$/, "_K")}`;
    const native = nativeOf(library, name);
    if (native === undefined) continue;
    const theirs = new Float32Array(values.length);
    native(fs.readFileSync(path.join(work, `${dtype}.bin`)), theirs, values.length);
    report(`${dtype} as llama.cpp v0.5.0 decodes it`, values, theirs);
  }
}

function nativeOf(library: { func(declaration: string): Native }, name: string): Native | undefined {
  try {
    return library.func(`void ${name}(const void *, _Out_ void *, int64_t)`);
  } catch {
    return undefined;
  }
}

function report(title: string, found: Float32Array, expected: Float32Array): void {
  const [a, b] = [found, expected].map((values) => new Uint32Array(values.buffer, values.byteOffset, values.length));
  const at = found.findIndex((value, i) => a?.[i] !== b?.[i] && !(Number.isNaN(value) && Number.isNaN(expected[i])));
  const same = found.length === expected.length && at < 0;
  const soundness = found.reduce((count, value) => count + (Number.isFinite(value) && value !== 0 ? 1 : 0), 0);
  const detail = same
    ? `${found.length} values, ${soundness} of them finite and not 0`
    : `value ${at}: ${found[at]}, expected ${expected[at]}`;
  console.log(`${same ? "ok" : "not ok"} ${title}: ${detail}`);
  if (!same) process.exitCode = 1;
}
