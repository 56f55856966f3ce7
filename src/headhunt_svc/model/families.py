"""What differs between model families: one row each. Everything else in this package knows none of them by name."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
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


Inputs = dict[str, Any]
Unit = tuple[torch.Tensor, ...]  # what the vision tower makes of a frame (or pair): [tokens, width] per level


@dataclass(frozen=True, slots=True)
class Family:
    """A family of MLLMs that transformers implements.

    model_class: name of the class in transformers.
    video_text: what the chat template writes where a video belongs.
    clip_text: (model config, clip) -> the text that stands for that video.
    image_size: (model config, stated preprocessing, height, width) -> (height, width) after the resize.
    visual_token: model config -> id of the token that stands for a piece of a picture.
    grid: (model config, clip) -> (frames, rows, columns) of those tokens, in this order.
    pictures: (model config, pixels float[B, F, 3, h, w], clip) -> keyword arguments that hold the pictures.
    layout: (model config, ids int64[B, tokens], clip) -> further ones that say where pictures stand.
    unit_frames: model config -> how many frames the vision tower sees at once.
    look: (base model, pictures of clips of that many frames) -> what the vision tower makes of each.
    shown: (base model, units of every clip) -> the keyword argument that takes the place of `pictures`.
    mean, std: normalisation where the checkpoint states none.
    """

    model_class: str
    video_text: str
    clip_text: Callable[[Any, Clip], str]
    image_size: Callable[[Any, dict[str, Any], int, int], tuple[int, int]]
    visual_token: Callable[[Any], int]
    grid: Callable[[Any, Clip], tuple[int, int, int]]
    pictures: Callable[[Any, torch.Tensor, Clip], Inputs]
    layout: Callable[[Any, torch.Tensor, Clip], Inputs]
    unit_frames: Callable[[Any], int]
    look: Callable[[Any, Inputs], list[Unit]]
    shown: Callable[[Any, list[list[Unit]]], Inputs]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP_NORM = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def _encoded(kind: str, tokens: Any, deeper: list[Any] | None = None) -> Inputs:
    """What the library takes instead of pictures: outputs of its vision tower, by kind (image or video)."""
    return {"mm_encoder_outputs": {kind: SimpleNamespace(pooler_output=tokens, deepstack_features=deeper)}}


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


def _internvl_pictures(config: Any, pixels: torch.Tensor, clip: Clip) -> Inputs:
    return {"pixel_values": pixels.flatten(0, 1)}


def _internvl_look(base: Any, pictures: Inputs) -> list[Unit]:
    return [(tokens,) for tokens in base.get_image_features(**pictures, return_dict=True).pooler_output]


def _internvl_shown(base: Any, clips: list[list[Unit]]) -> Inputs:
    return _encoded("image", torch.stack([unit[0] for units in clips for unit in units]))


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


def _qwen_pictures(config: Any, pixels: torch.Tensor, clip: Clip) -> Inputs:
    vision = config.vision_config
    t, p, m = vision.temporal_patch_size, vision.patch_size, vision.spatial_merge_size
    groups, rows, columns = _qwen_grid(config, clip)
    missing = groups * t - clip.n_frames  # an odd frame is shown twice, as the library's processor does
    if missing:
        pixels = torch.cat([pixels, pixels[:, -1:].expand(-1, missing, -1, -1, -1)], 1)
    batch = len(pixels)
    x = pixels.reshape(batch, groups, t, 3, rows // m, m, p, columns // m, m, p)
    patches = x.permute(0, 1, 4, 7, 5, 8, 3, 2, 6, 9).reshape(batch * groups * rows * columns, 3 * t * p * p)
    grid = torch.tensor([[groups, rows, columns]] * batch, device=pixels.device)
    return {"pixel_values_videos": patches, "video_grid_thw": grid}


def _qwen_layout(config: Any, ids: torch.Tensor, clip: Clip) -> Inputs:
    grid = torch.tensor([_qwen_grid(config, clip)] * len(ids), device=ids.device)
    return {"video_grid_thw": grid, "mm_token_type_ids": 2 * (ids == config.video_token_id).int()}


def _qwen_look(base: Any, pictures: Inputs) -> list[Unit]:
    out = base.get_video_features(**pictures, return_dict=True)
    return list(zip(out.pooler_output, *(getattr(out, "deepstack_features", None) or []), strict=True))


def _qwen_shown(base: Any, clips: list[list[Unit]]) -> Inputs:
    tokens, *deeper = (
        tuple(torch.cat([unit[level] for unit in units]) for units in clips) for level in range(len(clips[0][0]))
    )
    return _encoded("video", tokens, deeper)


def _qwen2_5_text(config: Any, clip: Clip) -> str:
    return "<|video_pad|>" * math.prod(_qwen_tokens(config, clip))


def _qwen2_5_layout(config: Any, ids: torch.Tensor, clip: Clip) -> Inputs:
    seconds = clip.frame_s * config.vision_config.temporal_patch_size
    every = torch.full((len(ids),), seconds, device=ids.device)
    return {**_qwen_layout(config, ids, clip), "second_per_grid_ts": every}


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


def _llava_pictures(config: Any, pixels: torch.Tensor, clip: Clip) -> Inputs:
    return {"pixel_values_videos": pixels}


def _llava_look(base: Any, pictures: Inputs) -> list[Unit]:
    tokens = base.get_video_features(**pictures, return_dict=True).pooler_output
    return [(t[:-1],) for t in tokens]  # without the newline


def _llava_shown(base: Any, clips: list[list[Unit]]) -> Inputs:
    newline = base.image_newline[None]
    return _encoded("video", torch.stack([torch.cat([unit[0] for unit in units] + [newline]) for units in clips]))


def _nothing(config: Any, ids: torch.Tensor, clip: Clip) -> Inputs:
    return {}


def _one(config: Any) -> int:
    return 1


def _qwen_pair(config: Any) -> int:
    return int(config.vision_config.temporal_patch_size)


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
        _internvl_pictures,
        _nothing,
        _one,
        _internvl_look,
        _internvl_shown,
        *IMAGENET,
    ),
    "qwen2_5_vl": Family(
        "Qwen2_5_VLForConditionalGeneration",
        "<|video_pad|>",
        _qwen2_5_text,
        _qwen_size,
        _video_token,
        _qwen_tokens,
        _qwen_pictures,
        _qwen2_5_layout,
        _qwen_pair,
        _qwen_look,
        _qwen_shown,
        *CLIP_NORM,
    ),
    "qwen3_vl": Family(
        "Qwen3VLForConditionalGeneration",
        "<|vision_start|><|video_pad|><|vision_end|>",
        _qwen3_text,
        _qwen_size,
        _video_token,
        _qwen_tokens,
        _qwen_pictures,
        _qwen_layout,
        _qwen_pair,
        _qwen_look,
        _qwen_shown,
        *HALF,
    ),
    "llava_onevision": Family(
        "LlavaOnevisionForConditionalGeneration",
        "<video>",
        _llava_text,
        _square,
        _video_token,
        _llava_grid,
        _llava_pictures,
        _nothing,
        _one,
        _llava_look,
        _llava_shown,
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
