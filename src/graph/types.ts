// ONNX element types and ours, as one table. Never converts a value.
import { byteLength, type Dtype, type Shape } from "../tensor/dtype.ts";
import { OnnxType } from "./onnx.ts";

/** STRING has no fixed size, and so no Dtype. */
const TABLE = [
  [OnnxType.FLOAT, "F32"],
  [OnnxType.UINT8, "U8"],
  [OnnxType.INT8, "I8"],
  [OnnxType.UINT16, "U16"],
  [OnnxType.INT16, "I16"],
  [OnnxType.INT32, "I32"],
  [OnnxType.INT64, "I64"],
  [OnnxType.BOOL, "BOOL"],
  [OnnxType.FLOAT16, "F16"],
  [OnnxType.DOUBLE, "F64"],
  [OnnxType.UINT32, "U32"],
  [OnnxType.UINT64, "U64"],
  [OnnxType.COMPLEX64, "C64"],
  [OnnxType.COMPLEX128, "C128"],
  [OnnxType.BFLOAT16, "BF16"],
  [OnnxType.FLOAT8E4M3FN, "F8_E4M3"],
  [OnnxType.FLOAT8E4M3FNUZ, "F8_E4M3FNUZ"],
  [OnnxType.FLOAT8E5M2, "F8_E5M2"],
  [OnnxType.FLOAT8E5M2FNUZ, "F8_E5M2FNUZ"],
  [OnnxType.UINT4, "U4"],
  [OnnxType.INT4, "I4"],
  [OnnxType.FLOAT4E2M1, "F4"],
  [OnnxType.FLOAT8E8M0, "F8_E8M0"],
  [OnnxType.UINT2, "U2"],
  [OnnxType.INT2, "I2"],
] as const satisfies readonly (readonly [OnnxType, Dtype])[];

const DTYPE_OF: ReadonlyMap<number, Dtype> = new Map(TABLE);
const TYPE_OF: ReadonlyMap<Dtype, OnnxType> = new Map(TABLE.map(([type, dtype]) => [dtype, type]));

/** The storage type of an ONNX element type; undefined for STRING, UNDEFINED and types that ONNX does not have. */
export function dtypeOf(type: number): Dtype | undefined {
  return DTYPE_OF.get(type);
}

/** The ONNX element type; undefined for a storage type that ONNX does not have (most of ggml's). */
export function onnxTypeOf(dtype: Dtype): OnnxType | undefined {
  return TYPE_OF.get(dtype);
}

/** "FLOAT", or "type 99". */
export function typeName(type: number): string {
  return OnnxType[type] ?? `type ${type}`;
}

/** Bytes of a tensor of this ONNX type, or undefined where there is no such number. */
export function tensorBytes(type: number, shape: Shape): number | undefined {
  const dtype = dtypeOf(type);
  return dtype === undefined ? undefined : byteLength(dtype, shape);
}
