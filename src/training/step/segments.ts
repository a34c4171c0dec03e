// The tape in pieces, cut at values of the residual stream: each a forward graph, and a backward graph where something in it or below is
// trained. Runs nothing.
import { differentiate } from "../../autodiff/differentiate.ts";
import { Tape } from "../../autodiff/tape.ts";
import { ExpandError } from "../../errors.ts";
import type { Graph } from "../../graph/graph.ts";
import type { NodeProto } from "../../graph/onnx.ts";
import { readsOf } from "../../graph/walk.ts";
import type { Part } from "./parameters.ts";
import { LABELS, LOSS, type Prepared, WEIGHT } from "./prepare.ts";
import { gradientName } from "./whole.ts";

/** Gradient of what a segment gives, going in; gradient of what it takes, coming out. */
export const SEED = "training/seed";
export const BACK = "training/back";

export interface Segment {
  /** Where it stands, for messages. */
  readonly name: string;
  /** The values that it takes and gives; the last segment gives LOSS. */
  readonly from: string;
  readonly to: string;
  /** Trainable parts that it reads. */
  readonly parts: readonly Part[];
  /** Gives `to`. */
  readonly forward: Graph;
  /**
   * Takes SEED (but for the last, which takes labels and gives LOSS too), gives the gradients of its parts and, where `isAbove`, BACK.
   * Absent when nothing in it or below is trained.
   */
  readonly backward?: Graph;
  /** Something below it is trained. */
  readonly isAbove: boolean;
}

/** Throws "unsupported" when the tape cannot be cut. */
export function segmentsOf(prepared: Prepared): readonly Segment[] {
  const { cuts, ids, options } = prepared;
  if (cuts.length === 0) {
    throw new ExpandError("unsupported", "cannot be run block by block: values of one block are read in others", {
      at: options.checkpoint.location,
      fix: "Train without --offload.",
    });
  }
  let isAbove = false;
  const borders = [ids, ...cuts];
  return borders.map((from, at) => {
    const segment = segmentOf(prepared, from, borders[at + 1], `segment ${at + 1} of ${borders.length}`, isAbove);
    isAbove ||= segment.parts.length > 0;
    return segment;
  });
}

/** Without `to` the last one. */
function segmentOf(prepared: Prepared, from: string, to: string | undefined, name: string, isAbove: boolean): Segment {
  const { tape, store, loss, logits } = prepared;
  const nodes = nodesBetween(tape, from, to === undefined ? [loss.sum, loss.gradient] : [to]);
  const read = new Set(nodes.flatMap(readsOf));
  const parts = store.parts.filter(({ input }) => read.has(input));
  const inputs = [from, ...parts.map(({ input }) => input), ...(to === undefined ? [LABELS, WEIGHT] : [])];
  const piece = pieceOf(tape, nodes, inputs);
  piece.output(to ?? LOSS, to ?? loss.sum);
  const segment = { name, from, to: to ?? LOSS, parts, forward: piece.toGraph(name), isAbove };
  if (parts.length === 0 && !isAbove) return segment;
  if (to !== undefined) piece.withhold(to);
  const seed = to === undefined ? loss.gradient : piece.input(SEED, tape.typeOf(to));
  const wanted = [...parts.map(({ input }) => input), ...(isAbove ? [from] : [])];
  const gradients = differentiate(piece, to ?? logits, wanted, { seed });
  for (const [value, gradient] of gradients) {
    piece.output(value === from ? BACK : gradientName(value), gradient);
  }
  return { ...segment, backward: piece.toGraph(`${name}, backward`) };
}

/** What makes `to` of `from` and of weights. */
function nodesBetween(tape: Tape, from: string, to: readonly string[]): readonly NodeProto[] {
  const needed = new Set(to);
  const found: NodeProto[] = [];
  for (const node of [...tape.nodes].reverse()) {
    if (!node.output.some((output) => needed.has(output))) continue;
    found.push(node);
    for (const read of readsOf(node)) if (read !== from) needed.add(read);
  }
  return found.reverse();
}

function pieceOf(tape: Tape, nodes: readonly NodeProto[], inputs: readonly string[]): Tape {
  const read = new Set(nodes.flatMap(readsOf));
  const names = [...inputs, ...nodes.flatMap(({ output }) => output.filter((name) => name !== ""))];
  return new Tape({
    opset: tape.opset,
    domains: tape.domains,
    files: tape.files,
    inputs,
    outputs: [],
    initializers: new Map([...tape.initializers].filter(([name]) => read.has(name))),
    varying: new Set(),
    nodes,
    types: new Map(names.map((name) => [name, tape.typeOf(name)])),
  });
}
