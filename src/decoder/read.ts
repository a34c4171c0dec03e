// Checkpoint to spec: finds the reader of the family and refuses what it left over. Knows no family itself.
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ExpandError } from "../errors.ts";
import type { JsonDocument, JsonObject, JsonValue } from "../json.ts";
import { readGguf } from "./gguf/read.ts";
import { HF_READERS } from "./hf/readers.ts";
import { Settings } from "./hf/settings.ts";
import type { DecoderSpec } from "./spec.ts";
import { Weights } from "./weights.ts";

/**
 * What the checkpoint computes. Throws "unsupported" naming the model type when no reader knows it, or the first setting or tensor that the
 * reader of its family does not understand.
 */
export function readSpec(checkpoint: Checkpoint): DecoderSpec {
  const { config } = checkpoint;
  if (config.dialect === "hf") return readHf(checkpoint, config.documents.get("config.json"));
  if (config.dialect === "gguf") return readGguf(checkpoint, config.metadata);
  throw new ExpandError("unsupported", `no forward pass is known for checkpoints of the dialect ${config.dialect}`, {
    at: checkpoint.location,
    fix: "Use verify --mode structure, or train --export: both do without a forward pass.",
  });
}

function readHf(checkpoint: Checkpoint, document: JsonDocument | undefined): DecoderSpec {
  const values = document?.value;
  const family = isObject(values) ? values.model_type : undefined;
  if (!isObject(values) || typeof family !== "string") {
    throw new ExpandError("unsupported", "no config.json says what kind of model this is", {
      at: checkpoint.location,
      fix: "Put the model's config.json, with its model_type, beside the weights.",
    });
  }
  const reader = Object.hasOwn(HF_READERS, family) ? HF_READERS[family] : undefined;
  if (reader === undefined) {
    throw new ExpandError("unsupported", `no forward pass is known for the model type "${family}"`, {
      at: checkpoint.location,
      fix: "Use verify --mode structure, or train --export: both do without a forward pass.",
    });
  }
  const settings = new Settings(values);
  const weights = new Weights(checkpoint.tensors);
  const spec = reader(settings, weights);
  settings.finish(family);
  weights.finish(family);
  return spec;
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}
