// Opens an ONNX model as a graph with its tensors. Reads the graph and no weights.
import path from "node:path";
import type { Shard } from "../../checkpoint/checkpoint.ts";
import { ExpandError, quote } from "../../errors.ts";
import { checkTensor } from "../../graph/check.ts";
import { externalRange, type Graph, tensorOf } from "../../graph/graph.ts";
import { decodeModel, type GraphProto, type ModelProto, OnnxType } from "../../graph/onnx.ts";
import { tensorsOf } from "../../graph/walk.ts";
import type { Folder } from "../../tensor/folder.ts";
import type { TensorRef } from "../../tensor/reference.ts";
import type { ByteSource } from "../../tensor/source.ts";
import { assertDownloaded } from "../intact.ts";
import { dataFiles } from "./locations.ts";
import { scanModel } from "./scan.ts";

export interface OpenedOnnx {
  readonly graph: Graph;
  /** Initializers of the main graph in their order, strings left out. */
  readonly tensors: ReadonlyMap<string, TensorRef>;
  /** The model file first, with the tensors that are inside of it, then its data files. */
  readonly shards: readonly Shard[];
}

/** IR version 1 is of 2017; what ONNX 1.20 writes is 13. Older and newer ones mean other things than we know. */
const KNOWN_IR = { least: 1n, most: 13n };

/**
 * Opens a model by its .onnx file in a folder. Throws "input" for a missing file, "damaged" when bytes contradict themselves,
 * "unsupported" when they are fine and not known here.
 */
export async function openOnnx(folder: Folder, file: string): Promise<OpenedOnnx> {
  const source = folder.source(file);
  const model = await readModel(source, path.posix.basename(file));
  const inside = file.slice(0, file.lastIndexOf("/") + 1);
  try {
    const graph: Graph = { model, files: await dataFiles(model, folder, file) };
    for (const tensor of tensorsOf(model)) checkTensor(graph, tensor);
    const tensors = initializers(graph, mainGraph(model));
    return { graph, tensors, shards: shardsOf(graph, tensors, inside) };
  } catch (error) {
    throw inFile(error, source.name);
  }
}

/** The messages of a model, with large tensors as references to `location`. */
export async function readModel(source: ByteSource, location: string): Promise<ModelProto> {
  await assertDownloaded(source);
  const light = await scanModel(source, location);
  let model: ModelProto;
  try {
    model = decodeModel(light);
  } catch (cause) {
    throw new ExpandError("damaged", "is not an ONNX model", { at: source.name, fix: DOWNLOAD_AGAIN, cause });
  }
  if (model.graph === undefined) {
    throw new ExpandError("damaged", "has no graph, which every ONNX model has", {
      at: source.name,
      fix: DOWNLOAD_AGAIN,
    });
  }
  if (model.irVersion < KNOWN_IR.least || model.irVersion > KNOWN_IR.most) {
    const known = `${KNOWN_IR.least} to ${KNOWN_IR.most} are known`;
    throw new ExpandError("unsupported", `is of ONNX IR version ${model.irVersion}; ${known}`, {
      at: source.name,
      fix: "Update expand-checkpoint if the version is new; else export the model again.",
    });
  }
  return model;
}

const DOWNLOAD_AGAIN = "Download or export the model again.";

function mainGraph(model: ModelProto): GraphProto {
  if (model.graph === undefined) throw new ExpandError("bug", "a model without a graph was let through");
  return model.graph;
}

function initializers(graph: Graph, main: GraphProto): ReadonlyMap<string, TensorRef> {
  const tensors = new Map<string, TensorRef>();
  for (const tensor of main.initializer) {
    if (tensor.dataType === OnnxType.STRING) continue;
    if (tensors.has(tensor.name)) {
      throw new ExpandError("damaged", "is there twice", {
        at: `initializer ${quote(tensor.name)}`,
        fix: DOWNLOAD_AGAIN,
      });
    }
    tensors.set(tensor.name, tensorOf(graph, tensor));
  }
  return tensors;
}

/** Each file with the initializers in it, in the order of their data. */
function shardsOf(graph: Graph, tensors: ReadonlyMap<string, TensorRef>, inside: string): readonly Shard[] {
  const [own = ""] = graph.files.keys();
  const places = new Map<string, { readonly name: string; readonly offset: number }[]>();
  for (const location of graph.files.keys()) places.set(location, []);
  for (const tensor of graph.model.graph?.initializer ?? []) {
    const range = externalRange(tensor);
    if (tensors.has(tensor.name))
      places.get(range?.location ?? own)?.push({ name: tensor.name, offset: range?.offset ?? 0 });
  }
  return [...graph.files].map(([location, source]) => {
    const held = (places.get(location) ?? []).sort((a, b) => a.offset - b.offset);
    const first = held.find(({ offset }) => offset > 0 || location !== own);
    return {
      name: inside + location,
      source,
      dataStart: first?.offset ?? 0,
      tensors: held.map(({ name }) => name),
    };
  });
}

/** What is said of a tensor or a data file, with the model that it belongs to. */
function inFile(error: unknown, file: string): unknown {
  if (!(error instanceof ExpandError) || error.at === file) return error;
  return new ExpandError(error.tag, error.message, {
    at: file,
    ...(error.fix === undefined ? {} : { fix: error.fix }),
    cause: error,
  });
}
