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
import type { GraphBlocks } from "../../residual/blocks.ts";
import { findBlocks } from "../../residual/find.ts";

export interface Twin {
  /** To be opened in the folder of the model's files. */
  readonly model: Uint8Array;
  /** Outputs of f32: the state that enters the first block, then the one behind each block. */
  readonly borders: readonly string[];
  /** By block: the graph inputs that only it reads. */
  readonly caches: readonly (readonly string[])[];
}

/** One for the model, or one for each branch of a merged one's `If`, without and with a past. */
export interface Twins {
  /** To be run on its own. */
  readonly plain: Twin;
  /** To be run behind caches that hold something; absent where it has none. */
  readonly cached?: Twin;
}

/** Or why the blocks cannot be looked at: the outputs can be compared all the same. */
export function twinsOf(graph: Graph): Twins | { readonly reason: string } {
  try {
    const found = findBlocks(graph);
    const all = found.bodies.map((_, at) => twinOf(found, at));
    const cached = all.find(({ caches }) => caches.flat().length > 0);
    const plain = all.find(({ caches }) => caches.flat().length === 0) ?? cached;
    if (plain === undefined) return { reason: "it has no blocks" };
    return { plain, ...(cached === undefined ? {} : { cached }) };
  } catch (error) {
    if (error instanceof ExpandError && error.tag === "unsupported") return { reason: error.message };
    throw error;
  }
}

/** Of the blocks in one body, which becomes the whole model. */
function twinOf(found: GraphBlocks, at: number): Twin {
  const passages = found.blocks.flatMap((block) => block.passages[at] ?? []);
  const values = [passages[0]?.input ?? "", ...passages.map((passage) => passage.output)];
  const borders = values.map((_, border) => `${found.prefix(0)}border/${border}`);
  const twin = cloneGraph(found.lowered);
  const place = found.bodies[at]?.place;
  if (place !== undefined) takeBranch(twin, place);
  // Names of nodes must differ, and nobody asks for them here: taking a fused node apart leaves two of its name.
  for (const node of nodesIn(twin.model.graph?.node ?? [])) node.name = "";
  for (const [border, value] of values.entries()) expose(twin, value, borders[border] ?? "");
  return { model: encodeModel(twin.model), borders, caches: passages.map((passage) => passage.cacheInputs) };
}

/** Puts one branch of an `If` in the place of the `If`. */
function takeBranch({ model }: Graph, place: { readonly node: number; readonly attribute: string }): void {
  const main = model.graph;
  const node = main?.node[place.node];
  const branch = node?.attribute.find(({ name }) => name === place.attribute)?.g;
  if (main === undefined || node === undefined || branch === undefined) return;
  // Inside, an output may have the name that it has outside.
  const outputs = branch.output.flatMap(({ name }, index) => {
    const outer = node.output[index] ?? "";
    return name === outer ? [] : create(NodeProtoSchema, { opType: "Identity", input: [name], output: [outer] });
  });
  main.node.splice(place.node, 1, ...branch.node, ...outputs);
  main.initializer.push(...branch.initializer);
}

/** As f32, since not every type comes out of onnxruntime. */
function expose({ model }: Graph, value: string, name: string): void {
  const to = attribute("to", OnnxType.FLOAT);
  model.graph?.node.push(create(NodeProtoSchema, { opType: "Cast", input: [value], output: [name], attribute: [to] }));
  const tensor = create(TypeProto_TensorSchema, { elemType: OnnxType.FLOAT });
  const type = create(TypeProtoSchema, { value: { case: "tensorType", value: tensor } });
  model.graph?.output.push(create(ValueInfoProtoSchema, { name, type }));
}
