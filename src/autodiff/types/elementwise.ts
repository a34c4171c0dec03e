// Types of operators that work value by value, and stretch their inputs to one shape.

import { ExpandError } from "../../errors.ts";
import { intAttribute, nodeLabel } from "../../graph/attributes.ts";
import { OnnxType } from "../../graph/onnx.ts";
import { broadcast, type TypeRow, type Typing, type ValueType } from "./type.ts";

/** The first input's type and shape. */
export const like: TypeRow = ({ type }) => [type(0)];

/** All inputs stretched to one shape; the type of input `of`. */
function stretched({ node, type }: Typing, of = 0): ValueType {
  let shape: readonly number[] = [];
  for (const index of node.input.keys()) {
    const next = broadcast(shape, type(index).shape);
    if (next === undefined) {
      const shapes = node.input.map((_, at) => `[${type(at).shape}]`).join(" and ");
      throw new ExpandError("damaged", `has inputs of shapes ${shapes}, which do not fit`, { at: nodeLabel(node) });
    }
    shape = next;
  }
  return { type: type(of).type, shape };
}

const joined: TypeRow = (typing) => [stretched(typing)];
const compared: TypeRow = (typing) => [{ ...stretched(typing), type: OnnxType.BOOL }];
const tested: TypeRow = ({ type }) => [{ type: OnnxType.BOOL, shape: type(0).shape }];

const UNARY =
  "Neg Sqrt Exp Log Erf Sigmoid Tanh Relu Gelu Reciprocal Abs Softmax LogSoftmax Sin Cos Softplus HardSigmoid Softsign Elu " +
  "LeakyRelu Celu Selu HardSwish Mish ThresholdedRelu Floor Ceil Round Sign Not Identity Trilu CumSum Clip Tan Asin Acos Atan " +
  "Sinh Cosh Asinh Acosh Atanh Swish ReverseSequence ScatterElements ScatterND BitwiseNot Hardmax";

export const ELEMENTWISE: Readonly<Record<string, TypeRow>> = {
  ...Object.fromEntries(UNARY.split(" ").map((op) => [op, like])),
  ...Object.fromEntries(
    "Add Sub Mul Div Pow Max Min Mod And Or Xor PRelu Mean Sum BitwiseAnd BitwiseOr"
      .split(" ")
      .map((op) => [op, joined]),
  ),
  ...Object.fromEntries("Equal Less Greater LessOrEqual GreaterOrEqual".split(" ").map((op) => [op, compared])),
  ...Object.fromEntries("IsNaN IsInf".split(" ").map((op) => [op, tested])),
  Where: (typing) => [stretched(typing, 1)],
  Cast: ({ node, type }) => [{ type: intAttribute(node, "to", OnnxType.FLOAT), shape: type(0).shape }],
  CastLike: ({ type }) => [{ type: type(1).type, shape: type(0).shape }],
  Dropout: ({ type }) => [type(0), { type: OnnxType.BOOL, shape: type(0).shape }],
};
