// Appends to a model what takes logits [B, S, v] down to a few numbers a position, so that they never leave the runtime.
import { ExpandError } from "../errors.ts";
import { attribute } from "../graph/attributes.ts";
import { cloneGraph, type Graph, inlineTensor } from "../graph/graph.ts";
import {
  create,
  encodeModel,
  type NodeProto,
  NodeProtoSchema,
  OnnxType,
  type TensorProto,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from "../graph/onnx.ts";
import type { Session } from "../runtime/runtime.ts";
import type { Value, Values } from "../runtime/values.ts";
import { BEST, LOWEST, type PartialReading } from "./reading.ts";

/** No model has names like these. */
const NAME = "expand-checkpoint/reading";
const LABELS = `${NAME}/labels`;
const COUNT = `${NAME}/count`;
const OUTPUTS = {
  best: `${NAME}/best`,
  bestIds: `${NAME}/best_ids`,
  sum: `${NAME}/sum`,
  label: `${NAME}/label`,
} as const;
/** The oldest opset in which ReduceSum takes its axes as an input. */
const OLDEST = 13;

/** Inputs that were added, which nobody else feeds. */
export function isOurs(input: string): boolean {
  return input.startsWith(NAME);
}

/**
 * The model with `logits` [B, S, v] read: new inputs for labels [B, S, 1] and how many of the best are wanted [1], new outputs. Its own
 * outputs stay, and cost nothing unless they are asked for.
 */
export function withReading(source: Graph, logits: string, at: string): Uint8Array {
  const { model } = cloneGraph(source);
  const { graph } = model;
  const opset = Number(model.opsetImport.find(({ domain }) => domain === "" || domain === "ai.onnx")?.version ?? 0);
  if (opset < OLDEST || graph === undefined) {
    throw new ExpandError("unsupported", `is of opset ${opset}; ${OLDEST} or later is needed to read logits`, {
      at,
      fix: `Export the model again with opset ${OLDEST} or later.`,
    });
  }
  graph.initializer.push(...constants());
  graph.input.push(info(LABELS, OnnxType.INT64, 3), info(COUNT, OnnxType.INT64, 1));
  graph.node.push(...nodes(logits));
  for (const name of Object.values(OUTPUTS)) {
    graph.output.push(info(name, name === OUTPUTS.bestIds ? OnnxType.INT32 : OnnxType.FLOAT, 3));
  }
  return encodeModel(model);
}

function constants(): readonly TensorProto[] {
  const ints = (values: readonly bigint[]): Uint8Array => new Uint8Array(BigInt64Array.from(values).buffer);
  return [
    inlineTensor(`${NAME}/first`, "I64", [1], ints([0n])),
    inlineTensor(`${NAME}/last_axis`, "I64", [1], ints([-1n])),
    inlineTensor(`${NAME}/lowest`, "F32", [], new Uint8Array(Float32Array.of(LOWEST).buffer)),
  ];
}

function nodes(logits: string): readonly NodeProto[] {
  const own = (name: string): string => `${NAME}/${name}`;
  return [
    node("Cast", [logits], [own("logits")], { to: OnnxType.FLOAT }),
    node("TopK", [own("logits"), COUNT], [OUTPUTS.best, own("wide_ids")], { axis: -1 }),
    node("Cast", [own("wide_ids")], [OUTPUTS.bestIds], { to: OnnxType.INT32 }),
    node("Gather", [OUTPUTS.best, own("first")], [own("largest")], { axis: -1 }),
    node("Max", [own("largest"), own("lowest")], [own("maximum")]),
    node("Sub", [own("logits"), own("maximum")], [own("shifted")]),
    node("Exp", [own("shifted")], [own("exponentials")]),
    node("ReduceSum", [own("exponentials"), own("last_axis")], [OUTPUTS.sum], { keepdims: 1 }),
    node("GatherElements", [own("logits"), LABELS], [OUTPUTS.label], { axis: -1 }),
  ];
}

function node(
  opType: string,
  input: readonly string[],
  output: readonly string[],
  attributes: Readonly<Record<string, number>> = {},
): NodeProto {
  const list = Object.entries(attributes).map(([name, value]) => attribute(name, value));
  return create(NodeProtoSchema, { opType, input: [...input], output: [...output], attribute: list });
}

/** A value of `rank` dimensions whose sizes are only known at run time. */
function info(name: string, elemType: OnnxType, rank: number): ValueInfoProto {
  const dim = Array.from({ length: rank }, (_, at) =>
    create(TensorShapeProto_DimensionSchema, { value: { case: "dimParam", value: `${name}/${at}` } }),
  );
  const tensor = create(TypeProto_TensorSchema, { elemType, shape: create(TensorShapeProtoSchema, { dim }) });
  const type = create(TypeProtoSchema, { value: { case: "tensorType", value: tensor } });
  return create(ValueInfoProtoSchema, { name, type });
}

/** Where a run's reading belongs: positions `at` and on, rows [from, to) of the vocabulary. */
export interface Spot {
  readonly batch: number;
  readonly length: number;
  readonly at: number;
  readonly from: number;
  readonly to: number;
  /** [batch * length]. */
  readonly labels: Int32Array;
}

/** Feeds of the added inputs. A label that is not in the run is fed as its nearest row, and what comes of it is not used. */
export function readingFeeds({ batch, length, from, to, labels }: Spot): Values {
  const data = BigInt64Array.from(labels, (label) => BigInt(Math.min(Math.max(label, from), to - 1) - from));
  return {
    [LABELS]: { dtype: "int64", shape: [batch, length, 1], data },
    [COUNT]: { dtype: "int64", shape: [1], data: BigInt64Array.of(BigInt(Math.min(BEST, to - from))) },
  };
}

/** For how many positions of one sequence a model that `withReading` made gives logits. */
export async function positionsOf(session: Session, feeds: Values, spot: Spot): Promise<number> {
  // Labels for one position fit whatever there is; for all of them they may not.
  const one = { ...spot, length: 1, labels: spot.labels.subarray(0, 1) };
  const results = await session.run({ ...feeds, ...readingFeeds(one) }, [OUTPUTS.sum]);
  return floats(results[OUTPUTS.sum]).length;
}

/** Runs a model that `withReading` made. */
export async function readWith(
  session: Session,
  feeds: Values,
  spot: Spot,
  held: Parameters<Session["run"]>[2] = [],
): Promise<PartialReading> {
  const results = await session.run({ ...feeds, ...readingFeeds(spot) }, Object.values(OUTPUTS), held);
  const { at, from, to } = spot;
  return {
    from,
    at,
    rows: to - from,
    best: floats(results[OUTPUTS.best]),
    bestIds: integers(results[OUTPUTS.bestIds]),
    sum: floats(results[OUTPUTS.sum]),
    label: floats(results[OUTPUTS.label]),
  };
}

function floats(value: Value | undefined): Float32Array {
  if (value?.data instanceof Float32Array) return value.data;
  throw new ExpandError("bug", `a reading is ${value?.dtype ?? "nothing"}; float32 was expected`);
}

function integers(value: Value | undefined): Int32Array {
  if (value?.data instanceof Int32Array) return value.data;
  throw new ExpandError("bug", `a reading is ${value?.dtype ?? "nothing"}; int32 was expected`);
}
