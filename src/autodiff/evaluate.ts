// Runs nodes whose inputs are all constants, and gives their values as tensors. Never sees a weight.
import {
  create,
  encodeModel,
  GraphProtoSchema,
  ModelProtoSchema,
  type NodeProto,
  OnnxType,
  OperatorSetIdProtoSchema,
  type TensorProto,
  TensorProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from "../graph/onnx.ts";
import { readsOf } from "../graph/walk.ts";
import type { Session } from "../runtime/runtime.ts";
import type { Value, ValueType } from "../runtime/values.ts";

/** Opens a small model without external data. */
export type OpenModel = (model: Uint8Array) => Promise<Session>;

export interface Versions {
  readonly opset: number;
  readonly domains: ReadonlyMap<string, number>;
}

/** Of values that leave the runtime; bfloat16 does not. */
export const ONNX_TYPES: Readonly<Record<ValueType, OnnxType>> = {
  float32: OnnxType.FLOAT,
  float16: OnnxType.FLOAT16,
  float64: OnnxType.DOUBLE,
  int64: OnnxType.INT64,
  int32: OnnxType.INT32,
  int16: OnnxType.INT16,
  int8: OnnxType.INT8,
  uint64: OnnxType.UINT64,
  uint32: OnnxType.UINT32,
  uint16: OnnxType.UINT16,
  uint8: OnnxType.UINT8,
  bool: OnnxType.BOOL,
};

export async function evaluate(
  nodes: readonly NodeProto[],
  wanted: readonly string[],
  versions: Versions,
  constants: ReadonlyMap<string, TensorProto>,
  open: OpenModel,
): Promise<ReadonlyMap<string, TensorProto>> {
  if (wanted.length === 0) return new Map();
  const reads = new Set(nodes.flatMap(readsOf));
  const initializer = [...constants.values()].filter(({ name }) => reads.has(name));
  const output = wanted.map((name) => create(ValueInfoProtoSchema, { name }));
  const session = await open(smallModel({ node: [...nodes], initializer, input: [], output }, versions));
  try {
    const values = await session.run({}, [...wanted]);
    return new Map(Object.entries(values).map(([name, value]) => [name, tensorOf(name, value)]));
  } finally {
    await session.close();
  }
}

export function smallModel(
  parts: { node: NodeProto[]; initializer: TensorProto[]; input: ValueInfoProto[]; output: ValueInfoProto[] },
  { opset, domains }: Versions,
): Uint8Array {
  const entry = (domain: string, version: number) =>
    create(OperatorSetIdProtoSchema, { domain, version: BigInt(version) });
  const opsetImport = [entry("", opset), ...[...domains].map(([domain, version]) => entry(domain, version))];
  const graph = create(GraphProtoSchema, { name: "part", ...parts });
  return encodeModel(create(ModelProtoSchema, { irVersion: 11n, opsetImport, graph }));
}

/** A copy, inside of a message. */
export function tensorOf(name: string, { dtype, shape, data }: Value): TensorProto {
  const rawData = Uint8Array.from(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return create(TensorProtoSchema, { name, dataType: ONNX_TYPES[dtype], dims: shape.map(BigInt), rawData });
}
