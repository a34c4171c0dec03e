// Gathers the weights of a graph, wherever they lie, into data files of its own: the same bytes, one after another. Reads small tensors only.
import { DataPacker } from "../formats/onnx/pack.ts";
import { cloneGraph, externalRange, type Graph, LARGE, putInside, referTo, tensorOf } from "../graph/graph.ts";
import type { TensorProto } from "../graph/onnx.ts";
import { tensorsOf } from "../graph/walk.ts";
import type { FilePlan } from "../storage/file-plan.ts";
import type { TensorRef } from "../tensor/reference.ts";
import type { ByteSource } from "../tensor/source.ts";

export interface PackOptions {
  /** Name of the first data file; the next are NAME_1, NAME_2, ... as transformers.js looks for them. */
  readonly name: string;
  /** Bytes; no data file is larger unless one tensor alone is. */
  readonly limit: number;
  /** Take a file as it is, so that it can be linked, when the graph uses most of it. */
  readonly link: boolean;
}

export interface Packed {
  readonly graph: Graph;
  /** NAME, NAME_1, ... */
  readonly files: readonly FilePlan[];
}

/** Tensors below LARGE go inside of the model; of tensors that share their bytes, one is written. */
export async function packData(source: Graph, options: PackOptions): Promise<Packed> {
  const graph = cloneGraph(source);
  const external = [...tensorsOf(graph.model)].filter((tensor) => externalRange(tensor) !== undefined);
  const whole = options.link ? wholeFiles(graph, external) : new Map<string, ByteSource>();
  const packer = new DataPacker(numbered(options.name), options.limit);
  const places = new Map([...whole].map(([location, file]) => [location, packer.take(file)]));
  for (const tensor of external) {
    const ref = tensorOf(graph, tensor);
    const range = externalRange(tensor);
    const place = places.get(range?.location ?? "");
    if (ref.bytes < LARGE) putInside(tensor, await bytesOf(ref));
    else if (place !== undefined && range !== undefined) referTo(tensor, place, range.offset, ref.bytes);
    else packer.add(tensor, ref);
  }
  return { graph: { model: graph.model, files: packer.sources() }, files: packer.files() };
}

function* numbered(name: string): Generator<string, never, void> {
  yield name;
  for (let count = 1; ; count++) yield `${name}_${count}`;
}

/** Files that are used for more than half of their bytes, by location. Only files can be linked. */
function wholeFiles(graph: Graph, external: readonly TensorProto[]): Map<string, ByteSource> {
  const used = new Map<string, Map<number, number>>();
  for (const tensor of external) {
    const range = externalRange(tensor);
    if (range === undefined) continue;
    const ranges = used.get(range.location) ?? new Map<number, number>();
    used.set(range.location, ranges.set(range.offset, tensorOf(graph, tensor).bytes));
  }
  const found = new Map<string, ByteSource>();
  for (const [location, ranges] of used) {
    const file = graph.files.get(location);
    const bytes = [...ranges.values()].reduce((sum, length) => sum + length, 0);
    if (file?.path !== undefined && bytes * 2 > file.size) found.set(location, file);
  }
  return found;
}

async function bytesOf(ref: TensorRef): Promise<Uint8Array> {
  if (ref.kind === "stored") return ref.source.read(ref.offset, ref.bytes);
  return Uint8Array.from({ length: ref.bytes }, (_, at) => ref.pattern[at % ref.pattern.length] ?? 0);
}
