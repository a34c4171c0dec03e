// The trained checkpoint as references: the base's own bytes, and the trained tensors cast to the types they had. Writes nothing.
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import { ExpandError } from "../errors.ts";
import type { Expansion } from "../expansion/apply.ts";
import { cloneGraph, type Graph, LARGE, putInside, referTo, tensorOf } from "../graph/graph.ts";
import type { TensorRef } from "../tensor/reference.ts";
import type { ByteSource } from "../tensor/source.ts";
import { castTensor } from "./cast.ts";

/** `weights`: the trainable tensors as F32, stored somewhere. Every other tensor, setting and file stays the base's. */
export async function trainedCheckpoint(base: Checkpoint, weights: ReadonlyMap<string, TensorRef>): Promise<Expansion> {
  const trained = new Map([...weights].map(([name, values]) => [name, castTo(base, name, values)]));
  if (base.graph !== undefined) {
    const graph = await trainedGraph(base.graph, trained);
    const tensors = new Map([...base.tensors].map(([name, tensor]) => [name, trained.get(name) ?? tensor]));
    return { checkpoint: { ...base, graph, tensors }, groups: [] };
  }
  const groups = base.shards.map((source) => ({
    source,
    tensors: source.tensors.map((name) => [name, trained.get(name) ?? tensorIn(base, name)] as const),
    originals: source.tensors.length,
  }));
  const tensors = new Map([...base.tensors].map(([name, tensor]) => [name, trained.get(name) ?? tensor]));
  return { checkpoint: { ...base, tensors }, groups };
}

function castTo(base: Checkpoint, name: string, values: TensorRef): TensorRef {
  const { dtype, shape } = tensorIn(base, name);
  return castTensor(name, { ...values, shape }, dtype);
}

function tensorIn({ tensors, location }: Checkpoint, name: string): TensorRef {
  const tensor = tensors.get(name);
  if (tensor === undefined) throw new ExpandError("bug", `there is no tensor "${name}"`, { at: location });
  return tensor;
}

/** The same nodes; each trained initializer refers to a file of its own, which the writer packs. */
async function trainedGraph(base: Graph, trained: ReadonlyMap<string, TensorRef>): Promise<Graph> {
  const { model } = cloneGraph(base);
  const files = new Map<string, ByteSource>(base.files);
  for (const tensor of model.graph?.initializer ?? []) {
    const values = trained.get(tensor.name);
    if (values?.kind !== "stored") continue;
    if (tensorOf({ model, files: base.files }, tensor).bytes < LARGE) {
      putInside(tensor, await values.source.read(0, values.bytes));
      continue;
    }
    // Never a file's name: the writer packs what lies in no file of its own.
    const location = `trained/${files.size}`;
    files.set(location, values.source);
    referTo(tensor, location, 0, values.bytes);
  }
  return { model, files };
}
