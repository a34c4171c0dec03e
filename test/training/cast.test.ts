// Trained values in the types that tensors had: every half-precision number, and every tie between two of them.
import t from "tap";
import { HALF, HALF_BITS } from "../../src/tensor/codecs/codec.ts";
import type { Dtype } from "../../src/tensor/dtype.ts";
import type { TensorRef } from "../../src/tensor/reference.ts";
import { memorySource } from "../../src/tensor/source.ts";
import { castTensor, toBf16, toF16 } from "../../src/training/cast.ts";

const scratch = new Float32Array(1);
const bits = new Uint32Array(scratch.buffer);

function bitsOf(value: number): number {
  scratch[0] = value;
  return bits[0] ?? 0;
}

t.test("all 63,488 finite and infinite f16 numbers come back as they were", async (t) => {
  let wrong = 0;
  for (let half = 0; half < 65536; half++) {
    const isNan = (half & 0x7fff) > 0x7c00;
    const back = toF16(HALF_BITS[half] ?? 0);
    if (isNan ? (back & 0x7fff) <= 0x7c00 : back !== half) wrong++;
  }
  t.equal(wrong, 0);
});

t.test("between two f16 numbers, the nearer one; of equals, the even one", async (t) => {
  let wrong = 0;
  for (let half = 0; half < 0x7bff; half++) {
    const [low, high] = [HALF[half] ?? 0, HALF[half + 1] ?? 0];
    // Halfway is exact in f32; the f32 numbers beside it are nearer to one side.
    const middle = bitsOf((low + high) / 2);
    const even = half % 2 === 0 ? half : half + 1;
    if (toF16(middle) !== even || toF16(middle - 1) !== half || toF16(middle + 1) !== half + 1) wrong++;
    if (toF16((middle | 0x80000000) >>> 0) !== (even | 0x8000)) wrong++;
  }
  t.equal(wrong, 0);
  t.equal(toF16(bitsOf(65519.99)), 0x7bff);
  t.equal(toF16(bitsOf(65520)), 0x7c00);
});

t.test("bf16: the nearer one, of equals the even one; a NaN stays a NaN", async (t) => {
  const cases = [
    [0x3f808000, 0x3f80],
    [0x3f818000, 0x3f82],
    [0x3f808001, 0x3f81],
    [0x3f807fff, 0x3f80],
    [0xbf818000, 0xbf82],
    [0x7f7fffff, 0x7f80],
    [0x7f800000, 0x7f80],
    [0x80000000, 0x8000],
    [0x00008000, 0x0000],
    [0x7f800001, 0x7fc0],
    [0xffffffff, 0xffff],
  ] as const;
  for (const [from, to] of cases) t.equal(toBf16(from).toString(16), to.toString(16), from.toString(16));
});

function stored(values: readonly number[]): TensorRef {
  const data = Float32Array.from(values);
  const source = memorySource("values", new Uint8Array(data.buffer));
  return { kind: "stored", dtype: "F32", shape: [values.length], bytes: data.byteLength, source, offset: 0 };
}

t.test("any run of bytes can be read, wherever values begin", async (t) => {
  for (const dtype of ["F32", "F64", "F16", "BF16"] satisfies Dtype[]) {
    const tensor = castTensor("w", stored([1, -2.5, 3.25, 0.1]), dtype);
    if (tensor.kind !== "stored") throw new TypeError("it is stored");
    const whole = Buffer.from(await tensor.source.read(0, tensor.bytes));
    for (let from = 0; from < tensor.bytes; from++) {
      for (let to = from; to <= tensor.bytes; to++) {
        const part = Buffer.from(await tensor.source.read(from, to - from));
        if (!part.equals(whole.subarray(from, to))) t.fail(`${dtype} from ${from} to ${to}`);
      }
    }
    if (dtype === "F64") t.equal(whole.readDoubleLE(24), Math.fround(0.1));
    t.equal(tensor.bytes, whole.length);
  }
});

const BEYOND: readonly (readonly [dtype: Dtype, value: number, what: string])[] = [
  ["F16", 70000, "70000, and F16 ends at 65504"],
  ["F16", -65520, "-65520, and F16 ends at 65504"],
  ["BF16", 3.4e38, "3.3999999521443642e+38, and BF16 ends at 3.3895313892515355e+38"],
  ["F16", Number.POSITIVE_INFINITY, "Infinity"],
  ["BF16", Number.NaN, "NaN"],
  ["F32", Number.NEGATIVE_INFINITY, "-Infinity"],
];

for (const [dtype, value, what] of BEYOND) {
  t.test(`${value} is refused as ${dtype}`, async (t) => {
    const tensor = castTensor("w", stored([1, value]), dtype);
    if (tensor.kind !== "stored") throw new TypeError("it is stored");
    await t.rejects(tensor.source.read(0, tensor.bytes), {
      tag: "output",
      message: `w: a trained value is ${what}`,
      fix: "Train again with a lower --lr or more --decay, or from a checkpoint in F32.",
    });
  });
}

t.test("the largest values of a type are kept", async (t) => {
  for (const [dtype, value] of [
    ["F16", 65519.99],
    ["BF16", 3.3961e38],
    ["F32", 3.4e38],
  ] as const) {
    const tensor = castTensor("w", stored([value]), dtype);
    if (tensor.kind === "stored") t.equal((await tensor.source.read(0, tensor.bytes)).length, tensor.bytes, dtype);
  }
});

t.test("what is no float is never a cast's target", async (t) => {
  t.throws(() => castTensor("w", stored([1]), "Q8_0"), { message: "w: a trained tensor cannot be stored as Q8_0" });
});
