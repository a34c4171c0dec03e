// Small models for tests, said in few words. Checks nothing: tests need broken ones too.
import { attribute } from "../../src/graph/attributes.ts";
import type { Graph } from "../../src/graph/graph.ts";
import {
  type AttributeProto,
  create,
  type FunctionProto,
  FunctionProtoSchema,
  type GraphProto,
  GraphProtoSchema,
  type MessageInitShape,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  OnnxType,
  OperatorSetIdProtoSchema,
  type TensorProto,
  TensorProtoSchema,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from "../../src/graph/onnx.ts";
import type { ByteSource } from "../../src/tensor/source.ts";

export type Attributes = Readonly<Record<string, Parameters<typeof attribute>[1]>>;

/** `call` is "y, z = com.example.Op(a, _, b)"; `_` stands for one that is left out. */
export function node(call: string, attributes: Attributes | readonly AttributeProto[] = {}, name = ""): NodeProto {
  const [, outputs = "", operator = "", inputs = ""] = /^(.*) = (\S+)\((.*)\)$/.exec(call) ?? [];
  const names = (list: string): string[] =>
    list === "" ? [] : list.split(", ").map((each) => (each === "_" ? "" : each));
  const dot = operator.lastIndexOf(".");
  return create(NodeProtoSchema, {
    name,
    domain: dot < 0 ? "" : operator.slice(0, dot),
    opType: operator.slice(dot + 1),
    input: names(inputs),
    output: names(outputs),
    attribute: Array.isArray(attributes)
      ? [...attributes]
      : Object.entries(attributes).map(([key, value]) => attribute(key, value)),
  });
}

/** An f32 value of this shape. */
export function value(name: string, dims: readonly (number | string)[] = []): ValueInfoProto {
  const dim = dims.map((size) =>
    create(TensorShapeProto_DimensionSchema, {
      value: typeof size === "number" ? { case: "dimValue", value: BigInt(size) } : { case: "dimParam", value: size },
    }),
  );
  const tensor = create(TypeProto_TensorSchema, {
    elemType: OnnxType.FLOAT,
    shape: create(TensorShapeProtoSchema, { dim }),
  });
  return create(ValueInfoProtoSchema, {
    name,
    type: create(TypeProtoSchema, { value: { case: "tensorType", value: tensor } }),
  });
}

/** An f32 initializer with raw data. */
export function weight(name: string, dims: readonly number[], values: readonly number[]): TensorProto {
  return create(TensorProtoSchema, {
    name,
    dataType: OnnxType.FLOAT,
    dims: dims.map(BigInt),
    rawData: Uint8Array.from(Buffer.from(Float32Array.from(values).buffer)),
  });
}

export interface Parts {
  readonly inputs?: readonly (string | ValueInfoProto)[];
  readonly outputs?: readonly (string | ValueInfoProto)[];
  readonly nodes?: readonly NodeProto[];
  readonly initializers?: readonly TensorProto[];
}

export function graphOf({ inputs = [], outputs = [], nodes = [], initializers = [] }: Parts, name = "g"): GraphProto {
  const values = (list: readonly (string | ValueInfoProto)[]) =>
    list.map((each) => (typeof each === "string" ? value(each) : each));
  return create(GraphProtoSchema, {
    name,
    input: values(inputs),
    output: values(outputs),
    node: [...nodes],
    initializer: [...initializers],
  });
}

export function functionOf(
  head: string,
  nodes: readonly NodeProto[],
  more: MessageInitShape<typeof FunctionProtoSchema> = {},
): FunctionProto {
  const { opType: name, domain, input, output } = node(head);
  return create(FunctionProtoSchema, {
    name,
    domain,
    input,
    output,
    node: [...nodes],
    opsetImport: [opset(17)],
    ...more,
  });
}

export function opset(version: number, domain = "") {
  return create(OperatorSetIdProtoSchema, { domain, version: BigInt(version) });
}

export function modelOf(
  parts: Parts,
  more: MessageInitShape<typeof ModelProtoSchema> = {},
  files: ReadonlyMap<string, ByteSource> = new Map(),
): Graph {
  return {
    model: create(ModelProtoSchema, { irVersion: 8n, opsetImport: [opset(17)], graph: graphOf(parts), ...more }),
    files,
  };
}
