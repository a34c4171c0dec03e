// Builds a graph node by node: makes names, keeps constants once, refers to tensors where they lie. Never reads or copies a weight.
import type { Dtype, Shape } from "../tensor/dtype.ts";
import type { TensorRef } from "../tensor/reference.ts";
import type { ByteSource } from "../tensor/source.ts";
import { attribute } from "./attributes.ts";
import { type Graph, inlineTensor, tensorAt, zeroTensor } from "./graph.ts";
import {
  create,
  GraphProtoSchema,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  type OnnxType,
  OperatorSetIdProtoSchema,
  type TensorProto,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from "./onnx.ts";

/** A size, or the name of one that is only known at run time. */
export type Dim = number | string;
export type Attributes = Readonly<Record<string, number | string | readonly number[] | { readonly float: number }>>;

/** The oldest IR version whose readers must know opset 23. */
const IR_VERSION = 11n;

export class GraphBuilder {
  readonly #name: string;
  readonly #opset: number;
  readonly #nodes: NodeProto[] = [];
  readonly #initializers = new Map<string, TensorProto>();
  readonly #inputs: ValueInfoProto[] = [];
  readonly #outputs: ValueInfoProto[] = [];
  readonly #files = new Map<string, ByteSource>();
  /** Constant by type, shape and value. */
  readonly #constants = new Map<string, string>();
  /** How often a name was asked for. */
  readonly #names = new Map<string, number>();
  #scope = "";

  constructor(name: string, opset = 23) {
    this.#name = name;
    this.#opset = opset;
  }

  /** Names of nodes made inside of `make` begin with `name`, behind those of the scopes around. */
  within<T>(name: string, make: () => T): T {
    const outer = this.#scope;
    this.#scope = `${outer}/${name}`;
    try {
      return make();
    } finally {
      this.#scope = outer;
    }
  }

  /** Names of nodes made inside of `make` begin at the top, whatever the scopes around. */
  outside<T>(make: () => T): T {
    const outer = this.#scope;
    this.#scope = "";
    try {
      return make();
    } finally {
      this.#scope = outer;
    }
  }

  input(name: string, type: OnnxType, dims: readonly Dim[]): string {
    this.#inputs.push(valueInfo(name, type, dims));
    this.#names.set(name, 1);
    return name;
  }

  /** Declares a value as an output of the graph under its own name. */
  output(name: string, type: OnnxType, dims: readonly Dim[]): void {
    this.#outputs.push(valueInfo(name, type, dims));
  }

  /** A node with one output; its name (that of the node, too) is made up unless `output` gives it. */
  node(op: string, inputs: readonly string[], attributes: Attributes = {}, output?: string): string {
    const name = output ?? this.#fresh(op);
    this.#add(op, inputs, [name], attributes, output === undefined ? name : this.#fresh(op));
    return name;
  }

  /** A node with several outputs; `outputs` gives their names, undefined for one that is made up. */
  nodes(
    op: string,
    inputs: readonly string[],
    outputs: readonly (string | undefined)[],
    attributes: Attributes = {},
  ): string[] {
    const node = this.#fresh(op);
    const names = outputs.map((output, i) => output ?? this.#fresh(`${op}_${i}`));
    this.#add(op, inputs, names, attributes, node);
    return names;
  }

  /** Whole numbers, int64; a number alone is a scalar. */
  ints(values: number | readonly number[]): string {
    const [list, shape] = listOf(values);
    return this.#constant("I64", shape, list, new Uint8Array(BigInt64Array.from(list.map(BigInt)).buffer));
  }

  /** Numbers, f32; a number alone is a scalar. `shape` is that of the list unless given. */
  floats(values: number | readonly number[], shape?: Shape): string {
    const [list, own] = listOf(values);
    return this.#constant("F32", shape ?? own, list, new Uint8Array(Float32Array.from(list).buffer));
  }

  /** A tensor of the outside, under its name. Stored ones are referred to at `location` (the name of their file) unless small. */
  initializer(name: string, tensor: TensorRef, location: string): string {
    if (this.#initializers.has(name)) return name;
    this.#initializers.set(name, this.#refer(name, tensor, location));
    this.#names.set(name, 1);
    return name;
  }

  build(): Graph {
    const graph = create(GraphProtoSchema, {
      name: this.#name,
      node: this.#nodes,
      initializer: [...this.#initializers.values()],
      input: this.#inputs,
      output: this.#outputs,
    });
    const opsetImport = [create(OperatorSetIdProtoSchema, { domain: "", version: BigInt(this.#opset) })];
    const model = create(ModelProtoSchema, {
      irVersion: IR_VERSION,
      producerName: "expand-checkpoint",
      graph,
      opsetImport,
    });
    return { model, files: this.#files };
  }

  #add(
    opType: string,
    input: readonly string[],
    output: readonly string[],
    attributes: Attributes,
    name: string,
  ): void {
    const list = Object.entries(attributes).map(([key, value]) =>
      typeof value === "object" && "float" in value ? attribute(key, value.float, "float") : attribute(key, value),
    );
    this.#nodes.push(
      create(NodeProtoSchema, { opType, input: [...input], output: [...output], name, attribute: list }),
    );
  }

  #refer(name: string, tensor: TensorRef, location: string): TensorProto {
    const dims = tensor.shape.map(BigInt);
    if (tensor.kind === "fill") {
      const like = tensorAt(name, tensor, location, 0);
      if (tensor.pattern.every((byte) => byte === 0)) return zeroTensor(name, like.dataType, dims);
      return inlineTensor(name, tensor.dtype, tensor.shape, repeated(tensor.pattern, tensor.bytes));
    }
    this.#files.set(location, tensor.source);
    return tensorAt(name, tensor, location, tensor.offset);
  }

  #constant(dtype: Dtype, shape: Shape, values: readonly number[], data: Uint8Array): string {
    const key = `${dtype}[${shape}]${values.map((value) => (Object.is(value, -0) ? "-0" : value))}`;
    const known = this.#constants.get(key);
    if (known !== undefined) return known;
    const name = `constant_${this.#constants.size}`;
    this.#constants.set(key, name);
    this.#initializers.set(name, inlineTensor(name, dtype, shape, data));
    return name;
  }

  #fresh(op: string): string {
    const name = `${this.#scope}/${op}`;
    const count = this.#names.get(name) ?? 0;
    this.#names.set(name, count + 1);
    return count === 0 ? name : `${name}_${count}`;
  }
}

function listOf(values: number | readonly number[]): [readonly number[], Shape] {
  return typeof values === "number" ? [[values], []] : [values, [values.length]];
}

function repeated(pattern: Uint8Array, bytes: number): Uint8Array {
  const data = new Uint8Array(bytes);
  for (let at = 0; at < bytes; at += pattern.length) data.set(pattern, at);
  return data;
}

function valueInfo(name: string, elemType: OnnxType, dims: readonly Dim[]): ValueInfoProto {
  const dim = dims.map((size) =>
    create(TensorShapeProto_DimensionSchema, {
      value: typeof size === "string" ? { case: "dimParam", value: size } : { case: "dimValue", value: BigInt(size) },
    }),
  );
  const shape = create(TensorShapeProtoSchema, { dim });
  const value = create(TypeProto_TensorSchema, { elemType, shape });
  return create(ValueInfoProtoSchema, {
    name,
    type: create(TypeProtoSchema, { value: { case: "tensorType", value } }),
  });
}
