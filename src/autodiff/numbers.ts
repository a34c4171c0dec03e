// Numbers of small tensors: in and out of ONNX messages. Never opens a file.
import { ExpandError } from "../errors.ts";
import { externalRange, inlineTensor } from "../graph/graph.ts";
import { OnnxType, type TensorProto } from "../graph/onnx.ts";
import { typedBytes } from "../graph/typed-data.ts";
import { dtypeOf, typeName } from "../graph/types.ts";

interface Codec {
  readonly width: number;
  read(view: DataView, at: number): number;
  write(view: DataView, at: number, value: number): void;
}

/** Numbers beyond 2^53 of int64 lose their last bits: they stand for "to the end". */
const CODECS: ReadonlyMap<OnnxType, Codec> = new Map<OnnxType, Codec>([
  [
    OnnxType.FLOAT,
    { width: 4, read: (v, at) => v.getFloat32(at, true), write: (v, at, x) => v.setFloat32(at, x, true) },
  ],
  [
    OnnxType.DOUBLE,
    { width: 8, read: (v, at) => v.getFloat64(at, true), write: (v, at, x) => v.setFloat64(at, x, true) },
  ],
  [
    OnnxType.FLOAT16,
    {
      width: 2,
      read: (v, at) => halfToNumber(v.getUint16(at, true)),
      write: (v, at, x) => v.setUint16(at, numberToHalf(x), true),
    },
  ],
  [
    OnnxType.BFLOAT16,
    { width: 2, read: readBfloat16, write: (v, at, x) => v.setUint16(at, numberToBfloat16(x), true) },
  ],
  [
    OnnxType.INT64,
    {
      width: 8,
      read: (v, at) => Number(v.getBigInt64(at, true)),
      write: (v, at, x) => v.setBigInt64(at, BigInt(x), true),
    },
  ],
  [OnnxType.INT32, { width: 4, read: (v, at) => v.getInt32(at, true), write: (v, at, x) => v.setInt32(at, x, true) }],
  [OnnxType.BOOL, { width: 1, read: (v, at) => v.getUint8(at), write: (v, at, x) => v.setUint8(at, x) }],
]);

export const FLOATS: ReadonlySet<OnnxType> = new Set([
  OnnxType.FLOAT,
  OnnxType.DOUBLE,
  OnnxType.FLOAT16,
  OnnxType.BFLOAT16,
]);

/** A tensor of these values, inside of the message. Throws "bug" for a type that no constant has. */
export function tensorFrom(
  name: string,
  type: OnnxType,
  shape: readonly number[],
  values: readonly number[],
): TensorProto {
  const codec = CODECS.get(type);
  const dtype = dtypeOf(type);
  if (codec === undefined || dtype === undefined) throw new ExpandError("bug", `no constant is of ${typeName(type)}`);
  const bytes = new Uint8Array(values.length * codec.width);
  const view = new DataView(bytes.buffer);
  for (const [at, value] of values.entries()) codec.write(view, at * codec.width, value);
  return inlineTensor(name, dtype, shape, bytes);
}

/** The values of a tensor that is inside of its message; undefined for one in a file, and for types that hold no plain numbers. */
export function numbersIn(tensor: TensorProto): readonly number[] | undefined {
  const codec = CODECS.get(tensor.dataType);
  const dtype = dtypeOf(tensor.dataType);
  if (codec === undefined || dtype === undefined || externalRange(tensor) !== undefined) return undefined;
  const data = tensor.rawData.length > 0 ? tensor.rawData : typedBytes(tensor, dtype);
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  return Array.from({ length: data.length / codec.width }, (_, at) => codec.read(view, at * codec.width));
}

function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
}

/** To the nearest, ties to even; beyond 65504 infinite. */
function numberToHalf(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size >= 65520) return sign | 0x7c00;
  const exponent = size === 0 ? -14 : Math.max(-14, Math.floor(Math.log2(size)));
  const steps = nearestEven(size / 2 ** (exponent - 10));
  // A subnormal has the exponent field 0 and no implied bit; one step too many carries into the exponent by itself.
  return sign | (exponent === -14 && steps < 1024 ? steps : ((exponent + 15) << 10) + (steps - 1024));
}

function nearestEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}

function readBfloat16(view: DataView, at: number): number {
  const wide = new DataView(new ArrayBuffer(4));
  wide.setUint32(0, view.getUint16(at, true) << 16);
  return wide.getFloat32(0);
}

/** To the nearest, ties to even. */
function numberToBfloat16(value: number): number {
  const wide = new DataView(new ArrayBuffer(4));
  wide.setFloat32(0, value);
  const bits = wide.getUint32(0);
  if (Number.isNaN(value)) return 0x7fc0;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}
