// Finds the constants that close a branch: backwards from where it joins the residual stream to the first linear operator, through
// whatever hands zeros on. Refuses what it does not know.
import type { FactorKind } from "../architecture/architecture.ts";
import { quote } from "../errors.ts";
import { nodeLabel } from "../graph/attributes.ts";
import { type NodeProto, OnnxType, type TensorProto } from "../graph/onnx.ts";
import { domainOf } from "../graph/walk.ts";
import type { Slot } from "./blocks.ts";
import type { Body } from "./body.ts";
import { CONSTANT_CHAIN, KEEPS_ZERO, LINEAR, type LinearForm, NORMS } from "./forms.ts";
import { sizeOf, uniformByte } from "./values.ts";

/** A constant that must hold a value; `byte` is that value in an 8-bit type. */
export interface ClosedSlot extends Slot {
  readonly byte: number;
}

/** One way to close a branch: all of these at once. */
export interface Closing {
  readonly kind: FactorKind;
  readonly slots: readonly ClosedSlot[];
  /** A norm stands behind it. */
  readonly behindNorm?: boolean;
}

/** Ways to close a branch, the one at its projection first; or why there is none. */
export type Closings = readonly [Closing, ...Closing[]] | { readonly reason: string };

/** Operators between a projection and the stream; a real branch has a handful. */
const LONGEST_WALK = 64;

export class Closer {
  readonly #body: Body;
  readonly #nodes: ReadonlySet<number>;

  /** `nodes`: indices of the block's nodes. */
  constructor(body: Body, nodes: readonly number[]) {
    this.#body = body;
    this.#nodes = new Set(nodes);
  }

  /** What makes the value in a slot exactly 0. */
  close({ node, slot }: Slot, depth = 0): Closings {
    const name = this.#body.nodes[node]?.input[slot] ?? "";
    if (this.#body.constants.has(name)) return this.#constant({ node, slot }, "projection");
    const index = this.#body.makers.get(name) ?? -1;
    const maker = this.#body.nodes[index];
    if (maker === undefined || !this.#nodes.has(index)) return { reason: `${quote(name)} is not made in the block` };
    if (depth > LONGEST_WALK)
      return { reason: `${nodeLabel(maker)} is more than ${LONGEST_WALK} nodes from the projection` };
    return this.#throughNode(index, maker, depth + 1);
  }

  #throughNode(index: number, maker: NodeProto, depth: number): Closings {
    const domain = domainOf(maker.domain);
    const form = LINEAR[`${domain}:${maker.opType}`];
    if (form !== undefined) return this.#linear(index, maker, form, depth);
    // Norms stand under ai.onnx, whichever domain brings them.
    const norm = Object.hasOwn(NORMS, maker.opType) ? NORMS[maker.opType] : undefined;
    if (norm !== undefined) return this.#norm(index, maker, norm, depth);
    if (domain === "") {
      if (KEEPS_ZERO.has(maker.opType)) return this.close({ node: index, slot: 0 }, depth);
      if (maker.opType === "DequantizeLinear") return this.#dequantized(index, maker, depth);
      if (maker.opType === "Mul") return this.#product(index, maker, depth);
      if (maker.opType === "Add" || maker.opType === "Sub" || maker.opType === "Sum" || maker.opType === "Concat") {
        return this.#all(index, maker, depth);
      }
    }
    return { reason: `${nodeLabel(maker)} stands between the projection and the residual stream` };
  }

  #linear(index: number, maker: NodeProto, form: LinearForm, depth: number): Closings {
    const slot = form.scale ?? form.weight?.find((each) => this.#isConstant(maker.input[each]));
    if (slot === undefined || !this.#isConstant(maker.input[slot])) {
      return { reason: `${nodeLabel(maker)} multiplies by no constant` };
    }
    const byte = form.zeroPoint === undefined ? 0 : this.#zeroPoint(maker.input[form.zeroPoint] ?? "");
    if (byte === undefined) return { reason: `${nodeLabel(maker)} has a zero point for each column` };
    const weight = this.#constant({ node: index, slot }, "projection", form.zeroPoint === undefined ? undefined : byte);
    const biases = (form.bias ?? [])
      .filter((each) => maker.input[each])
      .map((each) => this.close({ node: index, slot: each }, depth));
    return join([weight, ...biases]);
  }

  /** What was quantized comes back as it was: 0 as the zero point, the zero point as 0. */
  #dequantized(index: number, maker: NodeProto, depth: number): Closings {
    const zeroPoint = maker.input[2] ?? "";
    const from = this.#body.makers.get(maker.input[0] ?? "") ?? -1;
    const quantizer = this.#body.nodes[from];
    if (quantizer?.opType === "QuantizeLinear" && (quantizer.input[2] ?? "") === zeroPoint) {
      return this.close({ node: from, slot: 0 }, depth);
    }
    if (zeroPoint === "") return this.close({ node: index, slot: 0 }, depth);
    return { reason: `${nodeLabel(maker)} has a zero point of its own` };
  }

  /** Every operand must be 0. */
  #all(index: number, maker: NodeProto, depth: number): Closings {
    return join(maker.input.map((_, slot) => this.close({ node: index, slot }, depth)));
  }

  /** One factor must be 0: a projection if there is one. A constant factor is another way. */
  #product(index: number, maker: NodeProto, depth: number): Closings {
    const closings = maker.input.map((_, slot) => this.close({ node: index, slot }, depth));
    const constant = maker.input.findIndex((name) => this.#isConstant(name));
    const [factor, gain] = [closings[1 - constant], closings[constant]];
    if (constant < 0 || factor === undefined) {
      // Both depend on the input: a gate, or the scale of a quantized product. A weight of 8 bits is surer than its scale, which gives -0.
      const found = closings
        .filter(isFound)
        .sort((a, b) => Number(isScalar(this.#body, a[0])) - Number(isScalar(this.#body, b[0])));
      return found[0] ?? closings[0] ?? { reason: `${nodeLabel(maker)} has no operands` };
    }
    if (!isFound(factor)) {
      // The scale of the activations and that of the weight: the weight's can be zero.
      const quantizer = this.#body.nodes[this.#body.makers.get(maker.input[1 - constant] ?? "") ?? -1];
      return quantizer?.opType === "DynamicQuantizeLinear" && gain !== undefined ? gain : factor;
    }
    if (gain === undefined || !isFound(gain) || isScalar(this.#body, gain[0])) return factor;
    const behindNorm = this.#isNormalised(maker.input[1 - constant] ?? "");
    const kind = behindNorm ? "norm-gain" : "layer-scale";
    return [...factor, { kind, slots: gain[0].slots, behindNorm }];
  }

  #norm(index: number, maker: NodeProto, { gain, shift }: { gain: number; shift?: number }, depth: number): Closings {
    const shifted =
      shift !== undefined && maker.input[shift] ? [this.#constant({ node: index, slot: shift }, "projection")] : [];
    const inside = join([this.close({ node: index, slot: 0 }, depth), ...shifted]);
    if (!isFound(inside)) return inside;
    const own = join([this.#constant({ node: index, slot: gain }, "norm-gain"), ...shifted]);
    if (!isFound(own)) return inside;
    return [...inside, { kind: "norm-gain", slots: own[0].slots, behindNorm: true }];
  }

  /** x * (something made of x): a norm written out. */
  #isNormalised(name: string): boolean {
    let value = name;
    for (let steps = 0; steps < 4; steps++) {
      const maker = this.#body.nodes[this.#body.makers.get(value) ?? -1];
      if (maker === undefined) return false;
      if (maker.opType === "Cast") value = maker.input[0] ?? "";
      else
        return (
          (maker.opType === "Mul" || maker.opType === "Div") && !maker.input.some((each) => this.#isConstant(each))
        );
    }
    return false;
  }

  /** Through nodes over a constant to the initializer that must be zero; `byte` is what "zero" is for one of 8-bit integers. */
  #constant(start: Slot, kind: FactorKind, byte?: number): Closings {
    let { node, slot } = start;
    for (let steps = 0; steps <= LONGEST_WALK; steps++) {
      const name = this.#body.nodes[node]?.input[slot] ?? "";
      const tensor = this.#body.initializers.get(name);
      if (tensor !== undefined) {
        if (byte === undefined && !isFloat(tensor)) return { reason: `${quote(name)} holds integers` };
        return [{ kind, slots: [{ node, slot, byte: byte ?? 0 }] }];
      }
      const index = this.#body.makers.get(name) ?? -1;
      const maker = this.#body.nodes[index];
      if (maker === undefined) return { reason: `${quote(name)} is no initializer of the graph` };
      if (!this.#nodes.has(index)) return { reason: `${nodeLabel(maker)} makes a constant that several blocks share` };
      if (maker.opType === "DequantizeLinear") slot = 1;
      else if (CONSTANT_CHAIN.has(maker.opType) && domainOf(maker.domain) === "") slot = 0;
      else return { reason: `the constant ${quote(name)} is made by ${nodeLabel(maker)}` };
      node = index;
    }
    return { reason: "a constant is made by too long a chain of nodes" };
  }

  #zeroPoint(name: string): number | undefined {
    if (name === "") return 0;
    const tensor = this.#body.initializers.get(name);
    return tensor === undefined ? undefined : uniformByte(tensor);
  }

  #isConstant(name: string | undefined): boolean {
    return name !== undefined && this.#body.constants.has(name);
  }
}

function isFound(closings: Closings): closings is readonly [Closing, ...Closing[]] {
  return !("reason" in closings);
}

/** All of them at once. Other ways than the first survive where only one operand has any. */
function join(parts: readonly Closings[]): Closings {
  const found: (readonly [Closing, ...Closing[]])[] = [];
  for (const part of parts) {
    if (!isFound(part)) return part;
    found.push(part);
  }
  const [main, ...others] = found.toSorted((a, b) => b.length - a.length);
  if (main === undefined) return { reason: "nothing is added" };
  const rest = others.flatMap(([first]) => first.slots);
  const ways: typeof main = others.some((other) => other.length > 1) ? [main[0]] : main;
  const both = (way: Closing): Closing => ({ ...way, slots: [...way.slots, ...rest] });
  const [first, ...more] = ways;
  return [both(first), ...more.map(both)];
}

const FLOATS: ReadonlySet<number> = new Set([OnnxType.FLOAT, OnnxType.FLOAT16, OnnxType.BFLOAT16, OnnxType.DOUBLE]);

export function isFloat({ dataType }: TensorProto): boolean {
  return FLOATS.has(dataType);
}

function isScalar(body: Body, { slots }: Closing): boolean {
  return slots.every(({ node, slot }) => {
    const tensor = body.initializers.get(body.nodes[node]?.input[slot] ?? "");
    return tensor !== undefined && sizeOf(tensor) <= 1;
  });
}
