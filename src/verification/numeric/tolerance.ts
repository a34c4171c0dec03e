// How far two runs may be apart that should compute the same: nothing for the same arithmetic, a stated share otherwise.
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import type { Graph } from "../../graph/graph.ts";
import { OnnxType } from "../../graph/onnx.ts";
import { nodesIn } from "../../graph/walk.ts";
import type { Device } from "../../runtime/protocol.ts";
import { blockOf, type Dtype } from "../../tensor/dtype.ts";

/** Halves have 11 bits: 0.0005 a rounding. Measured: 0.0007 of the largest logit over two copies, 0.001 over five. */
const FUSED_HALVES = 5e-3;
/** Order of additions, and nothing else, differs. Measured across implementations: 1e-5 of the largest logit. */
const ROUNDING = 1e-4;
/** Least bits a weight has, and how far its rounding can move a logit, as a share of the largest. */
const BY_BITS: readonly (readonly [bits: number, tolerance: number])[] = [
  [32, ROUNDING],
  [16, 0.03],
  [8, 0.1],
];

/**
 * A share of the largest magnitude. 0 for the same format on the CPU, where the same operations run in the same order. Undefined where
 * AFTER's weights were rounded to fewer than 8 bits: logits then move as far as a fault would move them.
 */
export function defaultTolerance(before: Checkpoint, after: Checkpoint, device: Device): number | undefined {
  if (before.graph !== undefined && after.graph !== undefined && device === "cpu") {
    return fusesHalves(before.graph) || fusesHalves(after.graph) ? FUSED_HALVES : 0;
  }
  if (before.format === after.format || sameArithmetic(before, after)) return device === "cpu" ? 0 : ROUNDING;
  const [was, is] = [coarsest(before), coarsest(after)];
  // Widening a weight loses nothing.
  if (is >= was) return ROUNDING;
  return BY_BITS.find(([bits]) => is >= bits)?.[1];
}

/** Norms fused with sums of half precision: onnxruntime normalizes the sum before it is rounded, and a copy reads it afterwards. */
function fusesHalves({ model }: Graph): boolean {
  const fused = [...nodesIn(model.graph?.node ?? [])].some(({ opType }) => /^Skip.*LayerNormalization$/.test(opType));
  return fused && (model.graph?.initializer ?? []).some(({ dataType }) => dataType === OnnxType.FLOAT16);
}

/** Both are the same names over the same kind of files: weights of a torch pickle are those of safetensors. */
function sameArithmetic(before: Checkpoint, after: Checkpoint): boolean {
  return before.config.dialect === "hf" && after.config.dialect === "hf";
}

/** Bits a value of the coarsest matrix. Vectors are kept fine by every quantizer. */
function coarsest({ tensors }: Checkpoint): number {
  let bits = 32;
  for (const { dtype, shape } of tensors.values()) if (shape.length > 1) bits = Math.min(bits, bitsOf(dtype));
  return bits;
}

function bitsOf(dtype: Dtype): number {
  const { values, bytes } = blockOf(dtype);
  return (8 * bytes) / values;
}
