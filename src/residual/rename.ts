// Renames values in nodes, also in the graphs inside them. Changes the messages it is given.
import { graphAttributes } from "../graph/attributes.ts";
import type { GraphProto, NodeProto } from "../graph/onnx.ts";

/** Every name in the node: what it reads and makes, and all names of its subgraphs. Left-out names ("") stay. */
export function renameValues(node: NodeProto, rename: (name: string) => string): void {
  const each = (name: string): string => (name === "" ? "" : rename(name));
  node.input = node.input.map(each);
  node.output = node.output.map(each);
  for (const graph of graphAttributes(node)) renameGraph(graph, each);
}

function renameGraph(graph: GraphProto, rename: (name: string) => string): void {
  for (const value of [...graph.input, ...graph.output, ...graph.initializer]) value.name = rename(value.name);
  // Types that a runtime infers again; under old names they would be wrong.
  graph.valueInfo = [];
  for (const node of graph.node) renameValues(node, rename);
}
