// What a training step will need, before anything is opened but headers. An estimate: activations are counted from the sizes of weights.
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import type { JsonValue } from "../../json.ts";
import { elementCount } from "../../tensor/dtype.ts";
import type { TensorRef } from "../../tensor/reference.ts";
import type { TrainerOptions } from "./contract.ts";

/** Bytes. */
export interface MemoryEstimate {
  /** Frozen weights as they are stored. On the CPU they are mapped from files and may be dropped and read again. */
  readonly weights: number;
  /** Trainable weights and both moments, f32; twice where a graph takes them in and gives them out. */
  readonly state: number;
  readonly gradients: number;
  readonly activations: number;
  readonly total: number;
}

export type MemoryOptions = Pick<
  TrainerOptions,
  "checkpoint" | "trainable" | "batch" | "context" | "layout" | "checkpointing" | "dtype"
>;

/** f32 copies of the logits that loss and gradient hold at a time. */
const LOGITS = 3;
/** f32 copies of attention scores that are kept: scores, probabilities, and one for what comes back. */
const SCORES = 3;
/** f32 values of the residual stream's width that norms, rotations and sums of one block keep; measured. */
const STREAMS = 10;

export function estimateMemory(options: MemoryOptions): MemoryEstimate {
  const { checkpoint, trainable, layout } = options;
  let [frozen, trained] = [0, 0];
  for (const [name, tensor] of checkpoint.tensors) {
    if (trainable.has(name)) trained += elementCount(tensor.shape) ?? 0;
    else frozen += tensor.bytes;
  }
  const { blocks } = linearsOf(checkpoint);
  const weights = layout === "offload" ? Math.ceil(frozen / Math.max(1, blocks)) : frozen;
  const state = trained * 12 * (layout === "graph" || layout === "loop" ? 2 : 1);
  // Where a run gives them out, its own and ours.
  const gradients = trained * 4 * (layout === "graph" || layout === "loop" ? 1 : 2);
  const activations = activationsOf(options);
  return { weights, state, gradients, activations, total: weights + state + gradients + activations };
}

/** A linear keeps what goes in and what comes out; with checkpointing those of one block at a time, and what goes into the others. */
function activationsOf({ checkpoint, batch, context, layout, checkpointing, dtype }: MemoryOptions): number {
  const tokens = batch * context;
  const { blocks, widths, hidden, vocabulary } = linearsOf(checkpoint);
  const width = dtype === "f32" ? 4 : 3;
  const scores = SCORES * headsOf(checkpoint) * batch * context * context;
  const block = (tokens * (widths / Math.max(1, blocks) + STREAMS * hidden) + scores) * width;
  const logits = LOGITS * tokens * vocabulary * 4;
  // Two borders a block, and the block at hand forward and backward.
  const isRecomputed = checkpointing || layout === "offload";
  return Math.ceil(logits + (isRecomputed ? 2 * blocks * tokens * hidden * 4 + 2 * block : blocks * block));
}

interface Linears {
  readonly blocks: number;
  /** Inputs and outputs of all matrices of all blocks, added up. */
  readonly widths: number;
  readonly hidden: number;
  readonly vocabulary: number;
}

/** By names and shapes alone: matrices with a number in their name are of blocks, the tallest of the others is read by token. */
function linearsOf({ tensors }: Checkpoint): Linears {
  const blocks = new Set<string>();
  let [widths, hidden, vocabulary] = [0, 0, 0];
  for (const [name, tensor] of tensors) {
    const number = /(?:^|[./_])(\d+)(?=[./_]|$)/.exec(name)?.[1];
    const [rows, columns] = matrixOf(tensor);
    if (rows === 0) continue;
    if (number !== undefined) {
      blocks.add(number);
      widths += rows + columns;
    } else if (rows > vocabulary) {
      [vocabulary, hidden] = [rows, columns];
    }
  }
  return { blocks: blocks.size, widths, hidden, vocabulary };
}

/** Stacked matrices (experts) count as one of all their rows. */
function matrixOf({ shape }: TensorRef): readonly [rows: number, columns: number] {
  if (shape.length < 2) return [0, 0];
  return [elementCount(shape.slice(0, -1)) ?? 0, shape.at(-1) ?? 0];
}

/** 0 where no setting says it: scores are then left out. */
function headsOf({ config }: Checkpoint): number {
  if (config.dialect === "gguf") {
    const entry = [...config.metadata.entries.values()].find(({ key }) => key.endsWith(".attention.head_count"));
    return entry?.raw.length === 4 ? Buffer.from(entry.raw).readUInt32LE() : 0;
  }
  const document = config.documents.get("config.json");
  const paths = [["num_attention_heads"], ["n_head"], ["text_config", "num_attention_heads"]];
  const found = paths.map((path): JsonValue | undefined => document?.get(path));
  return found.find((each) => typeof each === "number") ?? 0;
}
