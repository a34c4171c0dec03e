// The plainest stack and how others are said to differ from it. Data only.
import type { Family, Stack } from "../family.ts";
import { attention, mlp, norms } from "./parts.ts";

/** The head may be tied to the embedding and then is often not stored. */
export const HEAD = "lm_head.@?";

export const preNorms = norms("input_layernorm", "post_attention_layernorm");

/** A text stack under `model.` (or bare, as AutoModel saves it), pre-norm. */
export const llamaStack: Stack = {
  name: "text",
  scopes: [""],
  bases: ["model.", ""],
  block: "layers.{i}.",
  count: ["num_hidden_layers"],
  slots: [preNorms, attention, mlp],
  outside: "embed_tokens.weight norm.@",
};

/** A family like llama, with parts of its stack replaced. */
export const like = (name: string, stack: Partial<Stack> = {}, more: Partial<Family> = {}): Family => ({
  outside: HEAD,
  ...more,
  name,
  stacks: [{ ...llamaStack, ...stack }],
});

/** DeepSeek keeps its multi-token prediction blocks behind the last one. */
export const MTP = {
  count: "num_nextn_predict_layers",
  tensors:
    "embed_tokens.weight? {enorm,hnorm}.weight? eh_proj.@? shared_head.{norm,head}.weight? final_layernorm.weight?",
} as const;

/** For families whose blocks hold one branch. */
export const ONE_MIXER =
  "A block holds one branch only: what one transformer block adds takes a copy of a mixer block and of an MLP block.";
