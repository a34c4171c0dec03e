// Puts the weights of a graph where onnxruntime maps them: in place where one folder holds all files, else linked or decoded into a scratch
// folder. Never holds more than a piece of a weight in memory, never changes a file of the checkpoint.
import fs from "node:fs";
import path from "node:path";
import { cloneGraph, externalRange, type Graph, referTo, tensorOf } from "../../graph/graph.ts";
import type { TensorProto } from "../../graph/onnx.ts";
import { tensorsOf } from "../../graph/walk.ts";
import type { TensorRef } from "../../tensor/reference.ts";
import type { ByteSource } from "../../tensor/source.ts";

export interface Placed {
  readonly graph: Graph;
  /** Holds every external file of the graph. */
  readonly folder: string;
}

/** Holds weights that no file has as onnxruntime could read them. */
const DECODED = "decoded.bin";
/** Bytes that are in memory at a time. */
const PIECE = 2 ** 24;
/** Bytes; what lies on one is mapped without a copy. */
const PAGE = 4096;

/** onnxruntime refuses external data outside of one folder, and links that lead out of it: symbolic ones are followed here. */
export async function placeWeights(source: Graph, scratch: string): Promise<Placed> {
  const graph = cloneGraph(source);
  const external = [...tensorsOf(graph.model)].filter((tensor) => externalRange(tensor) !== undefined);
  const real = realPaths(graph, external);
  const [folder = scratch, ...others] = new Set([...real.values()].map((file) => file && path.dirname(file)));
  if (others.length === 0 && ![...real.values()].includes(undefined)) {
    for (const tensor of external) move(tensor, (location) => path.basename(real.get(location) ?? location));
    return { graph, folder };
  }
  fs.mkdirSync(scratch, { recursive: true });
  const links = linkAll(real, scratch);
  const rest = external.filter((tensor) => !links.has(externalRange(tensor)?.location ?? ""));
  for (const tensor of external) move(tensor, (location) => links.get(location) ?? location);
  await decodeAll(graph, rest, path.join(scratch, DECODED));
  return { graph, folder: scratch };
}

function move(tensor: TensorProto, rename: (location: string) => string): void {
  const range = externalRange(tensor);
  const entry = tensor.externalData.find(({ key }) => key === "location");
  if (range !== undefined && entry !== undefined) entry.value = rename(range.location);
}

/** Location to the file behind it; undefined for what is no file of this machine. */
function realPaths(graph: Graph, external: readonly TensorProto[]): ReadonlyMap<string, string | undefined> {
  const locations = new Set(external.map((tensor) => externalRange(tensor)?.location ?? ""));
  return new Map(
    [...locations].map((location) => {
      const file = graph.files.get(location)?.path;
      return [location, file === undefined ? undefined : fs.realpathSync(file)];
    }),
  );
}

/** Location to the name of a hard link in the scratch folder, for the files that can be linked there. */
function linkAll(real: ReadonlyMap<string, string | undefined>, scratch: string): ReadonlyMap<string, string> {
  const links = new Map<string, string>();
  for (const [location, file] of real) {
    if (file === undefined) continue;
    const name = `linked-${links.size}-${path.basename(file)}`;
    const link = path.join(scratch, name);
    fs.rmSync(link, { force: true });
    try {
      fs.linkSync(file, link);
    } catch {
      // Another file system, or one without links: what is used of the file is copied.
      continue;
    }
    links.set(location, name);
  }
  return links;
}

async function decodeAll(graph: Graph, tensors: readonly TensorProto[], file: string): Promise<void> {
  fs.rmSync(file, { force: true });
  if (tensors.length === 0) return;
  const written = new Map<string, number>();
  const out = fs.openSync(file, "w");
  try {
    let end = 0;
    for (const tensor of tensors) {
      const { location = "", offset: from = 0 } = externalRange(tensor) ?? {};
      const ref = tensorOf(graph, tensor);
      const key = `${location} ${from} ${ref.bytes}`;
      const offset = written.get(key) ?? end;
      if (offset === end) {
        await write(out, offset, ref);
        written.set(key, offset);
        end = Math.ceil((end + ref.bytes) / PAGE) * PAGE;
      }
      referTo(tensor, DECODED, offset, ref.bytes);
    }
    fs.ftruncateSync(out, end);
  } finally {
    fs.closeSync(out);
  }
}

/** Zeros stay a hole of the file. */
async function write(out: number, offset: number, ref: TensorRef): Promise<void> {
  if (ref.kind === "fill") return;
  for (let at = 0; at < ref.bytes; at += PIECE) {
    const piece = await readPiece(ref.source, ref.offset + at, Math.min(PIECE, ref.bytes - at));
    fs.writeSync(out, piece, 0, piece.length, offset + at);
  }
}

function readPiece(source: ByteSource, offset: number, length: number): Promise<Uint8Array> {
  return source.read(offset, length);
}
