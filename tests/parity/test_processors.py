"""Pictures and prompts are laid out as each family's own processor in transformers does.

The processors themselves cannot be built here (their video parts need torchvision): their image processors can, and
the functions that write a video into a prompt can be called without the rest.
"""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.internvl.processing_internvl import InternVLProcessor
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.llava_onevision.processing_llava_onevision import LlavaOnevisionProcessor
from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

from headhunt_svc.model.extractor import Extractor, VisionCache
from headhunt_svc.model.families import FAMILIES
from headhunt_svc.model.families.base import CLIP_NORM, HALF, IMAGENET
from helpers.models import PATCH, SIDE, tiny

FRAME_S = 0.24


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def extractor(family: str) -> Extractor:
    return tiny(family)


def own_pictures(family: str, picture: np.ndarray) -> torch.Tensor:
    """What the family's own image processor makes of one picture."""
    square: dict[str, Any] = {"size": {"height": SIDE, "width": SIDE}, "resample": 3, "return_tensors": "pt"}
    if family == "internvl":
        mean, std = IMAGENET
        made = GotOcr2ImageProcessorPil(image_mean=mean, image_std=std, crop_to_patches=False)(picture, **square)
        return torch.as_tensor(made["pixel_values"])
    if family == "llava_onevision":
        mean, std = HALF
        processor = LlavaOnevisionImageProcessorPil(image_grid_pinpoints=[[SIDE, SIDE]], image_mean=mean, image_std=std)
        made = processor(picture, **square)
        return torch.as_tensor(made["pixel_values"])[:, 0]  # the whole picture; tiles follow
    mean, std = CLIP_NORM if family == "qwen2_5_vl" else HALF
    qwen = Qwen2VLImageProcessorPil(
        patch_size=PATCH, merge_size=2, temporal_patch_size=2, image_mean=mean, image_std=std,
        size={"shortest_edge": SIDE * SIDE, "longest_edge": 84 * 84},
    )  # fmt: skip
    return torch.as_tensor(qwen(picture, return_tensors="pt")["pixel_values"])


@pytest.mark.parametrize("size", [(SIDE, SIDE), (60, 90), (200, 150)])
def test_pictures_are_those_of_the_image_processor(family: str, extractor: Extractor, size: tuple[int, int]) -> None:
    """Equal where nothing is resized; else within one of 255 levels, which is where torch and Pillow round."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    picture = np.kron(coarse, np.ones((30, 30, 1), np.uint8))[: size[0], : size[1]]
    pixels = extractor.preprocess(np.stack([picture, picture]))[None]
    ours = next(iter(extractor.family.picture_inputs(extractor.config, pixels, extractor.clip(pixels)).values()))
    theirs = own_pictures(family, picture)
    ours = ours.reshape(-1, *theirs.shape)[0] if family != "llava_onevision" else ours[0, :1]
    assert ours.shape == theirs.shape
    resized = size != (SIDE, SIDE)
    level = 1 / (255 * float(extractor.std.min()))
    assert float((ours - theirs).abs().max()) <= (1.01 * level if resized else 1e-6)


def own_text(family: str, extractor: Extractor, n_frames: int, pixels: torch.Tensor) -> str:
    """What the family's own processor writes for a video."""
    config = extractor.config
    clip = extractor.clip(pixels)
    if family == "internvl":
        me: Any = SimpleNamespace(
            start_image_token="<img>",
            end_image_token="</img>",
            image_token="<IMG_CONTEXT>",
            image_seq_length=config.image_seq_length,
        )
        return str(InternVLProcessor.replace_video_token(me, {"pixel_values_videos": pixels}, 0))
    if family == "llava_onevision":
        me = SimpleNamespace(num_image_tokens=(SIDE // PATCH) ** 2, video_token="<video>")
        return str(LlavaOnevisionProcessor.replace_video_token(me, {"pixel_values_videos": pixels}, 0))
    grid = torch.tensor([[-(-n_frames // 2), clip.height // PATCH, clip.width // PATCH]])
    me = SimpleNamespace(
        video_processor=SimpleNamespace(merge_size=2, temporal_patch_size=2),
        video_token="<|video_pad|>",
        vision_start_token="<|vision_start|>",
        vision_end_token="<|vision_end|>",
    )
    if family == "qwen2_5_vl":
        return str(Qwen2_5_VLProcessor.replace_video_token(me, {"video_grid_thw": grid}, 0))
    me._calculate_timestamps = lambda *args: Qwen3VLProcessor._calculate_timestamps(me, *args)
    metadata = SimpleNamespace(fps=1 / FRAME_S, frames_indices=list(range(n_frames)))
    return str(Qwen3VLProcessor.replace_video_token(me, {"video_grid_thw": grid, "video_metadata": [metadata]}, 0))


@pytest.mark.parametrize("n_frames", [2, 5, 8])
def test_prompts_hold_what_the_processor_writes(family: str, extractor: Extractor, n_frames: int) -> None:
    pictures = np.zeros((n_frames, 60, 90, 3), np.uint8)
    pixels = extractor.preprocess(pictures)[None]
    clip = extractor.clip(pixels, VisionCache(FRAME_S))
    assert extractor.family.clip_text(extractor.config, clip) == own_text(family, extractor, n_frames, pixels)
