// Parts that many families share. Data only: templates are relative to a block.
import type { BranchRule, FactorRule, Module } from "../family.ts";

export const projection = (tensors: string): FactorRule => ({ kind: "projection", tensors, value: 0 });

/** `value` closes the norm: 0 for a gain of w, -1 for a gain of 1+w. */
export const gain = (tensors: string, value: 0 | -1 = 0): FactorRule => ({ kind: "norm-gain", tensors, value });

/** A learned factor behind the projection: LayerScale, a tanh gate. */
export const layerScale = (tensors: string): FactorRule => ({ kind: "layer-scale", tensors, value: 0 });

const PRE_NORM = "no norm stands behind it, so its gradient is of normal size from the first step";
const BRANCH_NORM =
  "a norm stands behind the projection: behind a zeroed one its slope is 1/sqrt(eps), and the branch would jump to full size in one step";
const GATE = "the gate closes the whole branch and leaves its weights as they are";

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

/** A branch that ends in a learned gate. */
export const gatedBranch = (name: string, output: string, gate: FactorRule): BranchRule => ({
  name,
  factors: [projection(output), gate],
  preferred: "layer-scale",
  why: GATE,
});

/** A module that writes the stream with `output`. */
export const part = (name: string, tensors: string, branchName: string, output: string, buffers = ""): Module => ({
  name,
  tensors: `${tensors} ${output}`,
  branches: [branch(branchName, output)],
  buffers,
});

/** The same module with a norm behind its (only) branch. */
export const behindNorm = (module: Module, norm: FactorRule): Module => ({
  ...module,
  tensors: `${module.tensors} ${norm.tensors}`,
  branches: (module.branches ?? []).map((one) => ({
    ...normedBranch(one.name, "", norm),
    factors: [...one.factors, norm],
  })),
});

export const withTensors = (module: Module, extra: string): Module => ({
  ...module,
  tensors: `${module.tensors} ${extra}`,
});

export const norms = (...names: readonly string[]): Module => ({
  name: "norms",
  tensors: names.map((name) => `${name}.@`).join(" "),
});

/** Nothing: an alternative for what a block may lack. */
export const nothing = (name = ""): Module => ({ name, tensors: "" });

/** Old readers saved the rotary table with every block. */
export const ROTARY = "self_attn.rotary_emb.inv_freq";

const QK_NORM = "self_attn.{q,k}_norm.weight?";

/** Attention with separate projections, o_proj last. */
export const attention: Module = part(
  "attention",
  `self_attn.{q,k,v}_proj.@ ${QK_NORM}`,
  "attention",
  "self_attn.o_proj.@",
  ROTARY,
);

/** DeepSeek's latent attention. Without a query rank there is one q_proj. */
export const latentAttention: Module = part(
  "attention",
  "self_attn.{q,q_a,q_b}_proj.@? self_attn.{kv_a_proj_with_mqa,kv_b_proj}.@ self_attn.{q_a_layernorm.weight?,kv_a_layernorm.weight}",
  "attention",
  "self_attn.o_proj.@",
  ROTARY,
);

/** The sparse-attention indexer of DeepSeek V3.2. */
export const INDEXER = "self_attn.indexer.{k_norm,weights_proj,wk,wq_b}.@";

/** Gated MLP. */
export const mlp: Module = part("dense", "mlp.{gate,up}_proj.@", "mlp", "mlp.down_proj.@");

/** MLP without a gate. */
export const plainMlp: Module = part("dense", "mlp.up_proj.@", "mlp", "mlp.down_proj.@");

/** MLP with gate and up in one tensor. */
export const fusedMlp: Module = part("dense", "mlp.gate_up_proj.@", "mlp", "mlp.down_proj.@");

/** MLP named fc1, fc2. */
export const fcMlp: Module = part("dense", "mlp.fc1.@", "mlp", "mlp.fc2.@");

export interface ExpertNames {
  /** Module that holds the experts. */
  readonly at?: string;
  readonly router: string;
  /** Shared expert's module. */
  readonly shared?: string;
}

/** Experts one by one, or fused into 3D tensors as transformers 5 keeps them; router and shared expert. */
export const moe = ({ at = "mlp", router, shared }: ExpertNames): readonly Module[] => {
  const sharedIn = shared === undefined ? "" : `${at}.${shared}.{gate,up}_proj.@`;
  const sharedOut = shared === undefined ? "" : `${at}.${shared}.down_proj.@`;
  const rest = `${sharedIn} ${router}`;
  return [
    part(
      "moe",
      `${at}.experts.{e}.{gate,up}_proj.weight ${rest}`,
      "moe",
      `${at}.experts.{e}.down_proj.weight ${sharedOut}`,
    ),
    part("moe", `${at}.experts.gate_up_proj ${rest}`, "moe", `${at}.experts.down_proj ${sharedOut}`),
  ];
};

/** Experts w1, w2, w3 under block_sparse_moe; transformers 5 saves and reads them under these names too. */
export const sparseMoe = (router = "block_sparse_moe.gate.weight", shared = ""): Module =>
  part(
    "moe",
    `block_sparse_moe.experts.{e}.{w1,w3}.weight ${router} ${shared === "" ? "" : `block_sparse_moe.${shared}.{gate,up}_proj.@`}`,
    "moe",
    `block_sparse_moe.experts.{e}.w2.weight ${shared === "" ? "" : `block_sparse_moe.${shared}.down_proj.@`}`,
  );
