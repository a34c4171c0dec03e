// An `If` whose condition is known, as the nodes of the branch that it takes: models with and without a cache are often one file. Runs nothing.
import { ExpandError } from "../errors.ts";
import { attributeOf, graphAttributes, nodeLabel } from "../graph/attributes.ts";
import {
  clone,
  create,
  type GraphProto,
  GraphProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  type TensorProto,
} from "../graph/onnx.ts";
import { definitionsOf, domainOf } from "../graph/walk.ts";

export interface Chosen {
  readonly nodes: readonly NodeProto[];
  /** Initializers of the branches that are taken. */
  readonly initializers: readonly TensorProto[];
}

/** `holds` tells a condition by its name; undefined where it is not known, and then the `If` stays. `taken` are the names outside. */
export function chosenBranches(
  nodes: readonly NodeProto[],
  taken: Set<string>,
  holds: (name: string) => boolean | undefined,
): Chosen {
  const chosen: NodeProto[] = [];
  const initializers: TensorProto[] = [];
  for (const node of nodes) {
    const isIf = node.opType === "If" && domainOf(node.domain) === "";
    const condition = isIf ? holds(node.input[0] ?? "") : undefined;
    if (condition === undefined) {
      chosen.push(node);
      continue;
    }
    const branch = inlined(node, branchOf(node, condition ? "then_branch" : "else_branch"), taken);
    initializers.push(...branch.initializer);
    const inner = chosenBranches(branch.node, taken, holds);
    chosen.push(...inner.nodes);
    initializers.push(...inner.initializers);
  }
  return { nodes: chosen, initializers };
}

function branchOf(node: NodeProto, name: string): GraphProto {
  const branch = attributeOf(node, name)?.g;
  if (branch !== undefined && branch.output.length >= node.output.length) return clone(GraphProtoSchema, branch);
  throw new ExpandError("damaged", `has no ${name} that makes its outputs`, {
    at: nodeLabel(node),
    fix: "Export the model again.",
  });
}

/** The branch under names that are free outside; its outputs are called as those of the `If`. */
function inlined(node: NodeProto, branch: GraphProto, taken: Set<string>): GraphProto {
  const own = new Set(definitionsOf(branch));
  const outputs = new Set(node.output);
  const names = new Map<string, string>();
  for (const [at, { name }] of branch.output.entries()) {
    const to = node.output[at] ?? "";
    if (to === "") continue;
    const isMadeHere = branch.node.some(({ output }) => output.includes(name));
    if (isMadeHere && !names.has(name)) names.set(name, to);
    else branch.node.push(create(NodeProtoSchema, { opType: "Identity", input: [name], output: [to] }));
  }
  for (const name of own) {
    if (names.has(name)) continue;
    // A branch may call another value as the `If` calls its output.
    const isFree = !taken.has(name) && !outputs.has(name);
    names.set(name, isFree ? name : fresh(`${node.name || node.output[0]}/${name}`, taken));
    taken.add(names.get(name) ?? name);
  }
  for (const tensor of branch.initializer) tensor.name = names.get(tensor.name) ?? tensor.name;
  rename(branch.node, names);
  return branch;
}

function fresh(wish: string, taken: ReadonlySet<string>): string {
  let name = wish;
  for (let at = 1; taken.has(name); at++) name = `${wish}_${at}`;
  return name;
}

/** In place, with the graphs inside of the nodes: they define no name that is defined around them. */
function rename(nodes: readonly NodeProto[], names: ReadonlyMap<string, string>): void {
  for (const node of nodes) {
    node.input = node.input.map((name) => names.get(name) ?? name);
    node.output = node.output.map((name) => names.get(name) ?? name);
    for (const graph of graphAttributes(node)) {
      for (const output of graph.output) output.name = names.get(output.name) ?? output.name;
      rename(graph.node, names);
    }
  }
}
