// Multilayer perceptrons on [T, H], plain, gated and mixtures of experts, which compute the tokens that were sent to them, or all.
import { OnnxType } from "../../graph/onnx.ts";
import type { Activation, GatedMlp, MixtureMlp, Mlp, PlainMlp, Router } from "../spec.ts";
import { type Emitter, outputsOf } from "./emitter.ts";
import { LOWEST } from "./mask.ts";

/** [T, H] to [T, H]. */
export function emitMlp(emit: Emitter, input: string, mlp: Mlp): string {
  return mlp.kind === "mixture" ? emitMixture(emit, input, mlp) : emitDense(emit, input, mlp);
}

function emitDense(emit: Emitter, input: string, mlp: PlainMlp | GatedMlp): string {
  if (mlp.kind === "plain") {
    return emit.linear(emitActivation(emit, emit.linear(input, mlp.up), mlp.activation), mlp.down);
  }
  const { gate, up } = emitGateUp(emit, input, mlp);
  return emit.linear(emit.node("Mul", [emitActivation(emit, gate, mlp.activation), up]), mlp.down);
}

function emitGateUp(emit: Emitter, input: string, mlp: GatedMlp): { gate: string; up: string } {
  const { limit, upOffset = 0 } = mlp;
  const both = gateAndUp(emit, input, mlp);
  const { graph } = emit;
  const gate = limit === undefined ? both.gate : emit.node("Min", [both.gate, graph.floats(limit)]);
  const kept = limit === undefined ? both.up : emit.node("Clip", [both.up, graph.floats(-limit), graph.floats(limit)]);
  return { gate, up: upOffset === 0 ? kept : emit.node("Add", [kept, graph.floats(upOffset)]) };
}

function gateAndUp(emit: Emitter, input: string, { gateUp }: GatedMlp): { gate: string; up: string } {
  if (gateUp.form === "separate") {
    return { gate: emit.linear(input, gateUp.gate), up: emit.linear(input, gateUp.up) };
  }
  const inner = outputsOf(gateUp.linear) / 2;
  const both = emit.linear(input, gateUp.linear);
  if (gateUp.order === "halves") {
    const [gate = "", up = ""] = emit.split(both, [inner, inner]);
    return { gate, up };
  }
  const [gate = "", up = ""] = emit.split(emit.node("Reshape", [both, emit.graph.ints([-1, inner, 2])]), [1, 1]);
  return { gate: emit.flat(gate, inner), up: emit.flat(up, inner) };
}

function emitActivation(emit: Emitter, value: string, activation: Activation): string {
  const gated = (inside: string): string => emit.node("Mul", [value, emit.node("Sigmoid", [inside])]);
  switch (activation) {
    case "silu":
      return gated(value);
    case "gelu_quick":
      return gated(emit.node("Mul", [value, emit.graph.floats(1.702)]));
    case "gelu":
      return emit.node("Gelu", [value], { approximate: "none" });
    case "gelu_tanh":
      return emit.node("Gelu", [value], { approximate: "tanh" });
    case "relu":
      return emit.node("Relu", [value]);
    case "relu2": {
      const positive = emit.node("Relu", [value]);
      return emit.node("Mul", [positive, positive]);
    }
  }
}

function emitMixture(emit: Emitter, input: string, mlp: MixtureMlp): string {
  const sum = emit.experts === "dense" ? emitAll(emit, input, mlp) : emitSent(emit, input, mlp);
  return mlp.shared === undefined ? sum : emit.node("Add", [sum, emitShared(emit, input, mlp.shared)]);
}

/** Every expert on the tokens that were sent to it, added at their places. */
function emitSent(emit: Emitter, input: string, { router, experts }: MixtureMlp): string {
  const { graph } = emit;
  const { weights, chosen } = emitRouting(emit, input, router);
  let sum = emit.node("ConstantOfShape", [emit.node("Shape", [input])]);
  for (const [index, expert] of experts.entries()) {
    sum = graph.within(`experts.${index}`, () => {
      // [2, n]: the token, and the place of this expert among the token's choices.
      const sent = emit.node("NonZero", [emit.node("Equal", [chosen, graph.ints(index)])]);
      const pairs = emit.node("Transpose", [sent], { perm: [1, 0] });
      const [tokens = ""] = emit.split(pairs, [1, 1]);
      const rows = emit.node("Gather", [input, emit.node("Squeeze", [tokens, graph.ints([1])])], { axis: 0 });
      const share = emit.node("Unsqueeze", [emit.node("GatherND", [weights, pairs]), graph.ints([1])]);
      const weighted = emit.node("Mul", [emitDense(emit, rows, expert), share]);
      return emit.node("ScatterND", [sum, tokens, weighted], { reduction: "add" });
    });
  }
  return sum;
}

/** Every expert on every token, times the token's share of it. */
function emitAll(emit: Emitter, input: string, { router, experts }: MixtureMlp): string {
  const { graph } = emit;
  const shares = emit.split(
    emitShares(emit, input, router, experts.length),
    experts.map(() => 1),
  );
  const weighted = experts.map((expert, index) =>
    graph.within(`experts.${index}`, () => emit.node("Mul", [emitDense(emit, input, expert), shares[index] ?? ""])),
  );
  return weighted.reduce((sum, each) => emit.node("Add", [sum, each]));
}

function emitShared(emit: Emitter, input: string, { mlp, gate }: NonNullable<MixtureMlp["shared"]>): string {
  return emit.graph.within("shared", () => {
    const output = emitDense(emit, input, mlp);
    if (gate === undefined) return output;
    return emit.node("Mul", [output, emit.node("Sigmoid", [emit.linear(input, gate)])]);
  });
}

/**
 * Shares f32 [T, experts], 0 for an expert that was not chosen. The choice is whole numbers, through which no gradient flows; the shares are
 * computed anew from all scores.
 */
function emitShares(emit: Emitter, input: string, router: Router, experts: number): string {
  const { graph } = emit;
  const { scores, chosen } = emitChoice(emit, input, router);
  const each = graph.ints(Array.from({ length: experts }, (_, index) => index));
  // [T, perToken, experts], of which every expert is chosen once at most.
  const hits = emit.float(emit.node("Equal", [emit.node("Unsqueeze", [chosen, graph.ints([2])]), each]));
  const isChosen = emit.node("ReduceSum", [hits, graph.ints([1])], { keepdims: 0 });
  const shares =
    router.softmax === "selected"
      ? emit.node("Softmax", [chosenOnly(emit, isChosen, scores)], { axis: -1 })
      : emit.node("Mul", [scores, isChosen]);
  return emitScaledShares(emit, shares, router);
}

function chosenOnly(emit: Emitter, isChosen: string, logits: string): string {
  return emit.node("Where", [emit.cast(isChosen, OnnxType.BOOL), logits, emit.graph.floats(LOWEST)]);
}

/** Weights f32 and expert numbers int64 of each token's choices, [T, perToken]. */
function emitRouting(emit: Emitter, input: string, router: Router): { weights: string; chosen: string } {
  const { top, chosen } = emitChoice(emit, input, router);
  const shares = router.softmax === "selected" ? emit.node("Softmax", [top], { axis: -1 }) : top;
  return { weights: emitScaledShares(emit, shares, router), chosen };
}

/** Scores of all experts [T, experts], the best of them and their numbers [T, perToken]. */
function emitChoice(emit: Emitter, input: string, router: Router): { scores: string; top: string; chosen: string } {
  const { graph } = emit;
  const logits = emit.linear(input, router.linear);
  const scores = router.softmax === "all" ? emit.node("Softmax", [logits], { axis: -1 }) : logits;
  const best = [scores, graph.ints([router.perToken])];
  const [top = "", chosen = ""] = graph.nodes("TopK", best, [undefined, undefined], { axis: -1 });
  return { scores, top, chosen };
}

function emitScaledShares(emit: Emitter, shares: string, router: Router): string {
  const sum = (): string => emit.node("ReduceSum", [shares, emit.graph.ints([-1])], { keepdims: 1 });
  return emit.scaled(router.normalize ? emit.node("Div", [shares, sum()]) : shares, router.scale);
}
