"""What the project is expected to do with each member of zoo.py: refuse it, or expand it with these options."""

POST_NORM = "a LayerNorm stands behind every residual addition"

# Member -> a fragment of the message.
REFUSED = {
    "albert": "one block is applied num_hidden_layers times",
    **{
        name: POST_NORM
        for name in (
            "bart bert camembert deberta deberta-v2 distilbert electra ernie layoutlmv3 marian mpnet nomic_bert openai-gpt roberta "
            "wav2vec2@post_norm xlm-roberta"
        ).split()
    },
    "bloom@post_norm": "apply_residual_connection_post_layernorm true",
    "deepseek_v4": "hyper-connections",
    "diffllama": "lambda_init",
    "gemma3n_text": "AltUp",
    **{name: "holds a slice for every block" for name in ("gemma4", "gemma4_text", "gemma4_text@shared")},
    "gpt2@scaled": "scale_attn_by_inverse_layer_idx true",
    "hrm_text": "recurrent cycles",
    "longcat_flash": "zero_expert_num 2",
    "minimax": "the residual is the normalised stream times alpha",
    "opt@post_norm": "do_layer_norm_before false",
    "parakeet_ctc": "norm_out inside each block",
    "wav2vec2-conformer": "final_layer_norm inside each block",
    "rwkv": "rescale_every 6",
    "zamba": "one shared transformer block",
    "zaya": "every block scales and shifts the stream",
}

ENCODER_DECODER = (
    "blenderbot longt5 longt5@global m2m_100 mbart moonshine mt5 nllb-moe pegasus speech_to_text switch_transformers t5 t5gemma umt5 "
    "whisper"
).split()
STACKS = {
    **{member: ("encoder", "decoder") for member in ENCODER_DECODER},
    **{member: ("text", "vision") for member in ("clip", "siglip")},
    **{member: ("stage0", "stage1") for member in ("swin", "swinv2")},
}


def periods(length):
    """Placements that keep whole periods; single copies would change the kind of later originals."""
    return [{"add": length}, {"every": length, "perGroup": length}, {}]


# One copy stands behind block 0, two behind a block in the middle: uneven, and no period of any kind survives it.
UNEVEN = {"after": [0, 2, 2]}
USUAL = [{"add": 3}, {"every": 2}, UNEVEN, {}]
# For a second configuration of a model type.
SHORTER = [{"every": 2}, UNEVEN]
# Block 0 owns a tensor or lacks one: no copy of it can exist.
NOT_THE_FIRST = [{"add": 2}, {"every": 2}, {"after": [1, 2, 2]}, {}]
# Image features are added behind blocks 0, 1 and 2.
BEHIND_THE_THIRD = [{"add": 2}, {"every": 3}, {"after": [2, 4, 4]}, {}]

# What is not expanded as usual; (member, stack) stands before member.
LAYOUTS = {
    ("blenderbot", "encoder"): [{"add": 2}, {"every": 2}, {"after": [0, 1, 1]}, {}],
    "glm_moe_dsa@shared": [{"add": 4}, {"every": 2}, {"after": [0, 1, 1]}, {}],
    "gpt_neox_japanese": [UNEVEN, {"every": 4}],
    **{member: NOT_THE_FIRST for member in ("longt5", "longt5@global", "mt5", "t5", "wavlm")},
    **{
        member: NOT_THE_FIRST
        for member in ("modernbert", "modernbert@bias", "modernbert-decoder", "modernbert-decoder@bias")
    },
    **{member: periods(2) for member in ("nllb-moe", "swin", "swinv2")},
    "switch_transformers": [{"add": 2}, {"every": 4, "perGroup": 2}, {}],
    **{member: periods(4) for member in ("jamba", "jamba@bias")},
    **{member: BEHIND_THE_THIRD for member in ("qwen3_vl", "qwen3_vl_moe")},
    **{member: [UNEVEN] for member in ("zamba2", "zamba2@adapter")},
}

PROJECTIONS = {"add": 3, "zero": "projections"}
# Besides: other ends, other factors, other files.
MORE = {
    "llama": [
        {"add": 2, "place": "prefix"},
        {"add": 2, "place": "suffix"},
        {"every": 3, "perGroup": 2},
        {"add": 6, "shardSize": 20000},
    ],
    "mixtral": [{"add": 2, "place": "prefix"}, {"add": 2, "shardSize": 30000}],
    **{
        member: [PROJECTIONS]
        for member in ("gemma2", "gemma3_text", "gemma4_text@moe", "olmo2", "olmo3", "glm4")
    },
    **{member: [PROJECTIONS] for member in ("exaone4", "t5gemma", "afmoe", "flex_olmo", "dinov2")},
    "whisper": [{"add": 1, "place": "suffix"}],
}

# Placements that cannot be exact, with a fragment of the message. Exit code 2.
REFUSED_PLACEMENTS = {
    "glm_moe_dsa@shared": (UNEVEN, "reads the top-k choice of block 2"),
    "gpt_neox_japanese": ({}, "its position would change from last to rest"),
    "jamba": ({"every": 2}, "its mixer would change from mamba to attention"),
    "jamba@bias": ({"add": 3}, "block kinds repeat every 4 blocks"),
    "modernbert": (UNEVEN, "its position would change from first to rest"),
    "nllb-moe": (UNEVEN, "its mlp would change from dense to moe"),
    "qwen3_vl": (UNEVEN, "its deepstack would change from deepstack 1 to deepstack 2"),
    "swin": ({"every": 1}, "its window shift would change"),
    "switch_transformers": ({"every": 2}, "its mlp would change from moe to dense"),
    "t5": (UNEVEN, "its position would change from first to rest"),
    "wavlm": (UNEVEN, "its position would change from first to rest"),
    "zamba2": ({}, "it shares a transformer block with others"),
}


def layouts_of(member):
    """Options for each placement in each stack that is expanded."""
    result = []
    for stack in STACKS.get(member, (None,)):
        usual = SHORTER if "@" in member else USUAL
        placements = LAYOUTS.get((member, stack)) or LAYOUTS.get(member) or usual
        placements = [*placements, *MORE.get(member, [])]
        result += [options if stack is None else {**options, "stack": stack} for options in placements]
    return result


OPTIONS = {
    "add": "add",
    "every": "every",
    "after": "after",
    "perGroup": "per-group",
    "place": "place",
    "zero": "zero",
    "shardSize": "shard-size",
}


def words_of(options):
    """Options as a person would type them."""
    words = []
    for option, value in options.items():
        if option in OPTIONS:
            words.append(f"--{OPTIONS[option]} {','.join(map(str, value)) if option == 'after' else value}")
    where = f" in the {options['stack']}" if "stack" in options else ""
    return (" ".join(words) or "no option") + where
