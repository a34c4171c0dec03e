// A graph as files: a light .onnx, and its data beside it in files of which the unchanged ones are whole copies. Plans only; writes nothing.
import path from "node:path";
import { ExpandError } from "../../errors.ts";
import { checkGraph } from "../../graph/check.ts";
import { cloneGraph, externalRange, type Graph, LARGE, referTo, tensorOf, ZEROS } from "../../graph/graph.ts";
import { encodeModel, type TensorProto } from "../../graph/onnx.ts";
import { tensorsOf } from "../../graph/walk.ts";
import type { FilePlan } from "../../storage/file-plan.ts";
import { ZERO } from "../../tensor/reference.ts";
import type { ByteSource } from "../../tensor/source.ts";
import { DataPacker } from "./pack.ts";

export interface OnnxPlanOptions {
  /** Path of the model file below the output: model.onnx, or onnx/model.onnx. */
  readonly name: string;
  /** Bytes. No file of packed tensors is larger, unless a single tensor is. Absent: one file. */
  readonly shardSize?: number;
}

/** Bytes. Protobuf's own limit is 2 GiB - 1. */
const MAX_MODEL = 2 ** 31 - 1;

/**
 * The model file first, then its data: files that tensors already referred to go whole, under their names; tensors of an inline .onnx and
 * those in memory are packed into NAME_data (and _data_1, ...); all zeros are one file more. Throws what `checkGraph` throws, and "usage".
 */
export function planOnnx(graph: Graph, options: OnnxPlanOptions): readonly FilePlan[] {
  const model = path.posix.basename(options.name);
  const folder = options.name.slice(0, options.name.length - model.length);
  checkName(options.name);
  checkGraph(graph);
  const planned = cloneGraph(graph);
  const large = [...tensorsOf(planned.model)].filter(isLarge);
  const kept = keptFiles(planned, large);
  const names = chunkNames(model, new Set(kept.keys()));
  const packer = new DataPacker(names, options.shardSize ?? Number.POSITIVE_INFINITY);
  for (const tensor of inOrder(planned, large)) {
    const location = externalRange(tensor)?.location;
    if (location !== ZEROS && !kept.has(location ?? "")) packer.add(tensor, tensorOf(planned, tensor));
  }
  const zeros = zerosFile(large, names);
  const data = [...[...kept].map(wholeFile), ...packer.files(), ...zeros];
  return [modelFile(model, encodeModel(planned.model)), ...data].map((file) => ({ ...file, name: folder + file.name }));
}

/** What is not inside the model when it is written. */
function isLarge(tensor: TensorProto): boolean {
  return externalRange(tensor) !== undefined || tensor.rawData.length >= LARGE;
}

/** Data files as they are. A model file holds more than data, and a source without a path is no file at all: their tensors are packed. */
function keptFiles(graph: Graph, large: readonly TensorProto[]): ReadonlyMap<string, ByteSource> {
  const used = new Set(large.map((tensor) => externalRange(tensor)?.location));
  return new Map(
    [...graph.files].filter(([location, { path: file }]) => {
      return used.has(location) && file !== undefined && !/\.onnx$/i.test(location);
    }),
  );
}

/** NAME_data, NAME_data_1, ...: what transformers.js looks for, less the names of kept files. */
function* chunkNames(model: string, taken: ReadonlySet<string>): Generator<string, never, void> {
  for (let count = 0; ; count++) {
    const name = `${model}_data${count === 0 ? "" : `_${count}`}`;
    if (!taken.has(name)) yield name;
  }
}

/** In the order of the files and of the data inside them, so that packing reads its sources from front to back. */
function inOrder(graph: Graph, tensors: readonly TensorProto[]): readonly TensorProto[] {
  const files = new Map([...graph.files.keys()].map((location, index) => [location, index]));
  const place = (tensor: TensorProto): readonly [number, number] => {
    const range = externalRange(tensor);
    return range === undefined ? [files.size, 0] : [files.get(range.location) ?? files.size, range.offset];
  };
  return tensors
    .map((tensor) => ({ tensor, place: place(tensor) }))
    .sort((a, b) => a.place[0] - b.place[0] || a.place[1] - b.place[1])
    .map(({ tensor }) => tensor);
}

/** The one file of zeros, as long as the longest tensor that refers to it; none where none does. */
function zerosFile(large: readonly TensorProto[], names: Generator<string, never, void>): readonly FilePlan[] {
  const tensors = large.flatMap((tensor) => {
    const range = externalRange(tensor);
    return range?.location === ZEROS ? [{ tensor, length: range.length ?? 0 }] : [];
  });
  if (tensors.length === 0) return [];
  const name = names.next().value;
  const size = tensors.reduce((most, { length }) => Math.max(most, length), 0);
  for (const { tensor, length } of tensors) referTo(tensor, name, 0, length);
  return [{ name, size, segments: [{ kind: "fill", to: 0, length: size, pattern: ZERO }] }];
}

function wholeFile([name, source]: readonly [string, ByteSource]): FilePlan {
  return { name, size: source.size, segments: [{ kind: "copy", to: 0, length: source.size, source, from: 0 }] };
}

function modelFile(name: string, data: Uint8Array): FilePlan {
  if (data.length <= MAX_MODEL) return { name, size: data.length, segments: [{ kind: "bytes", to: 0, data }] };
  throw new ExpandError("unsupported", `takes ${data.length} bytes without its weights; ONNX allows ${MAX_MODEL}`, {
    at: name,
    fix: "Export the model with its weights as raw data.",
  });
}

function checkName(name: string): void {
  if (/[^/]\.onnx$/i.test(name)) return;
  throw new ExpandError("usage", 'a file name that ends in ".onnx" was expected', {
    at: name,
    fix: "Choose a name such as model.onnx.",
  });
}
