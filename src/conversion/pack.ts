// Gathers the weights of a graph, wherever they lie, into data files of its own: the same bytes, one after another. Reads small tensors only.
import { cloneGraph, externalRange, type Graph, LARGE, putInside, referTo, tensorOf } from "../graph/graph.ts";
import type { TensorProto } from "../graph/onnx.ts";
import { tensorsOf } from "../graph/walk.ts";
import type { FilePlan, Segment } from "../storage/file-plan.ts";
import { type TensorRef, ZERO } from "../tensor/reference.ts";
import { type ByteSource, joinedSource, type Stretch } from "../tensor/source.ts";

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

/** Bytes. A page, so that large tensors can be mapped; a cache line is enough for the others. */
const PAGE = 4096;
const LINE = 64;
const PAGED_FROM = 2 ** 20;

/** Tensors below LARGE go inside of the model; of tensors that share their bytes, one is written. */
export async function packData(source: Graph, options: PackOptions): Promise<Packed> {
  const graph = cloneGraph(source);
  const external = [...tensorsOf(graph.model)].filter((tensor) => externalRange(tensor) !== undefined);
  const whole = options.link ? wholeFiles(graph, external) : new Map<string, ByteSource>();
  const packer = new Packer(options);
  const places = new Map([...whole].map(([location, file]) => [location, packer.take(file)]));
  for (const tensor of external) {
    const ref = tensorOf(graph, tensor);
    const range = externalRange(tensor);
    const place = places.get(range?.location ?? "");
    if (ref.bytes < LARGE) putInside(tensor, await bytesOf(ref));
    else if (place !== undefined && range !== undefined) referTo(tensor, place, range.offset, ref.bytes);
    else packer.add(tensor, ref);
  }
  return { graph: { model: graph.model, files: packer.sources() }, files: packer.plans() };
}

interface Chunk {
  readonly name: string;
  size: number;
  readonly segments: Segment[];
  readonly stretches: Stretch[];
  /** A whole file, to which nothing is added. */
  readonly closed: boolean;
}

class Packer {
  readonly #options: PackOptions;
  readonly #chunks: Chunk[] = [];
  readonly #places = new Map<string, { readonly location: string; readonly offset: number }>();
  readonly #sources = new Map<ByteSource, number>();

  constructor(options: PackOptions) {
    this.#options = options;
  }

  add(tensor: TensorProto, ref: TensorRef): void {
    const key = this.#keyOf(ref);
    const place = this.#places.get(key) ?? this.#append(ref);
    this.#places.set(key, place);
    referTo(tensor, place.location, place.offset, ref.bytes);
  }

  /** A file as it is, under a name of ours. */
  take(source: ByteSource): string {
    const chunk = this.#open(true);
    this.#write(chunk, { length: source.size, source, offset: 0 });
    return chunk.name;
  }

  plans(): readonly FilePlan[] {
    return this.#chunks.map(({ name, size, segments }) => ({ name, size, segments }));
  }

  sources(): ReadonlyMap<string, ByteSource> {
    return new Map(this.#chunks.map(({ name, stretches }) => [name, joinedSource(name, stretches)]));
  }

  #keyOf(ref: TensorRef): string {
    if (ref.kind === "fill") return `fill ${ref.bytes} ${Buffer.from(ref.pattern).toString("hex")}`;
    const source = this.#sources.get(ref.source) ?? this.#sources.size;
    this.#sources.set(ref.source, source);
    return `${source} ${ref.offset} ${ref.bytes}`;
  }

  #append(ref: TensorRef): { readonly location: string; readonly offset: number } {
    const chunk = this.#chunkFor(ref.bytes);
    const padding = paddingTo(chunk.size, alignmentOf(ref.bytes));
    if (padding > 0) this.#fill(chunk, padding, ZERO);
    const offset = chunk.size;
    if (ref.kind === "fill") this.#fill(chunk, ref.bytes, ref.pattern);
    else this.#write(chunk, { length: ref.bytes, source: ref.source, offset: ref.offset });
    return { location: chunk.name, offset };
  }

  #fill(chunk: Chunk, length: number, pattern: Uint8Array): void {
    chunk.segments.push({ kind: "fill", to: chunk.size, length, pattern });
    chunk.stretches.push({ length });
    chunk.size += length;
  }

  #write(chunk: Chunk, stretch: Extract<Stretch, { readonly source: ByteSource }>): void {
    const { source, offset: from, length } = stretch;
    chunk.segments.push({ kind: "copy", to: chunk.size, length, source, from });
    chunk.stretches.push(stretch);
    chunk.size += length;
  }

  #chunkFor(bytes: number): Chunk {
    const last = this.#chunks.at(-1);
    if (last === undefined || last.closed) return this.#open(false);
    const end = last.size + paddingTo(last.size, alignmentOf(bytes)) + bytes;
    return end <= this.#options.limit ? last : this.#open(false);
  }

  #open(closed: boolean): Chunk {
    const { name } = this.#options;
    const count = this.#chunks.length;
    const next = { name: count === 0 ? name : `${name}_${count}`, size: 0, segments: [], stretches: [], closed };
    this.#chunks.push(next);
    return next;
  }
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

function alignmentOf(bytes: number): number {
  return bytes >= PAGED_FROM ? PAGE : LINE;
}

function paddingTo(size: number, alignment: number): number {
  return (alignment - (size % alignment)) % alignment;
}

async function bytesOf(ref: TensorRef): Promise<Uint8Array> {
  if (ref.kind === "stored") return ref.source.read(ref.offset, ref.bytes);
  return Uint8Array.from({ length: ref.bytes }, (_, at) => ref.pattern[at % ref.pattern.length] ?? 0);
}
