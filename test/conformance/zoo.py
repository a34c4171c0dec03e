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

# Values for the attributes that most configurations share. A configuration
# gets those of them that it declares (also through its attribute_map).
TINY = {
    "vocab_size": 128,
    "hidden_size": 32, "d_model": 32, "n_embd": 32, "embed_dim": 32,
    "num_hidden_layers": 6, "num_layers": 6, "n_layer": 6, "n_layers": 6,
    "encoder_layers": 4, "decoder_layers": 4,
    "num_attention_heads": 4, "num_heads": 4, "n_head": 4, "n_heads": 4,
    "attention_heads": 4,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "num_key_value_heads": 2, "num_kv_heads": 2,
    "head_dim": 16,
    "intermediate_size": 64, "ffn_dim": 64, "ffn_hidden_size": 64,
    "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "dff": 64, "d_ff": 64,
    "moe_intermediate_size": 24, "shared_expert_intermediate_size": 24,
    "max_position_embeddings": 64, "n_positions": 64, "n_ctx": 64,
    "max_seq_len": 64, "context_length": 64, "max_source_positions": 64,
    "max_target_positions": 64,
    "sliding_window": 4, "local_attention": 4, "window_size": 4,
    "attention_window_size": 4,
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4,
    "moe_num_experts": 4, "num_experts_per_tok": 2, "moe_topk": 2,
    "moe_k": 2, "n_group": 1, "topk_group": 1, "n_shared_experts": 1,
    "num_shared_experts": 1,
    "kv_lora_rank": 16, "q_lora_rank": 20,
    "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 12,
    "index_topk": 4, "index_head_dim": 16, "index_n_heads": 2,
    "rotary_dim": 4,
    "state_size": 8, "time_step_rank": 4, "conv_kernel": 4, "chunk_size": 8,
    "mamba_d_state": 8, "mamba_d_conv": 4, "mamba_expand": 2,
    "mamba_chunk_size": 8, "mamba_n_groups": 1, "mamba_n_heads": 4,
    "mamba_d_head": 16, "mamba_dt_rank": 4,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "image_size": 16, "patch_size": 8,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "decoder_start_token_id": 1, "sep_token_id": 2, "cls_token_id": 1,
    "mask_token_id": 3,
    # No randomness in the forward pass.
    "hidden_dropout": 0.0, "hidden_dropout_prob": 0.0, "dropout": 0.0,
    "attention_dropout": 0.0, "attention_probs_dropout_prob": 0.0,
    "activation_dropout": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0,
    "attn_pdrop": 0.0, "dropout_rate": 0.0, "drop_path_rate": 0.0,
    "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0, "layerdrop": 0.0,
}

# name: (class, overrides[, options]). The name is the model type, with
# "@variant" behind it where one type is written more than once.
# Overrides win over TINY; DROP takes an attribute out, so that the
# configuration's own default applies. Nested dicts go to sub-configurations.
# Options: dtype, shard (max_shard_size).
DROP = object()

MODELS = {
    # --- decoder-only ---
    "llama": ("LlamaForCausalLM", {}, {"shard": "40KB"}),
    "llama@bias": ("LlamaForCausalLM", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    "mistral": ("MistralForCausalLM", {}),
    "ministral": ("MinistralForCausalLM", {}),
    "ministral3": ("Ministral3ForCausalLM", {}),
    "qwen2": ("Qwen2ForCausalLM", {}, {"dtype": torch.bfloat16}),
    "qwen2@sliding": ("Qwen2ForCausalLM", {"use_sliding_window": True, "max_window_layers": 3, "tie_word_embeddings": True}),
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
    "gpt_neox": ("GPTNeoXForCausalLM", {}),
    "gpt_neox@sequential": ("GPTNeoXForCausalLM", {"use_parallel_residual": False, "attention_bias": False}),
    "gptj": ("GPTJForCausalLM", {}),
    "gpt_neo": ("GPTNeoForCausalLM", {"attention_types": [[["global", "local"], 3]]}),
    "falcon": ("FalconForCausalLM", {"num_kv_heads": DROP}),
    "falcon@bias": ("FalconForCausalLM", {"bias": True, "parallel_attn": False, "multi_query": False, "alibi": True, "num_kv_heads": DROP}),
    "falcon@new": ("FalconForCausalLM", {"new_decoder_architecture": True}),
    "mpt": ("MptForCausalLM", {"attn_config": {"attn_pdrop": DROP}}),
    "mpt@bias": ("MptForCausalLM", {"no_bias": False, "attn_config": {"attn_pdrop": DROP, "qk_ln": True}}),
    "bloom": ("BloomForCausalLM", {}),
    "opt": ("OPTForCausalLM", {"word_embed_proj_dim": 32}),
    "opt@post_norm": ("OPTForCausalLM", {"word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    "stablelm": ("StableLmForCausalLM", {}),
    "stablelm@bias": ("StableLmForCausalLM", {"use_qkv_bias": True, "use_parallel_residual": True, "qk_layernorm": True, "tie_word_embeddings": True}),
    "starcoder2": ("Starcoder2ForCausalLM", {}),
    "olmo": ("OlmoForCausalLM", {}),
    "olmo@bias": ("OlmoForCausalLM", {"attention_bias": True, "tie_word_embeddings": True}),
    "olmo2": ("Olmo2ForCausalLM", {}),
    "olmo2@bias": ("Olmo2ForCausalLM", {"attention_bias": True, "tie_word_embeddings": True}),
    "olmo3": ("Olmo3ForCausalLM", {"num_hidden_layers": 8}),
    "olmoe": ("OlmoeForCausalLM", {}),
    "olmoe@bias": ("OlmoeForCausalLM", {"attention_bias": True, "tie_word_embeddings": True}),
    "granite": ("GraniteForCausalLM", {"residual_multiplier": 0.22, "embedding_multiplier": 12.0}),
    "granite@bias": ("GraniteForCausalLM", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    "granitemoe": ("GraniteMoeForCausalLM", {"residual_multiplier": 0.22}),
    "granitemoe@bias": ("GraniteMoeForCausalLM", {"attention_bias": True, "tie_word_embeddings": True}),
    "cohere": ("CohereForCausalLM", {}),
    "cohere@bias": ("CohereForCausalLM", {"attention_bias": True, "use_qk_norm": True}),
    "cohere2": ("Cohere2ForCausalLM", {"num_hidden_layers": 8}),
    "cohere2@bias": ("Cohere2ForCausalLM", {"num_hidden_layers": 8, "attention_bias": True}),
    "smollm3": ("SmolLM3ForCausalLM", {"num_hidden_layers": 8}),
    "smollm3@bias": ("SmolLM3ForCausalLM", {"num_hidden_layers": 8, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False}),
    "glm": ("GlmForCausalLM", {}),
    "glm4": ("Glm4ForCausalLM", {}),
    "exaone4": ("Exaone4ForCausalLM", {"num_hidden_layers": 8}),
    "gpt_oss": ("GptOssForCausalLM", {}),
    "deepseek_v3": ("DeepseekV3ForCausalLM", {"first_k_dense_replace": 2}),
    "deepseek_v3@bias": ("DeepseekV3ForCausalLM", {"first_k_dense_replace": 2, "attention_bias": True, "tie_word_embeddings": True}),
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
        if not tensor.is_floating_point() or (name not in saved and not isinstance(tensor, torch.nn.Parameter)):
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
    return model


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
