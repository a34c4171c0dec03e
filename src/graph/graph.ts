// A model whose large tensors are not in memory, and where each tensor's bytes are. Reads no weights, moves no bytes.
import { ExpandError, quote } from "../errors.ts";
import { byteLength, type Dtype, type Shape } from "../tensor/dtype.ts";
import { type TensorRef, ZERO } from "../tensor/reference.ts";
import { type ByteSource, memorySource } from "../tensor/source.ts";
import {
  clearField,
  clone,
  create,
  DataLocation,
  type ModelProto,
  ModelProtoSchema,
  type OnnxType,
  StringStringEntryProtoSchema,
  type TensorProto,
  TensorProtoSchema,
} from "./onnx.ts";
import { typedBytes } from "./typed-data.ts";
import { dtypeOf, onnxTypeOf, typeName } from "./types.ts";

/** A model and the files that its tensors refer to. Take the messages as immutable, and change a `cloneGraph` only. */
export interface Graph {
  /** Every tensor of >= LARGE bytes of raw data has dataLocation EXTERNAL and externalData location/offset/length; the rest is inline. */
  readonly model: ModelProto;
  /** Where the bytes of each `location` are. For an inline .onnx: its own file name -> the .onnx file itself (offsets into it). */
  readonly files: ReadonlyMap<string, ByteSource>;
}

/** Bytes. Raw data from here on is external (ONNX's own tools use the same limit). */
export const LARGE = 1024;
/** The location of a tensor that is all zeros: no file has this name, and `files` need not have it. The writer makes one file of all. */
export const ZEROS = "\0zeros";

/** An unknown field of our own, never written to a file: the tensor said itself that its data is inside, as most do not. */
const SAYS_INSIDE = 2 ** 29 - 1;

const DATA_FIELDS: ReadonlySet<string> = new Set([
  "floatData",
  "int32Data",
  "stringData",
  "int64Data",
  "rawData",
  "externalData",
  "dataLocation",
  "doubleData",
  "uint64Data",
]);

/** Where an external tensor says that its bytes are. */
export interface ExternalRange {
  readonly location: string;
  readonly offset: number;
  /** Absent where the file leaves it to type and shape. */
  readonly length?: number;
}

/** A graph of its own: what is done to its messages does not show in the other. */
export function cloneGraph(graph: Graph): Graph {
  return { model: clone(ModelProtoSchema, graph.model), files: graph.files };
}

/** Sets a tensor's data to bytes [offset, offset + length) of `location`, in place. */
export function referTo(tensor: TensorProto, location: string, offset: number, length: number): void {
  const entry = (key: string, value: string) => create(StringStringEntryProtoSchema, { key, value });
  clearData(tensor);
  tensor.dataLocation = DataLocation.EXTERNAL;
  tensor.externalData = [entry("location", location), entry("offset", `${offset}`), entry("length", `${length}`)];
}

/** Takes every kind of data away, in place. */
function clearData(tensor: TensorProto): void {
  for (const field of TensorProtoSchema.fields) if (DATA_FIELDS.has(field.localName)) clearField(tensor, field);
  const unknown = tensor.$unknown?.filter(({ no }) => no !== SAYS_INSIDE) ?? [];
  if (unknown.length > 0) tensor.$unknown = unknown;
  else delete tensor.$unknown;
}

/** Remembers that a tensor had an explicit data_location DEFAULT, so that it can be written back as it was. */
export function markInside(tensor: TensorProto): void {
  tensor.$unknown = [...(tensor.$unknown ?? []), { no: SAYS_INSIDE, wireType: 0, data: Uint8Array.of(1) }];
}

/** Puts data back inside, in place. */
export function putInside(tensor: TensorProto, data: Uint8Array): void {
  const marked = tensor.$unknown?.some(({ no }) => no === SAYS_INSIDE) ?? false;
  clearData(tensor);
  tensor.rawData = Uint8Array.from(data);
  if (marked) tensor.dataLocation = DataLocation.DEFAULT;
}

/** A new tensor of zeros: inline below LARGE bytes, else at ZEROS. */
export function zeroTensor(name: string, type: OnnxType, dims: readonly bigint[]): TensorProto {
  const tensor = create(TensorProtoSchema, { name, dataType: type, dims: [...dims] });
  const { bytes } = layoutOf(tensor);
  if (bytes < LARGE) tensor.rawData = new Uint8Array(bytes);
  else referTo(tensor, ZEROS, 0, bytes);
  return tensor;
}

/** A new tensor that refers to bytes of `location` as `ref` has them. Throws "unsupported" for a type that ONNX does not have. */
export function tensorAt(
  name: string,
  ref: { dtype: Dtype; shape: Shape; bytes: number },
  location: string,
  offset: number,
) {
  const tensor = create(TensorProtoSchema, {
    name,
    dataType: typeFor(name, ref.dtype),
    dims: ref.shape.map(BigInt),
  });
  referTo(tensor, location, offset, ref.bytes);
  return tensor;
}

/** A new tensor with its data inside. */
export function inlineTensor(name: string, dtype: Dtype, shape: Shape, data: Uint8Array): TensorProto {
  return create(TensorProtoSchema, {
    name,
    dataType: typeFor(name, dtype),
    dims: shape.map(BigInt),
    rawData: Uint8Array.from(data),
  });
}

/** The range that an external tensor names; undefined for an inline one. Throws "damaged" when it names none, or one twice. */
export function externalRange(tensor: TensorProto): ExternalRange | undefined {
  if (tensor.dataLocation !== DataLocation.EXTERNAL) return undefined;
  const entries = new Map<string, string>();
  for (const { key, value } of tensor.externalData) {
    if (entries.has(key)) damaged(tensor, `says ${quote(key)} twice in its external_data`);
    entries.set(key, value);
  }
  const location = entries.get("location");
  if (location === undefined) damaged(tensor, "is external, but names no location");
  const length = entries.get("length");
  return {
    location,
    offset: wholeNumber(tensor, "offset", entries.get("offset") ?? "0"),
    ...(length === undefined ? {} : { length: wholeNumber(tensor, "length", length) }),
  };
}

/** The tensor of an initializer or an attribute, unread. Throws "damaged", or "unsupported" for strings and segments. */
export function tensorOf(graph: Graph, tensor: TensorProto): TensorRef {
  const { dtype, shape, bytes } = layoutOf(tensor);
  const range = externalRange(tensor);
  if (range === undefined) {
    const data = tensor.rawData.length > 0 ? tensor.rawData : typedBytes(tensor, dtype);
    if (data.length !== bytes)
      damaged(tensor, `has ${data.length} bytes of data; ${describe(dtype, shape)} takes ${bytes}`);
    return { kind: "stored", dtype, shape, bytes, source: memorySource(tensor.name, data), offset: 0 };
  }
  const { location, offset, length = bytes } = range;
  if (length !== bytes) damaged(tensor, `has ${length} bytes of data; ${describe(dtype, shape)} takes ${bytes}`);
  if (location === ZEROS) return { kind: "fill", dtype, shape, bytes, pattern: ZERO };
  const source = graph.files.get(location);
  if (source === undefined) damaged(tensor, `is in ${quote(location)}, which is not one of the model's files`);
  if (offset + bytes > source.size) {
    damaged(tensor, `ends at byte ${offset + bytes} of ${quote(location)}, but the file has ${source.size}`, CUT_SHORT);
  }
  return { kind: "stored", dtype, shape, bytes, source, offset };
}

/** Type, shape and bytes of a tensor, whatever its data. Throws as `tensorOf`. */
export function layoutOf(tensor: TensorProto): {
  readonly dtype: Dtype;
  readonly shape: Shape;
  readonly bytes: number;
} {
  const dtype = dtypeOf(tensor.dataType);
  if (dtype === undefined) refuse(tensor, `is of ${typeName(tensor.dataType)}, which is no type of numbers`);
  if (tensor.segment !== undefined) refuse(tensor, "is stored in segments");
  const shape = tensor.dims.map(Number);
  const bytes = byteLength(dtype, shape);
  if (bytes === undefined) damaged(tensor, `has the impossible shape [${tensor.dims}] of ${dtype}`);
  return { dtype, shape, bytes };
}

const CUT_SHORT = "Download the file again; it is cut short.";

function wholeNumber(tensor: TensorProto, key: string, text: string): number {
  const value = /^[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(value)) return value;
  damaged(tensor, `has the ${key} ${quote(text)}; a whole number below 2^53 was expected`);
}

function typeFor(name: string, dtype: Dtype): OnnxType {
  const type = onnxTypeOf(dtype);
  if (type !== undefined) return type;
  throw new ExpandError("unsupported", `has the type ${dtype}, which ONNX does not have`, {
    at: `tensor ${quote(name)}`,
    fix: "Decode it first.",
  });
}

function describe(dtype: Dtype, shape: Shape): string {
  return `${dtype} [${shape.join(", ")}]`;
}

function damaged(tensor: TensorProto, message: string, fix = "Download or export the model again."): never {
  throw new ExpandError("damaged", message, { at: `tensor ${quote(tensor.name)}`, fix });
}

function refuse(tensor: TensorProto, message: string): never {
  throw new ExpandError("unsupported", message, {
    at: `tensor ${quote(tensor.name)}`,
    fix: "Export the model anew with plain tensors.",
  });
}
