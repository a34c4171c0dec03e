// Which values of a graph data and weights touch, as far as the graph alone tells. Runs nothing.
import { intAttribute } from "../graph/attributes.ts";
import { type NodeProto, OnnxType } from "../graph/onnx.ts";
import { readsOf } from "../graph/walk.ts";

export interface Origins {
  readonly nodes: readonly NodeProto[];
  /** Values that no node makes and that are not known. */
  readonly types: ReadonlyMap<string, unknown>;
}

/** Another value at every run. */
const RANDOM: ReadonlySet<string> = new Set([
  "RandomNormal",
  "RandomNormalLike",
  "RandomUniform",
  "RandomUniformLike",
  "Multinomial",
  "Bernoulli",
]);

/** Values that follow from inputs and weights that vary. Shapes do not: all are static. */
export function dataPaths({ nodes, types }: Origins): ReadonlySet<string> {
  const touched = new Set(types.keys());
  for (const node of nodes) {
    if (node.opType === "Shape" || node.opType === "Size") continue;
    // bfloat16 cannot leave the runtime: what is computed in it stays in the graph.
    const isLeft = RANDOM.has(node.opType) || isBfloat16(node);
    if (!isLeft && !readsOf(node).some((name) => touched.has(name))) continue;
    for (const name of node.output) if (name !== "") touched.add(name);
  }
  return touched;
}

function isBfloat16(node: NodeProto): boolean {
  return node.opType === "Cast" && intAttribute(node, "to", OnnxType.FLOAT) === OnnxType.BFLOAT16;
}
