// Tensor data in the typed fields that older exporters use (float_data, int32_data, ...), as raw bytes. Small tensors only.
import type { Dtype } from "../tensor/dtype.ts";
import type { TensorProto } from "./onnx.ts";

/** The values as little-endian bytes, as raw_data would hold them. Field by type: the comments of TensorProto in onnx.proto. */
export function typedBytes(tensor: TensorProto, dtype: Dtype): Uint8Array {
  switch (dtype) {
    case "F32":
    case "C64":
      return encode(tensor.floatData, 4, (view, at, value) => view.setFloat32(at, value, true));
    case "F64":
    case "C128":
      return encode(tensor.doubleData, 8, (view, at, value) => view.setFloat64(at, value, true));
    case "I64":
      return encode(tensor.int64Data, 8, (view, at, value) => view.setBigInt64(at, value, true));
    case "U64":
      return encode(tensor.uint64Data, 8, (view, at, value) => view.setBigUint64(at, value, true));
    case "U32":
      return encode(tensor.uint64Data, 4, (view, at, value) => view.setUint32(at, Number(value), true));
    case "I32":
      return encode(tensor.int32Data, 4, (view, at, value) => view.setInt32(at, value, true));
    case "I16":
    case "U16":
    case "F16":
    case "BF16":
      return encode(tensor.int32Data, 2, (view, at, value) => view.setInt16(at, value, true));
    // One byte of values an entry: packed types hold several values in it, the first in the low bits.
    default:
      return encode(tensor.int32Data, 1, (view, at, value) => view.setInt8(at, value));
  }
}

function encode<Value>(
  values: readonly Value[],
  width: number,
  set: (view: DataView, at: number, value: Value) => void,
): Uint8Array {
  const bytes = new Uint8Array(values.length * width);
  const view = new DataView(bytes.buffer);
  for (const [index, value] of values.entries()) set(view, index * width, value);
  return bytes;
}
