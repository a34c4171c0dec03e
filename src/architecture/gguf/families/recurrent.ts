// Architectures with recurrent mixers: state space, short convolution, delta networks, RWKV (llama.cpp v0.5.0). Data only.
import type { GgufRecords } from "../family.ts";
import {
  ATTENTION,
  DELTA,
  DENSE,
  EXPERTS,
  GATED_DELTA,
  LATENT,
  MAMBA,
  MTP,
  POST_NORMS,
  QK_NORM,
  SHARED_EXPERT,
  SHORT_CONVOLUTION,
  TIME_MIX,
} from "./stems.ts";

const TIME_DECAY =
  "time_mix_lerp_x time_mix_lerp_w time_mix_lerp_k time_mix_lerp_v time_mix_lerp_r time_mix_lerp_g time_mix_first time_mix_decay time_mix_decay_w1 time_mix_decay_w2 time_mix_gate";
const CHANNEL_MIX =
  "attn_norm_2 channel_mix_lerp_k channel_mix_lerp_r channel_mix_key channel_mix_receptance channel_mix_value";

export const RECURRENT_RECORDS: GgufRecords = {
  bailingmoe3: {
    stems: [ATTENTION, LATENT, DENSE, EXPERTS, SHARED_EXPERT, DELTA, MTP, "attn_gate layer_output_norm"],
  },
  "falcon-h1": { stems: [ATTENTION, MAMBA, DENSE] },
  granitehybrid: { stems: [ATTENTION, MAMBA, DENSE, EXPERTS, SHARED_EXPERT] },
  jamba: { stems: [ATTENTION, MAMBA, DENSE, EXPERTS] },
  "kimi-linear": {
    stems: [ATTENTION, LATENT, DENSE, EXPERTS, SHARED_EXPERT, DELTA],
    together: ["ffn_down_exps", "ffn_down_shexp"],
  },
  lfm2: { stems: [ATTENTION, QK_NORM, DENSE, SHORT_CONVOLUTION] },
  lfm2moe: { stems: [ATTENTION, QK_NORM, DENSE, EXPERTS, SHORT_CONVOLUTION] },
  mamba: { stems: [MAMBA], singleBranch: true },
  mamba2: { stems: [MAMBA], singleBranch: true },
  nemotron_h: { stems: [ATTENTION, MAMBA, DENSE], singleBranch: true },
  nemotron_h_moe: {
    stems: [ATTENTION, MAMBA, DENSE, EXPERTS, SHARED_EXPERT, MTP, "ffn_latent_down ffn_latent_up post_attention_norm"],
    singleBranch: true,
  },
  plamo2: {
    stems: [ATTENTION, QK_NORM, MAMBA, DENSE, POST_NORMS],
    outputNorms: { attention: "post_attention_norm", mlp: "post_ffw_norm" },
  },
  // post_attention_norm stands before the network here.
  qwen35: {
    stems: [ATTENTION, QK_NORM, DENSE, GATED_DELTA, MTP, "post_attention_norm"],
    recurrent: 4,
    handles: ["full_attention_interval"],
  },
  qwen35moe: {
    stems: [ATTENTION, QK_NORM, EXPERTS, SHARED_EXPERT, GATED_DELTA, MTP, "post_attention_norm"],
    recurrent: 4,
    handles: ["full_attention_interval"],
  },
  qwen3next: {
    stems: [ATTENTION, QK_NORM, EXPERTS, SHARED_EXPERT, GATED_DELTA, MTP, "post_attention_norm"],
    recurrent: 4,
    handles: ["full_attention_interval"],
  },
  rwkv6: { stems: [TIME_MIX, TIME_DECAY, CHANNEL_MIX] },
  rwkv6qwen2: { stems: [TIME_MIX, TIME_DECAY, DENSE] },
};
