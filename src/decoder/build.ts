// Spec to a whole model with a cache, its initializers lying in the checkpoint's own files. Reads no weights.
import { GraphBuilder } from "../graph/builder.ts";
import type { Graph } from "../graph/graph.ts";
import { OnnxType } from "../graph/onnx.ts";
import type { Cache } from "./emit/attention.ts";
import { emitBlock } from "./emit/block.ts";
import { Emitter, type Experts } from "./emit/emitter.ts";
import { emitEmbedding, emitHead } from "./emit/ends.ts";
import type { Places } from "./emit/mask.ts";
import { Initializers } from "./initializers.ts";
import type { DecoderSpec } from "./spec.ts";

export interface BuildOptions {
  /** Name of the file for weights that the checkpoint's files do not hold as ONNX could read them; "model.onnx_data" unless given. */
  readonly decodedName?: string;
  /** How mixtures are computed; "sparse" unless given. "dense" is for training: static shapes, gradients everywhere. */
  readonly experts?: Experts;
}

/**
 * Inputs: input_ids [batch, sequence] int64, attention_mask [batch, total] int64 (0 for padding), position_ids [batch, sequence] int64,
 * past_key_values.N.key and .value [batch, key heads, past, head size] f32. Outputs: logits [batch, sequence, vocabulary], present.N.key
 * and .value. total = past + sequence. Opset 23, ai.onnx only, f32 arithmetic.
 */
export function buildDecoder(spec: DecoderSpec, options: BuildOptions = {}): Graph {
  const graph = new GraphBuilder("decoder");
  const initializers = new Initializers(graph, spec, options.decodedName ?? "model.onnx_data");
  const ids = graph.input("input_ids", OnnxType.INT64, ["batch", "sequence"]);
  const mask = graph.input("attention_mask", OnnxType.INT64, ["batch", "total"]);
  const positions = graph.input("position_ids", OnnxType.INT64, ["batch", "sequence"]);
  const caches = spec.blocks.map((_, index) => cacheOf(graph, spec, index));
  const emit = new Emitter(graph, ids, (weight) => initializers.floats(weight), options.experts);

  const rows = initializers.rows(spec.embedding.weight, ids);
  let stream = graph.within("embedding", () => emitEmbedding(emit, rows, positions, spec));
  const places = placesOf(emit, ids, mask);
  for (const [index, block] of spec.blocks.entries()) {
    stream = graph.within(`blocks.${index}`, () =>
      emitBlock(emit, stream, block, spec.hidden, { positions, places, ...withCache(caches[index]) }),
    );
  }
  const { head } = spec;
  graph.within("head", () => {
    const bias = head.bias === undefined ? undefined : emit.weight(head.bias);
    emit.batched(emitHead(emit, stream, emit.weight(head.weight), bias, spec), [spec.vocabulary], "logits");
  });
  declareOutputs(graph, spec);
  return initializers.finish();
}

function cacheOf(graph: GraphBuilder, spec: DecoderSpec, index: number): Cache {
  const past = (what: string): string =>
    graph.input(`past_key_values.${index}.${what}`, OnnxType.FLOAT, cacheDims(spec, index, "past"));
  return {
    pastKey: past("key"),
    pastValue: past("value"),
    presentKey: `present.${index}.key`,
    presentValue: `present.${index}.value`,
  };
}

function withCache(cache: Cache | undefined): { cache?: Cache } {
  return cache === undefined ? {} : { cache };
}

function cacheDims(spec: DecoderSpec, index: number, length: string): readonly (string | number)[] {
  const attention = spec.blocks[index]?.attention;
  return ["batch", attention?.kvHeads ?? 0, length, attention?.headSize ?? 0];
}

function declareOutputs(graph: GraphBuilder, spec: DecoderSpec): void {
  graph.output("logits", OnnxType.FLOAT, ["batch", "sequence", spec.vocabulary]);
  for (const index of spec.blocks.keys()) {
    for (const what of ["key", "value"]) {
      graph.output(`present.${index}.${what}`, OnnxType.FLOAT, cacheDims(spec, index, "total"));
    }
  }
}

/** Keys stand at 0 to total - 1, queries at the last of them; padding is where the mask is 0. */
function placesOf(emit: Emitter, ids: string, mask: string): Places {
  const { graph } = emit;
  const size = (value: string): string =>
    emit.node("Squeeze", [emit.node("Shape", [value], { start: 1, end: 2 }), graph.ints([0])]);
  return graph.within("mask", () => {
    const total = size(mask);
    const first = emit.node("Sub", [total, size(ids)]);
    return {
      keys: emit.node("Range", [graph.ints(0), total, graph.ints(1)]),
      queries: emit.node("Unsqueeze", [emit.node("Range", [first, total, graph.ints(1)]), graph.ints([1])]),
      present: emit.node("Unsqueeze", [emit.cast(mask, OnnxType.BOOL), graph.ints([1, 2])]),
    };
  });
}
