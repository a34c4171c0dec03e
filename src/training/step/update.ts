// What follows the gradients of a step, as nodes: the global norm, clipping, AdamW, and no change at all where a number is not finite.
// Rounds in the order of optimizer/kernel.ts, so that both give the same bits.
import type { Tape } from "../../autodiff/tape.ts";
import { OnnxType } from "../../graph/onnx.ts";
import type { Adam } from "../optimizer/adamw.ts";
import { CLIP_EPSILON } from "../optimizer/clipping.ts";

/** f32 values of one trainable part. */
export interface AdamValues {
  readonly weight: string;
  readonly m: string;
  readonly v: string;
  readonly gradient: string;
}

/** f32 scalars of a step: see `Coefficients`; gradients come multiplied by `scale`. */
export interface StepScalars {
  readonly keep: string;
  readonly size: string;
  readonly root: string;
  readonly scale: string;
}

export interface Judgement {
  /** f32 [parts]: sums of squares of the scaled gradients. */
  readonly squares: string;
  /** f32 scalar: the global norm, not scaled. */
  readonly norm: string;
  /** bool scalar: the loss is finite, and with it the norm. */
  readonly readable: string;
  readonly finite: string;
  /** f32 scalar that gradients are multiplied by. */
  readonly factor: string;
}

/** `losses` f32 [micro-batches]. */
export function emitJudgement(
  tape: Tape,
  gradients: readonly string[],
  losses: string,
  scale: string,
  clip: number | undefined,
): Judgement {
  const one = tape.constant([1], OnnxType.FLOAT);
  const sums = gradients.map((gradient) => {
    const sum = tape.op("ReduceSumSquare", [flat(tape, gradient)], { keepdims: 1 });
    return tape.op("Reshape", [sum, tape.ints([1])]);
  });
  const squares = sums.length === 1 ? tape.op("Mul", [sums[0] ?? "", one]) : tape.op("Concat", sums, { axis: 0 });
  const total = tape.op("Sqrt", [tape.op("ReduceSum", [squares], { keepdims: 0 })]);
  const norm = tape.op("Div", [total, scale]);
  const loss = tape.op("ReduceSum", [losses], { keepdims: 0 });
  const readable = finiteness(tape, loss);
  const finite = tape.op("And", [finiteness(tape, norm), readable]);
  const judged = { squares, norm, readable, finite };
  if (clip === undefined) return { ...judged, factor: tape.op("Div", [scalarOf(tape, 1), scale]) };
  const limit = tape.op("Div", [scalarOf(tape, clip), tape.op("Add", [norm, scalarOf(tape, CLIP_EPSILON)])]);
  const factor = tape.op("Div", [tape.op("Min", [limit, scalarOf(tape, 1)]), scale]);
  return { ...judged, factor };
}

/** Weight, m and v behind the step. */
export function emitAdam(
  tape: Tape,
  { weight, m, v, gradient }: AdamValues,
  { keep, size, root }: StepScalars,
  { finite, factor }: Judgement,
  adam: Adam,
): { readonly weight: string; readonly m: string; readonly v: string } {
  const number = (value: number): string => scalarOf(tape, value);
  const op = (name: string, a: string, b: string): string => tape.op(name, [a, b]);
  const g = op("Mul", gradient, factor);
  const m1 = op("Add", m, op("Mul", number(1 - adam.beta1), op("Sub", g, m)));
  const squared = op("Mul", op("Mul", number(1 - adam.beta2), g), g);
  const v1 = op("Add", op("Mul", number(adam.beta2), v), squared);
  const spread = op("Add", op("Div", tape.op("Sqrt", [v1]), root), number(adam.epsilon));
  const w1 = op("Sub", op("Mul", weight, keep), op("Div", op("Mul", size, m1), spread));
  const kept = (next: string, before: string): string => tape.op("Where", [finite, next, before]);
  return { weight: kept(w1, weight), m: kept(m1, m), v: kept(v1, v) };
}

/** Loss scale and run of finite steps behind the step, as `nextScale` has them. `good` is int64. */
export function emitScale(
  tape: Tape,
  { scale, good, finite, interval }: { scale: string; good: string; finite: string; interval: number },
): { readonly scale: string; readonly good: string } {
  const [zero, one] = [tape.ints(0), tape.ints(1)];
  const count = tape.op("Add", [good, one]);
  const isLong = tape.op("Equal", [count, tape.ints(interval)]);
  const doubled = tape.op("Mul", [scale, scalarOf(tape, 2)]);
  const halved = tape.op("Mul", [scale, scalarOf(tape, 0.5)]);
  return {
    scale: tape.op("Where", [finite, tape.op("Where", [isLong, doubled, scale]), halved]),
    good: tape.op("Where", [finite, tape.op("Where", [isLong, zero, count]), zero]),
  };
}

function scalarOf(tape: Tape, value: number): string {
  return tape.constant(Math.fround(value), OnnxType.FLOAT);
}

/** x - x is 0 exactly where x is finite. */
function finiteness(tape: Tape, value: string): string {
  return tape.op("Equal", [tape.op("Sub", [value, value]), scalarOf(tape, 0)]);
}

function flat(tape: Tape, value: string): string {
  return tape.shapeOf(value).length === 1 ? value : tape.op("Reshape", [value, tape.ints([-1])]);
}
