// Norms: of the stream [B, S, H], and of queries and keys [B, S, heads, head size]. Statistics are taken in f32.
import type { HeadNorm, Norm } from "../spec.ts";
import type { Emitter } from "./emitter.ts";

/** Over the last axis, of `size` values. */
export function emitNorm(emit: Emitter, value: string, norm: Norm, size: number): string {
  const { gain } = norm;
  if (gain !== undefined) return normalise(emit, value, norm, shifted(emit, emit.weight(gain), norm.gainOffset));
  return normalise(emit, value, norm, ones(emit, size));
}

function normalise(emit: Emitter, value: string, { kind, epsilon, bias }: Norm, gain: string): string {
  const attributes = { axis: -1, epsilon: { float: epsilon } };
  if (kind === "layer") {
    const inputs = [value, gain, ...(bias === undefined ? [] : [emit.weight(bias)])];
    return emit.node("LayerNormalization", inputs, attributes);
  }
  const normed = emit.node("RMSNormalization", [value, gain], attributes);
  return bias === undefined ? normed : emit.node("Add", [normed, emit.weight(bias)]);
}

/** `value` is [B, S, heads, headSize], and stays so. */
export function emitHeadNorm(emit: Emitter, value: string, norm: HeadNorm, heads: number, headSize: number): string {
  if (norm.over === "all") {
    const all = emit.batched(value, [heads * headSize]);
    return emit.batched(emitNorm(emit, all, norm, heads * headSize), [heads, headSize]);
  }
  const gain = norm.gains === undefined ? norm.gain : undefined;
  if (norm.gains === undefined && gain?.tensor.shape.length !== 2) return emitNorm(emit, value, norm, headSize);
  // A gain for every head, [heads, head size]: the operators take one gain for all.
  const { kind, epsilon, bias } = norm;
  const plain = normalise(emit, value, { kind, epsilon, gainOffset: 0 }, ones(emit, headSize));
  const gains =
    gain === undefined
      ? emit.node(
          "Concat",
          (norm.gains ?? []).map((one) => emit.node("Reshape", [emit.weight(one), emit.graph.ints([1, headSize])])),
          { axis: 0 },
        )
      : emit.weight(gain);
  const scaled = emit.node("Mul", [plain, shifted(emit, gains, norm.gainOffset)]);
  return bias === undefined ? scaled : emit.node("Add", [scaled, emit.weight(bias)]);
}

function shifted(emit: Emitter, gain: string, offset: 0 | 1): string {
  return offset === 0 ? gain : emit.node("Add", [gain, emit.graph.floats(1)]);
}

function ones(emit: Emitter, size: number): string {
  return emit.graph.floats(new Array<number>(size).fill(1));
}
