// The meaning of a checkpoint that is a graph, in the terms that plans, costs and masks are made in. Reads no weights.
import type { Adaptation, Architecture, Block } from "../architecture/architecture.ts";
import { type Layout, sourceIndex } from "../architecture/layout.ts";
import { adaptGraphSettings } from "../architecture/onnx/settings.ts";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ExpandError } from "../errors.ts";
import type { GraphBlock, GraphBlocks } from "./blocks.ts";
import { checkBorders } from "./clearance.ts";
import { findBlocks } from "./find.ts";
import { checkInterface } from "./interface.ts";

export interface GraphArchitecture extends Architecture {
  readonly graphBlocks: GraphBlocks;
}

/** Throws "unsupported" where the graph does not let copies in, naming the border. `checkpoint` is an ONNX one. */
export function understandGraph(checkpoint: Checkpoint): GraphArchitecture {
  if (checkpoint.graph === undefined) throw new ExpandError("bug", `${checkpoint.location} has no graph`);
  const graphBlocks = findBlocks(checkpoint.graph);
  checkInterface(graphBlocks);
  const { blocks, prefix, period } = graphBlocks;
  const tensors = blocks.flatMap((block) => block.tensors);
  const stems = new Map(tensors.map(({ name, stem }) => [name, stem]));
  const claimed = new Set(tensors.map(({ name }) => name));
  return {
    graphBlocks,
    family: "graph",
    modelType: modelType(checkpoint),
    stack: "graph",
    stacks: ["graph"],
    blocks: blocks.map(describe),
    tail: [],
    outside: [...checkpoint.tensors.keys()].filter((name) => !claimed.has(name)),
    period,
    periodIsOptional: true,
    aliases: new Map(
      tensors.filter(({ name, initializer }) => name !== initializer).map((each) => [each.name, each.initializer]),
    ),
    notes: notesOn(graphBlocks),
    rename: (tensor, to) => prefix(to) + (stems.get(tensor) ?? tensor),
    adapt: (layout) => adapt(checkpoint, graphBlocks, layout),
  };
}

function describe(block: GraphBlock): Block {
  return {
    index: sourceIndex(block.index),
    kind: block.kind,
    tensors: new Map(block.tensors.map(({ role, name }) => [role, name])),
    branches: block.branches,
    fixed: [],
    buffers: new Set(block.tensors.filter(({ trainable }) => !trainable).map(({ role }) => role)),
  };
}

function modelType({ config, graph }: Checkpoint): string {
  const documents = config.dialect === "onnx" ? config.documents : undefined;
  const named =
    documents?.get("config.json")?.get(["model_type"]) ?? documents?.get("genai_config.json")?.get(["model", "type"]);
  return typeof named === "string" ? named : graph?.model.producerName || "unnamed";
}

function notesOn({ blocks, bodies }: GraphBlocks): readonly string[] {
  const [first, last] = [blocks[0]?.passages[0], blocks.at(-1)?.passages[0]];
  const notes = [`the residual stream enters the blocks as ${first?.input} and leaves them as ${last?.output}`];
  if (bodies.length > 1)
    notes.push(`${bodies.length} branches of the merged graph have these blocks, and share their weights`);
  const frozen = blocks[0]?.tensors.some(({ trainable }) => !trainable) ?? false;
  if (frozen) notes.push("the blocks hold quantized weights: copies of them are identity, and cannot be trained");
  return notes;
}

function adapt({ config }: Checkpoint, blocks: GraphBlocks, layout: Layout): Adaptation {
  checkBorders(blocks, layout);
  if (config.dialect !== "onnx") return { edits: [], warnings: [] };
  return { edits: adaptGraphSettings(config.documents, blocks.blocks.length, layout), warnings: [] };
}
