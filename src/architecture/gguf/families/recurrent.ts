// Architectures with recurrent mixers: state space, short convolution, delta networks, RWKV (llama.cpp v0.5.0). Data only.
import type { GgufRecords } from "../family.ts";
import {
  ATTENTION,
  DELTA,
  DENSE,
  EXPERTS,
  LATENT,
  MAMBA,
  MTP,
  POST_NORMS,
  QK_NORM,
  SHARED_EXPERT,
  SHORT_CONVOLUTION,
} from "./stems.ts";

export const RECURRENT_RECORDS: GgufRecords = {
  bailingmoe3: {
    stems: [ATTENTION, LATENT, DENSE, EXPERTS, SHARED_EXPERT, DELTA, MTP, "attn_gate layer_output_norm"],
  },
  jamba: { stems: [ATTENTION, MAMBA, DENSE, EXPERTS] },
  "kimi-linear": {
    stems: [ATTENTION, LATENT, DENSE, EXPERTS, SHARED_EXPERT, DELTA],
    together: ["ffn_down_exps", "ffn_down_shexp"],
  },
  lfm2: { stems: [ATTENTION, QK_NORM, DENSE, SHORT_CONVOLUTION] },
  lfm2moe: { stems: [ATTENTION, QK_NORM, DENSE, EXPERTS, SHORT_CONVOLUTION] },
  mamba: { stems: [MAMBA], singleBranch: true },
  mamba2: { stems: [MAMBA], singleBranch: true },
  plamo2: {
    stems: [ATTENTION, QK_NORM, MAMBA, DENSE, POST_NORMS],
    outputNorms: { attention: "post_attention_norm", mlp: "post_ffw_norm" },
  },
};
