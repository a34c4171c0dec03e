// From a path or an address to a checkpoint, whatever its format. Reads headers and settings only, never weights.
import fs from "node:fs";
import path from "node:path";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ExpandError, isSystemError, quote } from "../errors.ts";
import type { RunOptions } from "../events.ts";
import { type HubAddress, parseAddress } from "../hub/address.ts";
import type { Repository } from "../hub/repository.ts";
import { nearest } from "../nearest.ts";
import { type Folder, folderInside, localFolder } from "../tensor/folder.ts";
import { findCompanions, HF_DOCUMENTS, ONNX_DOCUMENTS, readConfig, readDocuments } from "./companions.ts";
import { joinShards, type OpenedShard } from "./shards.ts";
import { findWeights, standsInOnnxFolder, type Weights, weightsOf } from "./weights.ts";

export interface OpenOptions extends RunOptions {
  /** For repositories of the Hub; otherwise the environment's (HF_TOKEN, HF_TOKEN_PATH, $HF_HOME/token). */
  readonly token?: string;
}

/** Each format's reader is loaded when it is needed: a quarter of a short run goes into loading code. */
const OPENERS = {
  safetensors: async () => (await import("./safetensors/read.ts")).openSafetensorsFile,
  torch: async () => (await import("./torch/read.ts")).openTorchFile,
  gguf: async () => (await import("./gguf/read.ts")).openGguf,
  onnx: async () => (await import("./onnx/read.ts")).openOnnx,
};

/**
 * Opens a directory, a .safetensors, .bin, .pt, .pth, .gguf or .onnx file, the index of a sharded checkpoint, or a repository of the
 * Hub ("owner/name", "owner/name@revision:path") where no such path exists. Throws "input" when nothing there can be opened or several
 * things could be meant, "damaged" and "unsupported" with the exact fault, "network" where the Hub does not answer.
 */
export async function openCheckpoint(location: string, options: OpenOptions = {}): Promise<Checkpoint> {
  const kind = localKind(location);
  if (kind === "directory") return openFolder(localFolder(location), "", location);
  if (kind === "file") {
    const directory = path.dirname(location);
    const above = path.join(directory, "..");
    const inner = `${path.basename(path.resolve(directory))}/${path.basename(location)}`;
    if (standsInOnnxFolder(localFolder(above), inner)) return openFolder(localFolder(above), inner, location);
    return openFolder(localFolder(directory), path.basename(location), location);
  }
  const address = parseAddress(location);
  if (address !== undefined) return openRemote(address, options, location);
  throw new ExpandError("input", "does not exist", { at: location, fix: "Check the path." });
}

/** Headers are transferred, weights are not: they are read by ranges when they are needed. */
async function openRemote(address: HubAddress, options: OpenOptions, location: string): Promise<Checkpoint> {
  const { openRepository } = await import("../hub/repository.ts");
  const { hubSettings } = await import("../hub/settings.ts");
  const repository = await openRepository(address, hubSettings(options.token), options.signal).catch(
    (error: unknown) => {
      throw orPath(error, location);
    },
  );
  try {
    if (address.path !== undefined && repository.kind(address.path) === undefined)
      throw noSuchFile(repository, address.path);
    const checkpoint = await openFolder(repository, address.path ?? "", location);
    return { ...checkpoint, repository };
  } catch (error) {
    repository.close();
    throw error;
  }
}

function noSuchFile({ name, files }: Repository, file: string): ExpandError {
  const close = nearest(file, files);
  return new ExpandError("input", `has no file ${quote(file)}`, {
    at: name,
    fix: close.length > 0 ? `Did you mean ${close.join(", or ")}?` : "Name one of its files, or the repository alone.",
  });
}

/** What is neither on this machine nor on the Hub was as likely meant to be a path. */
function orPath(error: unknown, location: string): unknown {
  if (!(error instanceof ExpandError) || error.tag !== "network" || location.includes("://")) return error;
  const message = `does not exist on this machine; as a repository of the Hub: ${error.message}`;
  const fix = error.fix === undefined ? "Check the path." : `Check the path; for a repository: ${error.fix}`;
  return new ExpandError(error.tag, message, { at: location, fix, cause: error.cause });
}

/** A checkpoint in a folder of any kind; `inner` is a directory or a file of it, "" the folder itself. */
export async function openFolder(root: Folder, inner: string, location: string): Promise<Checkpoint> {
  const isDirectory = inner === "" || root.kind(inner) === "directory";
  const directory = isDirectory ? inner : inner.slice(0, Math.max(0, inner.lastIndexOf("/")));
  const deep = !isDirectory && standsInOnnxFolder(root, inner);
  const folder = folderInside(root, deep ? directory.slice(0, Math.max(0, directory.lastIndexOf("/"))) : directory);
  const name = inner
    .split("/")
    .slice(deep ? -2 : -1)
    .join("/");
  const weights = isDirectory ? await findWeights(folder) : await weightsOf(folder, name);
  switch (weights.format) {
    case "gguf": {
      const openGguf = await OPENERS.gguf();
      return { ...(await openGguf(folder, weights.file)), location };
    }
    case "onnx":
      return openGraph(folder, weights.model, location);
    default:
      return openShards(folder, weights, location);
  }
}

async function openGraph(folder: Folder, model: string, location: string): Promise<Checkpoint> {
  const openOnnx = await OPENERS.onnx();
  const opened = await openOnnx(folder, model);
  const known = [...opened.shards.map(({ name }) => name), ...ONNX_DOCUMENTS];
  return {
    format: "onnx",
    location,
    config: { dialect: "onnx", documents: await readDocuments(folder, ONNX_DOCUMENTS) },
    ...opened,
    ...findCompanions(folder, known),
  };
}

async function openShards(
  folder: Folder,
  weights: Extract<Weights, { format: "safetensors" | "torch" }>,
  location: string,
): Promise<Checkpoint> {
  const { format, index } = weights;
  const config = await readConfig(folder);
  const openFile = await OPENERS[format]();
  const opened: OpenedShard[] = [];
  for (const name of weights.shards) opened.push(await openFile(folder.source(name), name));
  return {
    format,
    location,
    config,
    tensors: joinShards(opened, index),
    shards: opened.map(({ shard }) => shard),
    ...findCompanions(folder, [...weights.shards, ...HF_DOCUMENTS]),
    ...(index === undefined ? {} : { index: index.metadata }),
  };
}

function localKind(location: string): "directory" | "file" | undefined {
  try {
    return fs.statSync(location).isDirectory() ? "directory" : "file";
  } catch (error) {
    if (!isSystemError(error)) throw error;
    if (error.code === "ENOENT" || error.code === "ENOTDIR") return undefined;
    throw new ExpandError("input", `cannot be read (${error.code})`, {
      at: location,
      fix: "Check the path.",
      cause: error,
    });
  }
}
