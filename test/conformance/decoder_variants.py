"""Variants of decoder_logits.py for the families that are not llama's nearest relatives: every switch of each family in some variant."""

WINDOW = 8


def gpt(**more):
    return {"n_embd": 48, "n_layer": 4, "n_head": 6, "n_positions": 64, **more}


def rope(**more):
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0, **more}}


SIX = {"num_attention_heads": 6, "hidden_size": 96}
# Slopes of twelve heads are no powers of two: their rounding shows.
ALIBI = {"num_attention_heads": 12, "hidden_size": 96, "alibi": True, "bias": True}
# Positions themselves are rounded from 257 on.
LONG = {"length": 300}
MIXTURE = {"num_local_experts": 5, "num_experts_per_tok": 2}
QWEN3_MOE = {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
QWEN2_MOE = {**QWEN3_MOE, "shared_expert_intermediate_size": 40}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 1500.0,
    "factor": 4.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": False,
    "original_max_position_embeddings": 16,
}
GRANITE = {
    "embedding_multiplier": 3.0,
    "logits_scaling": 2.0,
    "residual_multiplier": 0.7,
    "attention_multiplier": 0.2,
}
NEW_FALCON = {**SIX, "new_decoder_architecture": True, "num_kv_heads": 2}

# variant: (model type, settings beside TINY[, choices of the run])
VARIANTS = {
    "gpt2": ("gpt2", gpt()),
    "gpt2-flags": (
        "gpt2",
        gpt(
            n_inner=80,
            activation_function="relu",
            scale_attn_weights=False,
            layer_norm_epsilon=1e-3,
            tie_word_embeddings=False,
        ),
    ),
    "gpt2-inverse": ("gpt2", gpt(scale_attn_by_inverse_layer_idx=True, reorder_and_upcast_attn=True)),
    "gptj": ("gptj", gpt(rotary_dim=4)),
    "gptj-full": ("gptj", gpt(n_head=4, rotary_dim=12, n_inner=80, tie_word_embeddings=True)),
    "gpt_neox": ("gpt_neox", {}),
    "gpt_neox-sequential": (
        "gpt_neox",
        {
            "use_parallel_residual": False,
            "attention_bias": False,
            "tie_word_embeddings": True,
            "hidden_act": "gelu_fast",
            **rope(partial_rotary_factor=0.5),
        },
    ),
    "gpt_neox-linear": ("gpt_neox", rope(rope_type="linear", factor=3.0, partial_rotary_factor=0.5)),
    "phi": ("phi", {}),
    "phi-qknorm": ("phi", {"qk_layernorm": True, **rope(partial_rotary_factor=0.75)}),
    "stablelm": ("stablelm", {}),
    "stablelm-parallel": (
        "stablelm",
        {
            "use_qkv_bias": True,
            "qk_layernorm": True,
            "use_parallel_residual": True,
            **rope(partial_rotary_factor=0.5),
        },
    ),
    "falcon": ("falcon", {**SIX}),
    "falcon-rw": ("falcon", {**ALIBI, "multi_query": False, "parallel_attn": False}),
    "falcon-rw-long": (
        "falcon",
        {**ALIBI, "num_hidden_layers": 3, "multi_query": False, "parallel_attn": False},
        LONG,
    ),
    "falcon-alibi": ("falcon", {**ALIBI, "tie_word_embeddings": False}),
    "falcon-new": ("falcon", {**NEW_FALCON, "ffn_hidden_size": 80}),
    "falcon-11b": ("falcon", {**NEW_FALCON, "num_ln_in_parallel_attn": 1, "rope_theta": 500.0}),
    "bloom": ("bloom", {"n_layer": 4, "n_head": 4}),
    "bloom-six": ("bloom", {"hidden_size": 96, "n_layer": 4, "n_head": 6, "tie_word_embeddings": False}),
    "mpt": ("mpt", {"d_model": 64, "n_layers": 4, "n_heads": 4, "max_seq_len": 64}),
    "mpt-clip": (
        "mpt",
        {
            "d_model": 96,
            "n_layers": 4,
            "n_heads": 6,
            "max_seq_len": 64,
            "attn_config": {"clip_qkv": 0.8, "softmax_scale": 0.21},
        },
    ),
    "opt": ("opt", {"ffn_dim": 96, "word_embed_proj_dim": 64}),
    "opt-project": (
        "opt",
        {
            "ffn_dim": 96,
            "word_embed_proj_dim": 32,
            "activation_function": "gelu",
            "enable_bias": False,
            "layer_norm_elementwise_affine": False,
        },
    ),
    "starcoder2": ("starcoder2", {"sliding_window": WINDOW}),
    "starcoder2-plain": ("starcoder2", {"use_bias": False, "tie_word_embeddings": False, "norm_epsilon": 1e-3}),
    "mixtral": ("mixtral", {**MIXTURE, "head_dim": 24}),
    "mixtral-window": (
        "mixtral",
        {
            "num_local_experts": 4,
            "num_experts_per_tok": 3,
            "sliding_window": WINDOW,
            "tie_word_embeddings": True,
        },
    ),
    "qwen2_moe": ("qwen2_moe", QWEN2_MOE),
    "qwen2_moe-window": (
        "qwen2_moe",
        {
            **QWEN2_MOE,
            "norm_topk_prob": True,
            "decoder_sparse_step": 2,
            "use_sliding_window": True,
            "sliding_window": WINDOW,
            "max_window_layers": 3,
            "qkv_bias": False,
        },
    ),
    "qwen2_moe-dense": ("qwen2_moe", {**QWEN2_MOE, "mlp_only_layers": [0, 2]}),
    "qwen3_moe": ("qwen3_moe", {**QWEN3_MOE, "head_dim": 24, "norm_topk_prob": True}),
    "qwen3_moe-window": (
        "qwen3_moe",
        {
            **QWEN3_MOE,
            "head_dim": 16,
            "mlp_only_layers": [1],
            "attention_bias": True,
            "use_sliding_window": True,
            "sliding_window": WINDOW,
        },
    ),
    "gpt_oss": (
        "gpt_oss",
        {**MIXTURE, "head_dim": 16, "sliding_window": WINDOW, "swiglu_limit": 1.5, "rope_parameters": YARN},
    ),
    "gpt_oss-kinds": (
        "gpt_oss",
        {
            **MIXTURE,
            "head_dim": 24,
            "sliding_window": WINDOW,
            "attention_bias": False,
            "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
            **rope(),
        },
    ),
    "gpt_bigcode": ("gpt_bigcode", gpt()),
    "gpt_bigcode-heads": ("gpt_bigcode", gpt(multi_query=False, activation_function="gelu", tie_word_embeddings=False)),
    "gpt_neo": (
        "gpt_neo",
        {"num_layers": 4, "num_heads": 4, "attention_types": [[["global", "local"], 2]], "window_size": WINDOW},
    ),
    "persimmon": ("persimmon", {}),
    "persimmon-plain": ("persimmon", {"qk_layernorm": False, "hidden_act": "gelu", "tie_word_embeddings": True}),
    "nemotron": ("nemotron", {"head_dim": 24}),
    "nemotron-bias": ("nemotron", {"attention_bias": True, "mlp_bias": True, **rope(partial_rotary_factor=0.75)}),
    "arcee": ("arcee", {}),
    "arcee-bias": ("arcee", {"attention_bias": True, "mlp_bias": True, "head_dim": 24}),
    "seed_oss": ("seed_oss", {"head_dim": 24}),
    "seed_oss-bias": ("seed_oss", {"head_dim": 16, "attention_out_bias": True, "mlp_bias": True}),
    "olmoe": ("olmoe", {"num_experts": 5, "num_experts_per_tok": 2}),
    "olmoe-bias": (
        "olmoe",
        {"num_experts": 5, "num_experts_per_tok": 2, "norm_topk_prob": True, "attention_bias": True},
    ),
    "granitemoe": ("granitemoe", {**MIXTURE, **GRANITE}),
    "granitemoeshared": ("granitemoeshared", {**MIXTURE, **GRANITE, "shared_intermediate_size": 40}),
}
