// All rules of differentiation, and the operators that stop it. Emits nothing.
import type { NodeProto } from "../../graph/onnx.ts";
import { operatorOf } from "../types/index.ts";
import { ACTIVATION } from "./activation.ts";
import { ARITHMETIC } from "./arithmetic.ts";
import { GATHERING } from "./gathering.ts";
import { MATRIX } from "./matrix.ts";
import { MOVEMENT } from "./movement.ts";
import { REDUCTION } from "./reduction.ts";
import type { Rule, Rules } from "./rule.ts";

export const RULES: Rules = { ...ARITHMETIC, ...ACTIVATION, ...MATRIX, ...REDUCTION, ...MOVEMENT, ...GATHERING };

/** Steps, comparisons and places: their derivative is 0 wherever there is one. */
const FLAT: ReadonlySet<string> = new Set(
  (
    "Floor Ceil Round Sign Equal Less Greater LessOrEqual GreaterOrEqual IsNaN IsInf ArgMax ArgMin NonZero Shape Size " +
    "ConstantOfShape RandomNormalLike RandomUniformLike EyeLike"
  ).split(" "),
);

export function ruleOf(node: NodeProto): Rule | undefined {
  const operator = operatorOf(node);
  return Object.hasOwn(RULES, operator) ? RULES[operator] : undefined;
}

export function isFlat(node: NodeProto): boolean {
  return FLAT.has(operatorOf(node));
}
