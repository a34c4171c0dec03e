// Architectures with mixtures of experts; dense blocks, where there are some, come first (llama.cpp v0.5.0). Data only.
import type { GgufRecords } from "../family.ts";
import { deepseekCounts, deepstackFirst, sharedIndexers, writeResidualScale } from "../rules/particular.ts";
import { ATTENTION, DENSE, EXPERTS, INDEXER, LATENT, MTP, QK_NORM, SHARED_EXPERT } from "./stems.ts";

const EITHER = { stems: [ATTENTION, DENSE, EXPERTS] };
const WITH_SHARED = { stems: [ATTENTION, DENSE, EXPERTS, SHARED_EXPERT] };
const NORMED = { stems: [ATTENTION, QK_NORM, EXPERTS] };

export const EXPERT_RECORDS: GgufRecords = {
  arctic: { stems: [ATTENTION, DENSE, EXPERTS, "ffn_norm_exps"] },
  bailingmoe: { stems: [ATTENTION, EXPERTS, SHARED_EXPERT] },
  bailingmoe2: { stems: [ATTENTION, QK_NORM, DENSE, EXPERTS, SHARED_EXPERT, MTP, "layer_output_norm"] },
  // attn_output_norm stands before the network here.
  dbrx: { stems: [ATTENTION, EXPERTS, "attn_output_norm"] },
  deepseek: WITH_SHARED,
  deepseek2: { stems: [ATTENTION, LATENT, DENSE, EXPERTS, SHARED_EXPERT, MTP], rules: [deepseekCounts] },
  "deepseek2-ocr": WITH_SHARED,
  deepseek32: { stems: [LATENT, DENSE, EXPERTS, SHARED_EXPERT, INDEXER, MTP] },
  dots1: { stems: [ATTENTION, QK_NORM, DENSE, EXPERTS, SHARED_EXPERT] },
  dots3note: { stems: [LATENT, DENSE, EXPERTS, SHARED_EXPERT, INDEXER, MTP, "attn_gate attn_k_norm"] },
  "ernie4_5-moe": WITH_SHARED,
  "glm-dsa": { stems: [LATENT, DENSE, EXPERTS, SHARED_EXPERT, INDEXER, MTP], rules: [sharedIndexers] },
  // post_attention_norm stands before the network here.
  glm4moe: { stems: [ATTENTION, QK_NORM, DENSE, EXPERTS, SHARED_EXPERT, MTP, "post_attention_norm"] },
  granite: WITH_SHARED,
  granitemoe: WITH_SHARED,
  granite_swa: { stems: [...WITH_SHARED.stems, "attn_sinks"] },
  grok: {
    stems: [...EITHER.stems, "attn_output_norm post_ffw_norm layer_output_norm"],
    outputNorms: { attention: "attn_output_norm", mlp: "post_ffw_norm layer_output_norm" },
  },
  grovemoe: { stems: [...NORMED.stems, "ffn_gate_chexps ffn_up_chexps ffn_down_chexps"] },
  "hunyuan-moe": { stems: [...NORMED.stems, SHARED_EXPERT] },
  hy_v3: { stems: [ATTENTION, QK_NORM, DENSE, EXPERTS, SHARED_EXPERT, MTP] },
  // Several streams that are never mixed: each stays additive.
  hy_v4: {
    stems: [
      LATENT,
      DENSE,
      EXPERTS,
      SHARED_EXPERT,
      INDEXER,
      "attn_gate attn_sinks hc_attn_fn hc_attn_base hc_attn_scale hc_ffn_fn hc_ffn_base hc_ffn_scale",
    ],
    globals: "output_hc_fn output_hc_base output_hc_scale",
    rules: [sharedIndexers],
  },
  "llada-moe": NORMED,
  llama: EITHER,
  maple: NORMED,
  mimo2: { stems: [...EITHER.stems, MTP, "attn_sinks layer_output_norm"] },
  minicpm: { ...EITHER, rules: [writeResidualScale] },
  "minimax-m2": NORMED,
  "minimax-m3": {
    stems: [...NORMED.stems, DENSE, SHARED_EXPERT, "indexer.q_proj indexer.k_proj indexer.q_norm indexer.k_norm"],
  },
  mistral3: EITHER,
  mistral4: { stems: [LATENT, DENSE, EXPERTS, SHARED_EXPERT, MTP], rules: [deepseekCounts] },
  olmoe: NORMED,
  phimoe: EITHER,
  qwen2moe: WITH_SHARED,
  qwen3moe: NORMED,
  qwen3vlmoe: { ...NORMED, handles: ["n_deepstack_layers"], rules: [deepstackFirst] },
  rnd1: NORMED,
  // Reads the pattern of sliding windows as a list only.
  step35: { stems: [ATTENTION, QK_NORM, DENSE, EXPERTS, SHARED_EXPERT, MTP, "attn_gate"] },
};
