// Tells weights from constants that only look like them: tables, masks, scales of quantized weights. Reads no values.
import { domainOf } from "../graph/walk.ts";
import type { Slot } from "./blocks.ts";
import { type Body, readsShapeOnly } from "./body.ts";
import { isFloat } from "./closing.ts";
import { LINEAR, NORMS } from "./forms.ts";
import { sizeOf } from "./values.ts";

/** Slots of weights in operators that are neither linear nor a norm of `forms.ts`. */
const WEIGHTS: Readonly<Record<string, readonly number[]>> = {
  ":PRelu": [1],
  ":GroupNormalization": [1, 2],
  ":InstanceNormalization": [1, 2],
  "com.microsoft:Attention": [1, 2],
  "com.microsoft:MultiHeadAttention": [3],
  // The sinks of gpt-oss.
  "com.microsoft:GroupQueryAttention": [11],
  "com.microsoft:BiasGelu": [1],
  "com.microsoft:FastGelu": [1],
  "com.microsoft:BiasSplitGelu": [1],
  "com.microsoft:MoE": [2, 3, 4, 5, 6, 7],
  "com.microsoft:QMoE": [4, 7, 10],
};
const ELEMENTWISE: ReadonlySet<string> = new Set(["Add", "Sub", "Mul", "Div"]);

/** Values that a block makes from its input, other than from its shape. */
export function madeFromInput(body: Body, nodes: readonly number[], input: string): ReadonlySet<string> {
  const made = new Set([input]);
  for (const index of nodes) {
    const node = body.nodes[index];
    if (node === undefined || readsShapeOnly(node) || !body.reads[index]?.some((name) => made.has(name))) continue;
    for (const name of node.output) if (name !== "") made.add(name);
  }
  return made;
}

/** True for a float weight that takes part in what the block makes of its input. */
export function isWeight(body: Body, { node: start, slot: from }: Slot, made: ReadonlySet<string>): boolean {
  const tensor = body.initializers.get(body.nodes[start]?.input[from] ?? "");
  if (tensor === undefined || !isFloat(tensor) || sizeOf(tensor) <= 1) return false;
  let [index, slot] = [start, from];
  // Nodes over a constant: on to the one that meets the stream.
  for (let steps = 0; steps < body.nodes.length; steps++) {
    const node = body.nodes[index];
    if (node === undefined || node.opType === "DequantizeLinear") return false;
    const [output = ""] = node.output;
    if (!body.constants.has(output)) break;
    const [reader, another] = body.readers.get(output) ?? [];
    if (reader === undefined || another !== undefined) return false;
    index = reader;
    slot = body.nodes[reader]?.input.indexOf(output) ?? -1;
  }
  const node = body.nodes[index];
  if (node === undefined || !body.reads[index]?.some((name) => made.has(name))) return false;
  const operator = `${domainOf(node.domain)}:${node.opType}`;
  const form = LINEAR[operator];
  const norm = Object.hasOwn(NORMS, node.opType) ? NORMS[node.opType] : undefined;
  if (norm !== undefined) return slot === norm.gain || slot === norm.shift;
  if (ELEMENTWISE.has(node.opType)) return tensor.dims.filter((size) => size > 1n).length === 1;
  return [form?.weight ?? [], form?.bias ?? [], WEIGHTS[operator] ?? []].some((slots) => slots.includes(slot));
}
