"""What differs between model families: one row each. Everything else in this package knows none of them by name."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from headhunt_svc.errors import ModelError


@dataclass(frozen=True, slots=True)
class Clip:
    """What the layout of a prompt depends on: frames, their size after the resize, seconds between two of them."""

    n_frames: int
    height: int
    width: int
    frame_s: float


Inputs = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Family:
    """A family of MLLMs that transformers implements.

    model_class: name of the class in transformers.
    video_text: what the chat template writes where a video belongs.
    clip_text: (model config, clip) -> the text that stands for that video.
    image_size: (model config, stated preprocessing, height, width) -> (height, width) after the resize.
    visual_token: model config -> id of the token that stands for a piece of a picture.
    grid: (model config, clip) -> (frames, rows, columns) of those tokens, in this order.
    inputs: (model config, pixels float[B, F, 3, h, w], ids int64[B, tokens], clip) -> keyword arguments of the model.
    mean, std: normalisation where the checkpoint states none.
    """

    model_class: str
    video_text: str
    clip_text: Callable[[Any, Clip], str]
    image_size: Callable[[Any, dict[str, Any], int, int], tuple[int, int]]
    visual_token: Callable[[Any], int]
    grid: Callable[[Any, Clip], tuple[int, int, int]]
    inputs: Callable[[Any, torch.Tensor, torch.Tensor, Clip], Inputs]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP_NORM = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def _square(config: Any, stated: dict[str, Any], height: int, width: int) -> tuple[int, int]:
    size = config.vision_config.image_size
    return (int(size[0]), int(size[1])) if isinstance(size, list | tuple) else (int(size), int(size))


# -- InternVL: one tile a frame; every frame is announced by its number ------------------------------------------------
def _internvl_text(config: Any, clip: Clip) -> str:
    visual = f"<img>{'<IMG_CONTEXT>' * config.image_seq_length}</img>"
    return "\n".join(f"Frame{i}: {visual}" for i in range(1, clip.n_frames + 1))


def _internvl_grid(config: Any, clip: Clip) -> tuple[int, int, int]:
    side = math.isqrt(config.image_seq_length)
    return clip.n_frames, side, side


def _internvl_inputs(config: Any, pixels: torch.Tensor, ids: torch.Tensor, clip: Clip) -> Inputs:
    return {"pixel_values": pixels.flatten(0, 1)}


# -- Qwen: pairs of frames, any aspect ratio, positions in time, row and column ----------------------------------------
def _qwen_size(config: Any, stated: dict[str, Any], height: int, width: int) -> tuple[int, int]:
    vision, size = config.vision_config, stated.get("size") or {}
    least = stated.get("min_pixels") or size.get("shortest_edge") or 128 * 28 * 28
    most = stated.get("max_pixels") or size.get("longest_edge") or 768 * 28 * 28
    # an image processor's bounds are for stills: a frame of a video gets no more than the video default
    most = min(int(most), 768 * 28 * 28)
    found = smart_resize(height, width, vision.patch_size * vision.spatial_merge_size, min(int(least), most), most)
    return int(found[0]), int(found[1])


def _qwen_grid(config: Any, clip: Clip) -> tuple[int, int, int]:
    vision = config.vision_config
    groups = -(-clip.n_frames // vision.temporal_patch_size)
    return groups, clip.height // vision.patch_size, clip.width // vision.patch_size


def _qwen_tokens(config: Any, clip: Clip) -> tuple[int, int, int]:
    groups, rows, columns = _qwen_grid(config, clip)
    return groups, rows // config.vision_config.spatial_merge_size, columns // config.vision_config.spatial_merge_size


def _qwen_inputs(config: Any, pixels: torch.Tensor, ids: torch.Tensor, clip: Clip) -> Inputs:
    vision = config.vision_config
    t, p, m = vision.temporal_patch_size, vision.patch_size, vision.spatial_merge_size
    groups, rows, columns = _qwen_grid(config, clip)
    missing = groups * t - clip.n_frames  # an odd frame is shown twice, as the library's processor does
    if missing:
        pixels = torch.cat([pixels, pixels[:, -1:].expand(-1, missing, -1, -1, -1)], 1)
    batch = len(pixels)
    x = pixels.reshape(batch, groups, t, 3, rows // m, m, p, columns // m, m, p)
    patches = x.permute(0, 1, 4, 7, 5, 8, 3, 2, 6, 9).reshape(batch * groups * rows * columns, 3 * t * p * p)
    grid = torch.tensor([[groups, rows, columns]] * batch, device=ids.device)
    kinds = 2 * (ids == config.video_token_id).int()
    return {"pixel_values_videos": patches, "video_grid_thw": grid, "mm_token_type_ids": kinds}


def _qwen2_5_text(config: Any, clip: Clip) -> str:
    return "<|video_pad|>" * math.prod(_qwen_tokens(config, clip))


def _qwen2_5_inputs(config: Any, pixels: torch.Tensor, ids: torch.Tensor, clip: Clip) -> Inputs:
    seconds = clip.frame_s * config.vision_config.temporal_patch_size
    every = torch.full((len(pixels),), seconds, device=ids.device)
    return {**_qwen_inputs(config, pixels, ids, clip), "second_per_grid_ts": every}


def _qwen3_text(config: Any, clip: Clip) -> str:
    groups, rows, columns = _qwen_tokens(config, clip)
    t = config.vision_config.temporal_patch_size
    visual = "<|video_pad|>" * (rows * columns)
    texts = []
    for g in range(groups):
        first, last = (min(g * t + i, clip.n_frames - 1) * clip.frame_s for i in (0, t - 1))
        texts.append(f"<{(first + last) / 2:.1f} seconds><|vision_start|>{visual}<|vision_end|>")
    return "".join(texts)


# -- LLaVA-OneVision: pooled tokens of every frame, one newline at the end ---------------------------------------------
def _llava_grid(config: Any, clip: Clip) -> tuple[int, int, int]:
    side = math.ceil(config.vision_config.image_size // config.vision_config.patch_size / 2)
    return clip.n_frames, side, side


def _llava_text(config: Any, clip: Clip) -> str:
    return "<video>" * (math.prod(_llava_grid(config, clip)) + 1)


def _llava_inputs(config: Any, pixels: torch.Tensor, ids: torch.Tensor, clip: Clip) -> Inputs:
    return {"pixel_values_videos": pixels}


def _video_token(config: Any) -> int:
    return int(config.video_token_id)


FAMILIES: dict[str, Family] = {
    "internvl": Family(
        "InternVLForConditionalGeneration",
        "<video>",
        _internvl_text,
        _square,
        lambda config: int(config.image_token_id),
        _internvl_grid,
        _internvl_inputs,
        *IMAGENET,
    ),
    "qwen2_5_vl": Family(
        "Qwen2_5_VLForConditionalGeneration",
        "<|video_pad|>",
        _qwen2_5_text,
        _qwen_size,
        _video_token,
        _qwen_tokens,
        _qwen2_5_inputs,
        *CLIP_NORM,
    ),
    "qwen3_vl": Family(
        "Qwen3VLForConditionalGeneration",
        "<|vision_start|><|video_pad|><|vision_end|>",
        _qwen3_text,
        _qwen_size,
        _video_token,
        _qwen_tokens,
        _qwen_inputs,
        *HALF,
    ),
    "llava_onevision": Family(
        "LlavaOnevisionForConditionalGeneration",
        "<video>",
        _llava_text,
        _square,
        _video_token,
        _llava_grid,
        _llava_inputs,
        *HALF,
    ),
}


def family_of(model_type: str, mllm_id: str) -> Family:
    """The family of a model type.

    Raises:
        ModelError: an unsupported one; lists what is supported.
    """
    if model_type not in FAMILIES:
        raise ModelError(
            f"{mllm_id} is of type {model_type!r}, which is not supported (nobody has checked how its prompts and "
            f"pictures are laid out); supported: {', '.join(sorted(FAMILIES))}"
        )
    return FAMILIES[model_type]
