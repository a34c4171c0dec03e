// Operators that onnxruntime's CPU provider computes in f32 only, by their definitions in the specification of ONNX, in operators that it
// has for f64. Knows no derivative.
import { Primitives } from "../../src/autodiff/lower/primitives.ts";
import type { Tape } from "../../src/autodiff/tape.ts";
import { operatorOf } from "../../src/autodiff/types/index.ts";
import { OnnxType } from "../../src/graph/onnx.ts";

type Definition = (at: Primitives) => string;

export const DEFINITIONS: Readonly<Record<string, Definition>> = {
  Erf: (at) => erf(at, at.value(0)),
  // x/2 (1 + erf(x / sqrt 2)), or x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x³)))
  Gelu: (at) => {
    const x = at.value(0);
    const isTanh = at.string("approximate", "none") === "tanh";
    const s = isTanh ? at.op("Tanh", [cubic(at, x)]) : erf(at, times(at, x, Math.SQRT1_2));
    return at.op("Mul", [times(at, x, 0.5), plus(at, s, 1)]);
  },
  LeakyRelu: (at) => below(at, times(at, at.value(0), at.float("alpha", 0.01))),
  Elu: (at) => below(at, times(at, plus(at, at.op("Exp", [at.value(0)]), -1), at.float("alpha", 1))),
  Softplus: (at) => at.op("Log", [plus(at, at.op("Exp", [at.value(0)]), 1)]),
  Softsign: (at) => at.op("Div", [at.value(0), plus(at, at.op("Abs", [at.value(0)]), 1)]),
  HardSigmoid: (at) => unit(at, plus(at, times(at, at.value(0), at.float("alpha", 0.2)), at.float("beta", 0.5))),
  HardSwish: (at) => at.op("Mul", [at.value(0), unit(at, plus(at, times(at, at.value(0), 1 / 6), 0.5))]),
  // alpha A' B'
  "com.microsoft.FusedMatMul": (at) => {
    const factor = (slot: number, flag: string): string =>
      at.int(flag, 0) === 1 ? turned(at, at.value(slot)) : at.value(slot);
    return times(at, at.op("MatMul", [factor(0, "transA"), factor(1, "transB")]), at.float("alpha", 1));
  },
  // (code - zero point) * scale, in blocks along the last axis
  DequantizeLinear: (at) => {
    const [codes, scales, zeros] = [at.value(0), at.value(1), at.value(2)];
    const blocks = at.shape(scales);
    const inBlocks = at.reshape(codesOf(at, codes), [...blocks, at.int("block_size", 0)]);
    const column = (value: string): string => at.reshape(value, [...blocks, 1]);
    const centred = at.op("Sub", [inBlocks, column(codesOf(at, zeros))]);
    return at.reshape(at.op("Mul", [centred, column(scales)]), at.shape(codes));
  },
};

/** The tape with those of its nodes that give f64 in place of which a definition stands. */
export function inDoubles(tape: Tape): Tape {
  const around = { used: new Set<string>(), wanted: new Set<string>(), shared: new Map<string, string>() };
  tape.rewrite((node) => {
    const definition = DEFINITIONS[operatorOf(node)];
    const isDouble = tape.typeOf(node.output[0] ?? "").type === OnnxType.DOUBLE;
    return definition === undefined || !isDouble ? undefined : [definition(new Primitives(tape, node, around))];
  });
  return tape;
}

/** Of terms of the series, all positive: enough for |x| <= 4. */
const TERMS = 100;

/** 2/sqrt(pi) exp(-x²) Σ 2^n x^(2n+1) / (2n+1)!! (DLMF 7.6.2) */
function erf(at: Primitives, x: string): string {
  const factors: number[] = [2 / Math.sqrt(Math.PI)];
  for (let n = 1; n < TERMS; n++) factors.push(((factors[n - 1] ?? 0) * 2) / (2 * n + 1));
  const square = at.op("Mul", [x, x]);
  const powers = at.op("Pow", [
    at.reshape(square, [...at.shape(x), 1]),
    at.tape.constant([...factors.keys()], at.type(x)),
  ]);
  const terms = at.op("Mul", [powers, at.tape.constant(factors, at.type(x))]);
  const sum = at.op("ReduceSum", [terms, at.ints([-1])], { keepdims: 0 });
  return at.op("Mul", [at.op("Mul", [x, at.op("Exp", [at.op("Neg", [square])])]), sum]);
}

function cubic(at: Primitives, x: string): string {
  const cube = at.op("Mul", [at.op("Mul", [x, x]), x]);
  return times(at, at.op("Add", [x, times(at, cube, 0.044715)]), Math.sqrt(2 / Math.PI));
}

/** x, but `what` where x is below 0. */
function below(at: Primitives, what: string): string {
  return at.op("Where", [at.op("Less", [at.value(0), at.number(0, what)]), what, at.value(0)]);
}

/** Between 0 and 1. */
function unit(at: Primitives, x: string): string {
  return at.op("Max", [at.op("Min", [x, at.number(1, x)]), at.number(0, x)]);
}

function times(at: Primitives, x: string, by: number): string {
  return at.op("Mul", [x, at.number(by, x)]);
}

function plus(at: Primitives, x: string, by: number): string {
  return at.op("Add", [x, at.number(by, x)]);
}

function turned(at: Primitives, value: string): string {
  const axes = [...at.shape(value).keys()];
  return at.transpose(value, [...axes.slice(0, -2), axes.length - 1, axes.length - 2]);
}

/** Whole numbers of 4 bits, the first in the low ones, or of 8, as f64. */
function codesOf(at: Primitives, name: string): string {
  const { dataType, rawData = new Uint8Array() } = at.tape.initializers.get(name) ?? {};
  const codes = dataType === OnnxType.UINT4 ? [...rawData].flatMap((byte) => [byte & 15, byte >> 4]) : [...rawData];
  return at.tape.constant(codes, OnnxType.DOUBLE, at.shape(name));
}
