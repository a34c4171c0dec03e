// Reverse mode: appends to a tape the nodes that compute gradients. Never changes a node that is there.
import { ExpandError, quote } from "../errors.ts";
import { nodeLabel } from "../graph/attributes.ts";
import type { NodeProto } from "../graph/onnx.ts";
import { type DifferentiablePath, pathBetween } from "./path.ts";
import { Recomputation } from "./recompute.ts";
import { ruleOf } from "./rules/index.ts";
import { Backward, same } from "./rules/rule.ts";
import type { Tape } from "./tape.ts";
import { sizeOf } from "./types/type.ts";

export interface DifferentiateOptions {
  /**
   * Values at the borders between blocks, first to last: what lies between two of them is computed again when its gradients are taken,
   * instead of being kept. Gradients stay the same, bit for bit.
   */
  readonly boundaries?: readonly string[];
  /** The gradient of `loss`, a value of its type and shape; ones when absent. */
  readonly seed?: string;
}

/**
 * The gradients of `loss` by wanted value. One that the loss does not depend on has none and is not in the map. Throws one "unsupported"
 * that names every node between the wanted values and the loss that has no rule, before anything is emitted.
 */
export function differentiate(
  tape: Tape,
  loss: string,
  wanted: readonly string[],
  options: DifferentiateOptions = {},
): ReadonlyMap<string, string> {
  for (const name of [loss, ...wanted]) {
    if (!tape.isFloat(name)) throw new ExpandError("bug", `${quote(name)} is not of floats`);
  }
  const path = pathBetween(tape, loss, wanted);
  return tape.within("gradient", () => {
    const sweep = new Sweep(tape, path, options.boundaries ?? []);
    sweep.add(loss, options.seed ?? ones(tape, loss));
    sweep.run();
    return new Map(
      wanted.flatMap((name) => {
        const gradient = sweep.of(name);
        return gradient === undefined ? [] : [[name, gradient] as const];
      }),
    );
  });
}

/** One pass over the path, from the loss back. */
class Sweep {
  readonly #tape: Tape;
  readonly #path: DifferentiablePath;
  readonly #recomputation: Recomputation;
  /** Sum of what has come back so far, by value. */
  readonly #gradients = new Map<string, string>();

  constructor(tape: Tape, path: DifferentiablePath, boundaries: readonly string[]) {
    this.#tape = tape;
    this.#path = path;
    this.#recomputation = new Recomputation(tape, boundaries);
  }

  of(value: string): string | undefined {
    return this.#gradients.get(this.#tape.resolve(value));
  }

  add(value: string, gradient: string): void {
    const name = this.#tape.resolve(value);
    const before = this.#gradients.get(name);
    this.#gradients.set(name, before === undefined ? gradient : this.#tape.op("Add", [before, gradient]));
  }

  run(): void {
    for (const node of this.#recomputation.backwards(this.#path.nodes)) this.#through(node);
  }

  #through(node: NodeProto): void {
    const gradients = node.output.map((name) => (name === "" ? undefined : this.#gradients.get(name)));
    const some = gradients.find((gradient) => gradient !== undefined);
    const rule = ruleOf(node);
    if (some === undefined || rule === undefined) return;
    this.#recomputation.enter(node, some);
    const forward = (value: string): string => this.#recomputation.forward(value);
    const at = new Backward({ tape: this.#tape, node, forward, gradients });
    for (const [index, input] of node.input.entries()) {
      if (!this.#path.active.has(input)) continue;
      if (rule.inputs !== undefined && !rule.inputs.includes(index)) continue;
      this.add(input, fitted(this.#tape, node, rule.gradient(at, index), this.#tape.shapeOf(input)));
    }
  }
}

/** Sums a gradient over the axes along which its value was stretched. */
function fitted(tape: Tape, node: NodeProto, gradient: string, shape: readonly number[]): string {
  const from = tape.shapeOf(gradient);
  if (same(from, shape)) return gradient;
  const target = tape.ints(shape);
  if (sizeOf(from) === sizeOf(shape)) return tape.op("Reshape", [gradient, target]);
  const lead = from.length - shape.length;
  const axes = from.flatMap((size, axis) => (size !== 1 && (axis < lead || shape[axis - lead] === 1) ? [axis] : []));
  const left = from.filter((_, axis) => !axes.includes(axis));
  if (sizeOf(left) !== sizeOf(shape)) {
    throw new ExpandError("bug", `gives a gradient of shape [${from}] to a value of shape [${shape}]`, {
      at: nodeLabel(node),
    });
  }
  const sum = tape.op("ReduceSum", [gradient, tape.ints(axes)], { keepdims: 0 });
  return same(left, shape) ? sum : tape.op("Reshape", [sum, target]);
}

function ones(tape: Tape, value: string): string {
  const { type, shape } = tape.typeOf(value);
  const one = tape.constant(1, type);
  return shape.length === 0 ? one : tape.op("Expand", [one, tape.ints(shape)]);
}
