// From a path to a checkpoint, whatever its format. Reads headers and settings only, never weights.
import fs from "node:fs";
import path from "node:path";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ExpandError, isSystemError } from "../errors.ts";
import { fileSource } from "../tensor/source.ts";
import { findAssets, readDocuments } from "./companions.ts";
import { joinShards, type OpenedShard } from "./shards.ts";
import { findWeights, type Weights, weightsOf } from "./weights.ts";

/** Each format's reader is loaded when it is needed: a quarter of a short run goes into loading code. */
const OPENERS = {
  safetensors: async () => (await import("./safetensors/read.ts")).openSafetensorsFile,
  torch: async () => (await import("./torch/read.ts")).openTorchFile,
  gguf: async () => (await import("./gguf/read.ts")).openGguf,
};

/**
 * Opens a directory, a .safetensors, .bin, .pt, .pth or .gguf file, or the index of a sharded checkpoint. Throws "input" when
 * nothing there can be opened or several things could be meant, "damaged" and "unsupported" with the exact fault.
 */
export async function openCheckpoint(location: string): Promise<Checkpoint> {
  const weights = isDirectory(location) ? await findWeights(location) : await weightsOf(location);
  if (weights.format !== "gguf") return openShards(location, weights);
  const openGguf = await OPENERS.gguf();
  return { ...(await openGguf(weights.file)), location };
}

async function openShards(location: string, weights: Exclude<Weights, { format: "gguf" }>): Promise<Checkpoint> {
  const { format, directory, index } = weights;
  const config = await readDocuments(directory);
  const openFile = await OPENERS[format]();
  const opened: OpenedShard[] = [];
  for (const name of weights.shards) {
    const file = path.join(directory, name);
    opened.push(await openFile(fileSource(path.resolve(file), file), name));
  }
  return {
    format,
    location,
    config,
    tensors: joinShards(opened, index),
    shards: opened.map(({ shard }) => shard),
    assets: findAssets(directory),
    ...(index === undefined ? {} : { index: index.metadata }),
  };
}

function isDirectory(location: string): boolean {
  try {
    return fs.statSync(location).isDirectory();
  } catch (error) {
    if (!isSystemError(error)) throw error;
    throw new ExpandError("input", error.code === "ENOENT" ? "does not exist" : `cannot be read (${error.code})`, {
      at: location,
      fix: "Check the path.",
      cause: error,
    });
  }
}
