// Experts of mixtures out of a checkpoint: one tensor each, as files hold them, or stacked, as transformers 5 holds them in memory.
import { type Activation, type GatedMlp, type Linear, type Router, slicesOf, type Weight } from "../spec.ts";
import type { Weights } from "../weights.ts";

export interface ExpertSizes {
  readonly experts: number;
  readonly hidden: number;
  readonly inner: number;
}

/** What a file calls the three linears of one expert. */
export interface ExpertNames {
  readonly gate: string;
  readonly up: string;
  readonly down: string;
}

export const PROJ_NAMES: ExpertNames = { gate: "gate_proj", up: "up_proj", down: "down_proj" };

/** All experts below `experts.`, without biases. */
export function gatedExperts(
  weights: Weights,
  names: ExpertNames,
  sizes: ExpertSizes,
  activation: Activation,
): readonly GatedMlp[] {
  const own = weights.under("experts.");
  if (own.has("gate_up_proj")) return stackedExperts(own, sizes, activation);
  const { experts, hidden, inner } = sizes;
  return Array.from({ length: experts }, (_, index) => {
    const expert = own.under(`${index}.`);
    return {
      kind: "gated",
      gateUp: {
        form: "separate",
        gate: expert.linear(names.gate, hidden, inner, false),
        up: expert.linear(names.up, hidden, inner, false),
      },
      down: expert.linear(names.down, inner, hidden, false),
      activation,
    };
  });
}

/** gate_up_proj [experts, 2 * inner, hidden], gates first, and down_proj [experts, hidden, inner]. */
function stackedExperts(weights: Weights, sizes: ExpertSizes, activation: Activation): readonly GatedMlp[] {
  const { experts, hidden, inner } = sizes;
  const gateUps = slicesOf(weights.get("gate_up_proj", [experts, 2 * inner, hidden]));
  const downs = slicesOf(weights.get("down_proj", [experts, hidden, inner]));
  return pairs(gateUps, downs).map(([gateUp, down]) => ({
    kind: "gated",
    gateUp: { form: "fused", linear: outIn(gateUp), order: "halves" },
    down: outIn(down),
    activation,
  }));
}

/** Two lists of the same length, side by side. */
export function pairs<A, B>(left: readonly A[], right: readonly B[]): (readonly [A, B])[] {
  return left.flatMap((a, index) => right.slice(index, index + 1).map((b) => [a, b] as const));
}

function outIn(weight: Weight): Linear {
  return { weight, layout: "out_in" };
}

/** `name`.weight [experts, hidden]; softmax over all experts, then the best. */
export function softmaxRouter(
  weights: Weights,
  name: string,
  { experts, hidden }: ExpertSizes,
  chosen: { readonly perToken: number; readonly normalize: boolean },
): Router {
  return { linear: weights.linear(name, hidden, experts, false), softmax: "all", scale: 1, ...chosen };
}
