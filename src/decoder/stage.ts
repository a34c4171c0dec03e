// The forward pass as a chain of small models, one step each, whose weights are inputs. Holds no weights and runs nothing.
import { ExpandError } from "../errors.ts";
import { GraphBuilder } from "../graph/builder.ts";
import { encodeModel, OnnxType } from "../graph/onnx.ts";
import type { TensorRef } from "../tensor/reference.ts";
import { emitBlock } from "./emit/block.ts";
import { Emitter, type Experts } from "./emit/emitter.ts";
import { emitEmbedding, emitHead } from "./emit/ends.ts";
import { formOf, weightsIn } from "./roles.ts";
import type { DecoderSpec, Weight } from "./spec.ts";

/**
 * One step of the forward pass as a model of its own (opset 23, ai.onnx only, f32); its weights are graph inputs, so that one session
 * serves all stages with the same key.
 * embedding: "token_rows" [B,S,E] (rows of the table `rows`, gathered by the caller) and "position_ids" [B,S] int64 -> "hidden" [B,S,H].
 * block: "hidden" [B,S,H] and "position_ids" -> "hidden_out" [B,S,H]. Causal, without cache or padding.
 * head: "hidden", "rows" [v,E] (any run of rows of `rows`) and, where `rowBias` is given, "row_bias" [v] (the same run) -> "logits" [B,S,v].
 */
export interface Stage {
  readonly kind: "embedding" | "block" | "head";
  /** Of the block. */
  readonly index?: number;
  /** Stages with equal keys have equal models. */
  readonly key: string;
  /** A serialised ModelProto. */
  readonly model: Uint8Array;
  /** Graph input to tensor, to be decoded to f32. Shapes are those of the tensors. */
  readonly weights: ReadonlyMap<string, TensorRef>;
  /** The embedding table or the head matrix, [vocabulary, E]: never an input as a whole. */
  readonly rows?: TensorRef;
  /** The head's bias, [vocabulary]. */
  readonly rowBias?: TensorRef;
}

/** The embedding, every block in order, the head. Models are made when they are asked for, once for a key. */
export function stagesOf(spec: DecoderSpec, { experts }: { readonly experts?: Experts } = {}): readonly Stage[] {
  const models = new Map<string, Uint8Array>();
  const { embedding, head, finalNorm, blocks, hidden } = spec;
  const stage = (kind: Stage["kind"], part: object, emit: Emit, more: Partial<Stage>): Stage => {
    const key = `${kind}-${formOf({ part, hidden })}`;
    const roles = weightsIn(part);
    return {
      kind,
      key,
      get model() {
        const model = models.get(key) ?? buildStage(kind, roles, emit);
        models.set(key, model);
        return model;
      },
      weights: new Map([...roles].map(([role, { tensor }]) => [role, tensor])),
      ...more,
    };
  };
  const { weight: table, ...lookup } = embedding;
  const { weight: rows, bias, ...reading } = head;
  return [
    stage("embedding", { ...lookup, width: table.tensor.shape[1] }, embeddingStage(spec), { rows: table.tensor }),
    ...blocks.map((block, index) => stage("block", block, blockStage(spec, index, experts), { index })),
    stage("head", { ...reading, finalNorm, width: rows.tensor.shape[1], biased: bias !== undefined }, headStage(spec), {
      rows: rows.tensor,
      ...(bias === undefined ? {} : { rowBias: bias.tensor }),
    }),
  ];
}

type Emit = (graph: GraphBuilder, weight: (weight: Weight) => string) => void;

function buildStage(kind: string, roles: ReadonlyMap<string, Weight>, emit: Emit): Uint8Array {
  const graph = new GraphBuilder(kind);
  const names = new Map([...roles].map(([role, weight]) => [weight, role]));
  const declared = new Set<string>();
  emit(graph, (weight) => {
    const role = names.get(weight);
    if (role === undefined) throw new ExpandError("bug", `${weight.name} has no role in the stage "${kind}"`);
    if (!declared.has(role)) graph.input(role, OnnxType.FLOAT, weight.tensor.shape);
    declared.add(role);
    return role;
  });
  return encodeModel(graph.build().model);
}

const BATCH = ["batch", "sequence"] as const;

function embeddingStage(spec: DecoderSpec): Emit {
  return (graph, weight) => {
    const width = spec.embedding.weight.tensor.shape[1] ?? 0;
    const rows = graph.input("token_rows", OnnxType.FLOAT, [...BATCH, width]);
    const positions = graph.input("position_ids", OnnxType.INT64, BATCH);
    const emit = new Emitter(graph, rows, weight);
    const hidden = emitEmbedding(emit, rows, positions, spec);
    graph.node("Identity", [hidden], {}, "hidden");
    graph.output("hidden", OnnxType.FLOAT, [...BATCH, spec.hidden]);
  };
}

function blockStage(spec: DecoderSpec, index: number, experts: Experts | undefined): Emit {
  return (graph, weight) => {
    const hidden = graph.input("hidden", OnnxType.FLOAT, [...BATCH, spec.hidden]);
    const positions = graph.input("position_ids", OnnxType.INT64, BATCH);
    const emit = new Emitter(graph, hidden, weight, experts);
    const places = {
      queries: graph.node("Unsqueeze", [positions, graph.ints([1, 3])]),
      keys: graph.node("Unsqueeze", [positions, graph.ints([1, 2])]),
    };
    const block = spec.blocks[index];
    if (block !== undefined) emitBlock(emit, hidden, block, spec.hidden, { positions, places }, "hidden_out");
    graph.output("hidden_out", OnnxType.FLOAT, [...BATCH, spec.hidden]);
  };
}

function headStage(spec: DecoderSpec): Emit {
  return (graph, weight) => {
    const width = spec.head.weight.tensor.shape[1] ?? 0;
    const hidden = graph.input("hidden", OnnxType.FLOAT, [...BATCH, spec.hidden]);
    const rows = graph.input("rows", OnnxType.FLOAT, ["rows", width]);
    const bias = spec.head.bias === undefined ? undefined : graph.input("row_bias", OnnxType.FLOAT, ["rows"]);
    const emit = new Emitter(graph, hidden, weight);
    emit.batched(emitHead(emit, hidden, rows, bias, spec), [-1], "logits");
    graph.output("logits", OnnxType.FLOAT, [...BATCH, "rows"]);
  };
}
