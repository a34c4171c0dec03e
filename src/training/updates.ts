// How far training has moved each block: norms of what was added to its weights. Reads the start from the checkpoint, a tensor at a time.
import { decodeTensor } from "../tensor/decode.ts";
import type { TensorRef } from "../tensor/reference.ts";
import type { Metric } from "./metrics.ts";

export type BlockUpdate = Extract<Metric, { kind: "update" }>["blocks"][number];

/** `blockOf` says where a tensor stands, in words: "4", or "outside". Blocks come in the order of their first tensor. */
export async function blockUpdates(
  base: ReadonlyMap<string, TensorRef>,
  weights: ReadonlyMap<string, Float32Array>,
  blockOf: (tensor: string) => string,
): Promise<readonly BlockUpdate[]> {
  const sums = new Map<string, { update: number; start: number }>();
  for (const [name, now] of weights) {
    const tensor = base.get(name);
    if (tensor === undefined) continue;
    const before = await decodeTensor(tensor);
    const sum = sums.get(blockOf(name)) ?? { update: 0, start: 0 };
    sums.set(blockOf(name), sum);
    for (let i = 0; i < now.length; i++) {
      const start = before[i] ?? 0;
      sum.update += ((now[i] ?? 0) - start) ** 2;
      sum.start += start ** 2;
    }
  }
  return [...sums].map(([block, { update, start }]) => ({ block, norm: Math.sqrt(update), start: Math.sqrt(start) }));
}
