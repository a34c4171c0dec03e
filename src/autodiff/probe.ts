// Asks the runtime for the types of one node's outputs. Runs nothing, and needs no weight: a model of that node is only opened.
import { ExpandError, quote } from "../errors.ts";
import { nodeLabel } from "../graph/attributes.ts";
import { create, type NodeProto, OnnxType, type TensorProto, ValueInfoProtoSchema } from "../graph/onnx.ts";
import { readsOf } from "../graph/walk.ts";
import { ONNX_TYPES, type OpenModel, smallModel, type Versions } from "./evaluate.ts";
import { valueInfo } from "./message.ts";
import type { ValueType } from "./types/type.ts";

export interface Known extends Versions {
  readonly types: ReadonlyMap<string, ValueType>;
  readonly constants: ReadonlyMap<string, TensorProto>;
}

/** Throws "unsupported" where the runtime does not know the operator, or cannot tell a shape before it runs. */
export async function askTypes(node: NodeProto, known: Known, open: OpenModel): Promise<readonly ValueType[]> {
  const reads = [...new Set(readsOf(node))];
  const isHalf = reads.some((name) => known.types.get(name)?.type === OnnxType.BFLOAT16);
  const input = reads
    .filter((name) => !known.constants.has(name))
    .map((name) => valueInfo(name, plain(known.types.get(name) ?? { type: OnnxType.FLOAT, shape: [] })));
  const initializer = reads.flatMap((name) => known.constants.get(name) ?? []);
  const names = node.output.filter((name) => name !== "");
  const output = names.map((name) => create(ValueInfoProtoSchema, { name }));
  const session = await open(smallModel({ node: [node], initializer, input, output }, known));
  try {
    return node.output.map((name) => {
      const found = session.outputs.find((each) => each.name === name);
      const type = found?.dtype === undefined ? undefined : ONNX_TYPES[found.dtype];
      const shape = found?.shape.filter((size) => typeof size === "number");
      if (name === "") return { type: OnnxType.FLOAT, shape: [] };
      if (found === undefined || type === undefined || shape?.length !== found.shape.length) refuse(node, name);
      return { type: isHalf && type === OnnxType.FLOAT16 ? OnnxType.BFLOAT16 : type, shape };
    });
  } finally {
    await session.close();
  }
}

/** bfloat16 cannot leave a graph: float16 stands for it. */
function plain({ type, shape }: ValueType): ValueType {
  return { type: type === OnnxType.BFLOAT16 ? OnnxType.FLOAT16 : type, shape };
}

function refuse(node: NodeProto, name: string): never {
  throw new ExpandError("unsupported", `makes ${quote(name)}, whose shape nothing tells before the model runs`, {
    at: nodeLabel(node),
    fix: "Export the model without operators whose shapes depend on data.",
  });
}
