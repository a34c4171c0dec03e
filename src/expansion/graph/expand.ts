// Carries a plan out on a graph: clones blocks, wires them into the residual stream, gives them weights of their own, numbers the caches
// anew. No weight is read; originals' nodes stay as they are but for the one value that they now read from a copy.
import { type LayoutBlock, sourceIndex } from "../../architecture/layout.ts";
import { ExpandError } from "../../errors.ts";
import { attributeOf } from "../../graph/attributes.ts";
import { checkGraph } from "../../graph/check.ts";
import { cloneGraph, type Graph } from "../../graph/graph.ts";
import { clone, type GraphProto, type ValueInfoProto, ValueInfoProtoSchema } from "../../graph/onnx.ts";
import { sortGraph } from "../../graph/sort.ts";
import type { GraphBlock, GraphBlocks } from "../../residual/blocks.ts";
import { checkBorders } from "../../residual/clearance.ts";
import { mainGraph } from "../../residual/normalise.ts";
import { renameValues } from "../../residual/rename.ts";
import type { Plan } from "../plan.ts";
import { cacheOwners, renumbering, withTwins } from "./caches.ts";
import { BodyExpansion } from "./clone.ts";
import { copyInitializers } from "./initializers.ts";
import { raiseGraph } from "./raise.ts";

/**
 * The expanded graph, checked. `blocks` are those of the graph that the plan was made for. Throws "plan" where the plan asks for a copy
 * that cannot stand where it is wanted.
 */
export function expandGraph(blocks: GraphBlocks, plan: Pick<Plan, "blocks">): Graph {
  const layout = plan.blocks.map(({ kind, from }): LayoutBlock => ({ kind, from: sourceIndex(from) }));
  checkBorders(blocks, layout);
  const expanded = cloneGraph(blocks.lowered);
  const main = mainGraph(expanded);
  for (const [at, { place, lowered }] of blocks.bodies.entries()) {
    const graph = place === undefined ? main : branchOf(main, place);
    const passages = blocks.blocks.map((block) => passageOf(block, at));
    const expansion = new BodyExpansion(graph, lowered, passages, blocks, at);
    expansion.insert(layout);
    raiseGraph(graph, expansion.lowered, expansion.copies);
    graph.valueInfo = [];
    if (place !== undefined) twinOutputs(graph, blocks, layout, at);
  }
  for (const block of plan.blocks) {
    if (block.kind === "original") continue;
    const source = blockAt(blocks, block.from);
    const initializers = blocks.bodies[0]?.body.initializers ?? new Map();
    const zeroed = block.zeroed.map(({ tensor }) => tensor);
    main.initializer.push(...copyInitializers(source, initializers, blocks.prefix(block.at), zeroed));
  }
  widen(main, blocks, layout);
  main.valueInfo = [];
  const names = renumbering(blocks, layout);
  for (const value of [...main.input, ...main.output]) value.name = names.get(value.name) ?? value.name;
  for (const node of main.node) renameValues(node, (name) => names.get(name) ?? name);
  sortExpanded(main, plan);
  checkGraph(expanded);
  return expanded;
}

/** The source has no cycle: only a copy can make one, in front of what makes a size that all blocks read. */
function sortExpanded(main: GraphProto, { blocks }: Pick<Plan, "blocks">): void {
  try {
    sortGraph(main);
  } catch (error) {
    const isEarly = ({ kind, at, from }: Plan["blocks"][number]): boolean =>
      kind === "copy" && !blocks.slice(0, at).some((other) => other.kind === "original" && other.from === from);
    const early = blocks.filter(isEarly).map(({ at }) => at);
    if (!(error instanceof ExpandError) || error.tag !== "damaged" || early.length === 0) throw error;
    throw new ExpandError(
      "plan",
      `a copy in front of its source block (at ${early.join(" or ")}) reads a size that is only computed behind it`,
      { fix: "Put every copy right behind its source block.", cause: error },
    );
  }
}

/** Names of the initializers that the copies brought: all that may be trained. */
export function newInitializers(blocks: GraphBlocks, plan: Pick<Plan, "blocks">): readonly string[] {
  return plan.blocks.flatMap(({ kind, at, from }) =>
    kind === "copy" ? blockAt(blocks, from).tensors.map(({ stem }) => blocks.prefix(at) + stem) : [],
  );
}

/** Inputs and outputs of the main graph, and the outputs of a merged `If`, with those of the copies. */
function widen(main: GraphProto, blocks: GraphBlocks, layout: readonly LayoutBlock[]): void {
  const owners = cacheOwners(blocks);
  const ownerOf = ({ name }: ValueInfoProto): number | undefined => owners.get(name);
  const twin = (value: ValueInfoProto, at: number): ValueInfoProto => renamed(value, blocks.prefix(at) + value.name);
  main.input = withTwins(main.input, layout, ownerOf, twin);
  main.output = withTwins(main.output, layout, ownerOf, twin);
  for (const index of new Set(blocks.bodies.map(({ place }) => place?.node))) {
    const merged = index === undefined ? undefined : main.node[index];
    if (merged === undefined) continue;
    merged.output = withTwins(
      merged.output,
      layout,
      (name) => owners.get(name),
      (name, at) => blocks.prefix(at) + name,
    );
  }
}

function twinOutputs(graph: GraphProto, blocks: GraphBlocks, layout: readonly LayoutBlock[], at: number): void {
  const owners = new Map(
    blocks.blocks.flatMap((block) =>
      passageOf(block, at).cacheOutputs.map(({ value }) => [value, block.index] as const),
    ),
  );
  graph.output = withTwins(
    graph.output,
    layout,
    ({ name }) => owners.get(name),
    (value, position) => renamed(value, blocks.prefix(position) + value.name),
  );
}

function renamed(value: ValueInfoProto, name: string): ValueInfoProto {
  return Object.assign(clone(ValueInfoProtoSchema, value), { name });
}

function branchOf(main: GraphProto, place: { readonly node: number; readonly attribute: string }): GraphProto {
  const node = main.node[place.node];
  const graph = node === undefined ? undefined : attributeOf(node, place.attribute)?.g;
  if (graph !== undefined) return graph;
  throw new ExpandError("bug", `node ${place.node} has no branch "${place.attribute}"`);
}

function passageOf(block: GraphBlock, at: number): GraphBlock["passages"][number] {
  const passage = block.passages[at];
  if (passage !== undefined) return passage;
  throw new ExpandError("bug", `block ${block.index} is not in body ${at}`);
}

function blockAt(blocks: GraphBlocks, index: number): GraphBlock {
  const block = blocks.blocks[index];
  if (block !== undefined) return block;
  throw new ExpandError("plan", `there is no block ${index}: the source has ${blocks.blocks.length}`, {
    fix: `Use numbers from 0 to ${blocks.blocks.length - 1}.`,
  });
}
