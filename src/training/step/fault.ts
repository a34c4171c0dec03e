// Where a forward pass stops being finite: the model is run once more piece by piece, until what comes out of one is not. Changes nothing.
import type { Batch } from "../../corpus/batch.ts";
import type { Value } from "../../runtime/values.ts";
import { decodeTensor } from "../../tensor/decode.ts";
import { isPlainFloat } from "../../tensor/dtype.ts";
import { sumOfSquares } from "../optimizer/adamw.ts";
import type { Fault } from "./contract.ts";
import { BlockGradients } from "./offload.ts";
import type { Prepared } from "./prepare.ts";
import type { Segment } from "./segments.ts";

/** Undefined when every piece is finite, and for a model that cannot be cut. */
export async function firstFault(prepared: Prepared, batches: readonly Batch[]): Promise<Fault | undefined> {
  if (prepared.cuts.length === 0) return undefined;
  for await (const { segment, values } of new BlockGradients(prepared).outputs(batches)) {
    if (values.every(areFinite)) continue;
    const tensors = tensorsOf(prepared, segment);
    const broken = await brokenOf(prepared, tensors);
    return { tensors, ...(broken === undefined ? {} : { broken }) };
  }
  return undefined;
}

function areFinite({ dtype, data }: Value): boolean {
  // The bits of a float16: an exponent of ones is an infinity or no number.
  if (dtype === "float16") return data.every((bits: number | bigint) => (Number(bits) & 0x7c00) !== 0x7c00);
  return data.every((value: number | bigint) => Number.isFinite(Number(value)));
}

/** Of the checkpoint; a graph may read slices of them ("name.0"). */
function tensorsOf({ store, options }: Prepared, { parts, forward }: Segment): readonly string[] {
  const { tensors } = options.checkpoint;
  const trained = store.parameters.filter((each) => each.parts.some((part) => parts.includes(part)));
  const read = (forward.model.graph?.initializer ?? []).map(({ name }) =>
    tensors.has(name) ? name : name.replace(/\.\d+$/, ""),
  );
  return [...new Set([...trained.map(({ name }) => name), ...read.filter((name) => tensors.has(name))])];
}

async function brokenOf({ store, options }: Prepared, names: readonly string[]): Promise<string | undefined> {
  for (const name of names) {
    const trained = store.parameters.find((each) => each.name === name);
    const frozen = options.checkpoint.tensors.get(name);
    if (trained === undefined && (frozen === undefined || !isPlainFloat(frozen.dtype))) continue;
    const arrays = trained?.parts.map((part) => store.get("weights", part));
    for (const values of arrays ?? (frozen === undefined ? [] : [await decodeTensor(frozen)])) {
      if (!Number.isFinite(sumOfSquares(values))) return name;
    }
  }
  return undefined;
}
