// Tensors of a checkpoint handed out by role, with their shapes checked; remembers what was asked for. Never reads a value.
import { ExpandError } from "../errors.ts";
import type { Shape } from "../tensor/dtype.ts";
import type { TensorRef } from "../tensor/reference.ts";
import type { Linear, Norm, Weight } from "./spec.ts";

export class Weights {
  readonly #tensors: ReadonlyMap<string, TensorRef>;
  readonly #claimed: Set<string>;
  readonly #prefix: string;

  constructor(tensors: ReadonlyMap<string, TensorRef>, prefix = "", claimed = new Set<string>()) {
    this.#tensors = tensors;
    this.#prefix = prefix;
    this.#claimed = claimed;
  }

  /** The same tensors, asked for by the rest of their name. */
  under(prefix: string): Weights {
    return new Weights(this.#tensors, this.#prefix + prefix, this.#claimed);
  }

  /** `under(prefix)` where any name starts so; else this one (a file of the bare model lacks the outer module's name). */
  root(prefix: string): Weights {
    const full = this.#prefix + prefix;
    return [...this.#tensors.keys()].some((name) => name.startsWith(full)) ? this.under(prefix) : this;
  }

  has(name: string): boolean {
    return this.#tensors.has(this.#prefix + name);
  }

  /** A tensor of this shape. Throws "damaged" when it is missing or has another one. */
  get(name: string, shape: Shape): Weight {
    const full = this.#prefix + name;
    const tensor = this.#tensors.get(full);
    if (tensor === undefined) {
      throw new ExpandError("damaged", "this tensor is missing", {
        at: full,
        fix: "Download the model again, or check that its configuration belongs to these weights.",
      });
    }
    if (tensor.shape.length !== shape.length || tensor.shape.some((size, axis) => size !== shape[axis])) {
      throw new ExpandError("damaged", `has the shape [${tensor.shape}]; the configuration says [${shape}]`, {
        at: full,
        fix: "Check that the configuration belongs to these weights.",
      });
    }
    this.#claimed.add(full);
    return { name: full, tensor };
  }

  /** A tensor of whatever shape, not claimed by asking; absent when the checkpoint lacks it. */
  find(name: string): TensorRef | undefined {
    return this.#tensors.get(this.#prefix + name);
  }

  /** `name`.weight [outputs, inputs] and, with `bias`, `name`.bias [outputs]. */
  linear(name: string, inputs: number, outputs: number, bias: boolean): Linear {
    const weight = this.get(`${name}.weight`, [outputs, inputs]);
    return { weight, layout: "out_in", ...(bias ? { bias: this.get(`${name}.bias`, [outputs]) } : {}) };
  }

  /** GPT-2's Conv1D: `name`.weight [inputs, outputs] and `name`.bias [outputs]. */
  conv1d(name: string, inputs: number, outputs: number): Linear {
    const weight = this.get(`${name}.weight`, [inputs, outputs]);
    return { weight, layout: "in_out", bias: this.get(`${name}.bias`, [outputs]) };
  }

  /** RMS norm with gain `name`.weight [size]. */
  rms(name: string, size: number, epsilon: number, gainOffset: 0 | 1 = 0): Norm {
    return { kind: "rms", epsilon, gain: this.get(`${name}.weight`, [size]), gainOffset };
  }

  /** LayerNorm with gain `name`.weight and, with `bias`, `name`.bias. */
  layer(name: string, size: number, epsilon: number, bias: boolean): Norm {
    const norm: Norm = { kind: "layer", epsilon, gain: this.get(`${name}.weight`, [size]), gainOffset: 0 };
    return bias ? { ...norm, bias: this.get(`${name}.bias`, [size]) } : norm;
  }

  /** Tensors that are buffers, not weights (causal masks, rotation tables): accounted for, not used. */
  ignore(pattern: RegExp): void {
    for (const name of this.#tensors.keys()) if (pattern.test(name)) this.#claimed.add(name);
  }

  /** Throws "unsupported" with the first tensor that nothing asked for. */
  finish(family: string): void {
    const rest = [...this.#tensors.keys()].filter((name) => !this.#claimed.has(name));
    const [first] = rest;
    if (first === undefined) return;
    const others = rest.length > 1 ? ` (and ${rest.length - 1} more)` : "";
    throw new ExpandError("unsupported", `the forward pass of ${family} has no place for this tensor${others}`, {
      at: first,
      fix: "Use verify --mode structure, or train --export: both do without a forward pass.",
    });
  }
}
