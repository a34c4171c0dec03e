"""Inputs for the models of zoo.py: longer than every window (4), chunk (8) and block of the tiny configurations, always the same numbers.

Text stacks of multimodal models see an image as well where its form is simple, because some add image features behind given blocks.
"""

import torch

BATCH = 2
LENGTH = 21
IMAGE_TOKEN = 120
# Model types whose vision tower takes a list of patches and a grid.
GRID = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe")
# How many places of the text one image takes (16 x 16 pixels in patches of 8, unless a model says otherwise).
IMAGE_TOKENS = {
    "llava": 4,
    "gemma3": 4,
    "paligemma": 4,
    "llama4": 1,
    "idefics3": 1,
    "smolvlm": 1,
    "internvl": 4,
}
VISION = ("vit", "dinov2", "beit", "swin", "swinv2", "clip_vision_model", "siglip_vision_model")
WAVES = ("wav2vec2", "hubert", "wavlm", "wav2vec2-conformer")


def inputs_for(model):
    """The keyword arguments of one forward pass."""
    make = torch.Generator().manual_seed(7)
    config = model.config
    kind = config.model_type
    ids = torch.randint(4, 110, (BATCH, LENGTH), generator=make)

    def noise(*shape):
        return torch.randn(*shape, generator=make)

    if kind in VISION:
        return {"pixel_values": noise(BATCH, 3, config.image_size, config.image_size)}
    if kind in WAVES:
        return {"input_values": noise(BATCH, 800)}
    if kind in ("clip", "siglip"):
        size = config.vision_config.image_size
        return {"input_ids": ids, "pixel_values": noise(BATCH, 3, size, size)}
    if kind == "whisper":
        return {
            "input_features": noise(BATCH, config.num_mel_bins, 2 * config.max_source_positions),
            "decoder_input_ids": ids,
        }
    if kind == "speech_to_text":
        return {"input_features": noise(BATCH, 60, config.input_feat_per_channel), "decoder_input_ids": ids}
    if kind == "moonshine":
        return {"input_values": noise(BATCH, 4000), "decoder_input_ids": ids}
    if kind == "mllama":
        return {"input_ids": ids, **tiles(config.vision_config, noise)}
    if kind in GRID:
        return {
            "input_ids": with_image(ids, 4),
            **patches(config.vision_config, noise),
            **token_types(ids, 4),
        }
    if kind in IMAGE_TOKENS:
        return {**image_and_text(kind, config, ids, noise)}
    if config.is_encoder_decoder:
        return {"input_ids": ids, "decoder_input_ids": ids.flip(1)[:, :17]}
    return {"input_ids": ids}


def with_image(ids, places):
    ids = ids.clone()
    ids[:, 2 : 2 + places] = IMAGE_TOKEN
    return ids


def token_types(ids, places):
    types = torch.zeros_like(ids)
    types[:, 2 : 2 + places] = 1
    return {"mm_token_type_ids": types}


def patches(vision, noise):
    """One image of 4 x 4 patches for each text; four merge into one place."""
    size = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    return {
        "pixel_values": noise(BATCH * 16, size),
        "image_grid_thw": torch.tensor([[1, 4, 4]] * BATCH),
    }


def tiles(vision, noise):
    size, count = vision.image_size, vision.max_num_tiles
    return {
        "pixel_values": noise(BATCH, 1, count, 3, size, size),
        "aspect_ratio_ids": torch.ones(BATCH, 1, dtype=torch.long),
        "aspect_ratio_mask": torch.ones(BATCH, 1, count, dtype=torch.long),
        "cross_attention_mask": torch.ones(BATCH, LENGTH, 1, count, dtype=torch.long),
    }


def image_and_text(kind, config, ids, noise):
    places = IMAGE_TOKENS[kind]
    size = config.vision_config.image_size
    height, width = (size, size) if isinstance(size, int) else size
    shape = (BATCH, 1, 3, height, width) if kind in ("idefics3", "smolvlm") else (BATCH, 3, height, width)
    given = {"input_ids": with_image(ids, places), "pixel_values": noise(*shape)}
    if kind in ("gemma3", "paligemma"):
        given["token_type_ids"] = token_types(ids, places)["mm_token_type_ids"]
    return given
