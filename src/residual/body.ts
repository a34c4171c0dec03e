// One graph with who makes and who reads each value, and which values are constant. An index only; changes nothing.
import type { GraphProto, NodeProto, TensorProto } from "../graph/onnx.ts";
import { readsOf } from "../graph/walk.ts";

export interface Body {
  readonly graph: GraphProto;
  /** In topological order, as the graph has them. */
  readonly nodes: readonly NodeProto[];
  /** By node: what it reads, with what its subgraphs take from outside. */
  readonly reads: readonly (readonly string[])[];
  /** Its own, and those of the graph around it. */
  readonly initializers: ReadonlyMap<string, TensorProto>;
  /** Inputs without initializers, its own and those of the graph around it. */
  readonly inputs: ReadonlySet<string>;
  readonly outputs: ReadonlySet<string>;
  readonly makers: ReadonlyMap<string, number>;
  readonly readers: ReadonlyMap<string, readonly number[]>;
  /** Values that no input can change. */
  readonly constants: ReadonlySet<string>;
}

/** `outer` is the body around a branch of an `If`. */
export function bodyOf(graph: GraphProto, outer?: Body): Body {
  const nodes = graph.node;
  const reads = nodes.map(readsOf);
  const initializers = new Map([
    ...(outer?.initializers ?? []),
    ...graph.initializer.map((each) => [each.name, each] as const),
  ]);
  const inputs = new Set(outer?.inputs);
  for (const { name } of graph.input) if (!initializers.has(name)) inputs.add(name);
  const makers = new Map<string, number>();
  const readers = new Map<string, number[]>();
  const constants = new Set([...(outer?.constants ?? []), ...initializers.keys()]);
  for (const [index, node] of nodes.entries()) {
    const read = reads[index] ?? [];
    for (const name of new Set(read)) {
      const known = readers.get(name);
      if (known === undefined) readers.set(name, [index]);
      else known.push(index);
    }
    const constant = !isRandom(node) && read.every((name) => constants.has(name));
    for (const name of node.output) {
      if (name === "") continue;
      makers.set(name, index);
      if (constant) constants.add(name);
    }
  }
  const outputs = new Set(graph.output.map(({ name }) => name));
  return { graph, nodes, reads, initializers, inputs, outputs, makers, readers, constants };
}

/** What reads nothing may still make something new with each run. */
function isRandom({ opType }: NodeProto): boolean {
  return opType.startsWith("Random") || opType === "Bernoulli" || opType === "Multinomial";
}

/** True for operators that look at a value's shape only: the residual stream does not go through them. */
export function readsShapeOnly({ opType }: NodeProto): boolean {
  return opType === "Shape" || opType === "Size";
}
