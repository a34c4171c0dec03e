// Pieces of the decoders that came before llama: LayerNorms, plain MLPs, fused projections. Holds no family.
import type { Activation, Attention, BlockSpec, Linear, Norm, PlainMlp } from "../spec.ts";
import type { Weights } from "../weights.ts";
import type { Heads } from "./parts.ts";

/** Outputs of a fused projection of queries, keys and values. */
export function fusedWidth({ heads, kvHeads, headSize }: Heads): number {
  return (heads + 2 * kvHeads) * headSize;
}

/** Attention of one fused projection, scores scaled by 1 / sqrt(head size). */
export function fusedAttention(
  heads: Heads,
  order: "concatenated" | "grouped",
  linears: { readonly qkv: Linear; readonly output: Linear },
): Attention {
  return {
    heads: heads.heads,
    kvHeads: heads.kvHeads,
    headSize: heads.headSize,
    qkv: { form: "fused", linear: linears.qkv, order },
    output: linears.output,
    scale: heads.headSize ** -0.5,
  };
}

/** query_key_value, grouped by key head, and dense: GPT-NeoX's attention and its names, which others took over. */
export function neoxAttention(weights: Weights, heads: Heads, bias: boolean): Attention {
  return fusedAttention(heads, "grouped", {
    qkv: weights.linear("query_key_value", heads.hidden, fusedWidth(heads), bias),
    output: weights.linear("dense", heads.hidden, heads.hidden, bias),
  });
}

/** GPT-NeoX's names for `plainMlp`, which others took over. */
export const NEOX_MLP = { up: "mlp.dense_h_to_4h", down: "mlp.dense_4h_to_h" } as const;

/** Two linears with these names. */
export function plainMlp(
  weights: Weights,
  names: { readonly up: string; readonly down: string },
  sizes: { readonly hidden: number; readonly inner: number },
  activation: Activation,
  bias: boolean,
): PlainMlp {
  return {
    kind: "plain",
    up: weights.linear(names.up, sizes.hidden, sizes.inner, bias),
    down: weights.linear(names.down, sizes.inner, sizes.hidden, bias),
    activation,
  };
}

/** Attention, then the MLP, each behind its norm. */
export function sequentialBlock(
  norms: { readonly attention: Norm; readonly mlp: Norm },
  inside: Pick<BlockSpec, "attention" | "mlp">,
): BlockSpec {
  return {
    residual: "sequential",
    residualMultiplier: 1,
    attentionNorm: norms.attention,
    mlpNorm: norms.mlp,
    ...inside,
  };
}

/** Attention and MLP side by side; without `mlp` both read the same norm. */
export function parallelBlock(
  norms: { readonly attention: Norm; readonly mlp?: Norm },
  inside: Pick<BlockSpec, "attention" | "mlp">,
): BlockSpec {
  return {
    residual: "parallel",
    residualMultiplier: 1,
    attentionNorm: norms.attention,
    ...(norms.mlp === undefined ? {} : { mlpNorm: norms.mlp }),
    ...inside,
  };
}

/** The blocks in order, each with its own weights: `prefix`0., `prefix`1., ... */
export function blocksOf(
  weights: Weights,
  prefix: string,
  count: number,
  block: (weights: Weights, index: number) => BlockSpec,
): readonly BlockSpec[] {
  return Array.from({ length: count }, (_, index) => block(weights.under(`${prefix}${index}.`), index));
}
