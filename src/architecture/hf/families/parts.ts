// Parts that many families share. Data only: templates are relative to a block.
import type { BranchRule, FactorRule, Module } from "../family.ts";

export const projection = (tensors: string): FactorRule => ({ kind: "projection", tensors, value: 0 });

/** `value` closes the norm: 0 for a gain of w, -1 for a gain of 1+w. */
export const gain = (tensors: string, value: 0 | -1 = 0): FactorRule => ({ kind: "norm-gain", tensors, value });

export const layerScale = (tensors: string): FactorRule => ({ kind: "layer-scale", tensors, value: 0 });

const PRE_NORM = "no norm stands behind it, so its gradient is of normal size from the first step";
const BRANCH_NORM =
  "a norm stands behind the projection: behind a zeroed one its slope is 1/sqrt(eps), and the branch would jump to full size in one step";

/** A branch that a projection writes straight into the stream. */
export const branch = (name: string, output: string, ...others: readonly FactorRule[]): BranchRule => ({
  name,
  factors: [projection(output), ...others],
  preferred: "projection",
  why: PRE_NORM,
});

/** A branch with a norm behind its projection. */
export const normedBranch = (name: string, output: string, norm: FactorRule): BranchRule => ({
  name,
  factors: [projection(output), norm],
  preferred: "norm-gain",
  why: BRANCH_NORM,
});

export const norms = (...names: readonly string[]): Module => ({
  name: "norms",
  tensors: names.map((name) => `${name}.@`).join(" "),
});

const QKV = "self_attn.{q,k,v}_proj.@ self_attn.{q,k}_norm.weight?";

/** Old readers saved the rotary table with every block. */
export const ROTARY = "self_attn.rotary_emb.inv_freq";

/** Attention with separate projections, o_proj last. */
export const attention: Module = {
  name: "attention",
  tensors: `${QKV} self_attn.o_proj.@`,
  branches: [branch("attention", "self_attn.o_proj.@")],
  buffers: ROTARY,
};

export const attentionWith = (extra: string): Module => ({ ...attention, tensors: `${attention.tensors} ${extra}` });

/** Gated MLP. */
export const mlp: Module = {
  name: "dense",
  tensors: "mlp.{gate,up,down}_proj.@",
  branches: [branch("mlp", "mlp.down_proj.@")],
};

/** MLP without a gate. */
export const plainMlp: Module = { ...mlp, tensors: "mlp.{up,down}_proj.@" };

/** MLP with gate and up in one tensor. */
export const fusedMlp: Module = { ...mlp, tensors: "mlp.{gate_up,down}_proj.@" };

const EXPERT_OUT = "mlp.experts.{e}.down_proj.weight mlp.experts.down_proj";

/** Experts under mlp.experts, one by one or fused (3D, as transformers 5 keeps them), and their router. */
export const moe = (router: string, shared = ""): readonly Module[] => {
  const sharedOut = shared === "" ? "" : `mlp.${shared}.down_proj.@`;
  const sharedAll = shared === "" ? "" : `mlp.${shared}.{gate,up,down}_proj.@`;
  const branches = [branch("moe", `${EXPERT_OUT} ${sharedOut}`)];
  return [
    { name: "moe", tensors: `mlp.experts.{e}.{gate,up,down}_proj.weight ${sharedAll} ${router}`, branches },
    { name: "moe", tensors: `mlp.experts.{gate_up_proj,down_proj} ${sharedAll} ${router}`, branches },
  ];
};
