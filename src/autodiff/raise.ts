// Nodes of older versions of ai.onnx in the words of version 21. Never changes its arguments.
import { ExpandError } from "../errors.ts";
import { attribute, attributeOf, graphAttributes, intsAttribute, nodeLabel } from "../graph/attributes.ts";
import { clone, type NodeProto, NodeProtoSchema, OnnxType, type TensorProto } from "../graph/onnx.ts";
import { domainOf } from "../graph/walk.ts";
import { nodeLike } from "./message.ts";
import { tensorFrom } from "./numbers.ts";

/** Models older than this are raised to it: it has ScatterElements with sums (16), axes as inputs (18) and blocked DequantizeLinear (21). */
export const RAISED = 21;
/** Before it Softmax folded axes, and Squeeze, Unsqueeze, Split and ReduceSum had attributes for inputs. */
const OLDEST = 13;
/** Their axes became an input with version 18. */
const REDUCTIONS = /^Reduce(?:Mean|Max|Min|Prod|L1|L2|LogSum|LogSumExp|SumSquare)$/;
/** What they compute changed on the way to version 21. */
const CHANGED: ReadonlySet<string> = new Set(["GroupNormalization", "Resize", "DFT", "GridSample"]);

/** The nodes in the words of `RAISED`; constants that they need are added to `constants`. Throws "unsupported" for what is older than 13. */
export function raised(
  nodes: readonly NodeProto[],
  opset: number,
  constants: Map<string, TensorProto>,
): readonly NodeProto[] {
  if (opset >= RAISED) return nodes;
  if (opset < OLDEST) {
    throw new ExpandError("unsupported", `is of version ${opset} of ai.onnx; ${OLDEST} or later is needed`, {
      at: "the model",
      fix: "Convert it with onnx.version_converter first.",
    });
  }
  return nodes.map((node) => raise(node, opset, constants));
}

function raise(node: NodeProto, opset: number, constants: Map<string, TensorProto>): NodeProto {
  if (domainOf(node.domain) !== "") return node;
  if (graphAttributes(node).length > 0) return withBodies(node, (each) => raise(each, opset, constants));
  if (CHANGED.has(node.opType)) {
    throw new ExpandError("unsupported", `changed between version ${opset} and ${RAISED} of ai.onnx`, {
      at: nodeLabel(node),
      fix: "Convert the model with onnx.version_converter first.",
    });
  }
  if (opset >= 18) return node;
  if (REDUCTIONS.test(node.opType)) {
    const axes = intsAttribute(node, "axes", undefined);
    if (axes === undefined) return node;
    const name = `@axes/${axes.join(",")}`;
    constants.set(name, tensorFrom(name, OnnxType.INT64, [axes.length], axes));
    const rest = node.attribute.filter((each) => each.name !== "axes");
    return nodeLike(node, { input: [node.input[0] ?? "", name], attribute: rest });
  }
  const isEven = node.opType === "Split" && node.input.length < 2 && attributeOf(node, "num_outputs") === undefined;
  if (!isEven) return node;
  return nodeLike(node, {
    attribute: [...node.attribute, attribute("num_outputs", node.output.length)],
  });
}

/** A node with other nodes in the graphs that it holds. */
function withBodies(node: NodeProto, change: (node: NodeProto) => NodeProto): NodeProto {
  const copy = clone(NodeProtoSchema, node);
  for (const graph of graphAttributes(copy)) graph.node = graph.node.map(change);
  return copy;
}
