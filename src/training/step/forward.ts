// A checkpoint's computation as a graph with token ids in and logits out, and example inputs of the size that is trained. Reads no weights.
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { buildDecoder } from "../../decoder/build.ts";
import { readSpec } from "../../decoder/read.ts";
import { ExpandError, quote } from "../../errors.ts";
import type { Graph } from "../../graph/graph.ts";
import type { ValueInfoProto } from "../../graph/onnx.ts";
import { dtypeOf } from "../../graph/types.ts";
import type { ValueInfo, Values, ValueType } from "../../runtime/values.ts";
import { type Feeding, feedsFor, headSizeOf, vocabularyOf } from "../../verification/numeric/whole-inputs.ts";

export interface Forward {
  readonly graph: Graph;
  /** Names of the input of token ids [batch, context] and of the output of logits [batch, context, vocabulary]. */
  readonly ids: string;
  readonly logits: string;
  readonly feeds: Values;
}

const IDS = /^(?:input_ids|input|decoder_input_ids)$/;
const CACHE = /present|past|cache/;
/** Our storage types as onnxruntime's JavaScript calls them. */
const VALUE_TYPES: Readonly<Record<string, ValueType>> = {
  F32: "float32",
  F16: "float16",
  F64: "float64",
  I64: "int64",
  I32: "int32",
  BOOL: "bool",
};

/** Throws "unsupported" when nothing says what the checkpoint computes, or its graph has no token ids or logits. */
export function forwardOf(checkpoint: Checkpoint, batch: number, context: number): Forward {
  const { graph: own } = checkpoint;
  const graph = own ?? buildDecoder(readSpec(checkpoint), { experts: "dense" });
  const inputs = inputsOf(graph);
  const ids = inputs.find(({ name }) => IDS.test(name))?.name;
  if (ids === undefined) throw refusal(checkpoint, "has no input of token ids (input_ids)");
  const headSize = own === undefined ? undefined : headSizeOf(checkpoint);
  const feeding: Feeding = { seed: 0, ...(headSize === undefined ? {} : { headSize }) };
  const vocabulary = own === undefined ? 2 : vocabularyOf(checkpoint);
  const sitting = {
    batch,
    length: context,
    ids: Array.from({ length: batch * context }, (_, at) => at % vocabulary),
    positions: BigInt64Array.from({ length: batch * context }, (_, at) => BigInt(at % context)),
  };
  return { graph, ids, logits: logitsOf(checkpoint, graph), feeds: feedsFor(inputs, sitting, feeding) };
}

/** What must be fed: inputs that are no initializers. */
function inputsOf({ model }: Graph): readonly ValueInfo[] {
  const given = new Set(model.graph?.initializer.map(({ name }) => name));
  return (model.graph?.input ?? []).filter(({ name }) => !given.has(name)).map(infoOf);
}

function infoOf({ name, type }: ValueInfoProto): ValueInfo {
  if (type?.value.case !== "tensorType") return { name, shape: [] };
  const { elemType, shape } = type.value.value;
  const dims = (shape?.dim ?? []).map(({ value }) =>
    value.case === "dimValue" ? Number(value.value) : (value.value ?? ""),
  );
  const dtype = VALUE_TYPES[dtypeOf(elemType) ?? ""];
  return { name, shape: dims, ...(dtype === undefined ? {} : { dtype }) };
}

function logitsOf(checkpoint: Checkpoint, { model }: Graph): string {
  const names = (model.graph?.output ?? []).map(({ name }) => name).filter((name) => !CACHE.test(name));
  if (names.includes("logits")) return "logits";
  const [only, ...more] = names;
  if (only !== undefined && more.length === 0) return only;
  throw refusal(checkpoint, `has no output "logits", but ${names.map(quote).join(", ")}`);
}

function refusal({ location }: Checkpoint, message: string): ExpandError {
  return new ExpandError("unsupported", message, { at: location, fix: "Export the model as a causal language model." });
}
