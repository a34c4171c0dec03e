// Lays tensors one behind the other in data files of their own, each stretch of bytes once. Plans only; reads and writes nothing.
import { referTo } from "../../graph/graph.ts";
import type { TensorProto } from "../../graph/onnx.ts";
import type { FilePlan, Segment } from "../../storage/file-plan.ts";
import { type TensorRef, ZERO } from "../../tensor/reference.ts";
import { type ByteSource, joinedSource, type Stretch } from "../../tensor/source.ts";

/** Bytes. A page, so that runtimes can map large tensors; a cache line for the others. */
const PAGE = 4096;
const LINE = 64;
const PAGED_FROM = 2 ** 20;

type Run = Exclude<Segment, { readonly kind: "bytes" }>;

interface Chunk {
  readonly name: string;
  readonly segments: Run[];
  size: number;
  /** A whole file, to which nothing is added. */
  readonly closed: boolean;
}

interface Place {
  readonly location: string;
  readonly offset: number;
}

export class DataPacker {
  readonly #names: Iterator<string, never, void>;
  readonly #limit: number;
  readonly #chunks: Chunk[] = [];
  /** Where bytes of a source stand, so that tensors which share theirs go on sharing them. */
  readonly #places = new Map<ByteSource, Map<string, Place>>();

  /** `names` are those of the files, taken as they are needed; `limit` in bytes. */
  constructor(names: Iterator<string, never, void>, limit: number) {
    this.#names = names;
    this.#limit = limit;
  }

  /** Gives the tensor's bytes a place, and refers to it, in place. */
  add(tensor: TensorProto, ref: TensorRef): void {
    const { location, offset } = this.#placeOf(ref);
    referTo(tensor, location, offset, ref.bytes);
  }

  /** Takes a file as it is, so that it can be linked; gives its new name. */
  take(source: ByteSource): string {
    const chunk = this.#open(true);
    chunk.segments.push({ kind: "copy", to: 0, length: source.size, source, from: 0 });
    chunk.size = source.size;
    return chunk.name;
  }

  files(): readonly FilePlan[] {
    return this.#chunks.map(({ name, size, segments }) => ({ name, size, segments }));
  }

  /** What the files will hold, before they are written. */
  sources(): ReadonlyMap<string, ByteSource> {
    return new Map(this.#chunks.map(({ name, segments }) => [name, joinedSource(name, segments.map(stretchOf))]));
  }

  #placeOf(ref: TensorRef): Place {
    if (ref.kind === "fill") return this.#append(ref);
    const known = this.#places.get(ref.source) ?? new Map<string, Place>();
    this.#places.set(ref.source, known);
    const key = `${ref.offset}+${ref.bytes}`;
    const place = known.get(key) ?? this.#append(ref);
    known.set(key, place);
    return place;
  }

  #append(ref: TensorRef): Place {
    const alignment = ref.bytes >= PAGED_FROM ? PAGE : LINE;
    const chunk = this.#chunkFor(ref.bytes + alignment);
    const offset = Math.ceil(chunk.size / alignment) * alignment;
    const { segments, size } = chunk;
    if (offset > size) segments.push({ kind: "fill", to: size, length: offset - size, pattern: ZERO });
    const length = ref.bytes;
    if (length > 0 && ref.kind === "fill") segments.push({ kind: "fill", to: offset, length, pattern: ref.pattern });
    if (length > 0 && ref.kind === "stored") {
      segments.push({ kind: "copy", to: offset, length, source: ref.source, from: ref.offset });
    }
    chunk.size = offset + length;
    return { location: chunk.name, offset };
  }

  /** The last file, or a new one where `bytes` more would be too many for it. */
  #chunkFor(bytes: number): Chunk {
    const last = this.#chunks.at(-1);
    return last !== undefined && !last.closed && last.size + bytes <= this.#limit ? last : this.#open(false);
  }

  #open(closed: boolean): Chunk {
    const next: Chunk = { name: this.#names.next().value, segments: [], size: 0, closed };
    this.#chunks.push(next);
    return next;
  }
}

/** Fills are read as zeros: those that pad, and weights that close a branch. */
function stretchOf(segment: Run): Stretch {
  const { length } = segment;
  return segment.kind === "copy" ? { length, source: segment.source, offset: segment.from } : { length };
}
