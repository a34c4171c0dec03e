#!/usr/bin/env python3
"""Write tiny random checkpoints, one per model type, in Hugging Face layout.

    python zoo.py OUT [model_type ...]

Every model goes to OUT/<model_type>/ as save_pretrained writes it. One line
per model is printed: "ok" or "failed" with the reason; the exit status is 1
if any model failed. Without names, every model in MODELS is written.

The models are random but seeded, and EVERY parameter is perturbed: biases,
norm gains and scalars that normally start at 0 or 1 get noise as well, so
that a tensor which is copied, zeroed or dropped by mistake changes the output.

Needs torch, transformers and safetensors.
"""

import argparse
import sys
import warnings
import zlib
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

# Values for the attributes that most configurations share. A configuration
# gets those of them that it declares (also through its attribute_map).
TINY = {
    "vocab_size": 128,
    "hidden_size": 32,
    "d_model": 32,
    "n_embd": 32,
    "embed_dim": 32,
    "num_hidden_layers": 6,
    "num_layers": 6,
    "n_layer": 6,
    "n_layers": 6,
    "encoder_layers": 4,
    "decoder_layers": 4,
    "num_attention_heads": 4,
    "num_heads": 4,
    "n_head": 4,
    "n_heads": 4,
    "attention_heads": 4,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_kv_heads": 2,
    "head_dim": 16,
    "intermediate_size": 64,
    "ffn_dim": 64,
    "ffn_hidden_size": 64,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "dff": 64,
    "d_ff": 64,
    "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 24,
    "max_position_embeddings": 64,
    "n_positions": 64,
    "n_ctx": 64,
    "max_seq_len": 64,
    "context_length": 64,
    "max_source_positions": 64,
    "max_target_positions": 64,
    "sliding_window": 4,
    "local_attention": 4,
    "window_size": 4,
    "attention_window_size": 4,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_topk": 2,
    "moe_k": 2,
    "n_group": 1,
    "topk_group": 1,
    "n_shared_experts": 1,
    "num_shared_experts": 1,
    "kv_lora_rank": 16,
    "q_lora_rank": 20,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 12,
    "index_topk": 4,
    "index_head_dim": 16,
    "index_n_heads": 2,
    "rotary_dim": 4,
    "state_size": 8,
    "time_step_rank": 4,
    "conv_kernel": 4,
    "chunk_size": 8,
    "mamba_d_state": 8,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
    "mamba_chunk_size": 8,
    "mamba_n_groups": 1,
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_dt_rank": 4,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "image_size": 16,
    "patch_size": 8,
    "depth": 4,
    "out_hidden_size": 32,
    "projection_dim": 32,
    "projection_size": 32,
    "image_token_id": 120,
    "image_token_index": 120,
    "video_token_id": 121,
    "video_token_index": 121,
    "vision_start_token_id": 122,
    "vision_end_token_id": 123,
    "boi_token_index": 122,
    "eoi_token_index": 123,
    "boi_token_id": 122,
    "eoi_token_id": 123,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "sep_token_id": 2,
    "cls_token_id": 1,
    "mask_token_id": 3,
    # No randomness in the forward pass.
    "hidden_dropout": 0.0,
    "hidden_dropout_prob": 0.0,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "activation_dropout": 0.0,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "dropout_rate": 0.0,
    "drop_path_rate": 0.0,
    "encoder_layerdrop": 0.0,
    "decoder_layerdrop": 0.0,
    "layerdrop": 0.0,
}

# name: (class, overrides[, options]). The name is the model type, with
# "@variant" behind it where one type is written more than once: @bias has the
# optional biases (and q/k norms, tied embeddings) that the plain model lacks.
# Overrides win over TINY; DROP takes an attribute out, so that the
# configuration's own default applies. Nested dicts go to sub-configurations,
# where "model_type" picks the class of one that is left open.
# Options: dtype; shard, the max_shard_size in which the model is saved; names,
# the beginning of tensor names as transformers saves and as it was published.
DROP = object()

# Latent attention: as many key as query heads, head_dim follows from the parts.
MLA = {"num_key_value_heads": 4, "head_dim": DROP}
# The block pattern is 5 sliding and 1 full, whose heads are larger.
GEMMA4 = {
    "num_hidden_layers": 6,
    "global_head_dim": 24,
    "vocab_size_per_layer_input": 128,
    "hidden_size_per_layer_input": 8,
}
# A short feature extractor: 2 convolutions instead of 7.
AUDIO = {
    "conv_dim": [32, 32],
    "conv_stride": [5, 2],
    "conv_kernel": [10, 3],
    "feat_extract_norm": "layer",
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
    "mask_time_prob": 0.0,
    "codevector_dim": 32,
    "proj_codevector_dim": 32,
    "output_hidden_size": 32,
    "classifier_proj_size": 32,
    "final_dropout": 0.0,
}

MODELS = {
    # --- decoder-only ---
    "llama": ("LlamaForCausalLM", {}, {"shard": "40KB"}),
    "llama@bias": (
        "LlamaForCausalLM",
        {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    ),
    "mistral": ("MistralForCausalLM", {}),
    "ministral": ("MinistralForCausalLM", {}),
    "ministral3": ("Ministral3ForCausalLM", {}),
    "qwen2": ("Qwen2ForCausalLM", {}, {"dtype": torch.bfloat16}),
    "qwen2@sliding": (
        "Qwen2ForCausalLM",
        {"use_sliding_window": True, "max_window_layers": 3, "tie_word_embeddings": True},
    ),
    "qwen3": ("Qwen3ForCausalLM", {}, {"dtype": torch.bfloat16}),
    "qwen3@bias": ("Qwen3ForCausalLM", {"attention_bias": True, "tie_word_embeddings": True}),
    "qwen2_moe": ("Qwen2MoeForCausalLM", {"decoder_sparse_step": 2, "mlp_only_layers": [3]}),
    "qwen3_moe": ("Qwen3MoeForCausalLM", {"mlp_only_layers": [1]}, {"shard": "100KB"}),
    "qwen3_moe@bias": ("Qwen3MoeForCausalLM", {"attention_bias": True, "tie_word_embeddings": True}),
    "mixtral": ("MixtralForCausalLM", {}, {"shard": "60KB"}),
    "gemma": ("GemmaForCausalLM", {}),
    "gemma@bias": ("GemmaForCausalLM", {"attention_bias": True}),
    "gemma2": ("Gemma2ForCausalLM", {}),
    "gemma2@bias": ("Gemma2ForCausalLM", {"attention_bias": True}),
    "gemma3_text": ("Gemma3ForCausalLM", {"num_hidden_layers": 8}),
    "gemma3_text@bias": ("Gemma3ForCausalLM", {"num_hidden_layers": 12, "attention_bias": True}),
    "phi": ("PhiForCausalLM", {}),
    "phi@bias": ("PhiForCausalLM", {"qk_layernorm": True, "tie_word_embeddings": True}),
    "phi3": ("Phi3ForCausalLM", {}),
    "gpt2": ("GPT2LMHeadModel", {}),
    "gpt2@scaled": ("GPT2LMHeadModel", {"scale_attn_by_inverse_layer_idx": True}),
    "gpt_neox": ("GPTNeoXForCausalLM", {}),
    "gpt_neox@sequential": ("GPTNeoXForCausalLM", {"use_parallel_residual": False, "attention_bias": False}),
    "gptj": ("GPTJForCausalLM", {}),
    "gpt_neo": ("GPTNeoForCausalLM", {"attention_types": [[["global", "local"], 3]]}),
    "falcon": ("FalconForCausalLM", {"num_kv_heads": DROP}),
    "falcon@bias": (
        "FalconForCausalLM",
        {"bias": True, "parallel_attn": False, "multi_query": False, "alibi": True, "num_kv_heads": DROP},
    ),
    "falcon@new": ("FalconForCausalLM", {"new_decoder_architecture": True}),
    "mpt": ("MptForCausalLM", {"attn_config": {"attn_pdrop": DROP}}),
    "bloom": ("BloomForCausalLM", {}),
    "bloom@post_norm": ("BloomForCausalLM", {"apply_residual_connection_post_layernorm": True}),
    "opt": ("OPTForCausalLM", {"word_embed_proj_dim": 32}),
    "opt@post_norm": ("OPTForCausalLM", {"word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    "stablelm": ("StableLmForCausalLM", {}),
    "stablelm@bias": (
        "StableLmForCausalLM",
        {
            "use_qkv_bias": True,
            "use_parallel_residual": True,
            "qk_layernorm": True,
            "tie_word_embeddings": True,
        },
    ),
    "starcoder2": ("Starcoder2ForCausalLM", {}),
    "olmo": ("OlmoForCausalLM", {}),
    "olmo@bias": ("OlmoForCausalLM", {"attention_bias": True, "tie_word_embeddings": True}),
    "olmo2": ("Olmo2ForCausalLM", {}),
    "olmo2@bias": ("Olmo2ForCausalLM", {"attention_bias": True, "tie_word_embeddings": True}),
    "olmo3": ("Olmo3ForCausalLM", {"num_hidden_layers": 8}),
    "olmoe": ("OlmoeForCausalLM", {}),
    "olmoe@bias": ("OlmoeForCausalLM", {"attention_bias": True, "tie_word_embeddings": True}),
    "granite": ("GraniteForCausalLM", {"residual_multiplier": 0.22, "embedding_multiplier": 12.0}),
    "granite@bias": (
        "GraniteForCausalLM",
        {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    ),
    "granitemoe": ("GraniteMoeForCausalLM", {"residual_multiplier": 0.22}),
    "granitemoe@bias": ("GraniteMoeForCausalLM", {"attention_bias": True, "tie_word_embeddings": True}),
    "cohere": ("CohereForCausalLM", {}),
    "cohere@bias": ("CohereForCausalLM", {"attention_bias": True, "use_qk_norm": True}),
    "cohere2": ("Cohere2ForCausalLM", {"num_hidden_layers": 8}),
    "cohere2@bias": ("Cohere2ForCausalLM", {"num_hidden_layers": 8, "attention_bias": True}),
    "smollm3": ("SmolLM3ForCausalLM", {"num_hidden_layers": 8}),
    "smollm3@bias": (
        "SmolLM3ForCausalLM",
        {"num_hidden_layers": 8, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False},
    ),
    "glm": ("GlmForCausalLM", {}),
    "glm4": ("Glm4ForCausalLM", {}),
    "exaone4": ("Exaone4ForCausalLM", {"num_hidden_layers": 8}),
    "gpt_oss": ("GptOssForCausalLM", {}),
    "deepseek_v3": ("DeepseekV3ForCausalLM", {**MLA, "first_k_dense_replace": 2}),
    "deepseek_v3@bias": (
        "DeepseekV3ForCausalLM",
        {**MLA, "first_k_dense_replace": 2, "attention_bias": True, "tie_word_embeddings": True},
    ),
    "afmoe": ("AfmoeForCausalLM", {"num_hidden_layers": 8, "num_dense_layers": 2}),
    "afmoe@bias": (
        "AfmoeForCausalLM",
        {"num_hidden_layers": 8, "num_dense_layers": 2, "attention_bias": True, "tie_word_embeddings": True},
    ),
    "apertus": ("ApertusForCausalLM", {}),
    "apertus@bias": ("ApertusForCausalLM", {"attention_bias": True, "tie_word_embeddings": True}),
    "arcee": ("ArceeForCausalLM", {}),
    "arcee@bias": (
        "ArceeForCausalLM",
        {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    ),
    "axk1": ("AXK1ForCausalLM", {**MLA}),
    "bamba": ("BambaForCausalLM", {"attn_layer_indices": [1, 4], "mamba_n_heads": 4}),
    "bamba@bias": (
        "BambaForCausalLM",
        {
            "attn_layer_indices": [1, 4],
            "mamba_n_heads": 4,
            "attention_bias": True,
            "mlp_bias": True,
            "mamba_proj_bias": True,
        },
    ),
    "biogpt": ("BioGptForCausalLM", {}),
    "bitnet": ("BitNetForCausalLM", {}),
    "bitnet@bias": ("BitNetForCausalLM", {"attention_bias": True}),
    "codegen": ("CodeGenForCausalLM", {}),
    "cohere2_moe": ("Cohere2MoeForCausalLM", {"num_hidden_layers": 8, "first_k_dense_replace": 1}),
    "ctrl": ("CTRLLMHeadModel", {}),
    "cwm": ("CwmForCausalLM", {"num_hidden_layers": 8}),
    "dbrx": (
        "DbrxForCausalLM",
        {
            "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
            "ffn_config": {"ffn_hidden_size": 64, "moe_num_experts": 4, "moe_top_k": 2},
        },
    ),
    "deepseek_v2": ("DeepseekV2ForCausalLM", {**MLA, "first_k_dense_replace": 1}),
    "deepseek_v2@bias": (
        "DeepseekV2ForCausalLM",
        {**MLA, "first_k_dense_replace": 1, "attention_bias": True, "mlp_bias": True},
    ),
    "deepseek_v32": ("DeepseekV32ForCausalLM", {**MLA, "first_k_dense_replace": 2}),
    "diffllama": ("DiffLlamaForCausalLM", {}),
    "doge": ("DogeForCausalLM", {}),
    "doge@moe": (
        "DogeForCausalLM",
        {"is_moe": True, "num_experts": 16, "attention_bias": True, "mlp_bias": True},
    ),
    "dots1": (
        "Dots1ForCausalLM",
        {"first_k_dense_replace": 1, "use_sliding_window": True, "max_window_layers": 3},
    ),
    "ernie4_5": ("Ernie4_5ForCausalLM", {}),
    "ernie4_5@bias": ("Ernie4_5ForCausalLM", {"use_bias": True}),
    "ernie4_5_moe": ("Ernie4_5_MoeForCausalLM", {"moe_layer_start_index": 1, "moe_layer_end_index": 4}),
    "ernie4_5_moe@bias": (
        "Ernie4_5_MoeForCausalLM",
        {"moe_layer_start_index": 1, "moe_layer_end_index": 5, "use_bias": True},
    ),
    "exaone_moe": ("ExaoneMoeForCausalLM", {"num_hidden_layers": 8}),
    "falcon_h1": (
        "FalconH1ForCausalLM",
        {"mamba_d_ssm": 64, "ssm_multipliers": [0.5, 0.6, 0.7, 0.8, 0.9], "attention_out_multiplier": 0.9},
    ),
    "falcon_h1@bias": (
        "FalconH1ForCausalLM",
        {
            "mamba_d_ssm": 64,
            "attention_bias": True,
            "mlp_bias": True,
            "projectors_bias": True,
            "mamba_proj_bias": True,
            "mamba_rms_norm": True,
        },
    ),
    "falcon_mamba": ("FalconMambaForCausalLM", {}),
    "falcon_mamba@bias": ("FalconMambaForCausalLM", {"use_bias": True}),
    "flex_olmo": ("FlexOlmoForCausalLM", {}),
    "flex_olmo@bias": ("FlexOlmoForCausalLM", {"attention_bias": True}),
    "glm4_moe": ("Glm4MoeForCausalLM", {"first_k_dense_replace": 1}),
    "glm4_moe@bias": (
        "Glm4MoeForCausalLM",
        {"first_k_dense_replace": 1, "attention_bias": True, "use_qk_norm": True},
    ),
    "glm4_moe_lite": ("Glm4MoeLiteForCausalLM", {**MLA}),
    "glm_moe_dsa": ("GlmMoeDsaForCausalLM", {**MLA}),
    "glm_moe_dsa@shared": (
        "GlmMoeDsaForCausalLM",
        {
            **MLA,
            "num_hidden_layers": 8,
            "indexer_types": ["full", "full", "full", "shared"] + ["full", "shared"] * 2,
        },
    ),
    "gpt_bigcode": ("GPTBigCodeForCausalLM", {"num_key_value_heads": DROP}),
    "gpt_neox_japanese": ("GPTNeoXJapaneseForCausalLM", {}),
    "granite_swa": ("GraniteSWAForCausalLM", {"num_hidden_layers": 8}),
    "granite_swa@bias": (
        "GraniteSWAForCausalLM",
        {"num_hidden_layers": 8, "attention_bias": True, "mlp_bias": True},
    ),
    "granitemoe_swa": ("GraniteMoeSWAForCausalLM", {"num_hidden_layers": 8, "shared_intermediate_size": 24}),
    "granitemoehybrid": (
        "GraniteMoeHybridForCausalLM",
        {
            "layer_types": ["mamba", "mamba", "attention"] * 2,
            "mamba_n_heads": 4,
            "shared_intermediate_size": 24,
        },
    ),
    "granitemoehybrid@bias": (
        "GraniteMoeHybridForCausalLM",
        {
            "layer_types": ["mamba", "mamba", "attention"] * 2,
            "mamba_n_heads": 4,
            "shared_intermediate_size": 24,
            "num_local_experts": 0,
            "attention_bias": True,
            "mamba_proj_bias": True,
        },
    ),
    "granitemoeshared": ("GraniteMoeSharedForCausalLM", {"shared_intermediate_size": 24}),
    "helium": ("HeliumForCausalLM", {"head_dim": 8}),
    "helium@bias": ("HeliumForCausalLM", {"head_dim": 8, "attention_bias": True, "mlp_bias": True}),
    "hunyuan_v1_dense": ("HunYuanDenseV1ForCausalLM", {}),
    "hunyuan_v1_dense@bias": ("HunYuanDenseV1ForCausalLM", {"attention_bias": True}),
    "hunyuan_v1_moe": ("HunYuanMoEV1ForCausalLM", {}),
    "hunyuan_v1_moe@bias": ("HunYuanMoEV1ForCausalLM", {"attention_bias": True}),
    "hy_v3": ("HYV3ForCausalLM", {}),
    "hy_v3@bias": ("HYV3ForCausalLM", {"attention_bias": True, "mlp_bias": True}),
    "jais2": ("Jais2ForCausalLM", {}),
    "jamba": (
        "JambaForCausalLM",
        {"num_hidden_layers": 8, "attn_layer_period": 4, "attn_layer_offset": 2, "use_mamba_kernels": False},
    ),
    "jamba@bias": (
        "JambaForCausalLM",
        {
            "num_hidden_layers": 8,
            "attn_layer_period": 4,
            "attn_layer_offset": 2,
            "use_mamba_kernels": False,
            "mamba_proj_bias": True,
        },
    ),
    "jetmoe": ("JetMoeForCausalLM", {"kv_channels": 8, "num_attention_heads": DROP}),
    "kimi_linear": ("KimiLinearForCausalLM", {**MLA}),
    "laguna": ("LagunaForCausalLM", {}),
    "lfm2": ("Lfm2ForCausalLM", {"full_attn_idxs": [2, 4], "block_multiple_of": 8}),
    "lfm2@bias": ("Lfm2ForCausalLM", {"full_attn_idxs": [2, 4], "block_multiple_of": 8, "conv_bias": True}),
    "lfm2_moe": (
        "Lfm2MoeForCausalLM",
        {"num_dense_layers": 2, "layer_types": ["conv", "conv", "full_attention"] * 2},
    ),
    "lfm2_moe@bias": (
        "Lfm2MoeForCausalLM",
        {"num_dense_layers": 2, "layer_types": ["conv", "conv", "full_attention"] * 2, "conv_bias": True},
    ),
    "llama4_text": (
        "Llama4ForCausalLM",
        {
            "num_hidden_layers": 8,
            "interleave_moe_layer_step": 2,
            "attention_chunk_size": 8,
            "intermediate_size_mlp": 48,
            "floor_scale": 4,
        },
    ),
    "longcat_flash": (
        "LongcatFlashForCausalLM",
        {**MLA, "head_dim": 8, "zero_expert_num": 2, "expert_ffn_hidden_size": 24, "num_layers": 4},
    ),
    "mamba": ("MambaForCausalLM", {}),
    "mamba@bias": ("MambaForCausalLM", {"use_bias": True}),
    "mamba2": ("Mamba2ForCausalLM", {"num_heads": 4, "n_groups": 1}),
    "mamba2@bias": ("Mamba2ForCausalLM", {"num_heads": 4, "n_groups": 1, "use_bias": True}),
    "mellum": ("MellumForCausalLM", {"mlp_layer_types": ["dense"] + ["sparse"] * 5}),
    "mimo_v2_flash": ("MiMoV2FlashForCausalLM", {}),
    "minicpm3": ("MiniCPM3ForCausalLM", {**MLA, "dim_model_base": 16}),
    "minimax": ("MiniMaxForCausalLM", {"block_size": 8}),
    "minimax_m2": ("MiniMaxM2ForCausalLM", {}),
    "mistral4": ("Mistral4ForCausalLM", {**MLA, "first_k_dense_replace": 1}),
    "modernbert-decoder": ("ModernBertDecoderForCausalLM", {}),
    "modernbert-decoder@bias": (
        "ModernBertDecoderForCausalLM",
        {"attention_bias": True, "mlp_bias": True, "norm_bias": True},
    ),
    "nanochat": ("NanoChatForCausalLM", {}),
    "nanochat@bias": ("NanoChatForCausalLM", {"attention_bias": True}),
    "nemotron": ("NemotronForCausalLM", {}),
    "nemotron@bias": ("NemotronForCausalLM", {"attention_bias": True, "mlp_bias": True}),
    "nemotron_h": (
        "NemotronHForCausalLM",
        {
            "num_hidden_layers": DROP,
            "layers_block_type": ["mamba", "moe", "attention", "mlp", "mamba", "moe", "mamba", "mlp"],
            "ssm_state_size": 8,
            "mamba_num_heads": 4,
            "mamba_head_dim": 16,
            "n_groups": 1,
            "moe_shared_expert_intermediate_size": 24,
            "use_mamba_kernels": False,
        },
    ),
    "nemotron_h@bias": (
        "NemotronHForCausalLM",
        {
            "num_hidden_layers": DROP,
            "layers_block_type": ["mamba", "moe", "attention", "mlp", "mamba", "moe", "mamba", "mlp"],
            "ssm_state_size": 8,
            "mamba_num_heads": 4,
            "mamba_head_dim": 16,
            "n_groups": 1,
            "moe_shared_expert_intermediate_size": 24,
            "use_mamba_kernels": False,
            "attention_bias": True,
            "mlp_bias": True,
            "use_bias": True,
            "mamba_proj_bias": True,
            "moe_latent_size": 16,
        },
    ),
    "olmo_hybrid": ("OlmoHybridForCausalLM", {"num_hidden_layers": 8}),
    "olmo_hybrid@bias": ("OlmoHybridForCausalLM", {"num_hidden_layers": 8, "attention_bias": True}),
    "persimmon": ("PersimmonForCausalLM", {}),
    "phimoe": ("PhimoeForCausalLM", {}),
    "phimoe@bias": ("PhimoeForCausalLM", {"attention_bias": True, "lm_head_bias": True}),
    "qwen3_5_text": ("Qwen3_5ForCausalLM", {"num_hidden_layers": 8}),
    "qwen3_5_text@bias": ("Qwen3_5ForCausalLM", {"num_hidden_layers": 8, "attention_bias": True}),
    "qwen3_5_moe_text": ("Qwen3_5MoeForCausalLM", {"num_hidden_layers": 8}),
    "qwen3_next": ("Qwen3NextForCausalLM", {"num_hidden_layers": 8, "mlp_only_layers": [1]}),
    "qwen3_next@bias": ("Qwen3NextForCausalLM", {"num_hidden_layers": 8, "attention_bias": True}),
    "recurrent_gemma": ("RecurrentGemmaForCausalLM", {"num_hidden_layers": 6, "lru_width": 32}),
    "rwkv": ("RwkvForCausalLM", {"attention_hidden_size": 32}),
    "seed_oss": ("SeedOssForCausalLM", {"residual_dropout": 0.0}),
    "seed_oss@bias": (
        "SeedOssForCausalLM",
        {"residual_dropout": 0.0, "attention_out_bias": True, "mlp_bias": True},
    ),
    "solar_open": ("SolarOpenForCausalLM", {}),
    "solar_open@bias": ("SolarOpenForCausalLM", {"attention_bias": True}),
    "vaultgemma": ("VaultGemmaForCausalLM", {}),
    "xglm": ("XGLMForCausalLM", {}),
    "xlstm": (
        "xLSTMForCausalLM",
        {
            "hidden_size": 128,
            "embedding_dim": 128,
            "num_blocks": 6,
            "ffn_round_up_to_multiple_of": 8,
            "chunk_size": 8,
            "autocast_kernel_dtype": "float32",
        },
    ),
    "xlstm@bias": (
        "xLSTMForCausalLM",
        {
            "hidden_size": 128,
            "embedding_dim": 128,
            "num_blocks": 6,
            "ffn_round_up_to_multiple_of": 8,
            "chunk_size": 8,
            "autocast_kernel_dtype": "float32",
            "use_bias": True,
        },
    ),
    "youtu": ("YoutuForCausalLM", {**MLA, "pad_token_id": None}),
    "youtu@bias": ("YoutuForCausalLM", {**MLA, "pad_token_id": None, "attention_bias": True}),
    "zamba": (
        "ZambaForCausalLM",
        {
            "layers_block_type": ["mamba", "hybrid"] * 3,
            "attention_hidden_size": 64,
            "attention_head_dim": 16,
            "n_mamba_heads": 2,
            "use_mamba_kernels": False,
        },
    ),
    "zamba2": (
        "Zamba2ForCausalLM",
        {"layers_block_type": ["mamba", "hybrid"] * 3, "n_mamba_heads": 4, "use_mamba_kernels": False},
    ),
    "zamba2@adapter": (
        "Zamba2ForCausalLM",
        {
            "num_key_value_heads": 4,
            "num_hidden_layers": 8,
            "layers_block_type": ["mamba", "hybrid"] * 4,
            "n_mamba_heads": 4,
            "use_mamba_kernels": False,
            "num_mem_blocks": 2,
            "use_shared_attention_adapter": True,
            "adapter_rank": 4,
            "add_bias_linear": True,
        },
    ),
    "zaya": ("ZayaForCausalLM", {"num_experts_per_tok": 1}),
    "deepseek_v4": ("DeepseekV4ForCausalLM", {}),
    "hrm_text": ("HrmTextForCausalLM", {}),
    "openai-gpt": ("OpenAIGPTLMHeadModel", {}),
    "gemma3n_text": (
        "Gemma3nForCausalLM",
        {
            "num_hidden_layers": 10,
            "num_kv_shared_layers": 2,
            "intermediate_size": DROP,
            "vocab_size_per_layer_input": 128,
            "hidden_size_per_layer_input": 8,
            "laurel_rank": 8,
        },
    ),
    "gemma4_text": ("Gemma4ForCausalLM", {**GEMMA4}),
    "gemma4_text@moe": (
        "Gemma4ForCausalLM",
        {
            **GEMMA4,
            "enable_moe_block": True,
            "num_experts": 4,
            "top_k_experts": 2,
            "moe_intermediate_size": 24,
            "attention_k_eq_v": True,
            "hidden_size_per_layer_input": 0,
        },
    ),
    "gemma4_text@shared": (
        "Gemma4ForCausalLM",
        {**GEMMA4, "num_hidden_layers": 12, "num_kv_shared_layers": 3, "use_double_wide_mlp": True},
    ),
    "gemma4_text@bias": (
        "Gemma4ForCausalLM",
        {**GEMMA4, "attention_bias": True, "hidden_size_per_layer_input": 0},
    ),
    # --- multimodal wrappers ---
    "gemma3": (
        "Gemma3ForConditionalGeneration",
        {"mm_tokens_per_image": 4, "text_config": {"num_hidden_layers": 8}},
    ),
    "gemma4": ("Gemma4ForConditionalGeneration", {"text_config": {**GEMMA4}, "vision_config": {}}),
    "gemma4@dense": (
        "Gemma4ForConditionalGeneration",
        {"text_config": {**GEMMA4, "hidden_size_per_layer_input": 0}, "vision_config": {}},
    ),
    "qwen2_vl": (
        "Qwen2VLForConditionalGeneration",
        {
            "text_config": {
                "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
            }
        },
    ),
    "qwen2_5_vl": (
        "Qwen2_5_VLForConditionalGeneration",
        {
            "text_config": {
                "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
            },
            "vision_config": {"fullatt_block_indexes": [1, 3], "window_size": 16},
        },
    ),
    "qwen3_vl": (
        "Qwen3VLForConditionalGeneration",
        {"vision_config": {"deepstack_visual_indexes": [0, 1, 2], "num_position_embeddings": 16}},
    ),
    "qwen3_vl_moe": (
        "Qwen3VLMoeForConditionalGeneration",
        {"vision_config": {"deepstack_visual_indexes": [0, 1, 2], "num_position_embeddings": 16}},
    ),
    "qwen3_5": (
        "Qwen3_5ForConditionalGeneration",
        {"text_config": {"num_hidden_layers": 8}, "vision_config": {"num_position_embeddings": 16}},
    ),
    "qwen3_5_moe": (
        "Qwen3_5MoeForConditionalGeneration",
        {"text_config": {"num_hidden_layers": 8}, "vision_config": {"num_position_embeddings": 16}},
    ),
    "llama4": (
        "Llama4ForConditionalGeneration",
        {
            "text_config": {
                "num_hidden_layers": 8,
                "interleave_moe_layer_step": 2,
                "attention_chunk_size": 8,
                "intermediate_size_mlp": 48,
                "floor_scale": 4,
            },
            "vision_config": {
                "intermediate_size": 128,
                "vision_output_dim": 32,
                "projector_input_dim": 32,
                "projector_output_dim": 32,
            },
        },
    ),
    "mistral3": ("Mistral3ForConditionalGeneration", {}),
    "mistral3@ministral3": (
        "Mistral3ForConditionalGeneration",
        {"text_config": {"model_type": "ministral3"}},
    ),
    "mllama": (
        "MllamaForConditionalGeneration",
        {
            "text_config": {"cross_attention_layers": [1, 4], "num_key_value_heads": 2},
            "vision_config": {
                "num_global_layers": 2,
                "intermediate_layers_indices": [0, 2],
                "vision_output_dim": 96,
            },
        },
    ),
    "llava": ("LlavaForConditionalGeneration", {}),
    "llava@qwen2": ("LlavaForConditionalGeneration", {"text_config": {"model_type": "qwen2"}}),
    "llava_next": ("LlavaNextForConditionalGeneration", {"text_config": {"model_type": "mistral"}}),
    "llava_onevision": ("LlavaOnevisionForConditionalGeneration", {}),
    "paligemma": ("PaliGemmaForConditionalGeneration", {"vision_config": {"projection_dim": 32}}),
    "internvl": (
        "InternVLForConditionalGeneration",
        {"vision_config": {"image_size": [32, 32], "patch_size": [8, 8]}},
    ),
    "idefics3": ("Idefics3ForConditionalGeneration", {}),
    "smolvlm": ("SmolVLMForConditionalGeneration", {}),
    "minimax_m3_vl": (
        "MiniMaxM3SparseForConditionalGeneration",
        {
            "text_config": {
                "dense_intermediate_size": 64,
                "shared_intermediate_size": 24,
                "mlp_layer_types": ["dense"] * 2 + ["sparse"] * 4,
            },
            "projector_hidden_size": 32,
        },
    ),
    "minimax_m3_vl@sparse": (
        "MiniMaxM3SparseForConditionalGeneration",
        {
            "text_config": {
                "layer_types": ["full_attention"] * 2 + ["minimax_m3_sparse"] * 4,
                "index_block_size": 4,
                "index_topk_blocks": 2,
                "dense_intermediate_size": 64,
                "shared_intermediate_size": 24,
                "mlp_layer_types": ["dense"] * 2 + ["sparse"] * 4,
            },
            "projector_hidden_size": 32,
        },
    ),
    "step3p7": ("Step3p7ForConditionalGeneration", {"text_config": {"share_expert_dim": 24}}),
    "kimi_k25": (
        "Kimi_K25ForConditionalGeneration",
        {"text_config": {**MLA, "first_k_dense_replace": 1}},
        {"names": ("language_model.model.blocks.", "language_model.model.layers.")},
    ),
    # --- encoder-decoder ---
    "t5": ("T5ForConditionalGeneration", {"d_kv": 8, "num_layers": 4, "num_decoder_layers": 5}),
    "mt5": ("MT5ForConditionalGeneration", {"d_kv": 8, "num_layers": 4, "num_decoder_layers": 4}),
    "umt5": ("UMT5ForConditionalGeneration", {"d_kv": 8, "num_layers": 4, "num_decoder_layers": 4}),
    "longt5": (
        "LongT5ForConditionalGeneration",
        {"d_kv": 8, "num_layers": 4, "num_decoder_layers": 4, "local_radius": 4},
    ),
    "longt5@global": (
        "LongT5ForConditionalGeneration",
        {
            "d_kv": 8,
            "num_layers": 4,
            "num_decoder_layers": 4,
            "local_radius": 4,
            "global_block_size": 4,
            "encoder_attention_type": "transient-global",
            "feed_forward_proj": "gated-gelu",
        },
    ),
    "switch_transformers": (
        "SwitchTransformersForConditionalGeneration",
        {
            "d_kv": 8,
            "num_layers": 4,
            "num_decoder_layers": 4,
            "num_sparse_encoder_layers": 2,
            "num_sparse_decoder_layers": 2,
            "router_jitter_noise": 0.0,
        },
    ),
    "nllb-moe": (
        "NllbMoeForConditionalGeneration",
        {"encoder_sparse_step": 2, "decoder_sparse_step": 2, "moe_token_dropout": 0.0},
    ),
    "m2m_100": ("M2M100ForConditionalGeneration", {}),
    "mbart": ("MBartForConditionalGeneration", {}),
    "blenderbot": ("BlenderbotForConditionalGeneration", {"encoder_layers": 2}),
    "pegasus": ("PegasusForConditionalGeneration", {}),
    "whisper": ("WhisperForConditionalGeneration", {"num_mel_bins": 8, "begin_suppress_tokens": [2, 3]}),
    "speech_to_text": (
        "Speech2TextForConditionalGeneration",
        {"input_feat_per_channel": 8, "conv_channels": 32},
    ),
    "moonshine": (
        "MoonshineForConditionalGeneration",
        {
            "encoder_num_hidden_layers": 4,
            "decoder_num_hidden_layers": 4,
            "encoder_num_attention_heads": 4,
            "decoder_num_attention_heads": 4,
            "encoder_num_key_value_heads": 4,
            "decoder_num_key_value_heads": 4,
        },
    ),
    "t5gemma": ("T5GemmaForConditionalGeneration", {}),
    "bart": ("BartForConditionalGeneration", {}),
    "marian": ("MarianMTModel", {}),
    # --- encoders ---
    "esm": ("EsmForMaskedLM", {}),
    "eurobert": ("EuroBertForMaskedLM", {}),
    "eurobert@bias": ("EuroBertForMaskedLM", {"attention_bias": True, "mlp_bias": True}),
    "megatron-bert": ("MegatronBertForMaskedLM", {}),
    "modernbert": ("ModernBertForMaskedLM", {}),
    "modernbert@bias": (
        "ModernBertForMaskedLM",
        {"attention_bias": True, "mlp_bias": True, "norm_bias": True},
    ),
    "roberta-prelayernorm": ("RobertaPreLayerNormForMaskedLM", {}),
    "bert": ("BertForMaskedLM", {}),
    "roberta": ("RobertaForMaskedLM", {}),
    "xlm-roberta": ("XLMRobertaForMaskedLM", {}),
    "camembert": ("CamembertForMaskedLM", {}),
    "albert": ("AlbertForMaskedLM", {"embedding_size": 16, "classifier_dropout_prob": 0.0}),
    "deberta": ("DebertaForMaskedLM", {}),
    "deberta-v2": ("DebertaV2ForMaskedLM", {}),
    "distilbert": ("DistilBertForMaskedLM", {"hidden_dim": 64, "dim": 32}),
    "electra": ("ElectraForPreTraining", {"embedding_size": 32}),
    "ernie": ("ErnieForMaskedLM", {}),
    "layoutlmv3": ("LayoutLMv3Model", {"coordinate_size": 6, "shape_size": 4, "input_size": 16}),
    "mpnet": ("MPNetForMaskedLM", {}),
    "nomic_bert": ("NomicBertModel", {"head_dim": 8}),
    # --- vision and audio ---
    "clip": ("CLIPModel", {}),
    "clip_text_model": ("CLIPTextModel", {}),
    "clip_vision_model": ("CLIPVisionModel", {}),
    "siglip": ("SiglipModel", {}),
    "siglip_vision_model": ("SiglipVisionModel", {}),
    "vit": ("ViTForImageClassification", {}),
    "dinov2": ("Dinov2Model", {}),
    "dinov2@swiglu": ("Dinov2Model", {"use_swiglu_ffn": True}),
    "beit": ("BeitForImageClassification", {}),
    "beit@bias": ("BeitForImageClassification", {"use_relative_position_bias": True}),
    "swin": (
        "SwinModel",
        {
            "num_hidden_layers": DROP,
            "embed_dim": 16,
            "depths": [2, 4],
            "num_heads": [2, 4],
            "image_size": 32,
            "patch_size": 4,
            "window_size": 4,
        },
    ),
    "swinv2": (
        "Swinv2Model",
        {
            "num_hidden_layers": DROP,
            "embed_dim": 16,
            "depths": [2, 4],
            "num_heads": [2, 4],
            "image_size": 32,
            "patch_size": 4,
            "window_size": 4,
            "pretrained_window_sizes": [0, 0],
        },
    ),
    "wav2vec2": ("Wav2Vec2ForCTC", {**AUDIO, "do_stable_layer_norm": True}),
    "wav2vec2@post_norm": ("Wav2Vec2ForCTC", {**AUDIO}),
    "hubert": ("HubertModel", {**AUDIO, "do_stable_layer_norm": True}),
    "wavlm": ("WavLMModel", {**AUDIO, "do_stable_layer_norm": True}),
    "wav2vec2-conformer": ("Wav2Vec2ConformerModel", {**AUDIO}),
    "parakeet_ctc": ("ParakeetForCTC", {}),
}


def accepted(config_class):
    """Names that the configuration class takes, with their defaults."""
    try:
        config = config_class()
    except Exception:  # some need arguments: fall back on the declared fields
        return {name: None for name in config_class.__annotations__}
    names = dict(config.to_dict())
    for alias, target in getattr(config_class, "attribute_map", {}).items():
        names.setdefault(alias, names.get(target))
    return names


def tiny_config(config_class, overrides):
    """A configuration of this class with TINY and the overrides applied."""
    known = accepted(config_class)
    mapped = getattr(config_class, "attribute_map", {})
    given = {mapped.get(k, k) for k in overrides}
    values = {}
    for name, value in TINY.items():
        target = mapped.get(name, name)
        if (name in known or target in known) and target not in given and target not in values:
            values[target] = value
    subs = getattr(config_class, "sub_configs", {}) or {}
    for name, sub_class in subs.items():
        override = overrides.get(name) or {}
        if override is DROP:
            continue
        override = dict(override)
        model_type = override.pop("model_type", None)
        if model_type is None and hasattr(sub_class, "__name__") and sub_class.__name__ == "AutoConfig":
            default = getattr(config_class(), name, None)
            model_type = getattr(default, "model_type", None)
        if model_type is not None:
            sub_class = transformers.CONFIG_MAPPING[model_type]
        values[name] = tiny_config(sub_class, override)
    for name, value in overrides.items():
        if name in subs:
            continue
        if value is DROP:
            values.pop(mapped.get(name, name), None)
            continue
        values[mapped.get(name, name)] = value
    return config_class(**values)


@torch.no_grad()
def perturb(model, seed):
    """Add seeded noise to every parameter and every saved float buffer."""
    generator = torch.Generator().manual_seed(seed)
    saved = set(model.state_dict())
    for name, tensor in list(model.named_parameters()) + list(model.named_buffers()):
        if not tensor.is_floating_point() or (
            name not in saved and not isinstance(tensor, torch.nn.Parameter)
        ):
            continue
        scale = 0.15 if tensor.dim() >= 2 else 0.1
        noise = torch.randn(tensor.shape, generator=generator) * scale
        if name.endswith("running_var"):
            noise = noise.abs()
        tensor.add_(noise.to(tensor.dtype))


def build(name):
    """The tiny model of this name, in evaluation mode."""
    class_name, overrides, *_ = MODELS[name]
    options = options_of(name)
    model_class = getattr(transformers, class_name)
    seed = zlib.crc32(name.encode())
    torch.manual_seed(seed)
    config = tiny_config(model_class.config_class, overrides)
    config.architectures = [class_name]
    model = model_class(config)
    perturb(model, seed)
    return model.to(options.get("dtype", torch.float32)).eval()


def options_of(name):
    return MODELS[name][2] if len(MODELS[name]) > 2 else {}


def write(name, out):
    """Build the model of this name and save it under out/name."""
    model = build(name)
    shard = options_of(name).get("shard")
    model.save_pretrained(Path(out) / name, **({"max_shard_size": shard} if shard else {}))
    if "names" in options_of(name):
        rename(Path(out) / name / "model.safetensors", *options_of(name)["names"])
    return model


def rename(path, saved, published):
    tensors = load_file(path)
    renamed = {
        published + key[len(saved) :] if key.startswith(saved) else key: value
        for key, value in tensors.items()
    }
    save_file(renamed, path, metadata={"format": "pt"})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out")
    parser.add_argument("names", nargs="*", metavar="model_type")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    failed = False
    for name in args.names or MODELS:
        if name not in MODELS:
            print(f"{name}: failed: not in the table")
            failed = True
            continue
        try:
            model = write(name, args.out)
            print(f"{name}: ok ({type(model).__name__}, {model.num_parameters()} parameters)", flush=True)
        except Exception as error:  # report, and go on with the next model
            print(f"{name}: failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}", flush=True)
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
