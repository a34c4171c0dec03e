// The stretch of a graph between two values, cut wherever everything passes through one value (a dominator). Linear in the graph's size.
import { type Body, readsShapeOnly } from "./body.ts";

/** A node that belongs to no segment: outside of the stretch, or shared by several segments. */
export const SHARED = -1;

export interface Chain {
  /** Source first, sink last: every path from source to sink goes through each of them, in this order. */
  readonly cuts: readonly string[];
  /** By node: segment s makes cuts[s + 1] from cuts[s]. */
  readonly segmentOf: Int32Array;
  /** By segment: its nodes, ascending. */
  readonly segments: readonly (readonly number[])[];
}

/** Undefined when the sink cannot be reached from the source. */
export function chainOf(body: Body, source: string, sink: string): Chain | undefined {
  const stretch = between(body, source, sink);
  if (stretch === undefined) return undefined;
  const cuts = dominators(body, stretch);
  const segmentOf = levels(body, cuts);
  joinSideNodes(body, cuts, segmentOf);
  const segments: number[][] = cuts.slice(1).map(() => []);
  for (const [node, segment] of segmentOf.entries()) {
    if (segment >= segments.length) segmentOf[node] = SHARED;
    else segments[segment]?.push(node);
  }
  return { cuts, segmentOf, segments };
}

/** Values that can be reached from the source and reach the sink, in topological order. */
function between(body: Body, source: string, sink: string): readonly string[] | undefined {
  const reached = new Set([source]);
  for (const [index, node] of body.nodes.entries()) {
    if (readsShapeOnly(node) || !body.reads[index]?.some((name) => reached.has(name))) continue;
    for (const name of node.output) if (name !== "") reached.add(name);
  }
  if (!reached.has(sink)) return undefined;
  const needed = new Set([sink]);
  const order: string[] = [];
  for (let index = body.nodes.length - 1; index >= 0; index--) {
    const node = body.nodes[index];
    if (node === undefined || readsShapeOnly(node)) continue;
    const made = node.output.filter((name) => needed.has(name) && name !== source);
    if (made.length === 0) continue;
    order.push(...made.reverse());
    for (const name of body.reads[index] ?? []) if (reached.has(name)) needed.add(name);
  }
  return [source, ...order.reverse()];
}

/** A value is a cut when no edge jumps over it: nothing before it is read by what makes something after it. */
function dominators(body: Body, stretch: readonly string[]): readonly string[] {
  const position = new Map(stretch.map((name, at) => [name, at]));
  const cuts: string[] = [];
  let furthest = 0;
  for (const [at, name] of stretch.entries()) {
    if (furthest <= at) cuts.push(name);
    for (const reader of body.readers.get(name) ?? []) {
      const node = body.nodes[reader];
      if (node === undefined || readsShapeOnly(node)) continue;
      for (const made of node.output) furthest = Math.max(furthest, position.get(made) ?? 0);
    }
  }
  return cuts;
}

/** A node belongs to the furthest cut that it can see. */
function levels(body: Body, cuts: readonly string[]): Int32Array {
  const cutIndex = new Map(cuts.map((name, at) => [name, at]));
  const level = new Map<string, number>([[cuts[0] ?? "", 0]]);
  const segmentOf = new Int32Array(body.nodes.length).fill(SHARED);
  for (const [index, node] of body.nodes.entries()) {
    if (readsShapeOnly(node)) continue;
    let found = SHARED;
    for (const name of body.reads[index] ?? []) found = Math.max(found, level.get(name) ?? SHARED);
    if (found === SHARED) continue;
    segmentOf[index] = found;
    for (const name of node.output) if (name !== "") level.set(name, cutIndex.get(name) ?? found);
  }
  return segmentOf;
}

/** Nodes beside the stream (constants' chains, shapes, a cache's way in) belong to the one segment that reads them. */
function joinSideNodes(body: Body, cuts: readonly string[], segmentOf: Int32Array): void {
  const source = cuts[0] ?? "";
  for (let index = body.nodes.length - 1; index >= 0; index--) {
    const made = body.nodes[index]?.output.filter((name) => name !== "") ?? [];
    if (segmentOf[index] !== SHARED || made.includes(source) || made.some((name) => body.outputs.has(name))) continue;
    let found: number | undefined;
    for (const name of made) {
      for (const reader of body.readers.get(name) ?? []) {
        const segment = segmentOf[reader] ?? SHARED;
        if (found === undefined) found = segment;
        else if (found !== segment) found = SHARED;
      }
    }
    segmentOf[index] = found ?? SHARED;
  }
}
