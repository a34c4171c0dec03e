// A bare graph as the proof of the other formats sees a checkpoint: blocks with tensors by role, one for each use. Reads no weights.
import type { Architecture, Block } from "../../architecture/architecture.ts";
import { sourceIndex } from "../../architecture/layout.ts";
import { fileSettings } from "../../architecture/onnx/files.ts";
import { adaptGraphSettings } from "../../architecture/onnx/settings.ts";
import type { Checkpoint, Config } from "../../checkpoint/checkpoint.ts";
import { ExpandError } from "../../errors.ts";
import { tensorOf } from "../../graph/graph.ts";
import { OnnxType } from "../../graph/onnx.ts";
import type { GraphBlock, GraphBlocks } from "../../residual/blocks.ts";
import type { TensorRef } from "../../tensor/reference.ts";
import type { Numbering } from "../numbering.ts";

/** One constant of a block, as one place in its code reads it. */
export interface Use {
  /** The same in every block of equal structure. */
  readonly role: string;
  /** Unique in the graph: the initializer's own name where nothing else reads it. */
  readonly name: string;
  readonly initializer: string;
  /** False for integers, shapes and scales: never trained, never closed. */
  readonly weight: boolean;
}

export interface GraphView {
  readonly found: GraphBlocks;
  /** By block. */
  readonly uses: readonly (readonly Use[])[];
  /** The checkpoint with a tensor for each use instead of its initializers. */
  readonly checkpoint: Checkpoint;
}

export function viewOf(checkpoint: Checkpoint, found: GraphBlocks): GraphView {
  const uses = found.blocks.map(usesOf);
  const tensors = new Map<string, TensorRef>();
  for (const [index, own] of uses.entries()) {
    for (const { name, initializer } of own) tensors.set(name, refOf(found, index, initializer));
  }
  return { found, uses, checkpoint: { ...checkpoint, tensors } };
}

function refOf(found: GraphBlocks, index: number, initializer: string): TensorRef {
  const passages = found.blocks[index]?.passages ?? [];
  for (const [at, { body }] of found.bodies.entries()) {
    const tensor = body.initializers.get(initializer);
    if (tensor !== undefined && passages[at] !== undefined) return tensorOf(found.lowered, tensor);
  }
  throw new ExpandError("bug", `block ${index} reads "${initializer}", which is no initializer`);
}

/** What a copy would have for itself, then every other constant; texts have no bytes to compare here. */
function usesOf(block: GraphBlock): readonly Use[] {
  const own = block.tensors.map(({ role, name, initializer, trainable }): Use => {
    return { role, name, initializer, weight: trainable };
  });
  const known = new Set(own.map(({ role }) => role));
  const initializers = new Set(own.map(({ initializer }) => initializer));
  const others = block.passages.flatMap(({ constants }, at) =>
    [...constants].flatMap(([inner, initializer]): Use[] => {
      const role = at === 0 ? inner : `${inner} (branch ${at})`;
      // Another branch of a merged graph reads the same tensors in an order of its own; the graphs themselves are compared too.
      if (known.has(role) || (at > 0 && initializers.has(initializer))) return [];
      return [{ role, initializer, name: `${initializer} (${role} of block ${block.index})`, weight: false }];
    }),
  );
  return [...own, ...others];
}

/** BEFORE's blocks as an architecture: `rename` gives the name of the same use in a block of AFTER. */
export function architectureOf(before: GraphView, after: GraphView): Architecture {
  const roles = new Map(before.uses.flatMap((own) => own.map(({ name, role }) => [name, role] as const)));
  const names = after.uses.map((own) => new Map(own.map(({ role, name }) => [role, name])));
  const { found, checkpoint, uses } = before;
  const blocks = found.blocks.map((block, index): Block => {
    const own = uses[index] ?? [];
    return {
      index: sourceIndex(index),
      kind: block.kind,
      tensors: new Map(own.map(({ role, name }) => [role, name])),
      branches: block.branches,
      fixed: [],
      buffers: new Set(own.filter(({ weight }) => !weight).map(({ role }) => role)),
    };
  });
  return {
    family: "graph",
    modelType: "graph",
    stack: "graph",
    stacks: ["graph"],
    blocks,
    tail: [],
    outside: [],
    period: found.period,
    periodIsOptional: true,
    notes: [],
    rename: (name, to) => {
      const role = roles.get(name);
      if (role === undefined) throw new ExpandError("bug", "is in no block", { at: name });
      return names[to]?.get(role) ?? `${role} of block ${to}`;
    },
    adapt: (layout) => {
      const documents = documentsOf(checkpoint.config);
      const edits = adaptGraphSettings(documents, blocks.length, layout);
      const files = after.checkpoint.shards.map(({ name }) => name);
      const named = fileSettings(documents, files).map((setting) => ({ ...setting, path: setting.path.join(".") }));
      return { edits: [...edits, ...named], warnings: [] };
    },
  };
}

export function numberingOf({ uses }: GraphView): Numbering {
  return { blocks: uses.length, names: new Map(uses.map((own, at) => [at, own.map(({ name }) => name)])) };
}

export function documentsOf(config: Config): Extract<Config, { dialect: "hf" }>["documents"] {
  return config.dialect === "gguf" ? new Map() : config.documents;
}

/** True for tensors whose bytes can be compared. */
export function hasBytes(dataType: number): boolean {
  return dataType !== OnnxType.STRING && dataType !== OnnxType.UNDEFINED;
}
