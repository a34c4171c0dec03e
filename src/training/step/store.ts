// The trainable weights and their moments, in f32, as the graphs take them. Moves memory between threads and never copies it there.
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { ExpandError, quote } from "../../errors.ts";
import type { Held, Runtime } from "../../runtime/runtime.ts";
import type { Value, Values } from "../../runtime/values.ts";
import { decodeInto } from "../../tensor/decode.ts";
import type { Parameter, Part } from "./parameters.ts";

/** Weights, first and second moments. */
export const KINDS = ["weights", "m", "v"] as const;
export type Kind = (typeof KINDS)[number];
export type Arrays = ReadonlyMap<string, Float32Array>;

export class Store {
  readonly parameters: readonly Parameter[];
  readonly parts: readonly Part[];
  /** By the name of the part's input. */
  readonly #arrays: Record<Kind, Map<string, Float32Array>>;

  constructor(parameters: readonly Parameter[], weights: Map<string, Float32Array>) {
    this.parameters = parameters;
    this.parts = parameters.flatMap(({ parts }) => parts);
    const zeros = (): Map<string, Float32Array> =>
      new Map(this.parts.map(({ input, count }) => [input, new Float32Array(count)]));
    this.#arrays = { weights, m: zeros(), v: zeros() };
  }

  /** The checkpoint's weights, and moments of zero. */
  static async read({ tensors }: Checkpoint, parameters: readonly Parameter[]): Promise<Store> {
    const weights = new Map<string, Float32Array>();
    for (const { name, parts } of parameters) {
      const tensor = tensors.get(name);
      let from = 0;
      for (const { input, count } of parts) {
        const values = new Float32Array(count);
        if (tensor !== undefined) await decodeInto(tensor, from, values);
        weights.set(input, values);
        from += count;
      }
    }
    return new Store(parameters, weights);
  }

  get(kind: Kind, { input }: Part): Float32Array {
    const found = this.#arrays[kind].get(input);
    if (found !== undefined) return found;
    throw new ExpandError("bug", `${kind} of ${quote(input)} are not here`);
  }

  set(kind: Kind, { input }: Part, values: Float32Array): void {
    this.#arrays[kind].set(input, values);
  }

  /** As inputs, named by `name`. */
  values(kind: Kind, name: (part: Part) => string, parts: readonly Part[] = this.parts): Values {
    return Object.fromEntries(
      parts.map((part): [string, Value] => [
        name(part),
        { dtype: "float32", shape: part.shape, data: this.get(kind, part) },
      ]),
    );
  }

  /** Lends weights to the runtime's thread while `use` runs; they are not here meanwhile. */
  async lend<Result>(
    runtime: Runtime,
    use: (held: Held) => Promise<Result>,
    parts: readonly Part[] = this.parts,
  ): Promise<Result> {
    const held = await runtime.hold(this.values("weights", ({ input }) => input, parts));
    try {
      return await use(held);
    } finally {
      const values = await held.release();
      for (const part of parts) this.set("weights", part, floatsIn(values, part.input));
    }
  }

  /** By tensor name. The arrays themselves where a tensor is one part, else joined copies. */
  whole(kind: Kind): Arrays {
    return new Map(this.parameters.map(({ name, parts }) => [name, joined(parts.map((part) => this.get(kind, part)))]));
  }

  /** Copies values in, by tensor name. */
  fill(kind: Kind, from: Arrays): void {
    for (const { name, parts } of this.parameters) {
      const values = from.get(name);
      const count = parts.reduce((sum, part) => sum + part.count, 0);
      if (values?.length !== count) {
        const found = values === undefined ? "has none" : `has ${values.length} values; ${count} were expected`;
        throw new ExpandError("input", `the saved state of ${quote(name)} (${kind}) ${found}`, {
          fix: "Start the run again; the state belongs to another model.",
        });
      }
      let at = 0;
      for (const part of parts) {
        this.get(kind, part).set(values.subarray(at, at + part.count));
        at += part.count;
      }
    }
  }
}

/** Throws "bug" when a run did not give this f32 output. */
export function floatsIn(values: Values, name: string): Float32Array {
  const data = values[name]?.data;
  if (data instanceof Float32Array) return data;
  throw new ExpandError("bug", `a run gave no f32 values of ${quote(name)}`);
}

function joined(arrays: readonly Float32Array[]): Float32Array {
  const [first = new Float32Array(0), ...rest] = arrays;
  if (rest.length === 0) return first;
  const whole = new Float32Array(arrays.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const array of arrays) {
    whole.set(array, at);
    at += array.length;
  }
  return whole;
}
