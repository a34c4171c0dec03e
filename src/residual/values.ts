// The values of small constants, where they are inside the model: axes, shapes, zero points. Never reads a file.
import { DataLocation, type TensorProto } from "../graph/onnx.ts";
import { typedBytes } from "../graph/typed-data.ts";
import { dtypeOf } from "../graph/types.ts";

/** Number of elements. */
export function sizeOf(tensor: TensorProto): number {
  return tensor.dims.reduce((product, size) => product * Number(size), 1);
}

/** The bytes of an inline tensor of plain numbers. */
export function inlineBytes(tensor: TensorProto): Uint8Array | undefined {
  const dtype = dtypeOf(tensor.dataType);
  if (dtype === undefined || tensor.dataLocation === DataLocation.EXTERNAL) return undefined;
  return tensor.rawData.length > 0 ? tensor.rawData : typedBytes(tensor, dtype);
}

/** The one byte that all elements of an 8-bit tensor have. */
export function uniformByte(tensor: TensorProto): number | undefined {
  const bytes = inlineBytes(tensor);
  const [first] = bytes ?? [];
  return bytes?.every((byte) => byte === first) ? first : undefined;
}
