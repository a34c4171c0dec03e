// The way of the residual stream through one block: Adds only, so that adding zeros leaves it as it is. Says what stands in the way otherwise.

import { quote } from "../errors.ts";
import { intAttribute, nodeLabel } from "../graph/attributes.ts";
import { type NodeProto, OnnxType } from "../graph/onnx.ts";
import type { Slot } from "./blocks.ts";
import type { Body } from "./body.ts";

export interface StreamPath {
  /** Operands that are added to the stream, from the block's input on. */
  readonly added: readonly Slot[];
  /** The stream's type is narrowed on the way and widened again. */
  readonly rounds: boolean;
}

/** What stands in the way, as a clause, and what it means. */
export interface Obstacle {
  readonly obstacle: string;
}

const CARRIES: ReadonlySet<string> = new Set(["Cast", "Identity", "Dropout"]);
const ADDS: ReadonlySet<string> = new Set(["Add", "Sum"]);

/** `nodes`: indices of the block's nodes, ascending. */
export function streamPath(body: Body, nodes: readonly number[], input: string, output: string): StreamPath | Obstacle {
  const stream = streamValues(body, nodes, input);
  if (!stream.has(output)) return { obstacle: obstacleTo(body, input, output) };
  const added: Slot[] = [];
  /** Types that the stream is cast to, and "add", from the output backwards. */
  const steps: (number | "add")[] = [];
  for (let value = output; value !== input; ) {
    const index = body.makers.get(value) ?? -1;
    const node = body.nodes[index];
    if (node === undefined) return { obstacle: `nothing makes ${quote(value)}` };
    const carried = node.input.filter((name) => stream.has(name));
    const [next] = carried;
    if (next === undefined || carried.length > 1) {
      return { obstacle: `${nodeLabel(node)} adds the stream to itself, which doubles it` };
    }
    if (ADDS.has(node.opType)) {
      steps.push("add");
      for (const [slot, name] of node.input.entries()) if (name !== next) added.push({ node: index, slot });
    } else if (node.opType === "Cast") steps.push(intAttribute(node, "to", OnnxType.UNDEFINED));
    value = next;
  }
  return judge(added.reverse(), steps);
}

function streamValues(body: Body, nodes: readonly number[], input: string): ReadonlySet<string> {
  const stream = new Set([input]);
  for (const index of nodes) {
    const node = body.nodes[index];
    const carries =
      node !== undefined && (ADDS.has(node.opType) || (CARRIES.has(node.opType) && stream.has(node.input[0] ?? "")));
    if (carries && node.input.some((name) => stream.has(name))) stream.add(node.output[0] ?? "");
  }
  return stream;
}

/** Values that a type can hold exactly, as a set of types. */
const HOLDS: ReadonlyMap<number, readonly number[]> = new Map([
  [OnnxType.DOUBLE, [OnnxType.DOUBLE, OnnxType.FLOAT, OnnxType.FLOAT16, OnnxType.BFLOAT16]],
  [OnnxType.FLOAT, [OnnxType.FLOAT, OnnxType.FLOAT16, OnnxType.BFLOAT16]],
  [OnnxType.FLOAT16, [OnnxType.FLOAT16]],
  [OnnxType.BFLOAT16, [OnnxType.BFLOAT16]],
]);

/**
 * A copy reads what an original left, and must hand it on exactly: whatever type the stream takes inside must hold what the stream has
 * after its last Add.
 */
function judge(added: readonly Slot[], backwards: readonly (number | "add")[]): StreamPath | Obstacle {
  const casts = backwards.filter((step) => step !== "add");
  if (casts.length === 0) return { added, rounds: false };
  const lastAdd = backwards.indexOf("add");
  // Types after the last Add, and the one that this Add is made in (that of the block's input, where no cast comes before it).
  const after = backwards.slice(0, lastAdd < 0 ? undefined : lastAdd).filter((step) => step !== "add");
  const before = backwards.slice(lastAdd + 1).find((step) => step !== "add") ?? casts[0];
  const left = [...after, before].filter((type) => type !== undefined);
  const narrowest = left.find((type) => left.every((other) => HOLDS.get(other)?.includes(type)));
  const exact = narrowest !== undefined && casts.every((type) => HOLDS.get(type)?.includes(narrowest));
  if (!exact)
    return { obstacle: "the stream is rounded to a narrower type inside, so that a copy would round it anew" };
  return { added, rounds: casts.some((type) => type !== OnnxType.FLOAT && type !== OnnxType.DOUBLE) };
}

/** Names the node that is not an Add, and the design that it speaks of. */
function obstacleTo(body: Body, input: string, output: string): string {
  let node: NodeProto | undefined;
  for (let value = output, steps = 0; steps < body.nodes.length && value !== input; steps++) {
    node = body.nodes[body.makers.get(value) ?? -1];
    if (node === undefined || (!CARRIES.has(node.opType) && !ADDS.has(node.opType))) break;
    const operands = node.input.filter((name) => !body.constants.has(name));
    value = operands.find((name) => speaks(body.nodes[body.makers.get(name) ?? -1]) !== "") ?? operands[0] ?? input;
  }
  if (node === undefined) return "no path of Adds leads through it";
  const meaning = speaks(node);
  return `${nodeLabel(node)} stands on the residual stream${meaning === "" ? "" : ` (${meaning})`}`;
}

function speaks(node: NodeProto | undefined): string {
  if (node === undefined) return "";
  if (/Normalization$/.test(node.opType)) return "a norm after the Add: post-norm";
  if (node.opType === "Mul" || node.opType === "Div") return "a scaled residual stream, or a norm after the Add";
  if (node.opType === "DequantizeLinear" || node.opType === "QuantizeLinear")
    return "activations quantized around the Add";
  return "";
}
