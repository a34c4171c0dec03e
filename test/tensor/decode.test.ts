// Decoding to f32. That the numbers are right was shown against Python's gguf, torch and llama.cpp (test/conformance/gguf_decode.ts);
// the digests here keep it so.
import { createHash } from "node:crypto";
import t from "tap";
import { randomValues } from "../../fixtures/random.ts";
import { ExpandError } from "../../src/errors.ts";
import { decodedSource, decodeInto, decodeRows, decodeTensor } from "../../src/tensor/decode.ts";
import { blockOf, byteLength, type Dtype } from "../../src/tensor/dtype.ts";
import type { TensorRef } from "../../src/tensor/reference.ts";
import { type ByteSource, memorySource } from "../../src/tensor/source.ts";

const ROWS = 5;
const DIGESTS: Partial<Record<Dtype, string>> = {
  I8: "95b787fd4e442e69",
  I16: "191f6dcacd76788b",
  I32: "861c7ea46b691b9b",
  I64: "bedc555256aa1e87",
  F16: "448ba995833b1b9a",
  BF16: "63d5d6258089835e",
  F32: "d326a3ac3a979679",
  F64: "6e9626c641087c1f",
  Q4_0: "465bcbaafee649b3",
  Q4_1: "0a79e2566571230c",
  Q5_0: "518a97ccf98c1368",
  Q5_1: "faa520e83caa2db5",
  Q8_0: "3e8c6121cfa3b198",
  Q2_K: "59e1c86328e33fda",
  Q3_K: "6302ff58e3b89416",
  Q4_K: "f05979c055d31491",
  Q5_K: "2e28cf5a7478e551",
  Q6_K: "1293bf8c7c279ef6",
  IQ2_XXS: "86fd55adcbc97fc0",
  IQ2_XS: "2c9af86731357700",
  IQ3_XXS: "65e166450170c895",
  IQ1_S: "c687df0922e93e9a",
  IQ4_NL: "7be7160946683d52",
  IQ3_S: "e4166f53dc3a8859",
  IQ2_S: "2ed12da90d78dcde",
  IQ4_XS: "bf8492acdcc0eacb",
  IQ1_M: "10a3d7a0dbd67fc3",
  TQ1_0: "032553c3487b5b14",
  TQ2_0: "15eeb0426a8214d9",
  MXFP4: "ca43b59ee3e80a74",
  NVFP4: "c15047433ac066bc",
  Q1_0: "e9a07638d928993a",
  Q2_0: "b8a3bede1a91c840",
};

/** Five rows of two blocks each, behind three bytes that belong to nobody. */
function example(dtype: Dtype): TensorRef {
  const shape = [ROWS, 2 * blockOf(dtype).values];
  const data = randomValues(dtype, ROWS * 2 * blockOf(dtype).values, 0, 1, `decode ${dtype}`);
  const source = memorySource("weights.bin", Buffer.concat([Buffer.alloc(3, 0xee), data]));
  return { kind: "stored", dtype, shape, bytes: byteLength(dtype, shape) ?? 0, source, offset: 3 };
}

function small(dtype: Dtype, bytes: readonly number[], count: number): TensorRef {
  const source = memorySource("small", Uint8Array.from(bytes));
  return { kind: "stored", dtype, shape: [count], bytes: bytes.length, source, offset: 0 };
}

function digest(values: Float32Array): string {
  return createHash("sha256")
    .update(Buffer.from(values.buffer, values.byteOffset, values.byteLength))
    .digest("hex")
    .slice(0, 16);
}

t.test("values decode to the numbers that llama.cpp and Python compute", async (t) => {
  for (const [dtype, expected] of Object.entries(DIGESTS) as [Dtype, string][]) {
    t.equal(digest(await decodeTensor(example(dtype))), expected, dtype);
  }
});

t.test("any run of rows, values or bytes equals the same part of the whole", async (t) => {
  for (const dtype of Object.keys(DIGESTS) as Dtype[]) {
    const tensor = example(dtype);
    const whole = await decodeTensor(tensor);
    const width = whole.length / ROWS;
    t.same(await decodeRows(tensor, 1, 4), whole.slice(width, 4 * width), `${dtype}: rows`);
    const part = new Float32Array(new SharedArrayBuffer(4 * (width + 1)));
    await decodeInto(tensor, width - 1, part);
    t.same([...part], [...whole.slice(width - 1, 2 * width)], `${dtype}: values, into shared memory`);
    const bytes = Buffer.from(whole.buffer);
    const source = decodedSource(tensor);
    t.equal(source.size, bytes.length);
    for (const [from, length] of [
      [0, bytes.length],
      [3, 2],
      [5, width * 4],
      [bytes.length - 1, 1],
      [bytes.length, 0],
    ] as const) {
      t.same(
        Buffer.from(await source.read(from, length)),
        bytes.subarray(from, from + length),
        `${dtype}: ${from}+${length}`,
      );
    }
  }
});

t.test("rows are decoded from their own bytes, in pieces of at most a MiB", async (t) => {
  const asked: (readonly [number, number])[] = [];
  const source: ByteSource = {
    name: "big",
    size: 2 ** 40,
    identity: "big",
    read: async (offset, length) => {
      asked.push([offset, length]);
      return new Uint8Array(length);
    },
  };
  const tensor: TensorRef = {
    kind: "stored",
    dtype: "Q8_0",
    shape: [2 ** 20, 4096],
    bytes: 2 ** 20 * 4352,
    source,
    offset: 64,
  };
  t.equal((await decodeRows(tensor, 1000, 1002)).length, 8192);
  t.same(asked, [[64 + 1000 * 4352, 2 * 4352]]);
  asked.length = 0;
  await decodeRows(tensor, 0, 500);
  t.ok(asked.every(([, length]) => length <= 2 ** 20));
  t.equal(
    asked.reduce((sum, [, length]) => sum + length, 0),
    500 * 4352,
  );
});

t.test("fills decode like stored bytes, whatever the length of the pattern", async (t) => {
  const zero = await decodeTensor({
    kind: "fill",
    dtype: "Q4_0",
    shape: [2, 32],
    bytes: 36,
    pattern: new Uint8Array(1),
  });
  t.ok(zero.every((value) => value === 0));
  const pattern = Buffer.from(Float32Array.of(1, -2, 0.5).buffer);
  const fill: TensorRef = { kind: "fill", dtype: "F32", shape: [6], bytes: 24, pattern };
  t.same(await decodeTensor(fill), Float32Array.of(1, -2, 0.5, 1, -2, 0.5));
  t.same(Buffer.from(await decodedSource(fill).read(10, 8)), Buffer.concat([pattern, pattern]).subarray(10, 18));
});

t.test("integers and truth values become numbers", async (t) => {
  const cases: readonly (readonly [Dtype, readonly number[], readonly number[]])[] = [
    ["BOOL", [0, 1, 2], [0, 1, 1]],
    ["U8", [255, 1], [255, 1]],
    ["I8", [255, 127], [-1, 127]],
    ["U16", [255, 255], [65535]],
    ["I16", [254, 255], [-2]],
    ["U32", [255, 255, 255, 255], [2 ** 32]],
    ["I32", [255, 255, 255, 255], [-1]],
    ["U64", [0, 0, 0, 0, 0, 0, 0, 128], [2 ** 63]],
    ["I64", [255, 255, 255, 255, 255, 255, 255, 255], [-1]],
    ["U4", [0xf1, 0x02], [1, 15, 2]],
    ["I4", [0xf1, 0x08], [1, -1, -8]],
    ["U2", [0xe4, 0x01], [0, 1, 2, 3, 1]],
    ["I2", [0xe4], [0, 1, -2, -1]],
    ["F8_E8M0", [127, 128, 0], [1, 2, 2 ** -127]],
    ["F8_E4M3FNUZ", [0x40, 0xc0, 0x01], [1, -1, 2 ** -10]],
    ["F8_E5M2FNUZ", [0x40, 0xc0], [1, -1]],
  ];
  for (const [dtype, bytes, values] of cases) {
    t.same([...(await decodeTensor(small(dtype, bytes, values.length)))], values, dtype);
  }
});

t.test("NaN stays NaN with its payload, infinities and signed zeros stay what they are", async (t) => {
  const bits = async (dtype: Dtype, bytes: readonly number[], count: number): Promise<readonly number[]> => {
    const values = await decodeTensor(small(dtype, bytes, count));
    return [...new Uint32Array(values.buffer)];
  };
  t.same(
    await bits("F16", [0x01, 0x7c, 0x00, 0xfc, 0x00, 0x80, 0x01, 0x00], 4),
    [0x7f802000, 0xff800000, 0x80000000, 0x33800000],
  );
  t.same(await bits("BF16", [0x81, 0x7f, 0x00, 0x80], 2), [0x7f810000, 0x80000000]);
  t.same(await bits("F32", [1, 0, 0x80, 0x7f], 1), [0x7f800001]);
  const small8 = await decodeTensor(small("F8_E4M3", [0x7f, 0x7e, 0x80, 0x01], 4));
  t.same([...small8], [Number.NaN, 448, -0, 2 ** -9]);
  t.same([...(await decodeTensor(small("F8_E5M2", [0x7c, 0xfc, 0x7d], 3)))], [Infinity, -Infinity, Number.NaN]);
});

t.test("a type without a codec is refused by name", async (t) => {
  const fix = "Store the tensor in another type; --mode structure needs no decoding.";
  for (const dtype of ["F4", "F6_E2M3", "F6_E3M2", "C64", "C128"] as const) {
    const tensor: TensorRef = { ...example("F32"), dtype };
    const expected = { tag: "unsupported", message: `weights.bin: values of type ${dtype} cannot be decoded`, fix };
    await t.rejects(decodeTensor(tensor), expected);
    t.throws(() => decodedSource(tensor), expected);
  }
});

t.test("what lies outside of the tensor is never read", async (t) => {
  const tensor = example("Q8_0");
  await t.rejects(decodeRows(tensor, 4, 6), { tag: "bug", message: "weights.bin: rows 4 to 6 were asked for, of 5" });
  await t.rejects(decodeRows(tensor, 3, 2), ExpandError);
  await t.rejects(decodedSource(tensor).read(1279, 2), {
    tag: "bug",
    message: "weights.bin as F32: bytes 1279 to 1281 were asked for, of 1280",
  });
});
