// Runs nodes whose inputs are all constants, and gives their values as tensors. Never sees a weight.
import { ExpandError, quote } from "../errors.ts";
import {
  create,
  encodeModel,
  GraphProtoSchema,
  ModelProtoSchema,
  type NodeProto,
  OperatorSetIdProtoSchema,
  type TensorProto,
  TensorProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from "../graph/onnx.ts";
import { onnxTypeOf } from "../graph/types.ts";
import { readsOf } from "../graph/walk.ts";
import type { Value, ValueType } from "../runtime/values.ts";
import type { Dtype } from "../tensor/dtype.ts";
import type { OpenModel } from "./specialize.ts";

export interface Versions {
  readonly opset: number;
  readonly domains: ReadonlyMap<string, number>;
}

export const DTYPES: Readonly<Record<ValueType, Dtype>> = {
  float32: "F32",
  float16: "F16",
  float64: "F64",
  int64: "I64",
  int32: "I32",
  int16: "I16",
  int8: "I8",
  uint64: "U64",
  uint32: "U32",
  uint16: "U16",
  uint8: "U8",
  bool: "BOOL",
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

function tensorOf(name: string, { dtype, shape, data }: Value): TensorProto {
  const dataType = onnxTypeOf(DTYPES[dtype]);
  if (dataType === undefined) throw new ExpandError("bug", `${quote(name)} is of ${dtype}`);
  const rawData = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return create(TensorProtoSchema, { name, dataType, dims: shape.map(BigInt), rawData: Uint8Array.from(rawData) });
}
