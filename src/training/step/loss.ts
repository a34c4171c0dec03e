// Causal cross-entropy in f32 and its gradient in closed form. Knows no model: logits and labels in, a sum and a gradient out.
import type { Tape } from "../../autodiff/tape.ts";
import { OnnxType } from "../../graph/onnx.ts";

export interface Loss {
  /** f32 scalar: the losses of all counted positions, added up. */
  readonly sum: string;
  /** Gradient of weight * sum, of the type and shape of the logits. */
  readonly gradient: string;
}

/**
 * `logits` [..., vocabulary]; `labels` int64 [...], negative (-100) where a position does not count; `weight` f32 scalar.
 * loss = -log softmax(x)[label], and d loss / dx = softmax(x) - onehot(label); a position that does not count has neither.
 */
export function emitLoss(tape: Tape, logits: string, labels: string, weight: string): Loss {
  const { type, shape } = tape.typeOf(logits);
  const vocabulary = shape.at(-1) ?? 1;
  const tokens = shape.slice(0, -1).reduce((product, size) => product * size, 1);
  const zero = tape.constant(0, OnnxType.FLOAT);
  const floats = type === OnnxType.FLOAT ? logits : tape.op("Cast", [logits], { to: OnnxType.FLOAT });
  const logs = tape.op("LogSoftmax", [tape.op("Reshape", [floats, tape.ints([tokens, vocabulary])])], { axis: -1 });
  // [T, 1]
  const column = tape.op("Reshape", [labels, tape.ints([tokens, 1])]);
  const counted = tape.op("GreaterOrEqual", [column, tape.ints(0)]);
  const place = tape.op("Max", [column, tape.ints(0)]);

  const picked = tape.op("Where", [counted, tape.op("GatherElements", [logs, place], { axis: 1 }), zero]);
  const sum = tape.op("Neg", [tape.op("ReduceSum", [picked, tape.ints([0, 1])], { keepdims: 0 })]);

  const minusOnes = tape.op("Expand", [tape.constant(-1, OnnxType.FLOAT, [1, 1]), tape.ints([tokens, 1])]);
  const difference = tape.op("ScatterElements", [tape.op("Exp", [logs]), place, minusOnes], {
    axis: 1,
    reduction: "add",
  });
  const weights = tape.op("Where", [counted, weight, zero]);
  const flat = tape.op("Reshape", [tape.op("Mul", [difference, weights]), tape.ints(shape)]);
  return { sum, gradient: type === OnnxType.FLOAT ? flat : tape.op("Cast", [flat], { to: type }) };
}
