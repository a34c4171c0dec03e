// Batches as a graph takes them, and numbers as it gives them. Knows no layout.
import type { Batch } from "../../corpus/batch.ts";
import { ExpandError } from "../../errors.ts";
import { OnnxType } from "../../graph/onnx.ts";
import type { Value, Values } from "../../runtime/values.ts";
import { LABELS, type Prepared, WEIGHT } from "./prepare.ts";
import { floatsIn } from "./store.ts";

/** Inputs of one forward pass. Throws "bug" for a batch of another size than the graph. */
export function feedsOf(prepared: Prepared, batch: Batch, weight: number): Values {
  const { options, ids } = prepared;
  if (batch.batch !== options.batch || batch.context !== options.context) {
    const found = `[${batch.batch}, ${batch.context}]`;
    throw new ExpandError("bug", `a batch is ${found}; the graph takes [${options.batch}, ${options.context}]`);
  }
  const shape = [batch.batch, batch.context];
  return {
    [ids]: idsValue(prepared, shape, batch.ids),
    [LABELS]: { dtype: "int64", shape, data: batch.labels },
    [WEIGHT]: scalar(weight),
  };
}

/** Token ids in the type that the model takes. */
export function idsValue({ tape, ids }: Prepared, shape: readonly number[], data: BigInt64Array): Value {
  if (tape.typeOf(ids).type === OnnxType.INT64) return { dtype: "int64", shape, data };
  return { dtype: "int32", shape, data: Int32Array.from(data, Number) };
}

export function scalar(value: number): Value {
  return { dtype: "float32", shape: [], data: Float32Array.of(value) };
}

export function scalarIn(values: Values, name: string): number {
  return floatsIn(values, name)[0] ?? Number.NaN;
}

/** Positions whose label is not ignored. */
export function countedIn({ labels }: Batch): number {
  let count = 0;
  for (const label of labels) if (label >= 0n) count++;
  return count;
}

export function countedInAll(batches: readonly Batch[]): number {
  return batches.reduce((sum, batch) => sum + countedIn(batch), 0);
}
