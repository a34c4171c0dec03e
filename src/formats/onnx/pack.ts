// Lays tensors one behind the other in data files of their own, each stretch of bytes once. Plans only; reads and writes nothing.
import { referTo } from "../../graph/graph.ts";
import type { TensorProto } from "../../graph/onnx.ts";
import type { FilePlan, Segment } from "../../storage/file-plan.ts";
import { type TensorRef, ZERO } from "../../tensor/reference.ts";
import type { ByteSource } from "../../tensor/source.ts";

/** Bytes. A page, so that runtimes can map large tensors; a cache line for the others. */
const PAGE = 4096;
const LINE = 64;
const PAGED_FROM = 2 ** 20;

interface Chunk {
  readonly name: string;
  readonly segments: Segment[];
  size: number;
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

  files(): readonly FilePlan[] {
    return this.#chunks;
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
    if (last !== undefined && last.size + bytes <= this.#limit) return last;
    const next: Chunk = { name: this.#names.next().value, segments: [], size: 0 };
    this.#chunks.push(next);
    return next;
  }
}
