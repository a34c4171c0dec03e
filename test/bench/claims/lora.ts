// LoRA as a change of the graph: y = W x + (alpha / r) B A x beside every projection of every block, with A and B trainable. Merged back
// into W when it is done.
import type { Checkpoint } from "../../../src/checkpoint/checkpoint.ts";
import { buildDecoder } from "../../../src/decoder/build.ts";
import { readSpec } from "../../../src/decoder/read.ts";
import { attribute } from "../../../src/graph/attributes.ts";
import { type Graph, tensorAt } from "../../../src/graph/graph.ts";
import { create, type NodeProto, NodeProtoSchema } from "../../../src/graph/onnx.ts";
import { decodeTensor } from "../../../src/tensor/decode.ts";
import type { TensorRef } from "../../../src/tensor/reference.ts";
import { generator } from "../../../src/verification/numeric/inputs.ts";
import { floatsAs, replaced, withValues } from "./weights.ts";

/** alpha / r. */
const SCALE = 2;
const PROJECTION = /^model\.layers\.\d+\..*_proj\.weight$/;
/** Of the files of the graph, by what they hold. */
const LOCATION = "adapters";

const [A, B] = [(name: string): string => `${name}.lora_A`, (name: string): string => `${name}.lora_B`];

/** A checkpoint whose graph has the adapters: B is zero and A uniform in +-1/sqrt(inputs), as peft starts (kaiming with a = sqrt(5)). */
export function withAdapters(checkpoint: Checkpoint, rank: number, seed: number): Checkpoint {
  const random = generator(seed);
  const adapters = new Map<string, TensorRef>();
  for (const [name, { shape }] of checkpoint.tensors) {
    if (!PROJECTION.test(name)) continue;
    const [outputs = 0, inputs = 0] = shape;
    const values = Float32Array.from({ length: rank * inputs }, () => (2 * random() - 1) / Math.sqrt(inputs));
    adapters.set(A(name), floatsAs(A(name), [rank, inputs], values));
    adapters.set(B(name), floatsAs(B(name), [outputs, rank], new Float32Array(outputs * rank)));
  }
  const graph = adapted(buildDecoder(readSpec(checkpoint)), adapters);
  return { ...replaced(checkpoint, adapters), graph };
}

export function isAdapter(name: string): boolean {
  return /\.lora_[AB]$/.test(name);
}

/** W + (alpha / r) B A, in the checkpoint that had no adapters. */
export async function merged(checkpoint: Checkpoint, values: ReadonlyMap<string, Float32Array>): Promise<Checkpoint> {
  const sums = new Map<string, Float32Array>();
  for (const [name, tensor] of checkpoint.tensors) {
    const [a, b] = [values.get(A(name)), values.get(B(name))];
    if (a === undefined || b === undefined) continue;
    const [outputs = 0, inputs = 0] = tensor.shape;
    const weight = await decodeTensor(tensor);
    const rank = a.length / inputs;
    for (let row = 0; row < outputs; row++) {
      for (let column = 0; column < inputs; column++) {
        let sum = 0;
        for (let at = 0; at < rank; at++) sum += (b[row * rank + at] ?? 0) * (a[at * inputs + column] ?? 0);
        weight[row * inputs + column] = (weight[row * inputs + column] ?? 0) + SCALE * sum;
      }
    }
    sums.set(name, weight);
  }
  return withValues(checkpoint, sums);
}

/** Behind each product with a weight that has an adapter: the product of its input with A and B, added. */
function adapted(graph: Graph, adapters: ReadonlyMap<string, TensorRef>): Graph {
  const { model } = graph;
  const main = model.graph;
  if (main === undefined) throw new TypeError("the decoder has no graph");
  const files = new Map(graph.files);
  for (const [name, tensor] of adapters) {
    const location = `${LOCATION}/${name}`;
    if (tensor.kind === "stored") files.set(location, tensor.source);
    main.initializer.push(tensorAt(name, tensor, location, 0));
  }
  main.node = main.node.flatMap((node) => {
    const [input = "", weight = ""] = node.input;
    return node.opType === "Gemm" && adapters.has(A(weight)) ? besides(node, input, weight) : [node];
  });
  return { model, files };
}

function besides(node: NodeProto, input: string, weight: string): readonly NodeProto[] {
  const [output = ""] = node.output;
  const [plain, low, high] = ["plain", "low", "high"].map((part) => `${output}/${part}`) as [string, string, string];
  node.output = [plain];
  const gemm = (inputs: string[], result: string, scale: number): NodeProto => {
    const attributes = [attribute("transB", 1), attribute("alpha", scale, "float")];
    return create(NodeProtoSchema, {
      opType: "Gemm",
      name: result,
      input: inputs,
      output: [result],
      attribute: attributes,
    });
  };
  return [
    node,
    gemm([input, A(weight)], low, 1),
    gemm([low, B(weight)], high, SCALE),
    create(NodeProtoSchema, { opType: "Add", name: `${output}/sum`, input: [plain, high], output: [output] }),
  ];
}
