// Compares gradients of our training graphs with those that PyTorch computed (torch_gradients.py), tensor by tensor.
// tsx torch_gradients.ts FOLDER...   One "ok"/"not ok" line a model; exit status 1 if any fails.
import fs from "node:fs";
import path from "node:path";
import type { Batch } from "../../src/corpus/batch.ts";
import { openCheckpoint } from "../../src/formats/open.ts";
import { decodeTensor } from "../../src/tensor/decode.ts";
import { isPlainFloat } from "../../src/tensor/dtype.ts";
import { prepare } from "../../src/training/step/prepare.ts";
import { WholeGradients } from "../../src/training/step/whole.ts";

/** Root mean square of the difference, by that of the gradient; both sides round every step to f32. */
const TOLERANCE = 1e-5;
/**
 * A gradient this much smaller than the model's, by root mean square, is measured against that floor instead: the true gradient of a bias of
 * keys without rotation is 0, and both sides hold rounding only.
 */
const FLOOR = 1e-3;

interface Reference {
  readonly ids: readonly (readonly number[])[];
  readonly labels: readonly (readonly number[])[];
  readonly loss: number;
}

async function check(folder: string, checkpointing: boolean): Promise<string> {
  const reference = JSON.parse(fs.readFileSync(path.join(folder, "reference.json"), "utf8")) as Reference;
  const checkpoint = await openCheckpoint(folder);
  const expected = await floatsOf(path.join(folder, "gradients"));
  const trainable = new Set([...expected.keys()].filter((name) => checkpoint.tensors.has(name)));
  const lacking = [...expected.keys()].find((name) => !trainable.has(name));
  if (lacking !== undefined) throw new Error(`the checkpoint has no tensor ${lacking}`);
  const batch = batchOf(reference);
  const prepared = await prepare({
    checkpoint,
    trainable,
    batch: batch.batch,
    context: batch.context,
    accumulate: 1,
    layout: "host",
    checkpointing,
    dtype: "f32",
    adam: { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 0 },
    device: "cpu",
    threads: 1,
    folder: path.join(folder, "scratch"),
  });
  try {
    const counted = batch.labels.filter((label) => label >= 0n).length;
    const source = await WholeGradients.open(prepared);
    const { loss, byInput } = await source.gradients([batch], 1 / counted);
    const off = Math.abs(loss / counted - reference.loss) / reference.loss;
    if (!(off <= TOLERANCE)) throw new Error(`loss ${loss / counted}, expected ${reference.loss}`);
    const found = new Map(
      prepared.store.parameters.map(({ name, parts }) => [
        name,
        parts.flatMap(({ input }) => [...(byInput.get(input) ?? [Number.NaN])]),
      ]),
    );
    return compare(found, expected);
  } finally {
    await prepared.runtime.close();
  }
}

/** The worst tensor; throws when it is too far off. */
function compare(found: ReadonlyMap<string, ArrayLike<number>>, expected: ReadonlyMap<string, Float32Array>): string {
  const all = rootMeanSquare([...expected.values()].flatMap((values) => [...values]));
  let worst = { name: "", error: 0 };
  for (const [name, theirs] of expected) {
    const ours = found.get(name) ?? [];
    const difference = theirs.map((value, at) => value - (ours[at] ?? Number.NaN));
    const size = Math.max(rootMeanSquare(theirs), FLOOR * all);
    const error = ours.length === theirs.length ? rootMeanSquare(difference) / size : Number.NaN;
    if (!(error <= worst.error)) worst = { name, error };
  }
  const text = `${expected.size} tensors, worst ${worst.error.toExponential(1)} (${worst.name})`;
  if (!(worst.error <= TOLERANCE) || !(all > 0)) throw new Error(text);
  return text;
}

function rootMeanSquare(values: ArrayLike<number>): number {
  let sum = 0;
  for (let at = 0; at < values.length; at++) sum += (values[at] ?? 0) ** 2;
  return Math.sqrt(sum / values.length);
}

async function floatsOf(folder: string): Promise<ReadonlyMap<string, Float32Array>> {
  const { tensors } = await openCheckpoint(path.join(folder, "model.safetensors"));
  const floats = [...tensors].filter(([, { dtype }]) => isPlainFloat(dtype));
  return new Map(await Promise.all(floats.map(async ([name, tensor]) => [name, await decodeTensor(tensor)] as const)));
}

function batchOf({ ids, labels }: Reference): Batch {
  const list = (rows: readonly (readonly number[])[]): BigInt64Array => BigInt64Array.from(rows.flat().map(BigInt));
  return { batch: ids.length, context: ids[0]?.length ?? 0, ids: list(ids), labels: list(labels), documents: [] };
}

for (const [at, folder] of process.argv.slice(2).entries()) {
  const name = path.basename(folder);
  try {
    // Every other model with its blocks computed again in the backward pass.
    const checkpointing = at % 2 === 1;
    const text = await check(folder, checkpointing);
    console.log(`ok ${name}: gradients as PyTorch's${checkpointing ? ", recomputed" : ""}: ${text}`);
  } catch (error) {
    console.log(`not ok ${name}: ${error instanceof Error ? error.message : error}`);
    process.exitCode = 1;
  }
}
