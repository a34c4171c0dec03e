// Mixture-of-experts families. Data only.
import type { Family, Module } from "../family.ts";
import { everyLastFull } from "./gemma.ts";
import { like } from "./llama.ts";
import { attention, attentionWith, branch, norms } from "./parts.ts";

const preNorms = norms("input_layernorm", "post_attention_layernorm");

/** Experts w1, w2, w3 under block_sparse_moe; transformers 5 saves and reads them under these names too. */
export const sparseMoe: Module = {
  name: "moe",
  tensors: "block_sparse_moe.experts.{e}.{w1,w2,w3}.weight block_sparse_moe.gate.weight",
  branches: [branch("moe", "block_sparse_moe.experts.{e}.w2.weight")],
};

export const moes: readonly Family[] = [
  like("mixtral", { slots: [preNorms, attention, sparseMoe] }),
  like("gpt_oss", {
    slots: [
      preNorms,
      attentionWith("self_attn.sinks"),
      {
        name: "moe",
        // mxfp4 files hold ..._blocks and ..._scales for each projection.
        tensors: "mlp.experts.{gate_up,down}_proj mlp.experts.{gate_up,down}_proj_bias mlp.router.@",
        branches: [branch("moe", "mlp.experts.down_proj mlp.experts.down_proj_bias")],
      },
    ],
    axes: [{ ...everyLastFull(2), ignoredBy: "llama.cpp" }],
  }),
];
