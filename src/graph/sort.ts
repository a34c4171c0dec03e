// Puts nodes into topological order, keeping the order they have wherever it already is one. Iterative: graphs have thousands of nodes.
import { ExpandError } from "../errors.ts";
import { graphAttributes, nodeLabel } from "./attributes.ts";
import type { GraphProto, NodeProto } from "./onnx.ts";
import { readsOf } from "./walk.ts";

/** Every node after those that make what it reads. Throws "damaged" for a cycle. Nodes in order stay as they are. */
export function sortNodes(nodes: readonly NodeProto[]): readonly NodeProto[] {
  const makers = new Map<string, number>();
  for (const [index, { output }] of nodes.entries()) for (const name of output) makers.set(name, index);
  const before = nodes.map((node) => readsOf(node).flatMap((name) => makers.get(name) ?? []));
  const sorted: NodeProto[] = [];
  const state = new Uint8Array(nodes.length);
  for (let start = 0; start < nodes.length; start++) {
    if (state[start] === UNSEEN) placeAfterMakers(start, { nodes, before, state, sorted });
  }
  return sorted;
}

/** Sorts a graph and the graphs in its nodes, in place. */
export function sortGraph(graph: GraphProto): void {
  for (const node of graph.node) for (const inner of graphAttributes(node)) sortGraph(inner);
  graph.node = [...sortNodes(graph.node)];
}

const UNSEEN = 0;
const OPEN = 1;
const PLACED = 2;

interface Sorting {
  readonly nodes: readonly NodeProto[];
  /** By node: the nodes that make what it reads. */
  readonly before: readonly (readonly number[])[];
  readonly state: Uint8Array;
  readonly sorted: NodeProto[];
}

/** Depth first from one node; the stack holds a node and how many of its makers have been looked at. */
function placeAfterMakers(start: number, { nodes, before, state, sorted }: Sorting): void {
  const stack: { readonly index: number; next: number }[] = [{ index: start, next: 0 }];
  state[start] = OPEN;
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    const node = nodes[top.index];
    const maker = before[top.index]?.[top.next++];
    if (maker === undefined) {
      state[top.index] = PLACED;
      if (node !== undefined) sorted.push(node);
      stack.pop();
    } else if (state[maker] === UNSEEN) {
      state[maker] = OPEN;
      stack.push({ index: maker, next: 0 });
    } else if (state[maker] === OPEN && node !== undefined) {
      throw new ExpandError("damaged", "reads what is made from its own output: the graph has a cycle", {
        at: nodeLabel(node),
        fix: "Export the model again.",
      });
    }
  }
}
