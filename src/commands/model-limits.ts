// How many tokens a model takes, and how many it knows, as its settings say. Runs nothing.
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { readSpec } from "../decoder/read.ts";
import type { JsonDocument } from "../json.ts";

export interface ModelLimits {
  /** Ids from 0 up to this one are known; absent where no setting says it. */
  readonly vocabulary?: number;
  /** Longest sequence; absent where no setting says it. */
  readonly context?: number;
}

/** Throws what `readSpec` throws. Of ONNX, what the settings beside the model say. */
export function modelLimits(checkpoint: Checkpoint): ModelLimits {
  const { config } = checkpoint;
  if (config.dialect !== "onnx") {
    const { vocabulary, context } = readSpec(checkpoint);
    return { vocabulary, ...(context === undefined ? {} : { context }) };
  }
  const documents = [...config.documents.values()];
  const vocabulary = firstCount(documents, [["vocab_size"], ["model", "vocab_size"]]);
  const context = firstCount(documents, [["max_position_embeddings"], ["n_positions"], ["model", "context_length"]]);
  return { ...(vocabulary === undefined ? {} : { vocabulary }), ...(context === undefined ? {} : { context }) };
}

function firstCount(documents: readonly JsonDocument[], paths: readonly (readonly string[])[]): number | undefined {
  const values = documents.flatMap((document) => paths.map((path) => document.get(path)));
  return values.find((value): value is number => typeof value === "number" && Number.isSafeInteger(value) && value > 0);
}
