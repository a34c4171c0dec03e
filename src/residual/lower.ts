// Takes fused nodes apart that stand across the border of two blocks: an Add that ends one, the norm that begins the next. What was taken
// apart is remembered, so that it can be put together again exactly. Changes the graph it is given.
import { attributeOf } from "../graph/attributes.ts";
import { clone, create, type GraphProto, type NodeProto, NodeProtoSchema } from "../graph/onnx.ts";
import { definitionsOf } from "../graph/walk.ts";

/** A node that stands for a part of a fused one. */
export interface LoweredNode {
  readonly part: "skip" | "sum" | "norm";
  /** The fused node as it was. */
  readonly fused: NodeProto;
}

/** The norm inside a fused node, the slots of its gain and bias, of the bias that is added first, and the output that holds the sum. */
const FUSED: Readonly<Record<string, { norm: string; gain: number; shift?: number; bias?: number; sum: number }>> = {
  SkipLayerNormalization: { norm: "LayerNormalization", gain: 2, shift: 3, bias: 4, sum: 3 },
  SkipSimplifiedLayerNormalization: { norm: "SimplifiedLayerNormalization", gain: 2, bias: 3, sum: 3 },
  EmbedLayerNormalization: { norm: "LayerNormalization", gain: 5, shift: 6, sum: 2 },
};

/** Slots of a fused node's parts; undefined for any other node. */
export function fusedSlots({ opType, domain }: NodeProto): (typeof FUSED)[string] | undefined {
  return domain === "com.microsoft" && Object.hasOwn(FUSED, opType) ? FUSED[opType] : undefined;
}

/** Nodes by their index after lowering. */
export function lowerGraph(graph: GraphProto): ReadonlyMap<number, LoweredNode> {
  const lowered = new Map<number, LoweredNode>();
  const taken = new Set(definitionsOf(graph));
  const nodes: NodeProto[] = [];
  for (const node of graph.node) {
    const parts = fusedSlots(node) === undefined ? undefined : takeApart(node, taken);
    if (parts === undefined) nodes.push(node);
    for (const [made, part] of parts ?? []) {
      if (part !== undefined) lowered.set(nodes.length, { part, fused: node });
      nodes.push(made);
    }
  }
  graph.node = nodes;
  return lowered;
}

type Part = readonly [node: NodeProto, part: LoweredNode["part"] | undefined];

/** Undefined where more than the norm and the sum are used (mean and deviation, for training). */
function takeApart(node: NodeProto, taken: Set<string>): readonly Part[] | undefined {
  const slots = fusedSlots(node);
  const [normed = ""] = node.output;
  if (slots === undefined || normed === "") return undefined;
  const embedding = node.opType === "EmbedLayerNormalization";
  if (!embedding && node.output.slice(1, slots.sum).some((name) => name !== "")) return undefined;
  const sum = node.output[slots.sum] || fresh(`${normed}.sum`, taken);
  const inputs = [sum, node.input[slots.gain] ?? ""];
  if (slots.shift !== undefined && node.input[slots.shift]) inputs.push(node.input[slots.shift] ?? "");
  const epsilon = attributeOf(node, "epsilon");
  const norm = create(NodeProtoSchema, {
    ...labels(node),
    // No two nodes of a graph may have one name.
    name: embedding && node.name !== "" ? `${node.name}.norm` : node.name,
    opType: slots.norm,
    input: inputs,
    output: [normed],
    attribute: epsilon === undefined ? [] : [epsilon],
  });
  if (embedding)
    return [
      [embeddingOf(node, slots, sum, taken), undefined],
      [norm, "norm"],
    ];
  const [x = "", skip = ""] = node.input;
  const bias = slots.bias === undefined ? "" : (node.input[slots.bias] ?? "");
  const add = (part: "skip" | "sum", operands: string[], output: string) =>
    create(NodeProtoSchema, {
      ...labels(node),
      name: node.name === "" ? "" : `${node.name}.${part}`,
      opType: "Add",
      input: operands,
      output: [output],
    });
  // In the order of the kernel (onnxruntime skip_layer_norm.cc), so that Adds that stay Adds round as it does.
  if (bias === "")
    return [
      [add("sum", [x, skip], sum), "sum"],
      [norm, "norm"],
    ];
  const both = fresh(`${normed}.skip`, taken);
  return [
    [add("skip", [x, skip], both), "skip"],
    [add("sum", [both, bias], sum), "sum"],
    [norm, "norm"],
  ];
}

/** The embedding without its norm: only the sum is read. */
function embeddingOf(node: NodeProto, slots: { readonly sum: number }, sum: string, taken: Set<string>): NodeProto {
  const made = clone(NodeProtoSchema, node);
  made.output = [fresh(`${node.output[0]}.fused`, taken), node.output[1] ?? "", ...node.output.slice(2)];
  made.output[slots.sum] = sum;
  return made;
}

function labels({ name, metadataProps }: NodeProto): Pick<NodeProto, "name" | "metadataProps"> {
  return { name, metadataProps };
}

function fresh(wish: string, taken: Set<string>): string {
  let name = wish;
  for (let count = 2; taken.has(name); count++) name = `${wish}.${count}`;
  taken.add(name);
  return name;
}
