// What a rule of differentiation sees: one node, its values and the gradients of its outputs. Knows no operator.
import { ExpandError } from "../../errors.ts";
import { floatAttribute, intAttribute, nodeLabel } from "../../graph/attributes.ts";
import { type NodeProto, OnnxType } from "../../graph/onnx.ts";
import type { Attributes, Tape, ValueType } from "../tape.ts";

/** The vector-Jacobian product of one operator. */
export interface Rule {
  /** In the words of the operator's inputs (x, a, b), outputs (y) and their gradients (dx, dy). */
  readonly mathematics: string;
  /** Inputs that a gradient goes back to; absent: all of floats. */
  readonly inputs?: readonly number[];
  /** Whether it holds for this node, by its attributes and constants; absent: always. */
  readonly holds?: (node: NodeProto, tape: Tape) => boolean;
  /** The gradient of one input, of its shape or of one that it was stretched to: stretching is undone by whoever asks. */
  readonly gradient: (at: Backward, input: number) => string;
}

export type Rules = Readonly<Record<string, Rule>>;

/** Where a rule finds things. Values are those of the forward pass, or of its repetition. */
export interface Place {
  readonly tape: Tape;
  readonly node: NodeProto;
  forward(value: string): string;
  /** Gradient of each output; undefined where none came. */
  readonly gradients: readonly (string | undefined)[];
}

export class Backward {
  readonly tape: Tape;
  readonly node: NodeProto;
  readonly #place: Place;

  constructor(place: Place) {
    this.tape = place.tape;
    this.node = place.node;
    this.#place = place;
  }

  has(input: number): boolean {
    return (this.node.input[input] ?? "") !== "";
  }

  x(input = 0): string {
    return this.#place.forward(this.node.input[input] ?? "");
  }

  y(output = 0): string {
    return this.#place.forward(this.node.output[output] ?? "");
  }

  /** Gradient of an output; zeros where nothing came back through it. */
  dy(output = 0): string {
    return this.#place.gradients[output] ?? this.zeros(this.tape.typeOf(this.node.output[output] ?? ""));
  }

  typeOf(input = 0): ValueType {
    return this.tape.typeOf(this.node.input[input] ?? "");
  }

  shapeOf(input = 0): readonly number[] {
    return this.typeOf(input).shape;
  }

  /** Values of a constant input. */
  numbers(input: number): readonly number[] {
    const values = this.tape.numbersOf(this.node.input[input] ?? "");
    if (values !== undefined) return values;
    throw new ExpandError("bug", `has an input ${input} that is no constant`, { at: nodeLabel(this.node) });
  }

  int(name: string, absent: number): number {
    return intAttribute(this.node, name, absent);
  }

  float(name: string, absent: number): number {
    return floatAttribute(this.node, name, absent);
  }

  op(operator: string, inputs: readonly string[], attributes: Attributes = {}): string {
    return this.tape.op(operator, inputs, attributes);
  }

  add(a: string, b: string): string {
    return this.op("Add", [a, b]);
  }

  sub(a: string, b: string): string {
    return this.op("Sub", [a, b]);
  }

  mul(a: string, b: string): string {
    return this.op("Mul", [a, b]);
  }

  div(a: string, b: string): string {
    return this.op("Div", [a, b]);
  }

  neg(a: string): string {
    return this.op("Neg", [a]);
  }

  /** A number of the type of a value. */
  number(value: number, like: string): string {
    return this.tape.constant(value, this.tape.typeOf(like).type);
  }

  scaled(value: string, by: number): string {
    return by === 1 ? value : this.mul(value, this.number(by, value));
  }

  reshape(value: string, shape: readonly number[]): string {
    return same(this.tape.shapeOf(value), shape) ? value : this.op("Reshape", [value, this.tape.ints(shape)]);
  }

  expand(value: string, shape: readonly number[]): string {
    return same(this.tape.shapeOf(value), shape) ? value : this.op("Expand", [value, this.tape.ints(shape)]);
  }

  sum(value: string, axes: readonly number[]): string {
    return axes.length === 0 ? value : this.op("ReduceSum", [value, this.tape.ints(axes)], { keepdims: 1 });
  }

  zeros({ type, shape }: ValueType): string {
    return this.op("Expand", [this.tape.constant(0, type), this.tape.ints(shape)]);
  }

  /** Compared in f32 where the type is bf16: CUDA compares no bf16. */
  compare(operator: "Greater" | "Less" | "Equal" | "GreaterOrEqual" | "LessOrEqual", a: string, b: string): string {
    const wide = (value: string): string =>
      this.tape.typeOf(value).type === OnnxType.BFLOAT16 ? this.op("Cast", [value], { to: OnnxType.FLOAT }) : value;
    return this.op(operator, [wide(a), wide(b)]);
  }

  /** `value` where the condition holds, else 0. */
  masked(condition: string, value: string): string {
    return this.op("Where", [condition, value, this.number(0, value)]);
  }
}

export function same(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((size, at) => size === b[at]);
}
