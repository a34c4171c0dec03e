// Composite operators of ai.onnx and com.microsoft taken apart into elementary ones, for which gradients are known. Knows no mathematics.
import { quote } from "../../errors.ts";
import { type AttributeProto, AttributeType, type NodeProto, OnnxType } from "../../graph/onnx.ts";
import { requireRules } from "../path.ts";
import type { Tape } from "../tape.ts";
import { operatorOf } from "../types/index.ts";
import { ACTIVATIONS } from "./activations.ts";
import { ATTENTION } from "./attention.ts";
import { CONTRIB_ATTENTION } from "./contrib-attention.ts";
import { EINSUM } from "./einsum.ts";
import { NORMS } from "./norms.ts";
import { type Around, type Form, gathered, type Lowerings, Primitives, Refusal, refused } from "./primitives.ts";
import { QUANTIZED } from "./quantized.ts";
import { ROTARY } from "./rotary.ts";

export const LOWERINGS: Lowerings = {
  ...NORMS,
  ...ACTIVATIONS,
  ...ATTENTION,
  ...CONTRIB_ATTENTION,
  ...ROTARY,
  ...EINSUM,
  ...QUANTIZED,
  Gather: { inputs: 2, attributes: "axis", emit: gather },
};

/**
 * Takes composite nodes apart, in place: those that a gradient passes on its way to `wanted` (names of inputs or initializers), or all of
 * them. What it makes computes in the type of the node's values, statistics and softmax in f32 at least.
 * Throws one "unsupported" that names every node on the way through which no gradient is known, with the reason.
 */
export function lower(tape: Tape, wanted?: readonly string[]): Tape {
  const reached = new Set(wanted);
  const used = new Set([...tape.outputs.values(), ...tape.nodes.flatMap(({ input }) => input)]);
  const around: Around = { used, wanted: new Set(wanted), shared: new Map() };
  const refusals = new Map<NodeProto, Refusal>();
  tape.rewrite((node) => {
    const isReached = wanted === undefined || node.input.some((name) => reached.has(name));
    const operator = operatorOf(node);
    const form = isReached && Object.hasOwn(LOWERINGS, operator) ? LOWERINGS[operator] : undefined;
    const outputs = form === undefined ? undefined : lowered(form, new Primitives(tape, node, around));
    if (outputs instanceof Refusal) refusals.set(node, outputs);
    const made = outputs === undefined || outputs instanceof Refusal ? undefined : outputs;
    if (isReached) for (const name of made ?? node.output) reached.add(name);
    return made;
  });
  requireRules(tape, wanted, refusals);
  return tape;
}

/** Rows at places of int64: ScatterND, which sums their gradients, knows no others. */
function gather(at: Primitives): readonly string[] | undefined {
  const places = at.value(1);
  if (at.type(places) === OnnxType.INT64) return undefined;
  return [gathered(at, at.value(0), places, at.int("axis", 0))];
}

/** A value for each output; an output that nothing reads stands for itself. */
function lowered(form: Form, at: Primitives): readonly string[] | Refusal | undefined {
  const { name, output, opType } = at.node;
  const scope = name || (output.find((each) => each !== "") ?? opType);
  try {
    requireKnown(form, at.node);
    const outputs = at.tape.within(scope, () => form.emit(at));
    return outputs === undefined ? undefined : output.map((own, index) => outputs[index] ?? unread(at, index, own));
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
}

function unread(at: Primitives, index: number, own: string): string {
  if (at.isUsed(index)) throw refused(`gives its output ${index} to other nodes`);
  return own;
}

/** What nobody looks at might change what the node computes. */
function requireKnown({ inputs, attributes = "", idle = {} }: Form, { input, attribute }: NodeProto): void {
  const more = input.findIndex((name, index) => index >= inputs && name !== "");
  if (more >= 0) throw refused(`reads ${quote(input[more] ?? "")} as its input ${more}`);
  const known = new Set(attributes.split(" "));
  const isIdle = (each: AttributeProto): boolean =>
    Object.hasOwn(idle, each.name) && idle[each.name] === plainValue(each);
  const odd = attribute.find((each) => !known.has(each.name) && !isIdle(each));
  if (odd !== undefined)
    throw refused(`sets ${quote(odd.name)}${plainValue(odd) === undefined ? "" : ` to ${plainValue(odd)}`}`);
}

/** Of an attribute that holds one; undefined for all others. */
function plainValue({ type, i, s }: AttributeProto): number | string | undefined {
  if (type === AttributeType.INT) return Number(i);
  return type === AttributeType.STRING ? Buffer.from(s).toString("utf8") : undefined;
}
