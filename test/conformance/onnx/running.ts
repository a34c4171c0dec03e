// Runs an ONNX file and its expansion in onnxruntime on the same numbers, and says where outputs differ. Knows names of inputs by habit only.
import ort, { type InferenceSession, type Tensor } from "onnxruntime-node";

// onnxruntime's binding cannot read a Float16Array, which its library prefers where there is one (from Node 24 on).
Reflect.deleteProperty(globalThis, "Float16Array");

export const LEVELS = ["disabled", "basic", "extended", "all"] as const;
export type Level = (typeof LEVELS)[number];

/** Sizes of what varies: few of each, and none equal to another. */
export interface Sizes {
  readonly batch: number;
  readonly sequence: number;
  readonly past: number;
  /** Values in a head, where the model leaves it open. */
  readonly head?: number;
  /** Of the one input of a model that is no decoder. */
  readonly shape?: readonly number[];
  /** Value of `use_cache_branch`, of merged decoders. */
  readonly branch: boolean;
}

export interface Outcome {
  readonly values: number;
  readonly differing: number;
  readonly maxAbs: number;
}

/** Name in the expansion of a name of the source: the first number is a block's. */
export type Rename = (name: string) => string;

export async function difference(
  before: string,
  after: string,
  rename: Rename,
  sizes: Sizes,
  level: Level,
): Promise<Outcome> {
  const source = await run(before, sizes, level);
  const expanded = await run(after, sizes, level);
  let [values, differing, maxAbs] = [0, 0, 0];
  for (const [name, tensor] of Object.entries(source)) {
    const mine = numbersOf(tensor as Tensor);
    const found = expanded[rename(name)] ?? expanded[name];
    const theirs = found === undefined ? [] : numbersOf(found as Tensor);
    for (let at = 0; at < mine.length; at++) {
      // -0 equals 0; a value that is not a number equals nothing.
      if (mine[at] === theirs[at]) continue;
      differing++;
      const gap = Math.abs(Number(mine[at]) - Number(theirs[at]));
      maxAbs = Number.isNaN(gap) ? Number.POSITIVE_INFINITY : Math.max(maxAbs, gap);
    }
    values += mine.length;
  }
  return { values, differing, maxAbs };
}

async function run(file: string, sizes: Sizes, level: Level) {
  const session = await ort.InferenceSession.create(file, {
    graphOptimizationLevel: level,
    logSeverityLevel: 3,
    intraOpNumThreads: 1,
  });
  const feeds: Record<string, Tensor> = {};
  for (const input of session.inputMetadata) {
    if (!input.isTensor) continue;
    const shape = sizes.shape ?? input.shape.map((size) => (typeof size === "number" ? size : sizeOf(size, sizes)));
    feeds[input.name] = tensorFor(input, shape, sizes);
  }
  const outputs = await session.run(feeds);
  await session.release();
  return outputs;
}

function sizeOf(name: string, { batch, sequence, past, head = 0 }: Sizes): number {
  if (/batch/.test(name)) return batch;
  if (/cache_dim/.test(name)) return head;
  if (/total|\+/.test(name)) return past + sequence;
  return /past/.test(name) ? past : sequence;
}

function tensorFor(
  { name, type }: InferenceSession.TensorValueMetadata,
  shape: readonly number[],
  { past, sequence, branch }: Sizes,
): Tensor {
  const count = shape.reduce((product, size) => product * size, 1);
  const integer = (at: number): number => {
    if (/mask/.test(name)) return 1;
    if (/position/.test(name)) return past + (at % sequence);
    return 3 + ((at * 7) % 29);
  };
  // The same for every cache but for its kind, so that the number of a block makes no difference.
  const phase = /value/.test(name) ? 2 : 1;
  const float = (at: number): number => Math.sin(phase + at * 12.9898) * 0.5;
  const numbers = Array.from({ length: count }, (_, at) => at);
  switch (type) {
    case "int64":
      return new ort.Tensor(
        type,
        BigInt64Array.from(numbers, (at) => BigInt(integer(at))),
        shape,
      );
    case "int32":
      return new ort.Tensor(type, Int32Array.from(numbers, integer), shape);
    case "bool":
      return new ort.Tensor(
        type,
        Uint8Array.from(numbers, () => Number(branch)),
        shape,
      );
    case "float16":
      return new ort.Tensor(
        type,
        Uint16Array.from(numbers, (at) => 0x3000 + ((at * 37) % 512)),
        shape,
      );
    default:
      return new ort.Tensor("float32", Float32Array.from(numbers, float), shape);
  }
}

function numbersOf(tensor: Tensor): ArrayLike<number | bigint> {
  return tensor.data as ArrayLike<number | bigint>;
}
