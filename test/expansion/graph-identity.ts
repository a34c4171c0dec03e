// Runs a graph and its expansion in onnxruntime on the same random inputs and compares every output that the original has. For tests.
import type { InferenceSession, Tensor } from "onnxruntime-node";
import { cloneGraph, type Graph, inlineTensor, tensorOf } from "../../src/graph/graph.ts";
import { DataLocation, encodeModel, type ModelProto, OnnxType } from "../../src/graph/onnx.ts";
import { dtypeOf } from "../../src/graph/types.ts";
import { tensorsOf } from "../../src/graph/walk.ts";
import type { TensorRef } from "../../src/tensor/reference.ts";

export type OnnxRuntime = typeof import("onnxruntime-node");
export const LEVELS = ["disabled", "basic", "extended", "all"] as const;
export type Level = (typeof LEVELS)[number];

/** Undefined where the optional package is not installed. */
export async function loadRuntime(): Promise<OnnxRuntime | undefined> {
  // Its binding cannot read a Float16Array, which its library prefers where there is one (from Node 24 on).
  Reflect.deleteProperty(globalThis, "Float16Array");
  try {
    const found = await import("onnxruntime-node");
    return "InferenceSession" in found ? found : (found as { default: OnnxRuntime }).default;
  } catch {
    return undefined;
  }
}

/** The model with all data inside. */
export async function selfContained(graph: Graph): Promise<Uint8Array> {
  const own = cloneGraph(graph);
  for (const tensor of tensorsOf(own.model)) {
    if (tensor.dataLocation === DataLocation.EXTERNAL) {
      const bytes = await bytesOf(tensorOf(graph, tensor));
      const dtype = dtypeOf(tensor.dataType) ?? "U8";
      Object.assign(tensor, inlineTensor(tensor.name, dtype, tensor.dims.map(Number), bytes), {
        dataLocation: DataLocation.DEFAULT,
        externalData: [],
      });
    }
  }
  return encodeModel(own.model);
}

async function bytesOf(tensor: TensorRef): Promise<Uint8Array> {
  if (tensor.kind === "fill") return Buffer.alloc(tensor.bytes, tensor.pattern);
  return tensor.source.read(tensor.offset, tensor.bytes);
}

/** Sizes of symbolic dimensions, and values of whole inputs. */
export interface Feeding {
  readonly sizes: Readonly<Record<string, number>>;
  readonly values?: Readonly<Record<string, readonly number[]>>;
}

export async function runModel(
  ort: OnnxRuntime,
  model: Uint8Array,
  inputs: ModelProto,
  level: Level,
  feeding: Feeding,
): Promise<InferenceSession.OnnxValueMapType> {
  const session = await ort.InferenceSession.create(model, {
    graphOptimizationLevel: level,
    logSeverityLevel: 3,
    intraOpNumThreads: 1,
  });
  const feeds: Record<string, Tensor> = {};
  for (const { name, type } of inputs.graph?.input ?? []) {
    if (!session.inputNames.includes(name) || type?.value.case !== "tensorType") continue;
    const shape = (type.value.value.shape?.dim ?? []).map(({ value }) =>
      value.case === "dimValue" ? Number(value.value) : (feeding.sizes[value.value ?? ""] ?? 1),
    );
    feeds[name] = randomTensor(ort, name, type.value.value.elemType, shape, feeding);
  }
  const result = await session.run(feeds);
  await session.release();
  return result;
}

/** Values depend on the position in the tensor only, so that both sides get the same under any name. */
function randomTensor(
  ort: OnnxRuntime,
  name: string,
  type: number,
  shape: readonly number[],
  { values }: Feeding,
): Tensor {
  const count = shape.reduce((product, size) => product * size, 1);
  const given = values?.[name];
  const number = (at: number): number => given?.[at] ?? Math.sin(at * 12.9898 + 1) * 0.7;
  const ids = (at: number): number => given?.[at] ?? (at * 7 + 3) % 31;
  switch (type) {
    case OnnxType.INT64:
      return new ort.Tensor(
        "int64",
        BigInt64Array.from({ length: count }, (_, at) => BigInt(ids(at))),
        shape,
      );
    case OnnxType.INT32:
      return new ort.Tensor(
        "int32",
        Int32Array.from({ length: count }, (_, at) => ids(at)),
        shape,
      );
    case OnnxType.BOOL:
      return new ort.Tensor(
        "bool",
        Uint8Array.from({ length: count }, (_, at) => given?.[at] ?? 1),
        shape,
      );
    case OnnxType.FLOAT16:
      return new ort.Tensor("float16", new Uint16Array(count).fill(0x2e66), shape);
    default:
      return new ort.Tensor(
        "float32",
        Float32Array.from({ length: count }, (_, at) => number(at)),
        shape,
      );
  }
}

/** Number of values, and the largest difference, over all outputs of `before`; `nameOf` maps their names to those of `after`. */
export function compare(
  before: InferenceSession.OnnxValueMapType,
  after: InferenceSession.OnnxValueMapType,
  nameOf: (name: string) => string,
): { readonly values: number; readonly maxAbs: number } {
  let [values, maxAbs] = [0, 0];
  for (const [name, tensor] of Object.entries(before)) {
    const other = numbersOf(after[nameOf(name)] as Tensor | undefined);
    const data = numbersOf(tensor as Tensor);
    for (let at = 0; at < data.length; at++) {
      const difference = Math.abs(Number(data[at]) - Number(other?.[at]));
      maxAbs = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : Math.max(maxAbs, difference);
    }
    values += data.length;
  }
  return { values, maxAbs };
}

function numbersOf(tensor: Tensor | undefined): ArrayLike<number> {
  const data = (tensor?.data ?? []) as ArrayLike<number>;
  return tensor?.type === "float16" ? Float32Array.from(data, fromHalf) : data;
}

function fromHalf(bits: number): number {
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  const size =
    exponent === 0 ? fraction / 2 ** 24 : exponent === 31 ? Number.NaN : (1 + fraction / 1024) * 2 ** (exponent - 15);
  return bits & 0x8000 ? -size : size;
}
