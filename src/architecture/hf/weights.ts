// Which weights a block has, whatever form they are stored in. A weight is a plain tensor or the tensors of a quantized form.
import type { FixedTensor } from "../architecture.ts";
import type { Quantization } from "./quantization/quantization.ts";

/** How one weight is stored. */
export interface StoredWeight {
  /** Names inside the block. */
  readonly names: readonly string[];
  /** What makes a quantized weight 0, by full names; absent for a plain tensor. */
  readonly zero?: readonly FixedTensor[];
}

export interface Weights {
  /** The name a plain checkpoint would use, inside the block, to how it is stored here. */
  readonly stored: ReadonlyMap<string, StoredWeight>;
  /** Names inside the block that belong to the quantization and to no weight. */
  readonly attached: ReadonlySet<string>;
}

/** `names`: name inside the block to full name. */
export function weightsOf(
  names: ReadonlyMap<string, string>,
  prefix: string,
  quantization: Quantization,
  has: (name: string) => boolean,
): Weights {
  const stored = new Map<string, StoredWeight>();
  const attached = new Set<string>();
  const taken = new Set<string>();
  for (const suffix of names.keys()) {
    for (const weight of candidates(suffix)) {
      if (stored.has(weight)) continue;
      const found = quantization.stored(prefix + weight, has);
      if (found === undefined) continue;
      const parts = found.names.map((name) => name.slice(prefix.length));
      stored.set(weight, { names: parts, zero: found.zero });
      for (const part of parts) taken.add(part);
    }
  }
  for (const [suffix, name] of names) {
    if (taken.has(suffix)) continue;
    if (quantization.attached(name)) attached.add(suffix);
    else stored.set(suffix, { names: [suffix] });
  }
  return { stored, attached };
}

/** Plain names of the weights that a tensor may be a part of: x.qweight, x.weight_packed, x.weight.absmax of x.weight; x_blocks and x_scale_inv of x. */
function candidates(suffix: string): readonly string[] {
  const module = /^(.+?)\.(?:weight\..+|[^.]+)$/.exec(suffix)?.[1];
  const fused = /^(.+)_(?:blocks|scales|scale|scale_inv)$/.exec(suffix)?.[1];
  return [...(module === undefined ? [] : [`${module}.weight`]), ...(fused === undefined ? [] : [fused])];
}
