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

/** The norm inside a fused node, slots of its gain and bias and of the bias that is added to the sum, and the output that holds the sum. */
export interface FusedSlots {
  readonly norm: string;
  readonly gain: number;
  readonly shift?: number;
  readonly bias?: number;
  readonly sum: number;
}

const FUSED: Readonly<Record<string, FusedSlots>> = {
  SkipLayerNormalization: { norm: "LayerNormalization", gain: 2, shift: 3, bias: 4, sum: 3 },
  SkipSimplifiedLayerNormalization: { norm: "SimplifiedLayerNormalization", gain: 2, bias: 3, sum: 3 },
  EmbedLayerNormalization: { norm: "LayerNormalization", gain: 5, shift: 6, sum: 2 },
};

/** Slots of a fused node's parts; undefined for any other node. */
export function fusedSlots({ opType, domain }: NodeProto): FusedSlots | undefined {
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
  const norm = [normOf(node, slots, sum, embedding ? ".norm" : ""), "norm"] as const;
  if (embedding) return [[embeddingOf(node, slots, sum, taken), undefined], norm];
  const [x = "", skip = ""] = node.input;
  const bias = slots.bias === undefined ? "" : (node.input[slots.bias] ?? "");
  // In the order of the kernel (onnxruntime skip_layer_norm.cc), so that Adds that stay Adds round as it does.
  if (bias === "") return [[addOf(node, "sum", [x, skip], sum), "sum"], norm];
  const both = fresh(`${normed}.skip`, taken);
  return [[addOf(node, "skip", [x, skip], both), "skip"], [addOf(node, "sum", [both, bias], sum), "sum"], norm];
}

/** `suffix` keeps names of nodes apart: runtimes refuse two of one name. */
function normOf(node: NodeProto, slots: FusedSlots, sum: string, suffix: string): NodeProto {
  const [gain = "", shift = ""] = [slots.gain, slots.shift].map((slot) => (slot === undefined ? "" : node.input[slot]));
  const epsilon = attributeOf(node, "epsilon");
  return create(NodeProtoSchema, {
    ...labels(node, suffix),
    opType: slots.norm,
    input: shift === "" ? [sum, gain] : [sum, gain, shift],
    output: [node.output[0] ?? ""],
    attribute: epsilon === undefined ? [] : [epsilon],
  });
}

function addOf(node: NodeProto, part: "skip" | "sum", operands: string[], output: string): NodeProto {
  return create(NodeProtoSchema, { ...labels(node, `.${part}`), opType: "Add", input: operands, output: [output] });
}

/** The embedding without its norm: only the sum is read. */
function embeddingOf(node: NodeProto, slots: { readonly sum: number }, sum: string, taken: Set<string>): NodeProto {
  const made = clone(NodeProtoSchema, node);
  made.output = [fresh(`${node.output[0]}.fused`, taken), node.output[1] ?? "", ...node.output.slice(2)];
  made.output[slots.sum] = sum;
  return made;
}

function labels({ name, metadataProps }: NodeProto, suffix: string): Pick<NodeProto, "name" | "metadataProps"> {
  return { name: name === "" ? "" : name + suffix, metadataProps };
}

function fresh(wish: string, taken: Set<string>): string {
  let name = wish;
  for (let count = 2; taken.has(name); count++) name = `${wish}.${count}`;
  taken.add(name);
  return name;
}
