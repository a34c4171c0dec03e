// What every emitter needs: a graph under construction, values of weights in f32, and the sizes of the batch. Knows no part of a model.
import type { GraphBuilder } from "../../graph/builder.ts";
import { OnnxType } from "../../graph/onnx.ts";
import type { Linear, Weight } from "../spec.ts";

/**
 * sparse: an expert computes the tokens that were sent to it, so that sizes depend on the tokens. dense: every expert computes every token,
 * whose share of it may be 0; all sizes are known beforehand, and every step has a gradient. Both give the same to rounding.
 */
export type Experts = "sparse" | "dense";

export class Emitter {
  readonly graph: GraphBuilder;
  readonly experts: Experts;
  readonly #weight: (weight: Weight) => string;
  readonly #batch: string;
  /** Values that do not depend on a block, by what they are. */
  readonly #shared = new Map<string, string>();

  /**
   * `weight` gives the f32 value of a weight, with the tensor's shape. `example` is a value of shape [B, S] or [B, S, ...], from which the
   * sizes of the batch are taken.
   */
  constructor(graph: GraphBuilder, example: string, weight: (weight: Weight) => string, experts: Experts = "sparse") {
    this.graph = graph;
    this.experts = experts;
    this.#weight = weight;
    this.#batch = example;
  }

  weight(weight: Weight): string {
    return this.#weight(weight);
  }

  node(...args: Parameters<GraphBuilder["node"]>): string {
    return this.graph.node(...args);
  }

  /** A value that all blocks share: made once, outside of their scopes. */
  shared(key: string, make: () => string): string {
    const known = this.#shared.get(key);
    if (known !== undefined) return known;
    const value = this.graph.outside(() => make());
    this.#shared.set(key, value);
    return value;
  }

  /** [T, ...] or [B, S, ...] as [B, S, ...sizes]; `output` names the result. */
  batched(value: string, sizes: readonly number[], output?: string): string {
    const shape = this.shared(`batch ${sizes}`, () => {
      const batch = this.shared("batch", () => this.node("Shape", [this.#batch], { start: 0, end: 2 }));
      return this.node("Concat", [batch, this.graph.ints(sizes)], { axis: 0 });
    });
    return this.node("Reshape", [value, shape], {}, output);
  }

  /** [B, S, ...] as [T, width], with T = B * S. */
  flat(value: string, width: number): string {
    return this.node("Reshape", [value, this.graph.ints([-1, width])]);
  }

  /** [T, inputs] to [T, outputs]. The weight is used as it is stored: never transposed by a node. */
  linear(value: string, { weight, layout, bias }: Linear): string {
    const inputs = [value, this.weight(weight), ...(bias === undefined ? [] : [this.weight(bias)])];
    return this.node("Gemm", inputs, layout === "out_in" ? { transB: 1 } : {});
  }

  /** value * factor; nothing at all for 1. */
  scaled(value: string, factor: number): string {
    return factor === 1 ? value : this.node("Mul", [value, this.graph.floats(factor)]);
  }

  /** cap * tanh(value / cap); nothing at all without a cap. */
  capped(value: string, cap: number | undefined): string {
    if (cap === undefined) return value;
    const limit = this.graph.floats(cap);
    return this.node("Mul", [this.node("Tanh", [this.node("Div", [value, limit])]), limit]);
  }

  /** A part of the last axis of each piece. */
  split(value: string, sizes: readonly number[], axis = -1): string[] {
    const inputs = [value, this.graph.ints(sizes)];
    return this.graph.nodes(
      "Split",
      inputs,
      sizes.map(() => undefined),
      { axis },
    );
  }

  cast(value: string, type: OnnxType): string {
    return this.node("Cast", [value], { to: type });
  }

  float(value: string): string {
    return this.cast(value, OnnxType.FLOAT);
  }
}

/** Number of outputs of a linear. */
export function outputsOf({ weight, layout }: Linear): number {
  const [first = 0, second = 0] = weight.tensor.shape;
  return layout === "out_in" ? first : second;
}
