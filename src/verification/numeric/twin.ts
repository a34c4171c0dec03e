// An ONNX model with fused residual norms taken apart and every border between blocks among its outputs: the same computation, to be
// looked into. Moves no weights.
import { ExpandError } from "../../errors.ts";
import { attribute } from "../../graph/attributes.ts";
import { cloneGraph, type Graph } from "../../graph/graph.ts";
import {
  create,
  encodeModel,
  NodeProtoSchema,
  OnnxType,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  ValueInfoProtoSchema,
} from "../../graph/onnx.ts";
import { nodesIn } from "../../graph/walk.ts";
import { findBlocks } from "../../residual/find.ts";

export interface Twin {
  /** To be opened in the folder of the model's files. */
  readonly model: Uint8Array;
  /** Outputs of f32: the state that enters the first block, then the one behind each block. */
  readonly borders: readonly string[];
  /** By block: the graph inputs that only it reads. */
  readonly caches: readonly (readonly string[])[];
}

/** Or why the blocks cannot be looked at: the outputs can be compared all the same. */
export function twinOf(graph: Graph): Twin | { readonly reason: string } {
  try {
    const found = findBlocks(graph);
    const [body, second] = found.bodies;
    if (body === undefined || second !== undefined || body.place !== undefined) {
      return { reason: "its blocks stand in the branches of an If" };
    }
    const passages = found.blocks.flatMap((block) => block.passages[0] ?? []);
    const values = [passages[0]?.input ?? "", ...passages.map((passage) => passage.output)];
    const borders = values.map((_, at) => `${found.prefix(0)}border/${at}`);
    const twin = cloneGraph(found.lowered);
    // Names of nodes must differ, and nobody asks for them here: taking a fused node apart leaves two of its name.
    for (const node of nodesIn(twin.model.graph?.node ?? [])) node.name = "";
    for (const [at, value] of values.entries()) expose(twin, value, borders[at] ?? "");
    return { model: encodeModel(twin.model), borders, caches: passages.map((passage) => passage.cacheInputs) };
  } catch (error) {
    if (error instanceof ExpandError && error.tag === "unsupported") return { reason: error.message };
    throw error;
  }
}

/** As f32, since not every type comes out of onnxruntime. */
function expose({ model }: Graph, value: string, name: string): void {
  const to = attribute("to", OnnxType.FLOAT);
  model.graph?.node.push(create(NodeProtoSchema, { opType: "Cast", input: [value], output: [name], attribute: [to] }));
  const tensor = create(TypeProto_TensorSchema, { elemType: OnnxType.FLOAT });
  const type = create(TypeProtoSchema, { value: { case: "tensorType", value: tensor } });
  model.graph?.output.push(create(ValueInfoProtoSchema, { name, type }));
}
