// How many data files transformers.js must fetch: it asks config.json, not the model. Reads names of files only.
import type { ConfigEdit } from "../../architecture/architecture.ts";
import { chunkSettings } from "../../architecture/onnx/chunks.ts";
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";

/** What AFTER's files demand of the setting that BEFORE has. */
export function chunkEdits(before: Checkpoint, after: Checkpoint): readonly ConfigEdit[] {
  if (before.config.dialect === "gguf") return [];
  return chunkSettings(before.config.documents, after.shards.map(({ name }) => name));
}
