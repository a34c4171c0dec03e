// Weights of a whole model as initializers: references into the checkpoint's files where ONNX has the type, decoded lazily where not.
import path from "node:path";
import type { GraphBuilder } from "../graph/builder.ts";
import type { Graph } from "../graph/graph.ts";
import { OnnxType } from "../graph/onnx.ts";
import { decodedSource } from "../tensor/decode.ts";
import { elementCount } from "../tensor/dtype.ts";
import { isZero, type TensorRef } from "../tensor/reference.ts";
import { type ByteSource, joinedSource, type Stretch } from "../tensor/source.ts";
import { weightsIn } from "./roles.ts";
import type { DecoderSpec, Weight } from "./spec.ts";

/** Types that are read where they lie. The 16-bit ones and f64 are cast in the graph. */
const DIRECT: ReadonlySet<string> = new Set(["F32", "F16", "BF16", "F64"]);
/** Bytes; what onnx' own writers align tensors to would be a page, which only large ones profit from. */
const ALIGNMENT = 64;

interface Place {
  readonly tensor: TensorRef;
  readonly location: string;
}

export class Initializers {
  readonly #graph: GraphBuilder;
  readonly #places: ReadonlyMap<string, Place>;
  /** The f32 value of each weight that is cast. */
  readonly #casts = new Map<string, string>();

  constructor(graph: GraphBuilder, spec: DecoderSpec, decodedName: string) {
    this.#graph = graph;
    this.#places = placeWeights(spec, decodedName);
  }

  /** The f32 value of a weight; one initializer and one cast for all its uses. */
  floats(weight: Weight): string {
    const value = this.#stored(weight);
    if (this.#place(weight).tensor.dtype === "F32") return value;
    const known = this.#casts.get(value);
    if (known !== undefined) return known;
    const cast = this.#graph.outside(() =>
      this.#graph.within("weights", () => this.#graph.node("Cast", [value], { to: OnnxType.FLOAT })),
    );
    this.#casts.set(value, cast);
    return cast;
  }

  /** Rows of a table, f32: cast after they are gathered, so that no table is cast as a whole. */
  rows(table: Weight, indices: string): string {
    return this.#graph.within("embedding", () => {
      const rows = this.#graph.node("Gather", [this.#stored(table), indices], { axis: 0 });
      return this.#place(table).tensor.dtype === "F32"
        ? rows
        : this.#graph.node("Cast", [rows], { to: OnnxType.FLOAT });
    });
  }

  finish(): Graph {
    return this.#graph.build();
  }

  #stored(weight: Weight): string {
    const { tensor, location } = this.#place(weight);
    return this.#graph.initializer(nameOf(weight), tensor, location);
  }

  #place(weight: Weight): Place {
    return this.#places.get(nameOf(weight)) ?? { tensor: weight.tensor, location: weight.name };
  }
}

/** The name in the checkpoint; slices count from 0 behind it. */
function nameOf({ name, part }: Weight): string {
  return part === undefined ? name : `${name}.${part.index}`;
}

/** Every weight of the spec: in its file, or in the one file of those that must be decoded. */
function placeWeights(spec: DecoderSpec, decodedName: string): Map<string, Place> {
  const places = new Map<string, Place>();
  const names = new Map<ByteSource, string>();
  const taken = new Set([decodedName]);
  const decoded: [string, TensorRef][] = [];
  for (const weight of weightsIn(spec).values()) {
    const name = nameOf(weight);
    const { tensor } = weight;
    const isInPlace = tensor.kind === "fill" ? isZero(tensor.pattern) : true;
    if (!DIRECT.has(tensor.dtype) || !isInPlace) decoded.push([name, tensor]);
    else if (tensor.kind === "fill") places.set(name, { tensor, location: decodedName });
    else places.set(name, { tensor, location: locationOf(tensor.source, names, taken) });
  }
  for (const [name, place] of placeDecoded(new Map(decoded), decodedName)) places.set(name, place);
  return places;
}

/** The file's own name, numbered when two files of different folders share it. */
function locationOf(source: ByteSource, names: Map<ByteSource, string>, taken: Set<string>): string {
  const known = names.get(source);
  if (known !== undefined) return known;
  const base = path.basename(source.path ?? source.name);
  let name = base;
  for (let n = 2; taken.has(name); n++) name = `${n}-${base}`;
  taken.add(name);
  names.set(source, name);
  return name;
}

/** f32 values one after the other in one file, which is decoded when it is read. */
function placeDecoded(tensors: ReadonlyMap<string, TensorRef>, location: string): Map<string, Place> {
  const stretches: Stretch[] = [];
  const offsets = new Map<string, number>();
  let at = 0;
  for (const [name, tensor] of tensors) {
    const source = decodedSource(tensor);
    offsets.set(name, at);
    const padding = (ALIGNMENT - (source.size % ALIGNMENT)) % ALIGNMENT;
    stretches.push({ length: source.size, source, offset: 0 }, { length: padding });
    at += source.size + padding;
  }
  const file = joinedSource(location, stretches);
  return new Map(
    [...tensors].map(([name, { shape }]) => {
      const bytes = (elementCount(shape) ?? 0) * 4;
      const offset = offsets.get(name) ?? 0;
      return [name, { location, tensor: { kind: "stored", dtype: "F32", shape, bytes, source: file, offset } }];
    }),
  );
}
