// Finds the stack of blocks in one body: the pair of ends and the run of segments whose blocks let the residual stream pass through Adds only.
import { ExpandError, quote } from "../errors.ts";
import { nodeLabel } from "../graph/attributes.ts";
import type { ValueInfoProto } from "../graph/onnx.ts";
import { domainOf } from "../graph/walk.ts";
import { type Body, readsShapeOnly } from "./body.ts";
import { bordersOf, neighboursOf, type Row } from "./borders.ts";
import { type Chain, chainOf, SHARED } from "./chain.ts";
import { convolutionsOf, sinksOf, sourcesOf } from "./ends.ts";
import { LINEAR } from "./forms.ts";
import { type Run, runsOf } from "./runs.ts";
import { digest, signatures } from "./signature.ts";
import { type Obstacle, type StreamPath, streamPath } from "./stream.ts";

export interface StackBlock {
  /** Values before and behind it. */
  readonly input: string;
  readonly output: string;
  readonly nodes: readonly number[];
  readonly structure: string;
  /** The same with small numbers and names of shared values. */
  readonly exact: string;
  readonly path: StreamPath;
}

export interface Stack {
  readonly body: Body;
  readonly chain: Chain;
  readonly blocks: readonly StackBlock[];
}

interface Candidate {
  readonly chain: Chain;
  readonly row: Row;
  readonly runs: readonly Run[];
}

/** A segment without a matrix (a cast, a norm, an activation) counts this much less than one with. */
const MAJOR_WEIGHT = 100;
const MOST_RUNS = 12;

/** Throws "unsupported" naming the border where the best candidate fails. */
export function findStack(body: Body, inputs: readonly ValueInfoProto[], nameOf: (output: string) => string): Stack {
  const sinks = sinksOf(body, nameOf);
  const tried = sourcesOf(body, inputs);
  let refusal: ExpandError | undefined;
  for (const sources of [tried, convolutionsOf(body)]) {
    const candidates = candidatesFor(body, sources, sinks);
    for (const candidate of candidates) {
      const found = stackIn(body, candidate);
      if (!(found instanceof ExpandError)) return found;
      refusal ??= found;
    }
  }
  throw refusal ?? noBlocks(body, tried, sinks);
}

/** Heaviest first. */
function candidatesFor(body: Body, sources: readonly string[], sinks: readonly string[]): readonly Candidate[] {
  const found: Candidate[] = [];
  for (const sink of sinks) {
    for (const source of sources) {
      const chain = chainOf(body, source, sink);
      if (chain === undefined || chain.segments.length < 2) continue;
      const major = chain.segments.map((nodes) => nodes.some((node) => hasMatrix(body, node)));
      const weights = chain.segments.map((nodes, at) => nodes.length * (major[at] ? MAJOR_WEIGHT : 1));
      const digests = signatures(body, chain, "structure");
      const runs = runsOf(digests, weights).filter(({ start, period }) =>
        major.slice(start, start + period).some(Boolean),
      );
      if (runs.length > 0) found.push({ chain, row: { digests, major }, runs });
    }
  }
  return found.sort((a, b) => (b.runs[0]?.weight ?? 0) - (a.runs[0]?.weight ?? 0));
}

function hasMatrix(body: Body, index: number): boolean {
  return body.nodes[index]?.input.some((name) => (body.initializers.get(name)?.dims.length ?? 0) >= 2) ?? false;
}

function stackIn(body: Body, { chain, row, runs }: Candidate): Stack | ExpandError {
  const exact = signatures(body, chain, "exact");
  const tried: Run[] = [];
  let refusal: ExpandError | undefined;
  for (const run of runs) {
    const end = run.start + run.repeats * run.period;
    const known = tried.some((other) => run.start <= other.start + other.repeats * other.period && other.start <= end);
    if (known) continue;
    if (tried.length >= MOST_RUNS) break;
    tried.push(run);
    const found = blocksOf(body, chain, row, exact, run);
    if (!(found instanceof ExpandError)) return { body, chain, blocks: found };
    refusal ??= found;
  }
  return refusal ?? new ExpandError("bug", "a candidate without runs");
}

function blocksOf(
  body: Body,
  chain: Chain,
  row: Row,
  exact: readonly string[],
  run: Run,
): readonly StackBlock[] | ExpandError {
  const borders = [...bordersOf(row, run)];
  const blockAt = (from: number, to: number): StackBlock | ExpandError => {
    const nodes = chain.segments
      .slice(from, to)
      .flat()
      .sort((a, b) => a - b);
    const [input = "", output = ""] = [chain.cuts[from], chain.cuts[to]];
    const path: StreamPath | Obstacle = streamPath(body, nodes, input, output);
    if ("obstacle" in path) return refuse(input, output, path.obstacle);
    const shared = sharedInside(body, chain, nodes, from, to);
    if (shared !== undefined) return refuse(input, output, shared);
    const structure = digest(row.digests.slice(from, to));
    return { input, output, nodes, structure, exact: digest(exact.slice(from, to)), path };
  };
  const blocks: StackBlock[] = [];
  for (const [at, from] of borders.slice(0, -1).entries()) {
    const block = blockAt(from, borders[at + 1] ?? from);
    if (block instanceof ExpandError) return block;
    blocks.push(block);
  }
  const needed = operatorCounts(body, blocks[0]?.nodes ?? []);
  const { before, after } = neighboursOf(row, run);
  for (const start of before) {
    const block = blockAt(start, borders[0] ?? start);
    if (block instanceof ExpandError || isSeveral(body, needed, block.nodes)) break;
    borders.unshift(start);
    blocks.unshift(block);
  }
  for (const end of after) {
    const block = blockAt(borders.at(-1) ?? end, end);
    if (block instanceof ExpandError || isSeveral(body, needed, block.nodes)) break;
    borders.push(end);
    blocks.push(block);
  }
  return leftOver(body, chain, borders, needed) ?? blocks;
}

/** A value inside that something outside reads, other than for its shape. */
function sharedInside(
  body: Body,
  chain: Chain,
  nodes: readonly number[],
  from: number,
  to: number,
): string | undefined {
  for (const index of nodes) {
    for (const name of body.nodes[index]?.output ?? []) {
      if (name === "" || name === chain.cuts[to]) continue;
      for (const reader of body.readers.get(name) ?? []) {
        const node = body.nodes[reader];
        const segment = chain.segmentOf[reader] ?? SHARED;
        if (node === undefined || (segment >= from && segment < to) || readsShapeOnly(node)) continue;
        return `${quote(name)} inside is also read by ${nodeLabel(node)} outside of it`;
      }
    }
  }
  return undefined;
}

/** Blocks that share values with each other stand in one segment; taking them for the model's head would hide them. */
function leftOver(
  body: Body,
  chain: Chain,
  borders: readonly number[],
  needed: ReadonlyMap<string, number>,
): ExpandError | undefined {
  const [first = 0, last = 0] = [borders[0], borders.at(-1)];
  for (const [segment, nodes] of chain.segments.entries()) {
    if ((segment >= first && segment < last) || !isSeveral(body, needed, nodes)) continue;
    const [input = "", output = ""] = [chain.cuts[segment], chain.cuts[segment + 1]];
    return refuse(
      input,
      output,
      "several blocks stand there that share more than the stream (keys and values, or skips)",
    );
  }
  return undefined;
}

/** True for nodes that hold twice what a block needs, of every operator. One operator alone says too little. */
function isSeveral(body: Body, needed: ReadonlyMap<string, number>, nodes: readonly number[]): boolean {
  const found = operatorCounts(body, nodes);
  return needed.size > 1 && [...needed].every(([operator, count]) => (found.get(operator) ?? 0) >= 2 * count);
}

/** Linear operators and whatever makes attention what it is. */
function operatorCounts(body: Body, nodes: readonly number[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const index of nodes) {
    const node = body.nodes[index];
    if (node === undefined) continue;
    const linear = LINEAR[`${domainOf(node.domain)}:${node.opType}`] !== undefined;
    if (linear || /Softmax|Attention/.test(node.opType)) counts.set(node.opType, (counts.get(node.opType) ?? 0) + 1);
  }
  return counts;
}

export function refuse(input: string, output: string, obstacle: string): ExpandError {
  return new ExpandError(
    "unsupported",
    `nothing can be inserted between ${quote(input)} and ${quote(output)}: ${obstacle}`,
    {
      fix: "Expand the checkpoint that this graph was exported from, and export it again.",
    },
  );
}

function noBlocks(body: Body, sources: readonly string[], sinks: readonly string[]): ExpandError {
  const list = (names: readonly string[]): string => names.slice(0, 3).map(quote).join(", ") || "nothing";
  return new ExpandError(
    "unsupported",
    `no two equal blocks stand one after another between ${list(sources)} and ${list(sinks)} (${body.nodes.length} nodes)`,
    { fix: "Expand the checkpoint that this graph was exported from, and export it again." },
  );
}
