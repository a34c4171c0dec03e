// Storage types: how many values share how many bytes. Knows sizes only, never how to decode.

/**
 * [values per block, bytes per block]. safetensors types from the format's Dtype enum (v0.7); ggml types from llama.cpp v0.5.0;
 * U2, I2, U4, I4 and C128 from ONNX (IR 13).
 */
const TABLE = {
  BOOL: [1, 1],
  U8: [1, 1],
  I8: [1, 1],
  U16: [1, 2],
  I16: [1, 2],
  U32: [1, 4],
  I32: [1, 4],
  U64: [1, 8],
  I64: [1, 8],
  F4: [2, 1],
  F6_E2M3: [4, 3],
  F6_E3M2: [4, 3],
  F8_E5M2: [1, 1],
  F8_E4M3: [1, 1],
  F8_E8M0: [1, 1],
  F8_E4M3FNUZ: [1, 1],
  F8_E5M2FNUZ: [1, 1],
  F16: [1, 2],
  BF16: [1, 2],
  F32: [1, 4],
  F64: [1, 8],
  C64: [1, 8],
  C128: [1, 16],
  U2: [4, 1],
  I2: [4, 1],
  U4: [2, 1],
  I4: [2, 1],
  Q4_0: [32, 18],
  Q4_1: [32, 20],
  Q5_0: [32, 22],
  Q5_1: [32, 24],
  Q8_0: [32, 34],
  Q2_K: [256, 84],
  Q3_K: [256, 110],
  Q4_K: [256, 144],
  Q5_K: [256, 176],
  Q6_K: [256, 210],
  IQ2_XXS: [256, 66],
  IQ2_XS: [256, 74],
  IQ3_XXS: [256, 98],
  IQ1_S: [256, 50],
  IQ4_NL: [32, 18],
  IQ3_S: [256, 110],
  IQ2_S: [256, 82],
  IQ4_XS: [256, 136],
  IQ1_M: [256, 56],
  TQ1_0: [256, 54],
  TQ2_0: [256, 66],
  MXFP4: [32, 17],
  NVFP4: [64, 36],
  Q1_0: [128, 18],
  Q2_0: [64, 18],
} as const satisfies Record<string, readonly [number, number]>;

export type Dtype = keyof typeof TABLE;

/** Sizes, outermost dimension first (the safetensors order; GGUF stores the reverse). */
export type Shape = readonly number[];

export const DTYPES = Object.keys(TABLE) as readonly Dtype[];

export function isDtype(name: string): name is Dtype {
  return Object.hasOwn(TABLE, name);
}

/** Values and bytes of the smallest stored unit of a type. */
export function blockOf(dtype: Dtype): { readonly values: number; readonly bytes: number } {
  const [values, bytes] = TABLE[dtype];
  return { values, bytes };
}

/** Product of the sizes (1 for a scalar), or undefined when it is not an exact integer below 2^53. */
export function elementCount(shape: Shape): number | undefined {
  let count = 1;
  for (const size of shape) {
    if (!Number.isSafeInteger(size) || size < 0) return undefined;
    count *= size;
    if (!Number.isSafeInteger(count)) return undefined;
  }
  return count;
}

/** ONNX pads the last byte of these. */
const PADDED: ReadonlySet<Dtype> = new Set(["U2", "I2", "U4", "I4"]);

/** Bytes a tensor occupies, or undefined when the shape is absurd or does not fill whole blocks (a type that pads fills its last one). */
export function byteLength(dtype: Dtype, shape: Shape): number | undefined {
  const count = elementCount(shape);
  const { values, bytes } = blockOf(dtype);
  if (count === undefined || (count % values !== 0 && !PADDED.has(dtype))) return undefined;
  const length = Math.ceil(count / values) * bytes;
  return Number.isSafeInteger(length) ? length : undefined;
}

const PLAIN_FLOATS: ReadonlySet<Dtype> = new Set(["F16", "BF16", "F32", "F64"]);

/** Types in which an optimizer can update a weight directly. */
export function isPlainFloat(dtype: Dtype): boolean {
  return PLAIN_FLOATS.has(dtype);
}
