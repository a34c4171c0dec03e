// What is left to tidy once all shapes are known: nodes that only hand a value on, parts of no size. Never changes a number.
import { intAttribute } from "../graph/attributes.ts";
import { type NodeProto, OnnxType, type TensorProto } from "../graph/onnx.ts";
import { domainOf } from "../graph/walk.ts";
import { tensorFrom } from "./numbers.ts";
import type { Tape } from "./tape.ts";
import { frontAxis, sizeOf, type ValueType } from "./types/type.ts";

/** What Shape or Size of a value of this type gives. */
export function foldedShape(node: NodeProto, { shape }: ValueType): TensorProto {
  if (node.opType === "Size") return tensorFrom("", OnnxType.INT64, [], [sizeOf(shape)]);
  const clamp = (at: number): number => Math.min(Math.max(frontAxis(at, shape.length), 0), shape.length);
  const sizes = shape.slice(clamp(intAttribute(node, "start", 0)), clamp(intAttribute(node, "end", shape.length)));
  return tensorFrom("", OnnxType.INT64, [sizes.length], sizes);
}

/** The same tape without nodes that hand their input on. */
export function simpler(tape: Tape): Tape {
  tape.rewrite((node) => {
    if (domainOf(node.domain) !== "") return undefined;
    const [input = ""] = node.input;
    if (node.opType === "Identity") return [input];
    if (node.opType === "Dropout" && isIdle(tape, node)) return [input];
    if (node.opType === "Cast" || node.opType === "CastLike") return cast(tape, node);
    if (node.opType === "Concat") return joined(tape, node);
    return undefined;
  });
  return tape;
}

/** A cast to the type that a value has already hands it on; one to the type of another value no longer reads that. */
function cast(tape: Tape, { opType, input, output }: NodeProto): readonly string[] | undefined {
  const [value = "", made = ""] = [input[0], output[0]];
  const { type } = tape.typeOf(made);
  if (tape.typeOf(value).type === type) return [value];
  return opType === "Cast" ? undefined : [tape.op("Cast", [value], { to: type })];
}

/** Its mask is read by nobody who trains here; training_mode is an input, false when left out. */
function isIdle(tape: Tape, { input, output }: NodeProto): boolean {
  const training = input[2] ?? "";
  return (training === "" || tape.numbersOf(training)?.[0] === 0) && (output[1] ?? "") === "";
}

/** Without parts of size 0, such as an empty cache. */
function joined(tape: Tape, node: NodeProto): readonly string[] | undefined {
  const parts = node.input.filter((name) => sizeOf(tape.shapeOf(name)) > 0);
  if (parts.length === node.input.length || parts.length === 0) return undefined;
  if (parts.length === 1) return parts;
  return [tape.op("Concat", parts, { axis: intAttribute(node, "axis", 0) })];
}
