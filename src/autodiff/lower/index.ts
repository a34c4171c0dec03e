// Composite operators of ai.onnx and com.microsoft taken apart into elementary ones, for which gradients are known. Refuses nothing that it
// has not heard of: `differentiate` does.
import { type NodeProto, OnnxType } from "../../graph/onnx.ts";
import { domainOf } from "../../graph/walk.ts";
import type { Tape } from "../tape.ts";
import { ACTIVATIONS } from "./activations.ts";
import { ATTENTION } from "./attention.ts";
import { CONTRIB_ATTENTION } from "./contrib-attention.ts";
import { EINSUM } from "./einsum.ts";
import { NORMS } from "./norms.ts";
import { type Around, gathered, type Lowering, Primitives, refused } from "./primitives.ts";
import { QUANTIZED } from "./quantized.ts";
import { ROTARY } from "./rotary.ts";

const STANDARD: ReadonlyMap<string, Lowering> = new Map(
  Object.entries({ ...NORMS, ...ACTIVATIONS, ...ATTENTION, ...ROTARY, ...EINSUM, Gather: gather }),
);
const CONTRIB: ReadonlyMap<string, Lowering> = new Map(
  Object.entries({ ...NORMS, ...ACTIVATIONS, ...CONTRIB_ATTENTION, ...ROTARY, ...QUANTIZED }),
);

/**
 * Takes composite nodes apart, in place: those that a gradient passes on its way to `wanted` (names of initializers), or all of them.
 * What it makes computes in the type of the node's values, statistics and softmax in f32 at least.
 * Throws "unsupported" with the reason for a form of a known operator through which no gradient is known.
 */
export function lower(tape: Tape, wanted?: readonly string[]): Tape {
  const reached = new Set(wanted);
  const used = new Set([...tape.outputs.values(), ...tape.nodes.flatMap(({ input }) => input)]);
  const around: Around = { used, wanted: new Set(wanted), shared: new Map() };
  tape.rewrite((node) => {
    const isReached = wanted === undefined || node.input.some((name) => reached.has(name));
    if (!isReached) return undefined;
    const lowering = loweringOf(node);
    const outputs = lowering === undefined ? undefined : lowered(lowering, new Primitives(tape, node, around));
    for (const name of outputs ?? node.output) reached.add(name);
    return outputs;
  });
  return tape;
}

function loweringOf({ domain, opType }: NodeProto): Lowering | undefined {
  if (domainOf(domain) === "") return STANDARD.get(opType);
  return domain === "com.microsoft" ? CONTRIB.get(opType) : undefined;
}

/** Rows at places of int64: ScatterND, which sums their gradients, knows no others. */
function gather(at: Primitives): readonly string[] | undefined {
  const places = at.value(1);
  if (at.type(places) === OnnxType.INT64) return undefined;
  return [gathered(at, at.value(0), places, at.int("axis", 0))];
}

/** A value for each output; an output that nothing reads stands for itself. */
function lowered(lowering: Lowering, at: Primitives): readonly string[] | undefined {
  const { name, output, opType } = at.node;
  const scope = name || (output.find((each) => each !== "") ?? opType);
  const outputs = at.tape.within(scope, () => lowering(at));
  return outputs === undefined ? undefined : output.map((own, index) => outputs[index] ?? unread(at, index, own));
}

function unread(at: Primitives, index: number, own: string): string {
  if (at.isUsed(index)) throw refused(at, `gives its output ${index} to other nodes`);
  return own;
}
