// Says what a GGUF file is, and refuses what is no model or no architecture that can be expanded. Reads a few settings only.
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { type GgufMetadata, ggufString } from "../../checkpoint/gguf-metadata.ts";
import { ExpandError } from "../../errors.ts";
import { nearest } from "../../nearest.ts";
import { RECORDS } from "./families/records.ts";
import type { GgufFamily } from "./family.ts";
import type { Settings } from "./settings.ts";

/** `general.type` values that are no models (gguf-py constants.py, GGUFType), and `general.architecture` values that say the same. */
const NO_MODEL: ReadonlyMap<string | undefined, string> = new Map([
  ["adapter", "a LoRA adapter"],
  ["imatrix", "an importance matrix"],
  ["mmproj", "a vision or audio projector (mmproj)"],
  ["clip", "a vision or audio projector (mmproj)"],
]);

/** Scalar keys about block indices, and the value that says nothing. No value: the key alone is enough to stop. */
const INDEX_KEYS: Readonly<Record<string, number | undefined>> = {
  "attention.shared_kv_layers": 0,
  "attn_res.block_size": 0,
  "convnext.block_count": undefined,
  decoder_block_count: undefined,
  full_attention_interval: undefined,
  hash_layer_count: 0,
  "hrm.layers_per_stack": undefined,
  interleave_moe_layer_step: 1,
  moe_every_n_layers: 0,
  n_deepstack_layers: 0,
  num_loops: 1,
  "posnet.block_count": undefined,
  rescale_every_n_layers: 0,
};

/** `general.architecture`. Throws "unsupported" when the file is not a model, "damaged" when it does not say. */
export function architectureName(checkpoint: Checkpoint, metadata: GgufMetadata): string {
  const type = textOf(metadata, "general.type");
  const architecture = textOf(metadata, "general.architecture");
  const kind = NO_MODEL.get(type) ?? NO_MODEL.get(architecture);
  if (kind !== undefined) refuseFile(checkpoint, `is ${kind}, not a model`);
  if (architecture === undefined) {
    throw new ExpandError("damaged", 'has no key "general.architecture"', {
      at: checkpoint.location,
      fix: "Convert the model again with a current llama.cpp.",
    });
  }
  if (type !== undefined && type !== "model") refuseFile(checkpoint, `is of type "${type}", not a model`);
  if (checkpoint.tensors.size === 0) refuseFile(checkpoint, "holds a vocabulary and no weights");
  return architecture;
}

/** The record of an architecture. Throws "unsupported" when there is none, or when it refuses. */
export function familyOf(checkpoint: Checkpoint, architecture: string): GgufFamily {
  const record = Object.hasOwn(RECORDS, architecture) ? RECORDS[architecture] : undefined;
  if (record === undefined) {
    const names = nearest(architecture, Object.keys(RECORDS));
    throw new ExpandError("unsupported", `the architecture "${architecture}" is not known`, {
      at: checkpoint.location,
      fix: names.length === 0 ? "Update expand-checkpoint." : `Check the name; known are ${names.join(", ")}.`,
    });
  }
  if (!("refuse" in record)) return record;
  throw new ExpandError("unsupported", `${architecture} is not expanded: ${record.refuse}`, {
    at: checkpoint.location,
    fix: "Expand the Hugging Face checkpoint of the model where its architecture allows it.",
  });
}

/** Throws "unsupported" when the source itself is one whose meaning would change with any expansion. */
export function checkSource(settings: Settings, family: GgufFamily, blocks: number): void {
  if (family.counts?.of.includes(blocks)) {
    throw new ExpandError("unsupported", `with ${blocks} blocks ${family.counts.why}`, {
      at: settings.key("block_count"),
      fix: "Expand the Hugging Face checkpoint of the model instead.",
    });
  }
  for (const [name, harmless] of Object.entries(INDEX_KEYS)) {
    const entry = settings.entry(name);
    if (entry === undefined || family.handles?.includes(name)) continue;
    const value = settings.value(name);
    if (value === harmless) continue;
    throw new ExpandError(
      "unsupported",
      `is ${JSON.stringify(value)}: what it decides by block number changes when blocks are inserted`,
      {
        at: settings.key(name),
        fix: "Expand the Hugging Face checkpoint of the model where its architecture allows it.",
      },
    );
  }
}

function textOf(metadata: GgufMetadata, key: string): string | undefined {
  const entry = metadata.entries.get(key);
  return entry === undefined ? undefined : ggufString(entry);
}

function refuseFile(checkpoint: Checkpoint, message: string): never {
  throw new ExpandError("unsupported", message, {
    at: checkpoint.location,
    fix: "Give the file that holds the model's weights.",
  });
}
