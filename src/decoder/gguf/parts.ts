// Tensors of a GGUF model in their roles: projections, norms, networks. Shapes come from the metadata; llama.cpp's names.
import {
  type GatedMlp,
  type Linear,
  type MixtureMlp,
  type Mlp,
  type Norm,
  type PlainMlp,
  slicesOf,
  type Weight,
} from "../spec.ts";
import type { Weights } from "../weights.ts";
import type { ExpertsRule, GgufFamily, MlpRule, Presence } from "./family.ts";
import type { GgufModel } from "./model.ts";
import type { GgufSettings } from "./settings.ts";

/** Whether the tensor called `name` takes part: it must, it may, or (absent) it must not be there, which the caller's count shows. */
export function takes(weights: Weights, name: string, presence: Presence | undefined): boolean {
  return presence === "required" || (presence === "optional" && weights.has(name));
}

export function linear(
  weights: Weights,
  name: string,
  inputs: number,
  outputs: number,
  bias: Presence | undefined,
): Linear {
  return weights.linear(name, inputs, outputs, takes(weights, `${name}.bias`, bias));
}

/** A norm of the stream. */
export function streamNorm(weights: Weights, name: string, model: GgufModel, { norm }: GgufFamily): Norm {
  const { hidden, epsilon } = model;
  if (norm.gain === false) return { kind: norm.kind, epsilon, gainOffset: 0 };
  if (norm.kind === "rms") return weights.rms(name, hidden, epsilon);
  return weights.layer(name, hidden, epsilon, takes(weights, `${name}.bias`, norm.bias));
}

/** The network of block `index`. */
export function readMlp(
  settings: GgufSettings,
  weights: Weights,
  model: GgufModel,
  family: GgufFamily,
  index: number,
): Mlp {
  if (model.experts > 0 && family.experts !== undefined)
    return readExperts(settings, weights, model, family.experts, index);
  if (model.experts > 0 || family.mlp === undefined) {
    throw settings.refuse(
      "expert_count",
      `is ${model.experts}; ${settings.family} is known ${model.experts > 0 ? "without" : "with"} experts only`,
    );
  }
  return readDense(weights, family.mlp, model.hidden, model.inner[index] ?? settings.count("feed_forward_length"));
}

function readDense(weights: Weights, rule: MlpRule, hidden: number, inner: number): PlainMlp | GatedMlp {
  const { form, activation, bias } = rule;
  const down = linear(weights, "ffn_down", inner, hidden, bias);
  if (form === "plain") return { kind: "plain", up: linear(weights, "ffn_up", hidden, inner, bias), down, activation };
  if (form === "fused") {
    const fused = linear(weights, "ffn_up", hidden, 2 * inner, bias);
    return { kind: "gated", gateUp: { form: "fused", linear: fused, order: "halves" }, down, activation };
  }
  const gate = linear(weights, "ffn_gate", hidden, inner, bias);
  const up = linear(weights, "ffn_up", hidden, inner, bias);
  return { kind: "gated", gateUp: { form: "separate", gate, up }, down, activation };
}

function readExperts(
  settings: GgufSettings,
  weights: Weights,
  model: GgufModel,
  rule: ExpertsRule,
  index: number,
): MixtureMlp {
  const { hidden, experts: count } = model;
  const perToken = model.perToken[index] ?? 0;
  // 1 is softmax, which these families use whatever the key says; 3 is softmax over the selected.
  settings.only("expert_gating_func", 1, ...(rule.softmax === "selected" ? [3] : []));
  settings.only("expert_weights_scale", 0, 1);
  settings.only("expert_weights_norm", rule.normalize);
  const inner = innerOf(settings, model, rule, index, perToken);
  const bias: Presence | undefined = rule.clamped === true ? "required" : undefined;
  const stacks = {
    gate: stack(weights, "ffn_gate_exps", [count, inner, hidden], bias),
    up: stack(weights, "ffn_up_exps", [count, inner, hidden], bias),
    down: stack(weights, "ffn_down_exps", [count, hidden, inner], bias),
  };
  const clamp =
    rule.clamped === true
      ? ({ activation: "gelu_quick", limit: 7, upOffset: 1 } as const)
      : ({ activation: "silu" } as const);
  const shared = readShared(settings, weights, model, rule, index);
  return {
    kind: "mixture",
    router: {
      linear: linear(weights, "ffn_gate_inp", hidden, count, bias),
      perToken,
      softmax: rule.softmax,
      normalize: rule.normalize,
      scale: 1,
    },
    experts: Array.from({ length: count }, (_, i) => ({
      kind: "gated" as const,
      gateUp: { form: "separate" as const, gate: stacks.gate(i), up: stacks.up(i) },
      down: stacks.down(i),
      ...clamp,
    })),
    ...(shared === undefined ? {} : { shared }),
  };
}

function innerOf(settings: GgufSettings, model: GgufModel, rule: ExpertsRule, index: number, perToken: number): number {
  const dense = model.inner[index];
  if (rule.width === "feed_forward_length") return dense ?? settings.count("feed_forward_length");
  const fallback = dense === undefined || rule.clamped === true ? undefined : Math.floor(dense / perToken);
  const lists = fallback === undefined ? undefined : model.inner.map(() => fallback);
  return settings.counts("expert_feed_forward_length", model.stored, lists)[index] ?? 0;
}

/** One projection of every expert out of a stacked tensor. */
function stack(
  weights: Weights,
  name: string,
  shape: readonly [experts: number, outputs: number, inputs: number],
  bias: Presence | undefined,
): (expert: number) => Linear {
  const matrices = slicesOf(weights.get(`${name}.weight`, shape));
  const biases = bias === undefined ? [] : slicesOf(weights.get(`${name}.bias`, [shape[0], shape[1]]));
  return (expert) => {
    const [weight, own] = [matrices[expert], biases[expert]];
    if (weight === undefined) return linear(weights, name, shape[2], shape[1], undefined);
    return { weight, layout: "out_in", ...(own === undefined ? {} : { bias: own }) };
  };
}

function readShared(
  settings: GgufSettings,
  weights: Weights,
  model: GgufModel,
  rule: ExpertsRule,
  index: number,
): MixtureMlp["shared"] {
  if (rule.shared === undefined) return undefined;
  const stored = settings.number("expert_shared_feed_forward_length", 0);
  if (rule.shared === "sized" && stored === 0) return undefined;
  const { hidden } = model;
  const inner = stored || (model.inner[index] ?? 0);
  const mlp: GatedMlp = {
    kind: "gated",
    gateUp: {
      form: "separate",
      gate: weights.linear("ffn_gate_shexp", hidden, inner, false),
      up: weights.linear("ffn_up_shexp", hidden, inner, false),
    },
    down: weights.linear("ffn_down_shexp", inner, hidden, false),
    activation: "silu",
  };
  if (rule.shared === "sized") return { mlp };
  return { mlp, gate: { weight: asRow(weights.get("ffn_gate_inp_shexp.weight", [hidden])), layout: "out_in" } };
}

/** A vector as a projection to one number. */
function asRow(weight: Weight): Weight {
  return { ...weight, tensor: { ...weight.tensor, shape: [1, ...weight.tensor.shape] } };
}
