// What a lowering sees: one node of a tape, and the ways to emit elementary steps in its place. Knows no operator.
import { ExpandError } from "../../errors.ts";
import { floatAttribute, intAttribute, intsAttribute, nodeLabel, stringAttribute } from "../../graph/attributes.ts";
import { type NodeProto, OnnxType } from "../../graph/onnx.ts";
import type { Attributes, Tape } from "../tape.ts";

/**
 * Emits what a node does; gives the values that stand for its outputs, in their order (undefined for one that nothing reads). Undefined:
 * the node stays, for it is elementary. Throws a `Refusal` for a form that it does not know.
 */
export type Lowering = (at: Primitives) => readonly (string | undefined)[] | undefined;

/** How an operator is taken apart, and which of its forms that covers: every other one is refused. */
export interface Form {
  /** How many inputs are known. */
  readonly inputs: number;
  /** Names of attributes that are looked at, or that change no value. */
  readonly attributes?: string;
  /** Attributes that are known with this value only. */
  readonly idle?: Readonly<Record<string, number | string>>;
  readonly emit: Lowering;
}

/** By operator: "Attention", or "com.microsoft.Attention". */
export type Lowerings = Readonly<Record<string, Form>>;

/** The reason why a node cannot be taken apart; says what the node does. */
export class Refusal {
  readonly why: string;
  readonly fix: string;

  constructor(why: string, fix: string) {
    this.why = why;
    this.fix = fix;
  }
}

/** What a lowering may know of the tape around its node. */
export interface Around {
  /** Values that something reads. */
  readonly used: ReadonlySet<string>;
  /** Initializers that a gradient is wanted of. */
  readonly wanted: ReadonlySet<string>;
  /** Values made for all nodes, by what they are. */
  readonly shared: Map<string, string>;
}

export class Primitives {
  readonly node: NodeProto;
  readonly tape: Tape;
  readonly #around: Around;

  constructor(tape: Tape, node: NodeProto, around: Around) {
    this.tape = tape;
    this.node = node;
    this.#around = around;
  }

  /** Undefined for an input that is left out. */
  input(index: number): string | undefined {
    return this.node.input[index] || undefined;
  }

  /** An input that the operator demands. */
  value(index: number): string {
    const value = this.input(index);
    if (value !== undefined) return value;
    throw new ExpandError("damaged", `lacks its input ${index}`, { at: this.label, fix: "Export the model again." });
  }

  /** Whether anything reads this output. */
  isUsed(output: number): boolean {
    const name = this.node.output[output] ?? "";
    return name !== "" && this.#around.used.has(name);
  }

  /** Whether a gradient of this initializer is wanted. */
  isWanted(name: string): boolean {
    return this.#around.wanted.has(name);
  }

  get label(): string {
    return nodeLabel(this.node);
  }

  shape(value: string): readonly number[] {
    return this.tape.shapeOf(value);
  }

  type(value: string): OnnxType {
    return this.tape.typeOf(value).type;
  }

  int(name: string, absent: number): number {
    return intAttribute(this.node, name, absent);
  }

  float(name: string, absent: number): number {
    return floatAttribute(this.node, name, absent);
  }

  string(name: string, absent: string): string {
    return stringAttribute(this.node, name, absent);
  }

  intsOf(name: string): readonly number[] | undefined {
    return intsAttribute(this.node, name, undefined);
  }

  /** The values of a constant; undefined for what is known at run time only. */
  integers(value: string): readonly number[] | undefined {
    return this.tape.numbersOf(value);
  }

  op(operator: string, inputs: readonly string[], attributes: Attributes = {}): string {
    return this.tape.op(operator, inputs, attributes);
  }

  split(value: string, sizes: readonly number[], axis: number): readonly string[] {
    return this.tape.ops("Split", [value, this.ints(sizes)], sizes.length, { axis });
  }

  reshape(value: string, shape: readonly number[]): string {
    const before = this.shape(value);
    if (before.length === shape.length && before.every((size, axis) => size === shape[axis])) return value;
    return this.op("Reshape", [value, this.ints(shape)]);
  }

  transpose(value: string, perm: readonly number[]): string {
    return perm.every((from, to) => from === to) ? value : this.op("Transpose", [value], { perm });
  }

  /** int64; a vector unless `shape` says otherwise. */
  ints(values: readonly number[], shape: readonly number[] = [values.length]): string {
    return this.tape.constant(values, OnnxType.INT64, shape);
  }

  /** A scalar of the type of `like`. */
  number(value: number, like: string): string {
    return this.tape.constant(value, this.type(like));
  }

  /** The value in f32 if it is of a 16-bit type. */
  wide(value: string): string {
    const type = this.wideType(value);
    return type === this.type(value) ? value : this.op("Cast", [value], { to: type });
  }

  wideType(value: string): OnnxType {
    const type = this.type(value);
    return type === OnnxType.FLOAT16 || type === OnnxType.BFLOAT16 ? OnnxType.FLOAT : type;
  }

  /** A scalar of the type that `wide` gives to `like`. */
  wideNumber(value: number, like: string): string {
    return this.tape.constant(value, this.wideType(like));
  }

  /** The value in the type of `other`. */
  like(value: string, other: string): string {
    const type = this.type(other);
    return type === this.type(value) ? value : this.op("Cast", [value], { to: type });
  }

  /** A value that serves all nodes alike, made at the first that asks. */
  shared(key: string, make: () => string): string {
    const known = this.#around.shared.get(key);
    if (known !== undefined) return known;
    const value = make();
    this.#around.shared.set(key, value);
    return value;
  }
}

/** Rows of a table at places of any whole type. */
export function gathered(at: Primitives, table: string, places: string, axis = 0): string {
  const wide = at.type(places) === OnnxType.INT64 ? places : at.op("Cast", [places], { to: OnnxType.INT64 });
  return at.op("Gather", [table, wide], { axis });
}

/** "packs sequences": a form through which no gradient is known. To be thrown. */
export function refused(why: string, fix = "Export the model for whole sequences, without that, and expand it again.") {
  return new Refusal(why, fix);
}
