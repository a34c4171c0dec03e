// The nodes between the wanted values and the loss: only they are differentiated. Emits nothing.
import { ExpandError } from "../errors.ts";
import { nodeLabel } from "../graph/attributes.ts";
import type { NodeProto } from "../graph/onnx.ts";
import { readsOf } from "../graph/walk.ts";
import type { Refusal } from "./lower/primitives.ts";
import { isFlat, ruleOf } from "./rules/index.ts";
import type { Tape } from "./tape.ts";

export interface DifferentiablePath {
  /** In topological order. */
  readonly nodes: readonly NodeProto[];
  /** Values that the wanted ones touch, in floats. */
  readonly active: ReadonlySet<string>;
}

const BETWEEN = " between the trainable weights and the loss";
const FIX = "Freeze the blocks up to them, or export the model with other operators.";

/** Throws one "unsupported" that names every node that has no rule. */
export function pathBetween(tape: Tape, loss: string, wanted: readonly string[]): DifferentiablePath {
  const { missing, ...path } = walk(tape, [loss], wanted);
  if (missing.size > 0) refuse(missing, BETWEEN);
  return path;
}

/** Throws the same for the way from `wanted` to all outputs, with what is known of why; without `wanted`, for the nodes that it is known of. */
export function requireRules(
  tape: Tape,
  wanted: readonly string[] | undefined,
  known: ReadonlyMap<NodeProto, Refusal>,
): void {
  const missing = wanted === undefined ? known : walk(tape, [...tape.outputs.values()], wanted).missing;
  const reasons = new Map([...missing].map(([node, why]) => [node, known.get(node) ?? why]));
  if (reasons.size > 0) refuse(reasons, wanted === undefined ? "" : BETWEEN);
}

/** `missing` says why, where there is a rule that does not hold. */
function walk(
  tape: Tape,
  ends: readonly string[],
  wanted: readonly string[],
): DifferentiablePath & { readonly missing: ReadonlyMap<NodeProto, string> } {
  const needed = new Set(ends.map((name) => tape.resolve(name)));
  for (const node of [...tape.nodes].reverse()) {
    // What a step reads has no part in the slope.
    if (isFlat(node) || !node.output.some((name) => needed.has(name))) continue;
    for (const name of readsOf(node)) needed.add(name);
  }
  const active = new Set(wanted.map((name) => tape.resolve(name)));
  const nodes: NodeProto[] = [];
  const missing = new Map<NodeProto, string>();
  for (const node of tape.nodes) {
    if (!node.output.some((name) => needed.has(name)) || isFlat(node)) continue;
    const touched = [...node.input.keys()].filter((at) => active.has(node.input[at] ?? ""));
    // A node may also take a value into a graph of its own.
    if (touched.length === 0 && !readsOf(node).some((name) => active.has(name))) continue;
    const outputs = node.output.filter((name) => name !== "" && tape.isFloat(name));
    if (outputs.length === 0 && node.opType === "Cast") continue;
    const why = reason(tape, node, touched);
    if (why !== undefined) missing.set(node, why);
    nodes.push(node);
    for (const name of outputs) active.add(name);
  }
  return { nodes, active, missing };
}

/** Why a node cannot be differentiated: "" where there is no rule at all. */
function reason(tape: Tape, node: NodeProto, touched: readonly number[]): string | undefined {
  const rule = ruleOf(node);
  if (rule === undefined || touched.length === 0) return "";
  if (rule.holds !== undefined && !rule.holds(node, tape)) return " with its attributes";
  const closed = touched.find((at) => rule.inputs !== undefined && !rule.inputs.includes(at));
  return closed === undefined ? undefined : `, input ${closed}`;
}

function refuse(missing: ReadonlyMap<NodeProto, string | Refusal>, where: string): never {
  const list = [...missing].map(([node, why]) => `${nodeLabel(node)}${typeof why === "string" ? why : ` ${why.why}`}`);
  const fixes = new Set([...missing.values()].map((why) => (typeof why === "string" ? FIX : why.fix)));
  const [fix = FIX] = fixes;
  throw new ExpandError(
    "unsupported",
    `${list.length} of the nodes${where} ${list.length === 1 ? "has" : "have"} no gradient: ${list.join("; ")}`,
    { fix: fixes.size === 1 ? fix : FIX },
  );
}
