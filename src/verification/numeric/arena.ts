// One buffer for the weights of one stage at a time, decoded to f32: filled, lent to the runtime, taken back. Never holds two stages.
import { setImmediate } from "node:timers/promises";
import { throwIfAborted } from "../../errors.ts";
import type { Held, Runtime } from "../../runtime/runtime.ts";
import type { Values } from "../../runtime/values.ts";
import { decodeInto } from "../../tensor/decode.ts";
import { elementCount } from "../../tensor/dtype.ts";
import type { TensorRef } from "../../tensor/reference.ts";

/** Rows [from, to) of a tensor's first dimension; absent: all of it. */
export interface Part {
  readonly tensor: TensorRef;
  readonly rows?: readonly [from: number, to: number];
}

/** f32 values; 64 bytes, a cache line and the widest vector. */
const ALIGNMENT = 16;
/** Values decoded between two looks at the abort signal. */
const PIECE = 1 << 22;

/** f32 values that a tensor or a run of its rows has. */
export function sizeOf({ tensor, rows }: Part): number {
  return elementCount(shapeOf({ tensor, ...(rows === undefined ? {} : { rows }) })) ?? 0;
}

export class Arena {
  readonly #runtime: Runtime;
  readonly #signal: AbortSignal | undefined;
  #buffer: ArrayBuffer;

  /** `values`: of the largest stage. */
  constructor(runtime: Runtime, values: number, signal: AbortSignal | undefined) {
    this.#runtime = runtime;
    this.#signal = signal;
    this.#buffer = new ArrayBuffer(values * 4);
  }

  /** What `parts` take up, with gaps. */
  static room(parts: Iterable<Part>): number {
    let values = 0;
    for (const part of parts) values += aligned(sizeOf(part));
    return values;
  }

  /** Decodes the parts and lends them to `use`. */
  async lend<Result>(parts: ReadonlyMap<string, Part>, use: (held: Held) => Promise<Result>): Promise<Result> {
    const room = Arena.room(parts.values());
    if (room * 4 > this.#buffer.byteLength) this.#buffer = new ArrayBuffer(room * 4);
    const values: Record<string, Values[string]> = {};
    let at = 0;
    for (const [name, part] of parts) {
      const data = new Float32Array(this.#buffer, at * 4, sizeOf(part));
      await this.#decode(part, data);
      values[name] = { dtype: "float32", shape: shapeOf(part), data };
      at += aligned(data.length);
    }
    if (at === 0) return use(await this.#runtime.hold({}));
    const held = await this.#runtime.hold(values);
    const result = await use(held);
    const [back] = Object.values(await held.release());
    if (back?.data.buffer instanceof ArrayBuffer) this.#buffer = back.data.buffer;
    return result;
  }

  async #decode({ tensor, rows }: Part, target: Float32Array): Promise<void> {
    const [count = 1] = tensor.shape;
    const first = rows === undefined || count === 0 ? 0 : rows[0] * ((elementCount(tensor.shape) ?? 0) / count);
    for (let at = 0; at < target.length; at += PIECE) {
      await decodeInto(tensor, first + at, target.subarray(at, at + PIECE));
      await setImmediate();
      throwIfAborted(this.#signal);
    }
  }
}

function shapeOf({ tensor, rows }: Part): readonly number[] {
  return rows === undefined ? tensor.shape : [rows[1] - rows[0], ...tensor.shape.slice(1)];
}

function aligned(values: number): number {
  return Math.ceil(values / ALIGNMENT) * ALIGNMENT;
}
