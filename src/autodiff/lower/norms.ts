// Norms in elementary steps. Statistics and the division by them are taken in f32 or wider, gain and shift in the value's own type.
import { gathered, type Lowerings, type Primitives } from "./primitives.ts";

/** Statistics are taken in f32 at least, whatever type stash_type names. */
const ATTRIBUTES = "axis epsilon stash_type";

export const NORMS: Lowerings = {
  RMSNormalization: { inputs: 2, attributes: ATTRIBUTES, emit: rms },
  SimplifiedLayerNormalization: { inputs: 2, attributes: ATTRIBUTES, emit: rms },
  LayerNormalization: { inputs: 3, attributes: ATTRIBUTES, emit: layer },
  "com.microsoft.SkipSimplifiedLayerNormalization": {
    inputs: 4,
    attributes: "epsilon",
    emit: (at) => skip(at, at.input(3), (sum) => [scaled(at, rmsOf(at, sum, [-1]).normed, 2)]),
  },
  "com.microsoft.SkipLayerNormalization": {
    inputs: 5,
    attributes: "epsilon",
    emit: (at) => skip(at, at.input(4), (sum) => [shifted(at, layerOf(at, sum, [-1]).normed, 2, 3)]),
  },
  "com.microsoft.EmbedLayerNormalization": { inputs: 9, attributes: "epsilon mask_index_type", emit: embedding },
};

/** Defaults of ai.onnx, and of the norms of com.microsoft (onnxruntime's contrib_defs.cc). */
const EPSILON = 1e-5;
const CONTRIB_EPSILON = 1e-12;

interface Normed {
  readonly normed: string;
  /** 1 over the root mean square, or over the standard deviation. */
  readonly inverse: string;
}

/** y = gain * x / sqrt(mean(x²) + epsilon). */
function rms(at: Primitives): readonly string[] {
  const x = at.value(0);
  const { normed, inverse } = rmsOf(at, x, axesOf(at, x));
  return [scaled(at, normed, 1), inverse];
}

/** y = gain * (x - mean(x)) / sqrt(variance(x) + epsilon) + shift. */
function layer(at: Primitives): readonly string[] {
  const x = at.value(0);
  const { normed, mean, inverse } = layerOf(at, x, axesOf(at, x));
  return [shifted(at, normed, 1, 2), mean, inverse];
}

/** The norm of x + skip + bias; the sum is the fourth output: the residual stream. */
function skip(
  at: Primitives,
  bias: string | undefined,
  norm: (sum: string) => readonly string[],
): readonly (string | undefined)[] {
  const both = at.op("Add", [at.value(0), at.value(1)]);
  const sum = bias === undefined ? both : at.op("Add", [both, bias]);
  return [norm(sum)[0], undefined, undefined, sum];
}

/** Rows of words, positions and segments, added and normed. Outputs: the norm, the number of tokens that count [B], the sum. */
function embedding(at: Primitives): readonly (string | undefined)[] {
  const ids = at.value(0);
  const [, length = 0] = at.shape(ids);
  const rows = (table: number, indices: string): string => gathered(at, at.value(table), indices);
  const counted = Array.from({ length }, (_, position) => position);
  const words = at.op("Add", [rows(2, ids), rows(3, at.input(8) ?? at.ints(counted, [1, length]))]);
  const segments = at.input(1);
  const sum = segments === undefined ? words : at.op("Add", [words, rows(4, segments)]);
  const mask = at.input(7);
  const count = (): string =>
    mask === undefined
      ? at.op("Mul", [at.op("ReduceSum", [ids, at.ints([1])], { keepdims: 0 }), at.number(0, ids)])
      : at.op("ReduceSum", [mask, at.ints([1])], { keepdims: 0 });
  return [shifted(at, layerOf(at, sum, [-1]).normed, 5, 6), at.isUsed(1) ? count() : undefined, sum];
}

/** From `axis` (-1 unless given) to the last. */
function axesOf(at: Primitives, x: string): readonly number[] {
  const rank = at.shape(x).length;
  const axis = at.int("axis", -1);
  const first = axis < 0 ? axis + rank : axis;
  return Array.from({ length: rank - first }, (_, index) => index - (rank - first));
}

function rmsOf(at: Primitives, x: string, axes: readonly number[]): Normed {
  const wide = at.wide(x);
  return divided(at, x, wide, axes);
}

function layerOf(at: Primitives, x: string, axes: readonly number[]): Normed & { readonly mean: string } {
  const wide = at.wide(x);
  const mean = meanOf(at, "ReduceSum", wide, axes);
  const centred = at.op("Sub", [wide, mean]);
  return { mean, ...divided(at, x, centred, axes) };
}

/** value / sqrt(mean(value²) + epsilon), in the type of `x`. */
function divided(at: Primitives, x: string, value: string, axes: readonly number[]): Normed {
  const mean = meanOf(at, "ReduceSumSquare", value, axes);
  const absent = at.node.domain === "com.microsoft" ? CONTRIB_EPSILON : EPSILON;
  const square = at.op("Add", [mean, at.number(at.float("epsilon", absent), value)]);
  const inverse = at.op("Div", [at.number(1, value), at.op("Sqrt", [square])]);
  return { normed: at.like(at.op("Mul", [value, inverse]), x), inverse };
}

/** A sum by 1/n. */
function meanOf(at: Primitives, sum: "ReduceSum" | "ReduceSumSquare", value: string, axes: readonly number[]): string {
  const count = axes.reduce((product, axis) => product * (at.shape(value).at(axis) ?? 1), 1);
  return at.op("Mul", [at.op(sum, [value, at.ints(axes)], { keepdims: 1 }), at.number(1 / count, value)]);
}

function scaled(at: Primitives, value: string, gain: number): string {
  const factor = at.input(gain);
  return factor === undefined ? value : at.op("Mul", [value, factor]);
}

function shifted(at: Primitives, value: string, gain: number, shift: number): string {
  const grown = scaled(at, value, gain);
  const added = at.input(shift);
  return added === undefined ? grown : at.op("Add", [grown, added]);
}
