// From a path to a checkpoint, whatever its format. Reads headers and settings only, never weights.
import fs from "node:fs";
import path from "node:path";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ExpandError, isSystemError } from "../errors.ts";
import { fileSource } from "../tensor/source.ts";
import { findAssets, HF_DOCUMENTS, ONNX_DOCUMENTS, readConfig, readDocuments } from "./companions.ts";
import { joinShards, type OpenedShard } from "./shards.ts";
import { findWeights, type Weights, weightsOf } from "./weights.ts";

/** Each format's reader is loaded when it is needed: a quarter of a short run goes into loading code. */
const OPENERS = {
  safetensors: async () => (await import("./safetensors/read.ts")).openSafetensorsFile,
  torch: async () => (await import("./torch/read.ts")).openTorchFile,
  gguf: async () => (await import("./gguf/read.ts")).openGguf,
  onnx: async () => (await import("./onnx/read.ts")).openOnnx,
};

/**
 * Opens a directory, a .safetensors, .bin, .pt, .pth, .gguf or .onnx file, or the index of a sharded checkpoint. Throws "input" when
 * nothing there can be opened or several things could be meant, "damaged" and "unsupported" with the exact fault.
 */
export async function openCheckpoint(location: string): Promise<Checkpoint> {
  const weights = isDirectory(location) ? await findWeights(location) : await weightsOf(location);
  switch (weights.format) {
    case "gguf": {
      const openGguf = await OPENERS.gguf();
      return { ...(await openGguf(weights.file)), location };
    }
    case "onnx":
      return openGraph(location, weights);
    default:
      return openShards(location, weights);
  }
}

async function openGraph(location: string, weights: Extract<Weights, { format: "onnx" }>): Promise<Checkpoint> {
  const { directory, model } = weights;
  const openOnnx = await OPENERS.onnx();
  const opened = await openOnnx(path.join(directory, model), model.slice(0, model.lastIndexOf("/") + 1));
  const known = [...opened.shards.map(({ name }) => name), ...ONNX_DOCUMENTS];
  return {
    format: "onnx",
    location,
    config: { dialect: "onnx", documents: await readDocuments(directory, ONNX_DOCUMENTS) },
    ...opened,
    assets: findAssets(directory, known),
  };
}

async function openShards(
  location: string,
  weights: Extract<Weights, { format: "safetensors" | "torch" }>,
): Promise<Checkpoint> {
  const { format, directory, index } = weights;
  const config = await readConfig(directory);
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
    assets: findAssets(directory, HF_DOCUMENTS),
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
