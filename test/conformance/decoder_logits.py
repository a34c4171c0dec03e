#!/usr/bin/env python3
"""Write tiny random models with the logits that transformers computes.

    python decoder_logits.py OUT [variant ...]

Each variant goes to OUT/<variant>/: the model as save_pretrained writes it
(f32), and reference.json with token ids, attention masks and position ids of
two cases ("plain", and "padded" on the left), beside the logits as raw f32:
plain.f32 (whole sequence at once), padded.f32 (same), steps.f32 (plain, the
first half at once, then token by token with the cache). Every parameter is
perturbed, biases and norms too. Sequences are longer than any window.

Prints "ok"/"failed" a line; exit status 1 if any failed. decoder_logits.ts
compares. Needs torch and transformers.
"""

import copy
import inspect
import json
import sys
import zlib
from pathlib import Path

import torch
import transformers

import decoder_variants

TINY = {
    "vocab_size": 160,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
BATCH, LENGTH, PADDING = 2, 40, 5
WINDOW = 8


def rope(kind, **more):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **more}}


LONGROPE = {
    "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7],
    "long_factor": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
}

# variant: (model type, settings beside TINY)
VARIANTS = {
    "llama": ("llama", {}),
    "llama-bias": ("llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    "llama-bf16": ("llama", {"tie_word_embeddings": True}, {"dtype": torch.bfloat16}),
    "llama-f16": ("llama", {"attention_bias": True}, {"dtype": torch.float16}),
    "gemma2-bf16": (
        "gemma2",
        {"head_dim": 16, "sliding_window": WINDOW, "query_pre_attn_scalar": 24},
        {"dtype": torch.bfloat16},
    ),
    "llama-headdim": ("llama", {"head_dim": 24, "hidden_act": "gelu"}),
    "llama-linear": ("llama", rope("linear", factor=4.0)),
    "llama-dynamic": ("llama", {**rope("dynamic", factor=2.0), "max_position_embeddings": 25}),
    "llama-llama3": (
        "llama",
        rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32),
    ),
    "llama-yarn": ("llama", rope("yarn", factor=4.0, original_max_position_embeddings=32)),
    "llama-yarn-mscale": (
        "llama",
        rope("yarn", factor=4.0, original_max_position_embeddings=32, mscale=0.7, mscale_all_dim=1.3, truncate=False),
    ),
    "llama-longrope": ("llama", rope("longrope", factor=4.0, original_max_position_embeddings=25, **LONGROPE)),
    "mistral": ("mistral", {"sliding_window": WINDOW}),
    "mistral-full": ("mistral", {"sliding_window": None, "head_dim": 24}),
    "qwen2": ("qwen2", {}),
    "qwen2-window": ("qwen2", {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 2}),
    "qwen3": ("qwen3", {"head_dim": 24}),
    "qwen3-window": (
        "qwen3",
        {"head_dim": 16, "attention_bias": True, "use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    ),
    "gemma": ("gemma", {"head_dim": 24}),
    "gemma2": ("gemma2", {"head_dim": 16, "sliding_window": WINDOW, "query_pre_attn_scalar": 24}),
    "gemma2-uncapped": (
        "gemma2",
        {"head_dim": 16, "sliding_window": WINDOW, "attn_logit_softcapping": None, "final_logit_softcapping": None},
    ),
    "gemma3": ("gemma3_text", {"head_dim": 16, "sliding_window": WINDOW, "sliding_window_pattern": 3}),
    "gemma3-scaled": (
        "gemma3_text",
        {
            "head_dim": 16,
            "sliding_window": WINDOW,
            "final_logit_softcapping": 5.0,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 5000.0},
            },
        },
    ),
    "phi3": ("phi3", {"sliding_window": WINDOW}),
    "phi3-longrope": (
        "phi3",
        {
            "rope_parameters": {"rope_type": "longrope", "rope_theta": 10000.0, **LONGROPE},
            "original_max_position_embeddings": 25,
        },
    ),
    "phi3-partial": (
        "phi3",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.75}},
    ),
    "smollm3": ("smollm3", {}),
    "smollm3-window": ("smollm3", {"use_sliding_window": True, "sliding_window": WINDOW, "no_rope_layer_interval": 2}),
    "olmo": ("olmo", {}),
    "olmo-clip": ("olmo", {"clip_qkv": 0.5, "num_key_value_heads": None}),
    "olmo2": ("olmo2", {}),
    "granite": (
        "granite",
        {
            "embedding_multiplier": 3.0,
            "logits_scaling": 4.0,
            "residual_multiplier": 0.3,
            "attention_multiplier": 0.2,
            "attention_bias": True,
            "mlp_bias": True,
        },
    ),
    "cohere": ("cohere", {"logit_scale": 0.25}),
    "cohere-qknorm": ("cohere", {"use_qk_norm": True}),
    "cohere2": ("cohere2", {"sliding_window": WINDOW}),
    "glm4": ("glm4", {"head_dim": 16}),
    "exaone4": ("exaone4", {"sliding_window": WINDOW, "sliding_window_pattern": 2}),
    "exaone4-full": ("exaone4", {"sliding_window": None, "layer_types": ["full_attention"] * 4}),
    **decoder_variants.VARIANTS,
}
# Eager Falcon adds its position biases twice.
IMPLEMENTATION = {"falcon": "sdpa"}


def make(kind, settings):
    config_class = transformers.models.auto.configuration_auto.CONFIG_MAPPING[kind]
    known = set(inspect.signature(config_class.__init__).parameters) | set(
        getattr(config_class, "__dataclass_fields__", {})
    )
    mapped = set(getattr(config_class, "attribute_map", {}))
    tiny = {key: value for key, value in TINY.items() if key in known | mapped}
    config = config_class(**{**tiny, **settings})
    attention = IMPLEMENTATION.get(kind, "eager")
    config._attn_implementation = attention
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * (0.15 if parameter.dim() > 1 else 0.2))
    return model


def logits_of(model, ids, mask, positions, **more):
    accepted = inspect.signature(model.forward).parameters
    if "position_ids" in accepted:
        more["position_ids"] = positions
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask, **more)


def write(folder, kind, settings, choices=None):
    choices = choices or {}
    length = choices.get("length", LENGTH)
    dtype = choices.get("dtype", torch.float32)
    model = make(kind, settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.to(dtype))
    folder.mkdir(parents=True, exist_ok=True)
    # Stored in `dtype`, computed in f32; buffers (rotation frequencies) are left alone.
    model.save_pretrained(folder, state_dict={name: value.to(dtype) for name, value in model.state_dict().items()})
    fresh = copy.deepcopy(model)
    vocabulary = model.config.vocab_size
    ids = torch.randint(3, vocabulary, (BATCH, length))
    ones = torch.ones_like(ids)
    positions = torch.arange(length).expand(BATCH, length)
    padded = ones.clone()
    padded[1, :PADDING] = 0
    shifted = (padded.cumsum(1) - 1).clamp(min=0)

    cases = {
        "plain": logits_of(model, ids, ones, positions, use_cache=False).logits,
        "padded": logits_of(model, ids, padded, shifted, use_cache=False).logits,
    }
    # On its own copy: dynamic rope scaling remembers the longest sequence it saw.
    half = length // 2
    out = logits_of(fresh, ids[:, :half], ones[:, :half], positions[:, :half], use_cache=True)
    parts = [out.logits]
    for at in range(half, length):
        step = slice(at, at + 1)
        out = logits_of(
            fresh, ids[:, step], ones[:, : at + 1], positions[:, step], past_key_values=out.past_key_values, use_cache=True
        )
        parts.append(out.logits)
    cases["steps"] = torch.cat(parts, dim=1)
    for name, logits in cases.items():
        (folder / f"{name}.f32").write_bytes(logits.contiguous().float().numpy().tobytes())
    reference = {
        "ids": ids.tolist(),
        "vocabulary": cases["plain"].shape[-1],
        "half": half,
        "mask": padded.tolist(),
        "positions": shifted.tolist(),
    }
    (folder / "reference.json").write_text(json.dumps(reference))


def main():
    out, *names = sys.argv[1:]
    failed = False
    for name in names or VARIANTS:
        torch.manual_seed(zlib.crc32(name.encode()))
        try:
            write(Path(out) / name, *VARIANTS[name])
            print(f"ok {name}", flush=True)
        except Exception as error:  # one broken variant must not hide the others
            failed = True
            print(f"failed {name}: {type(error).__name__}: {error}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    main()
