// Groups of tensor stems that many GGUF architectures share (llama.cpp v0.5.0, llama-arch.cpp and gguf-py tensor_mapping.py). Data only.

export const ATTENTION = "attn_norm attn_qkv attn_q attn_k attn_v attn_output attn_rot_embd";
export const QK_NORM = "attn_q_norm attn_k_norm";
export const DENSE = "ffn_norm ffn_gate ffn_down ffn_up";
export const EXPERTS = "ffn_norm ffn_gate_inp exp_probs_b ffn_gate_exps ffn_up_exps ffn_gate_up_exps ffn_down_exps";
export const SHARED_EXPERT = "ffn_gate_inp_shexp ffn_gate_shexp ffn_up_shexp ffn_down_shexp";
/** Behind a branch or in front of the feed-forward network: the record says which. */
export const POST_NORMS = "post_attention_norm post_ffw_norm";
/** Multi-head latent attention. */
export const LATENT =
  "attn_norm attn_q attn_q_a attn_q_a_norm attn_q_b attn_kv_a_mqa attn_kv_a_norm attn_kv_b attn_k_b attn_v_b attn_output attn_rot_embd";
/** Sparse attention's selection of tokens. */
export const INDEXER = "indexer.k_norm indexer.proj indexer.attn_k indexer.attn_q_b";
/** Multi-token prediction. */
export const MTP =
  "nextn.eh_proj nextn.embed_tokens nextn.enorm nextn.hnorm nextn.shared_head_head nextn.shared_head_norm";
export const MAMBA =
  "attn_norm ssm_in ssm_conv1d ssm_x ssm_dt ssm_a ssm_d ssm_norm ssm_out ssm_dt_norm ssm_b_norm ssm_c_norm";
/** Kimi delta attention. */
export const DELTA =
  "ssm_conv1d_q ssm_conv1d_k ssm_conv1d_v ssm_f_a ssm_f_b ssm_beta ssm_a ssm_g_a ssm_g_b ssm_dt ssm_norm";
/** Gated delta networks. */
export const GATED_DELTA = "attn_gate ssm_in ssm_ba ssm_beta ssm_alpha ssm_conv1d ssm_dt ssm_a ssm_norm ssm_out";
export const SHORT_CONVOLUTION = "shortconv.conv shortconv.in_proj shortconv.out_proj";
export const TIME_MIX =
  "attn_norm time_mix_w1 time_mix_w2 time_mix_lerp_fused time_mix_key time_mix_value time_mix_receptance time_mix_ln time_mix_output";
