// From a bare graph to its blocks: normalise, lower, find the stack, close its branches, name what copies need. Knows no exporter's names.
import { ExpandError } from "../errors.ts";
import { graphAttributes } from "../graph/attributes.ts";
import { cloneGraph, type Graph } from "../graph/graph.ts";
import type { GraphProto } from "../graph/onnx.ts";
import { definitionsOf } from "../graph/walk.ts";
import type { BlockBody, GraphBlock, GraphBlocks, Passage } from "./blocks.ts";
import { type Body, bodyOf } from "./body.ts";
import { describeBranches, type FoundBranch } from "./branches.ts";
import { cacheTemplates } from "./caches.ts";
import { SHARED } from "./chain.ts";
import { Closer, type Closing } from "./closing.ts";
import { lowerGraph } from "./lower.ts";
import { mainGraph, normaliseGraph } from "./normalise.ts";
import { canonicalOrder, type RoleSlot, roleSlots } from "./roles.ts";
import { periodOf } from "./runs.ts";
import { digest, valueDigests } from "./signature.ts";
import { findStack, refuse, type Stack, type StackBlock } from "./stack.ts";
import { type BlockSlots, blockTensors, readCounts, slotKey } from "./tensors.ts";
import { madeFromInput } from "./trainable.ts";

/** Throws "unsupported" naming the border where the graph does not let copies in. Reads no weights. */
export function findBlocks(graph: Graph): GraphBlocks {
  const normal = normaliseGraph(graph);
  const lowered = cloneGraph(normal);
  const main = mainGraph(lowered);
  const found = bodiesOf(main);
  const stacks = found.map(({ body, outerName }) => findStack(body, main.input, outerName));
  const drafts = stacks.map((stack, at) => draftsOf(stack, found[at]?.outerName ?? ((name) => name)));
  const [first = [], ...others] = drafts;
  for (const other of others) if (other.length !== first.length) throw unequalBodies(first.length, other.length);
  const all = [...found.map(({ body }) => body), ...outerBodies(main, found)];
  const tensors = blockTensors(
    first.map((_, index) => drafts.map((draft) => draft[index]?.slots).filter((each) => each !== undefined)),
    readCounts(all),
  );
  const blocks = kindsOf(
    first.map((_, index) => drafts.map((draft) => draft[index]).filter((each) => each !== undefined)),
    tensors,
  );
  const names = new Set(all.flatMap(({ graph: each }) => [...definitionsOf(each)]));
  return {
    graph: normal,
    lowered,
    bodies: found,
    blocks: blocks.list,
    period: blocks.period,
    caches: cacheTemplates(blocks.list),
    prefix: freePrefix(names),
  };
}

interface FoundBody extends BlockBody {
  /** What the whole graph calls an output of the body. */
  readonly outerName: (output: string) => string;
}

/** The main graph, or both branches of an `If` that hold more than all around it. */
function bodiesOf(main: GraphProto): readonly FoundBody[] {
  const node = main.node.findIndex((each) => {
    const inner = graphAttributes(each);
    return each.opType === "If" && inner.length === 2 && inner.every((graph) => graph.node.length > main.node.length);
  });
  const merged = main.node[node];
  if (merged === undefined) {
    const lowered = lowerGraph(main);
    return [{ body: bodyOf(main), lowered, place: undefined, outerName: (name) => name }];
  }
  const outer = bodyOf(main);
  return merged.attribute.flatMap(({ name, g: branch }) => {
    if (branch === undefined) return [];
    const names = new Map(branch.output.map((output, at) => [output.name, merged.output[at] ?? ""]));
    const lowered = lowerGraph(branch);
    const body = bodyOf(branch, outer);
    return [
      { body, lowered, place: { node, attribute: name }, outerName: (output: string) => names.get(output) ?? output },
    ];
  });
}

function outerBodies(main: GraphProto, found: readonly BlockBody[]): readonly Body[] {
  if (found.every(({ place }) => place === undefined)) return [];
  const skipped = new Set(found.map(({ place }) => place?.node));
  const rest = main.node.filter((_, at) => !skipped.has(at));
  return [bodyOf({ ...main, node: rest })];
}

/** One block in one body. */
interface BlockDraft {
  readonly passage: Passage;
  readonly block: StackBlock;
  readonly branches: readonly FoundBranch[];
  readonly slots: BlockSlots;
}

function draftsOf({ body, chain, blocks }: Stack, outerName: (output: string) => string): readonly BlockDraft[] {
  const digests = valueDigests(body, chain, "structure");
  const owner = new Int32Array(body.nodes.length).fill(SHARED);
  for (const [index, { nodes }] of blocks.entries()) for (const node of nodes) owner[node] = index;
  return blocks.map((block, index) => {
    const passage = passageOf(body, block, index, owner, outerName);
    const outputs = [block.output, ...passage.cacheOutputs.map(({ value }) => value)];
    const slots = roleSlots(body, canonicalOrder(body, block.nodes, outputs, digests));
    const branches = branchesOf(body, block);
    const closing = new Set(branches.flatMap(({ closings }) => closings.flatMap((each) => each.slots.map(slotKey))));
    const made = madeFromInput(body, block.nodes, block.input);
    return {
      passage: { ...passage, constants: constantsOf(slots) },
      block,
      branches,
      slots: { body, slots, made, closing },
    };
  });
}

function constantsOf(slots: readonly RoleSlot[]): ReadonlyMap<string, string> {
  return new Map(slots.map(({ role, initializer }) => [role, initializer]));
}

function passageOf(
  body: Body,
  { nodes, input, output }: StackBlock,
  index: number,
  owner: Int32Array,
  outerName: (output: string) => string,
): Omit<Passage, "constants"> {
  const made = new Set(nodes.flatMap((node) => body.nodes[node]?.output ?? []));
  const outside = new Set(
    nodes.flatMap((node) => body.reads[node] ?? []).filter((name) => !made.has(name) && !body.constants.has(name)),
  );
  outside.delete(input);
  const isCache = (name: string): boolean =>
    body.inputs.has(name) &&
    (body.readers.get(name) ?? []).every((node) => owner[node] === index || owner[node] === SHARED);
  const cacheInputs = [...body.inputs].filter((name) => outside.has(name) && isCache(name));
  const cacheOutputs = body.graph.output
    .filter(({ name }) => made.has(name) && name !== output)
    .map(({ name }) => ({ value: name, name: outerName(name) }));
  const shared = [...outside].filter((name) => !cacheInputs.includes(name));
  return { input, output, nodes, cacheInputs, cacheOutputs, shared };
}

function branchesOf(body: Body, { nodes, input, output, path }: StackBlock): readonly FoundBranch[] {
  const closer = new Closer(body, nodes);
  const branches: FoundBranch[] = [];
  const biases: Closing[] = [];
  for (const joins of path.added) {
    const closings = closer.close(joins);
    if ("reason" in closings) throw refuse(input, output, `a branch cannot be closed: ${closings.reason}`);
    // A constant that is added by itself is the bias of a projection that was fused away from it.
    if (body.constants.has(body.nodes[joins.node]?.input[joins.slot] ?? "")) biases.push(closings[0]);
    else branches.push({ joins, closings: [closings[0], ...closings.slice(1)] });
    const last = branches.at(-1);
    if (last === undefined) continue;
    const slots = biases.splice(0).flatMap((bias) => bias.slots);
    const [first, ...others] = last.closings.map((each) => ({ ...each, slots: [...each.slots, ...slots] }));
    if (first !== undefined) branches.splice(-1, 1, { joins: last.joins, closings: [first, ...others] });
  }
  return branches;
}

/** Labels: by what blocks do where that repeats, else by their structure, which copies with other numbers share. */
function kindsOf(
  drafts: readonly (readonly BlockDraft[])[],
  tensors: readonly (readonly GraphBlock["tensors"][number][])[],
): { readonly list: readonly GraphBlock[]; readonly period: number } {
  const structures = drafts.map((bodies) => digest(bodies.map(({ block }) => block.structure)));
  const exact = drafts.map((bodies) => digest(bodies.map(({ block }) => block.exact)));
  const repeats = (keys: readonly string[]): boolean => 2 * periodOf(keys) <= keys.length;
  const keys = repeats(exact) ? exact : structures;
  const labels = new Map<string, string>();
  const list = drafts.map((bodies, index): GraphBlock => {
    const own = tensors[index] ?? [];
    const described = bodies.map(({ slots, block, branches }, at) =>
      describeBranches(slots.body, at, block.nodes, branches, own),
    );
    const [branches = [], ...others] = described;
    const closing = JSON.stringify(branches);
    if (others.some((other) => JSON.stringify(other) !== closing)) throw unequalClosing(index);
    const words = branches.map(({ name }) => name).join("/");
    const key = keys[index] ?? "";
    const alike = [...labels.values()].filter((label) => label === words || label.startsWith(`${words} (`)).length;
    if (!labels.has(key)) labels.set(key, alike === 0 ? words : `${words} (${alike + 1})`);
    return {
      index,
      kind: labels.get(key) ?? words,
      structure: structures[index] ?? "",
      passages: bodies.map(({ passage }) => passage),
      tensors: own,
      branches,
      rounds: bodies.some(({ block }) => block.path.rounds),
    };
  });
  return { list, period: repeats(keys) ? periodOf(keys) : 1 };
}

function freePrefix(names: ReadonlySet<string>): (at: number) => string {
  let word = "copy";
  const starts = (start: string): boolean => [...names].some((name) => name.startsWith(`${start}.`));
  for (let count = 2; starts(word); count++) word = `copy${count}`;
  return (at) => `${word}.${at}.`;
}

function unequalBodies(one: number, other: number): ExpandError {
  return new ExpandError("unsupported", `the branches of the merged graph have ${one} and ${other} blocks`, {
    fix: "Export the model without merging its branches.",
  });
}

function unequalClosing(index: number): ExpandError {
  return new ExpandError(
    "unsupported",
    "the branches of the merged graph write the residual stream with different weights",
    {
      at: `block ${index}`,
      fix: "Export the model without merging its branches.",
    },
  );
}
