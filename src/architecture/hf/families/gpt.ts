// GPT-2 and other families with their own names. Data only.
import type { Family, Module, Stack } from "../family.ts";
import { HEAD } from "./llama.ts";
import { branch, norms } from "./parts.ts";

const gpt2Stack: Stack = {
  name: "text",
  scopes: [""],
  bases: ["transformer.", ""],
  block: "h.{i}.",
  count: ["n_layer", "num_hidden_layers"],
  slots: [
    norms("ln_1", "ln_2"),
    {
      name: "attention",
      tensors: "attn.{c_attn,c_proj}.@",
      branches: [branch("attention", "attn.c_proj.@")],
      // The causal mask: attn.bias is no bias.
      buffers: "attn.{bias,masked_bias}",
    },
    { name: "dense", tensors: "mlp.{c_fc,c_proj}.@", branches: [branch("mlp", "mlp.c_proj.@")] },
    [
      {
        name: "cross",
        tensors: "crossattention.{c_attn,q_attn,c_proj}.@ ln_cross_attn.@",
        branches: [branch("cross-attention", "crossattention.c_proj.@")],
        buffers: "crossattention.{bias,masked_bias}",
      },
      { name: "", tensors: "" },
    ] satisfies readonly Module[],
  ],
  outside: "{wte,wpe}.weight ln_f.@",
};

export const gpts: readonly Family[] = [
  {
    name: "gpt2",
    stacks: [gpt2Stack],
    outside: HEAD,
    refusals: [
      {
        if: { field: "scale_attn_by_inverse_layer_idx", is: true },
        reason: "attention is scaled by 1 / (block index + 1), so every block behind an inserted one would change",
      },
    ],
  },
];
