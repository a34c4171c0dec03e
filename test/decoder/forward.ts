// Runs the forward graphs of a spec for tests: the chain of stages, and the whole model with its cache.
import fs from "node:fs";
import path from "node:path";
import type { DecoderSpec } from "../../src/decoder/spec.ts";
import { type Stage, stagesOf } from "../../src/decoder/stage.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { encodeModel } from "../../src/graph/onnx.ts";
import type { Runtime, Session } from "../../src/runtime/runtime.ts";
import type { Value, Values } from "../../src/runtime/values.ts";
import { decodeTensor } from "../../src/tensor/decode.ts";
import type { TensorRef } from "../../src/tensor/reference.ts";

export function floats(data: Float32Array<ArrayBuffer>, shape: readonly number[]): Value {
  return { dtype: "float32", shape, data };
}

export function ints(rows: readonly (readonly number[])[]): Value {
  const data = BigInt64Array.from(rows.flat().map(BigInt));
  return { dtype: "int64", shape: [rows.length, rows[0]?.length ?? 0], data };
}

async function decoded(tensor: TensorRef): Promise<Value> {
  return floats(await decodeTensor(tensor), tensor.shape);
}

/** Writes the model and its files into `folder`; gives the path of the model. */
export async function materialise(graph: Graph, folder: string): Promise<string> {
  fs.rmSync(folder, { recursive: true, force: true });
  fs.mkdirSync(folder, { recursive: true });
  for (const [location, source] of graph.files) {
    if (source.path !== undefined) fs.copyFileSync(source.path, path.join(folder, location));
    else fs.writeFileSync(path.join(folder, location), await source.read(0, source.size));
  }
  const file = path.join(folder, "model.onnx");
  fs.writeFileSync(file, encodeModel(graph.model));
  return file;
}

/** Logits of the whole sequence through the chain of stages. */
export async function runStages(
  runtime: Runtime,
  spec: DecoderSpec,
  ids: number[][],
  positions: number[][],
): Promise<Float32Array> {
  const sessions = new Map<string, Session>();
  let hidden: Value | undefined;
  for (const stage of stagesOf(spec)) {
    const session = sessions.get(stage.key) ?? (await runtime.open(stage.model, { name: stage.key }));
    sessions.set(stage.key, session);
    const feeds: Record<string, Value> = await stageFeeds(stage, ids, hidden);
    if (stage.kind !== "head") feeds.position_ids = ints(positions);
    hidden = Object.values(await session.run(feeds))[0];
  }
  for (const session of sessions.values()) await session.close();
  return hidden?.data as Float32Array;
}

async function stageFeeds(stage: Stage, ids: number[][], hidden: Value | undefined): Promise<Record<string, Value>> {
  const feeds: Record<string, Value> = {};
  for (const [role, tensor] of stage.weights) feeds[role] = await decoded(tensor);
  if (stage.kind === "embedding" && stage.rows !== undefined) {
    const width = stage.rows.shape[1] ?? 0;
    const table = await decodeTensor(stage.rows);
    const rows = ids.flat().flatMap((id) => [...table.subarray(id * width, (id + 1) * width)]);
    feeds.token_rows = floats(Float32Array.from(rows), [ids.length, ids[0]?.length ?? 0, width]);
  }
  if (hidden !== undefined) feeds.hidden = hidden;
  if (stage.kind === "head" && stage.rows !== undefined) feeds.rows = await decoded(stage.rows);
  if (stage.rowBias !== undefined) feeds.row_bias = await decoded(stage.rowBias);
  return feeds;
}

export function emptyCache(spec: DecoderSpec, batch: number): Record<string, Value> {
  const cache: Record<string, Value> = {};
  for (const [index, { attention }] of spec.blocks.entries()) {
    for (const what of ["key", "value"]) {
      const shape = [batch, attention.kvHeads, 0, attention.headSize];
      cache[`past_key_values.${index}.${what}`] = floats(new Float32Array(0), shape);
    }
  }
  return cache;
}

export function nextCache(outputs: Values): Record<string, Value> {
  const cache: Record<string, Value> = {};
  for (const [name, value] of Object.entries(outputs)) {
    if (name.startsWith("present.")) cache[name.replace("present.", "past_key_values.")] = value;
  }
  return cache;
}

/** Logits of [B, S], the first `first` tokens at once and the others one by one. */
export async function runWhole(
  session: Session,
  spec: DecoderSpec,
  { ids, mask, positions }: { ids: number[][]; mask: number[][]; positions: number[][] },
  first: number,
): Promise<Float32Array> {
  const batch = ids.length;
  const length = ids[0]?.length ?? 0;
  const all = new Float32Array(batch * length * spec.vocabulary);
  let cache = emptyCache(spec, batch);
  for (let from = 0; from < length; ) {
    const to = from === 0 ? first : from + 1;
    const outputs = await session.run({
      input_ids: ints(ids.map((row) => row.slice(from, to))),
      attention_mask: ints(mask.map((row) => row.slice(0, to))),
      position_ids: ints(positions.map((row) => row.slice(from, to))),
      ...cache,
    });
    const logits = outputs.logits?.data as Float32Array;
    const size = (to - from) * spec.vocabulary;
    for (let row = 0; row < batch; row++) {
      all.set(logits.subarray(row * size, (row + 1) * size), (row * length + from) * spec.vocabulary);
    }
    cache = nextCache(outputs);
    from = to;
  }
  return all;
}

/** Largest difference of two lists of numbers; NaN when one has a NaN or another length. */
export function worstDifference(ours: Float32Array, theirs: Float32Array): number {
  if (ours.length !== theirs.length) return Number.NaN;
  return ours.reduce((worst, value, i) => Math.max(worst, Math.abs(value - (theirs[i] ?? Number.NaN))), 0);
}

/** The place of the largest number. */
export function argmax(values: Float32Array): number {
  return values.reduce((best, value, i) => (value > (values[best] ?? 0) ? i : best), 0);
}
