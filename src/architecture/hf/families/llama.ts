// Llama and the families that differ from it in little. Data only.
import type { Axis, Family, KindSource, Stack } from "../family.ts";
import { attention, fusedMlp, mlp, norms } from "./parts.ts";

export const HEAD = "lm_head.@?";

/** A text stack under `model.` (or bare, as AutoModel saves it), pre-norm. */
export const llamaStack: Stack = {
  name: "text",
  scopes: [""],
  bases: ["model.", ""],
  block: "layers.{i}.",
  count: ["num_hidden_layers"],
  slots: [norms("input_layernorm", "post_attention_layernorm"), attention, mlp],
  outside: "embed_tokens.weight norm.weight",
};

export const llama: Family = { name: "llama", stacks: [llamaStack], outside: HEAD };

/** A family like llama, with parts of its stack replaced. */
export const like = (name: string, stack: Partial<Stack>, more: Partial<Family> = {}): Family => ({
  ...llama,
  ...more,
  name,
  stacks: [{ ...llamaStack, ...stack }],
});

export const FULL = "full_attention";
export const SLIDING = "sliding_attention";

/** The explicit list of transformers 4.53 and later. */
export const layerTypes: KindSource = { from: "list", field: "layer_types" };
/** Readers with the period in their code. */
export const BY_PERIOD = "llama.cpp, mlx-lm";

/** qwen2 and relatives: full attention below max_window_layers, sliding above it, if sliding is on at all. */
export const windowAxis: Axis = {
  name: "attention",
  sources: [
    layerTypes,
    {
      from: "below",
      field: "max_window_layers",
      hit: FULL,
      miss: SLIDING,
      when: { field: "use_sliding_window", is: true, default: false },
    },
    { from: "always", kind: FULL },
  ],
};
/** The threshold follows the copies even while sliding is off. */
const window = { axes: [windowAxis], fields: [{ field: "max_window_layers", rule: "threshold" }] } as const;

export const llamas: readonly Family[] = [
  llama,
  // Never gets a layer_types: AutoConfig would then load it as ministral (configuration_auto.py).
  like("mistral", {}),
  like("qwen2", window),
  like("qwen3", window),
  like("phi3", {
    slots: [
      norms("input_layernorm", "post_attention_layernorm"),
      { ...attention, tensors: "self_attn.{qkv,o}_proj.@" },
      fusedMlp,
    ],
  }),
];
