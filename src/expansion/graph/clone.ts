// Copies of blocks inside one graph: their nodes under new names, and the residual stream led through them. Changes the graph it is given.
import type { LayoutBlock } from "../../architecture/layout.ts";
import { graphAttributes } from "../../graph/attributes.ts";
import { clone, type GraphProto, type NodeProto, NodeProtoSchema } from "../../graph/onnx.ts";
import { definitionsOf } from "../../graph/walk.ts";
import type { GraphBlocks, Passage } from "../../residual/blocks.ts";
import type { LoweredNode } from "../../residual/lower.ts";
import { renameValues } from "../../residual/rename.ts";
import { renumberScopes } from "./scopes.ts";

export class BodyExpansion {
  /** Parts of fused nodes, originals' and copies'. */
  readonly lowered = new Map<NodeProto, LoweredNode>();
  readonly copies = new Set<NodeProto>();
  readonly #graph: GraphProto;
  /** As they were, by index; the graph's list grows. */
  readonly #nodes: readonly NodeProto[];
  readonly #passages: readonly Passage[];
  readonly #blocks: GraphBlocks;
  readonly #body: number;

  constructor(
    graph: GraphProto,
    lowered: ReadonlyMap<number, LoweredNode>,
    passages: readonly Passage[],
    blocks: GraphBlocks,
    body: number,
  ) {
    this.#graph = graph;
    this.#nodes = graph.node;
    this.#passages = passages;
    this.#blocks = blocks;
    this.#body = body;
    for (const [index, part] of lowered) {
      const node = graph.node[index];
      if (node !== undefined) this.lowered.set(node, part);
    }
  }

  insert(layout: readonly LayoutBlock[]): void {
    // Copies are made of nodes as they were, so all of them are made before anything is led elsewhere.
    const detours: (readonly [nodes: Iterable<number>, from: string, to: string])[] = [];
    const copies = new Map<number, NodeProto[]>();
    let last = -1;
    let tail = this.#passages[0]?.input ?? "";
    for (const [at, { kind, from }] of layout.entries()) {
      const passage = this.#passages[from];
      if (passage === undefined) continue;
      if (kind === "original") {
        if (tail !== passage.input) detours.push([passage.nodes, passage.input, tail]);
        tail = passage.output;
        last = from;
        continue;
      }
      copies.set(last, [...(copies.get(last) ?? []), ...this.#copy(passage, from, at, tail)]);
      tail = this.#blocks.prefix(at) + passage.output;
    }
    const end = this.#passages.at(-1)?.output ?? "";
    if (tail !== end) detours.push([this.#nodes.keys(), end, tail]);
    for (const [nodes, from, to] of detours) {
      for (const index of nodes) {
        const node = this.#nodes[index];
        if (node !== undefined) redirect(node, from, to);
      }
    }
    this.#graph.node = this.#inOrder(copies);
  }

  #copy(passage: Passage, from: number, at: number, tail: string): NodeProto[] {
    const prefix = this.#blocks.prefix(at);
    const names = new Map([[passage.input, tail]]);
    for (const name of passage.cacheInputs) names.set(name, prefix + name);
    for (const index of passage.nodes) {
      const node = this.#nodes[index];
      if (node === undefined) continue;
      for (const name of node.output) names.set(name, prefix + name);
      for (const inner of graphAttributes(node))
        for (const name of definedInside(inner)) names.set(name, prefix + name);
    }
    const weights = new Map<number, (readonly [slot: number, name: string])[]>();
    for (const { uses, stem } of this.#blocks.blocks[from]?.tensors ?? []) {
      for (const { node, slot } of uses[this.#body] ?? [])
        weights.set(node, [...(weights.get(node) ?? []), [slot, prefix + stem]]);
    }
    return passage.nodes.flatMap((index) => {
      const source = this.#nodes[index];
      if (source === undefined) return [];
      const node = clone(NodeProtoSchema, source);
      renameValues(node, (name) => names.get(name) ?? name);
      for (const [slot, name] of weights.get(index) ?? []) node.input[slot] = name;
      if (node.name !== "") node.name = prefix + node.name;
      renumberScopes(node, from, at);
      this.copies.add(node);
      const part = this.lowered.get(source);
      if (part !== undefined) this.lowered.set(node, part);
      return [node];
    });
  }

  /** Copies stand behind the last node of the block before them; what that leaves out of order is sorted afterwards. */
  #inOrder(copies: ReadonlyMap<number, readonly NodeProto[]>): NodeProto[] {
    const behind = new Map<number, readonly NodeProto[]>();
    for (const [block, nodes] of copies) {
      const passage = this.#passages[Math.max(0, block)];
      const index = block < 0 ? (passage?.nodes[0] ?? 0) - 1 : (passage?.nodes.at(-1) ?? 0);
      behind.set(index, nodes);
    }
    return [...(behind.get(-1) ?? []), ...this.#nodes.flatMap((node, index) => [node, ...(behind.get(index) ?? [])])];
  }
}

/** Makes a node, and the graphs inside it, read `to` instead of `from`. */
function redirect(node: NodeProto, from: string, to: string): void {
  if (graphAttributes(node).length > 0) {
    const made = node.output;
    renameValues(node, (name) => (name === from ? to : name));
    node.output = made;
  } else if (node.input.includes(from)) node.input = node.input.map((name) => (name === from ? to : name));
}

/** Every name that a subgraph defines, at any depth. */
function definedInside(graph: GraphProto): readonly string[] {
  const inner = graph.node.flatMap((node) => graphAttributes(node).flatMap(definedInside));
  return [...definitionsOf(graph), ...inner];
}
