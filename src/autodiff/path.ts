// The nodes between the wanted values and the loss: only they are differentiated. Emits nothing.
import { ExpandError } from "../errors.ts";
import { nodeLabel } from "../graph/attributes.ts";
import type { NodeProto } from "../graph/onnx.ts";
import { readsOf } from "../graph/walk.ts";
import { isFlat, ruleOf } from "./rules/index.ts";
import type { Tape } from "./tape.ts";

export interface DifferentiablePath {
  /** In topological order. */
  readonly nodes: readonly NodeProto[];
  /** Values that the wanted ones touch, in floats. */
  readonly active: ReadonlySet<string>;
}

/** Throws one "unsupported" that names every node that has no rule. */
export function pathBetween(tape: Tape, loss: string, wanted: readonly string[]): DifferentiablePath {
  const needed = new Set([tape.resolve(loss)]);
  for (const node of [...tape.nodes].reverse()) {
    if (node.output.some((name) => needed.has(name))) for (const name of readsOf(node)) needed.add(name);
  }
  const active = new Set(wanted.map((name) => tape.resolve(name)));
  const nodes: NodeProto[] = [];
  const missing: string[] = [];
  for (const node of tape.nodes) {
    if (!node.output.some((name) => needed.has(name)) || isFlat(node)) continue;
    const touched = [...node.input.keys()].filter((at) => active.has(node.input[at] ?? ""));
    // A node may also take a value into a graph of its own.
    if (touched.length === 0 && !readsOf(node).some((name) => active.has(name))) continue;
    const outputs = node.output.filter((name) => name !== "" && tape.isFloat(name));
    if (outputs.length === 0 && node.opType === "Cast") continue;
    const why = reason(tape, node, touched);
    if (why !== undefined) missing.push(`${nodeLabel(node)}${why}`);
    nodes.push(node);
    for (const name of outputs) active.add(name);
  }
  if (missing.length > 0) refuse(missing);
  return { nodes, active };
}

/** Why a node cannot be differentiated: "" where there is no rule at all. */
function reason(tape: Tape, node: NodeProto, touched: readonly number[]): string | undefined {
  const rule = ruleOf(node);
  if (rule === undefined || touched.length === 0) return "";
  if (rule.holds !== undefined && !rule.holds(node, tape)) return " with its attributes";
  const closed = touched.find((at) => rule.inputs !== undefined && !rule.inputs.includes(at));
  return closed === undefined ? undefined : `, input ${closed}`;
}

function refuse(missing: readonly string[]): never {
  throw new ExpandError(
    "unsupported",
    `${missing.length} of the nodes between the trainable weights and the loss ${missing.length === 1 ? "has" : "have"} no gradient: ${missing.join("; ")}`,
    { fix: "Freeze the blocks up to them, or export the model with other operators." },
  );
}
