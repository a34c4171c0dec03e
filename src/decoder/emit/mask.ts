// Who sees whom: causal order, windows, padding and position biases, as one mask a kind of block. Every token sees itself, so that no row
// is empty (a softmax over nothing is NaN, and NaN spreads).
import { OnnxType } from "../../graph/onnx.ts";
import type { Alibi, Attention } from "../spec.ts";
import type { Emitter } from "./emitter.ts";

/** Where queries and keys stand. */
export interface Places {
  /** int64, broadcasting to [B, 1, S, 1]. */
  readonly queries: string;
  /** int64, broadcasting to [B, 1, 1, T]. */
  readonly keys: string;
  /** bool, broadcasting to [B, 1, 1, T]: false for padding. Absent: there is none. */
  readonly present?: string;
}

/** Below every score, and finite: a sum with a score stays finite. */
export const LOWEST = -3e38;

/** bool, broadcasting to [B, 1, S, T]: true where a query may look. */
export function emitVisible(emit: Emitter, places: Places, window: number | undefined): string {
  return emit.shared(`visible ${window}`, () => {
    const { queries, keys, present } = places;
    const causal = emit.node("LessOrEqual", [keys, queries]);
    const near =
      window === undefined
        ? causal
        : emit.node("And", [
            causal,
            emit.node("Greater", [keys, emit.node("Sub", [queries, emit.graph.ints(window)])]),
          ]);
    if (present === undefined) return near;
    const itself = emit.node("Equal", [keys, queries]);
    return emit.node("And", [near, emit.node("Or", [present, itself])]);
  });
}

/** f32, broadcasting to [B, heads, S, T]: the bias of each score, below everything where a query may not look. */
export function emitBias(emit: Emitter, places: Places, { alibi, window }: Attention): string {
  return emit.shared(`bias ${window} ${JSON.stringify(alibi)}`, () => {
    const bias = alibi === undefined ? emit.graph.floats(0) : emitAlibi(emit, places, alibi);
    return emit.node("Where", [emitVisible(emit, places, window), bias, emit.graph.floats(LOWEST)]);
  });
}

/** [B, heads, 1, T]. */
function emitAlibi(emit: Emitter, places: Places, { slopes, scale, bfloat16 }: Alibi): string {
  const keys = bfloat16 ? emitCounted(emit, places) : places.keys;
  const slope = emit.graph.floats(slopes, [1, slopes.length, 1, 1]);
  const rounded = (value: string): string => (bfloat16 ? emit.float(emit.cast(value, OnnxType.BFLOAT16)) : value);
  return emit.scaled(rounded(emit.node("Mul", [rounded(slope), rounded(emit.float(keys))])), scale);
}

/** Places without padding. A softmax does not see the difference, unless the biases are rounded. */
function emitCounted(emit: Emitter, { keys, present }: Places): string {
  if (present === undefined) return keys;
  const ones = emit.cast(present, OnnxType.INT64);
  const count = emit.node("CumSum", [ones, emit.graph.ints(3)]);
  return emit.node("Mul", [emit.node("Sub", [count, emit.graph.ints(1)]), ones]);
}
