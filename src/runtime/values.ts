// Values that go into a model and come out of it. Knows sizes, never what a value means.
import { ExpandError } from "../errors.ts";

/** Array types by element type. float16 is its bits, bool one byte each. */
const ARRAYS = {
  float32: Float32Array,
  float16: Uint16Array,
  float64: Float64Array,
  int64: BigInt64Array,
  int32: Int32Array,
  int16: Int16Array,
  int8: Int8Array,
  uint64: BigUint64Array,
  uint32: Uint32Array,
  uint16: Uint16Array,
  uint8: Uint8Array,
  bool: Uint8Array,
} as const;

export type ValueType = keyof typeof ARRAYS;
export type ValueData =
  | Float32Array
  | Float64Array
  | BigInt64Array
  | BigUint64Array
  | Int32Array
  | Int16Array
  | Int8Array
  | Uint32Array
  | Uint16Array
  | Uint8Array;

/** A dense tensor in memory, row-major. */
export interface Value {
  readonly dtype: ValueType;
  readonly shape: readonly number[];
  readonly data: ValueData;
}

export type Values = Readonly<Record<string, Value>>;

/** What a model says of an input or output. A dimension without a number is its name, which may be empty. */
export interface ValueInfo {
  readonly name: string;
  /** Absent for what is not a tensor of a known element type. */
  readonly dtype?: ValueType;
  readonly shape: readonly (number | string)[];
}

export function isValueType(name: string): name is ValueType {
  return Object.hasOwn(ARRAYS, name);
}

/** An array of `count` zeros. */
export function emptyData(dtype: ValueType, count: number): ValueData {
  return new ARRAYS[dtype](count);
}

/** Throws "bug" when the data does not fill the shape. */
export function checkValue(name: string, { shape, data }: Value): void {
  const count = shape.reduce((product, size) => product * size, 1);
  if (count === data.length) return;
  throw new ExpandError("bug", `the shape [${shape}] asks for ${count} values, the data has ${data.length}`, {
    at: name,
  });
}

/** The buffers of some values, each once. */
export function buffersOf(values: Values): ArrayBuffer[] {
  const buffers = new Set<ArrayBuffer>();
  for (const { data } of Object.values(values)) if (data.buffer instanceof ArrayBuffer) buffers.add(data.buffer);
  return [...buffers];
}
