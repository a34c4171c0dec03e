// A flat list of nodes over values of known type and static shape, which gradients are appended to. Never reads a weight.
import { ExpandError, quote } from "../errors.ts";
import { nodeLabel } from "../graph/attributes.ts";
import type { Graph } from "../graph/graph.ts";
import { type NodeProto, OnnxType, type TensorProto } from "../graph/onnx.ts";
import type { ByteSource } from "../tensor/source.ts";
import { type Attributes, graphOf, nodeLike, nodeOf } from "./message.ts";
import { Naming } from "./names.ts";
import { FLOATS, numbersIn, tensorFrom } from "./numbers.ts";
import { typesOf } from "./types/index.ts";
import { NeedsConstant, type ValueType } from "./types/type.ts";

export type { Attributes } from "./message.ts";
export type { ValueType } from "./types/type.ts";
export interface TapeParts {
  readonly opset: number;
  /** Versions of other domains than ai.onnx. */
  readonly domains: ReadonlyMap<string, number>;
  readonly files: ReadonlyMap<string, ByteSource>;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly initializers: ReadonlyMap<string, TensorProto>;
  /** Initializers that are no constants, however small: their values are never looked at. */
  readonly varying: ReadonlySet<string>;
  readonly nodes: readonly NodeProto[];
  /** Of every input, and of every output of a node. */
  readonly types: ReadonlyMap<string, ValueType>;
}

export class Tape {
  readonly opset: number;
  readonly domains: ReadonlyMap<string, number>;
  readonly files: ReadonlyMap<string, ByteSource>;
  readonly #varying: Set<string>;
  readonly #inputs: Set<string>;
  /** Value by the name under which the graph gives it. */
  readonly #outputs: Map<string, string>;
  readonly #initializers: Map<string, TensorProto>;
  readonly #types: Map<string, ValueType>;
  /** What stands for a value that was replaced. */
  readonly #replaced = new Map<string, string>();
  readonly #makers = new Map<string, NodeProto>();
  readonly #constants = new Map<string, string>();
  readonly #names = new Naming((name) => this.#types.has(name));
  #nodes: NodeProto[];

  constructor(parts: TapeParts) {
    this.opset = parts.opset;
    this.domains = parts.domains;
    this.files = parts.files;
    this.#varying = new Set(parts.varying);
    this.#inputs = new Set(parts.inputs);
    this.#outputs = new Map(parts.outputs.map((name) => [name, name]));
    this.#initializers = new Map(parts.initializers);
    this.#types = new Map(parts.types);
    for (const [name, tensor] of parts.initializers) {
      this.#types.set(name, { type: tensor.dataType, shape: tensor.dims.map(Number) });
    }
    this.#nodes = [...parts.nodes];
    for (const node of this.#nodes) for (const name of node.output) this.#makers.set(name, node);
  }

  /** In topological order. Nodes that no output needs are among them until `toGraph`. */
  get nodes(): readonly NodeProto[] {
    return this.#nodes;
  }

  get inputs(): ReadonlySet<string> {
    return this.#inputs;
  }

  /** Value by the name under which the graph gives it. */
  get outputs(): ReadonlyMap<string, string> {
    return this.#outputs;
  }

  get initializers(): ReadonlyMap<string, TensorProto> {
    return this.#initializers;
  }

  /** The value that stands for this one now. */
  resolve(value: string): string {
    let name = value;
    for (let next = this.#replaced.get(name); next !== undefined; next = this.#replaced.get(name)) name = next;
    return name;
  }

  has(value: string): boolean {
    return this.#types.has(this.resolve(value));
  }

  /** Throws "bug" for a value that is not on the tape. */
  typeOf(value: string): ValueType {
    const type = this.#types.get(this.resolve(value));
    if (type !== undefined) return type;
    throw new ExpandError("bug", `no value of the tape is called ${quote(value)}`);
  }

  shapeOf(value: string): readonly number[] {
    return this.typeOf(value).shape;
  }

  isFloat(value: string): boolean {
    return FLOATS.has(this.typeOf(value).type);
  }

  /** The node that makes a value; undefined for inputs and initializers. */
  makerOf(value: string): NodeProto | undefined {
    return this.#makers.get(this.resolve(value));
  }

  /** The values of a constant: a small initializer that is not said to vary. */
  numbersOf(value: string): readonly number[] | undefined {
    const name = this.resolve(value);
    const tensor = this.#varying.has(name) ? undefined : this.#initializers.get(name);
    return tensor === undefined ? undefined : numbersIn(tensor);
  }

  /** Names made inside of `make` begin with `scope`, behind those of the scopes around. */
  within<T>(scope: string, make: () => T): T {
    return this.#names.within(scope, make);
  }

  /** Appends a node with one output: "Add", or "com.microsoft.FusedMatMul". Input "" is one that is left out. */
  op(operator: string, inputs: readonly string[], attributes: Attributes = {}): string {
    return this.ops(operator, inputs, 1, attributes)[0] ?? "";
  }

  /** The same with several outputs; `false` leaves one out, and its name is "". */
  ops(
    operator: string,
    inputs: readonly string[],
    outputs: number | readonly boolean[],
    attributes: Attributes = {},
  ): string[] {
    const dot = operator.lastIndexOf(".");
    const opType = operator.slice(dot + 1);
    const wanted = typeof outputs === "number" ? new Array<boolean>(outputs).fill(true) : outputs;
    const names = wanted.map((is) => (is ? this.#names.fresh(opType) : ""));
    const domain = dot < 0 ? "" : operator.slice(0, dot);
    const node = nodeOf(
      { domain, opType },
      inputs.map((name) => this.resolve(name)),
      names,
      attributes,
    );
    this.append(node, this.infer(node));
    return names;
  }

  /** A copy of a node, of the same types, reading and making values of other names. */
  again(node: NodeProto, inputs: readonly string[]): readonly string[] {
    const output = node.output.map((name) => (name === "" ? "" : this.#names.fresh(node.opType)));
    const name = output.find((each) => each !== "") ?? "";
    const copy = nodeLike(node, { name, input: [...inputs], output });
    this.append(
      copy,
      node.output.map((name) => (name === "" ? undefined : this.typeOf(name))),
    );
    return output;
  }

  /** Appends a node as it is; its outputs have these types. */
  append(node: NodeProto, types: readonly (ValueType | undefined)[]): void {
    for (const [at, name] of node.output.entries()) {
      const type = types[at];
      if (name === "") continue;
      if (type === undefined) throw new ExpandError("bug", "has an output of unknown type", { at: nodeLabel(node) });
      this.#types.set(name, type);
      this.#makers.set(name, node);
    }
    this.#nodes.push(node);
  }

  /** A constant, one for equal values. Without a shape, a number is a scalar and a list a vector. */
  constant(values: number | readonly number[], type: OnnxType, shape?: readonly number[]): string {
    const list = typeof values === "number" ? [values] : values;
    const dims = shape ?? (typeof values === "number" ? [] : [list.length]);
    const key = `${type}[${dims}]${list.map((value) => (Object.is(value, -0) ? "-0" : value))}`;
    const known = this.#constants.get(key);
    if (known !== undefined) return known;
    const name = this.initializer(tensorFrom(this.#names.freshOutside("constant"), type, dims, list));
    this.#constants.set(key, name);
    return name;
  }

  /** An int64 constant: a shape, axes. */
  ints(values: number | readonly number[]): string {
    return this.constant(values, OnnxType.INT64);
  }

  /** Adds an initializer under its own name. */
  initializer(tensor: TensorProto): string {
    if (this.#types.has(tensor.name)) throw new ExpandError("bug", `two values are called ${quote(tensor.name)}`);
    this.#initializers.set(tensor.name, tensor);
    this.#types.set(tensor.name, { type: tensor.dataType, shape: tensor.dims.map(Number) });
    return tensor.name;
  }

  /** A new input of the graph. */
  input(name: string, type: ValueType): string {
    if (this.#types.has(name)) throw new ExpandError("bug", `two values are called ${quote(name)}`);
    this.#inputs.add(name);
    this.#types.set(name, type);
    return name;
  }

  /** Turns an initializer into an input of the same name and type. */
  feed(name: string): void {
    if (!this.#initializers.delete(name)) throw new ExpandError("bug", `${quote(name)} is no initializer`);
    this.#inputs.add(name);
  }

  /** Gives a value to the outside, under this name. */
  output(name: string, value: string = name): void {
    this.#outputs.set(name, this.resolve(value));
  }

  /** Takes an output away; the nodes that only it needed are not in the graph. */
  withhold(name: string): void {
    this.#outputs.delete(name);
  }

  /** All that read `value`, or give it to the outside, read `by` from here on. Nodes before the one that makes `by` are not looked at. */
  replace(value: string, by: string): void {
    const to = this.resolve(by);
    const from = this.resolve(value);
    if (from === to) return;
    this.#replaced.set(from, to);
    for (const [name, given] of this.#outputs) if (given === from) this.#outputs.set(name, to);
  }

  /**
   * Goes through the nodes once, in order. `rewrite` emits what does a node's work and says which values stand for its outputs; a node for
   * which it gives undefined stays, reading what stands for its inputs.
   */
  rewrite(rewrite: (node: NodeProto) => readonly string[] | undefined): void {
    const before = this.#nodes;
    this.#nodes = [];
    for (const old of before) {
      const node = this.#reading(old);
      const outputs = rewrite(node);
      if (outputs === undefined) {
        this.#nodes.push(node);
        for (const name of node.output) this.#makers.set(name, node);
        continue;
      }
      for (const [at, name] of node.output.entries()) {
        const by = outputs[at];
        if (name !== "" && by !== undefined) this.replace(name, by);
      }
    }
  }

  /** Types of a node's outputs by the table of operators. Throws "bug" for an operator that is not in it. */
  infer(node: NodeProto): readonly ValueType[] {
    const bug = (what: string) => new ExpandError("bug", what, { at: nodeLabel(node) });
    try {
      const lookup = { typeOf: (name: string) => this.typeOf(name), numbersOf: (name: string) => this.numbersOf(name) };
      const types = typesOf(node, this.opset, lookup);
      if (types !== undefined) return types;
    } catch (error) {
      if (!(error instanceof NeedsConstant)) throw error;
      throw bug(`takes its shape from input ${error.input}, which is no constant`);
    }
    throw bug("is of an operator whose types nobody knows");
  }

  /** What the outputs need, as a model. Weights stay where they lie. */
  toGraph(name = "graph"): Graph {
    return graphOf(this, name);
  }

  #reading(node: NodeProto): NodeProto {
    const input = node.input.map((name) => this.resolve(name));
    if (input.every((name, at) => name === node.input[at])) return node;
    return nodeLike(node, { input });
  }
}
