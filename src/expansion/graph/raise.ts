// Puts fused residual norms together again: an Add that was taken out of one joins the norm that now follows it. Where nothing was inserted
// the very node comes back. Changes the graph it is given.
import { attributeOf, intAttribute } from "../../graph/attributes.ts";
import { clone, type GraphProto, type NodeProto, NodeProtoSchema } from "../../graph/onnx.ts";
import { readsOf } from "../../graph/walk.ts";
import { NORMS } from "../../residual/forms.ts";
import { fusedSlots, type LoweredNode } from "../../residual/lower.ts";

/** `lowered`: nodes of the graph that stand for a part of a fused one. `copies`: those that are not the original's. */
export function raiseGraph(
  graph: GraphProto,
  lowered: ReadonlyMap<NodeProto, LoweredNode>,
  copies: ReadonlySet<NodeProto>,
): void {
  new Raising(graph, lowered).run(copies);
}

class Raising {
  readonly #graph: GraphProto;
  readonly #lowered: ReadonlyMap<NodeProto, LoweredNode>;
  readonly #makers = new Map<string, NodeProto>();
  readonly #readers = new Map<string, number>();
  readonly #outputs: ReadonlySet<string>;
  readonly #removed = new Set<NodeProto>();

  constructor(graph: GraphProto, lowered: ReadonlyMap<NodeProto, LoweredNode>) {
    this.#graph = graph;
    this.#lowered = lowered;
    this.#outputs = new Set(graph.output.map(({ name }) => name));
    for (const node of graph.node) {
      for (const name of node.output) if (name !== "") this.#makers.set(name, node);
      for (const name of readsOf(node)) this.#readers.set(name, (this.#readers.get(name) ?? 0) + 1);
    }
  }

  run(copies: ReadonlySet<NodeProto>): void {
    const raised = new Map<NodeProto, NodeProto>();
    const isPart = (node: NodeProto): boolean => this.#lowered.get(node)?.part === "norm";
    // An original's sum that lost its norm gets a copy's plain one instead: the same kernel goes on adding it up. An original's plain norm
    // stays plain: another kernel would round in another way.
    const norms = this.#graph.node.filter(({ opType }) => Object.hasOwn(NORMS, opType));
    for (const norm of [
      ...norms.filter(isPart),
      ...norms.filter((node) => !isPart(node) && copies.has(node) && isPlain(node)),
    ]) {
      const sum = this.#makers.get(norm.input[0] ?? "");
      if (sum === undefined || this.#removed.has(sum)) continue;
      const fused = this.#lowered.get(norm)?.fused;
      const embeds = sum.opType === "EmbedLayerNormalization";
      const whole = embeds ? this.#embedding(sum, norm, fused) : this.#skip(sum, norm, fused);
      if (whole !== undefined) raised.set(norm, whole);
    }
    this.#graph.node = this.#graph.node
      .filter((node) => !this.#removed.has(node))
      .map((node) => raised.get(node) ?? node);
  }

  /** Sum and norm as one node, named after the norm. Undefined when the sum was never part of such a node. */
  #skip(sum: NodeProto, norm: NodeProto, fused: NodeProto | undefined): NodeProto | undefined {
    const part = this.#lowered.get(sum);
    const slots = part?.part === "sum" ? fusedSlots(part.fused) : undefined;
    if (part === undefined || slots === undefined || slots.norm !== norm.opType) return undefined;
    const whole = clone(NodeProtoSchema, fused?.opType === part.fused.opType ? fused : part.fused);
    let [x = "", skip = "", bias = ""] = sum.input;
    const both = this.#makers.get(x);
    if (both !== undefined && this.#lowered.get(both)?.part === "skip") {
      if (this.#isRead(x) > 1) return undefined;
      this.#removed.add(both);
      bias = skip;
      [x = "", skip = ""] = both.input;
    }
    this.#removed.add(sum);
    const inputs = [x, skip];
    inputs[slots.gain] = norm.input[1] ?? "";
    if (slots.shift !== undefined && norm.input[2]) inputs[slots.shift] = norm.input[2];
    if (slots.bias !== undefined && bias !== "") inputs[slots.bias] = bias;
    whole.input = Array.from(inputs, (name) => name ?? "");
    const [total = ""] = sum.output;
    const kept = this.#isRead(total) > 1 || this.#outputs.has(total) || part.fused.output[slots.sum] === total;
    whole.output = kept ? [norm.output[0] ?? "", "", "", total] : [norm.output[0] ?? ""];
    return label(whole, norm);
  }

  /** The embedding with its norm inside. */
  #embedding(embedding: NodeProto, norm: NodeProto, fused: NodeProto | undefined): NodeProto | undefined {
    const slots = fusedSlots(embedding);
    if (fused === undefined || slots?.shift === undefined || embedding.output[slots.sum] !== norm.input[0])
      return undefined;
    const whole = clone(NodeProtoSchema, embedding);
    const [sum = ""] = norm.input;
    whole.input[slots.gain] = norm.input[1] ?? "";
    whole.input[slots.shift] = norm.input[2] ?? "";
    whole.output[0] = norm.output[0] ?? "";
    // What had no third output gets none, unless the sum is read.
    const asked = fused.opType !== embedding.opType || Boolean(fused.output[slots.sum]);
    if (!asked && this.#isRead(sum) === 1) whole.output = whole.output.slice(0, fused.output.length);
    this.#removed.add(embedding);
    const { name, metadataProps } = embedding;
    return Object.assign(withEpsilon(whole, norm), { name, metadataProps });
  }

  #isRead(name: string): number {
    return this.#readers.get(name) ?? 0;
  }
}

/** Over the last axis, with one output: what a fused node can hold. */
function isPlain(norm: NodeProto): boolean {
  return norm.output.length === 1 && intAttribute(norm, "axis", -1) === -1 && intAttribute(norm, "stash_type", 1) === 1;
}

function label(whole: NodeProto, norm: NodeProto): NodeProto {
  whole.name = norm.name;
  whole.metadataProps = norm.metadataProps;
  return withEpsilon(whole, norm);
}

function withEpsilon(whole: NodeProto, norm: NodeProto): NodeProto {
  const [old, epsilon] = [attributeOf(whole, "epsilon"), attributeOf(norm, "epsilon")];
  if (old?.f === epsilon?.f) return whole;
  const others = whole.attribute.filter((each) => each !== old);
  whole.attribute = epsilon === undefined ? others : [...others, epsilon];
  return whole;
}
