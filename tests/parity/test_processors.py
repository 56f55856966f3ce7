"""Pictures and prompts are laid out as each family's own processor in transformers does.

The processors themselves cannot be built here (their video parts need torchvision): their image processors can, and
the functions that write a video into a prompt can be called without the rest.
"""

from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

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
from transformers.models.smolvlm import processing_smolvlm
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil
from transformers.models.smolvlm.processing_smolvlm import SmolVLMProcessor
from transformers.models.smolvlm.video_processing_smolvlm import get_resize_output_image_size
from transformers.video_utils import VideoMetadata

from headhunt_svc.model.extractor import Extractor
from headhunt_svc.model.families import Clip
from headhunt_svc.model.families.base import CLIP_NORM, HALF, IMAGENET
from headhunt_svc.model.families.smolvlm import in_words
from headhunt_svc.model.parity import PROCESSOR_CHECKS, Processor
from helpers.models import PATCH, SIDE, TINY, model_type_of, tiny


def own_picture(family: str, picture: np.ndarray) -> torch.Tensor:
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
    if family == "smolvlm":  # the video processor's resize is bicubic: torchvision has no Lanczos for tensors
        smolvlm = SmolVLMImageProcessorPil(
            do_image_splitting=False, size={"longest_edge": SIDE}, max_image_size={"longest_edge": SIDE}
        )
        return torch.as_tensor(smolvlm(picture, resample=3, return_tensors="pt")["pixel_values"])
    mean, std = CLIP_NORM if family == "qwen2_5_vl" else HALF
    qwen = Qwen2VLImageProcessorPil(
        patch_size=PATCH, merge_size=2, temporal_patch_size=2, image_mean=mean, image_std=std,
        size={"shortest_edge": SIDE * SIDE, "longest_edge": 84 * 84},
    )  # fmt: skip
    return torch.as_tensor(qwen(picture, return_tensors="pt")["pixel_values"])


def own_text(family: str, config: Any, clip: Clip, pixels: torch.Tensor) -> str:
    """What the family's own processor writes for a video."""
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
    n_frames, frames = clip.n_frames, list(range(clip.n_frames))
    if family == "smolvlm":
        me = SimpleNamespace(
            image_seq_len=(SIDE // PATCH) ** 2 // config.scale_factor**2,
            image_token="<image>",
            fake_image_token="<fake_token_around_image>",
            global_image_token="<global-img>",
        )
        metadata: Any = VideoMetadata(
            n_frames, fps=1 / clip.frame_s, duration=n_frames * clip.frame_s, frames_indices=frames
        )
        inputs = {"pixel_values": pixels, "video_metadata": [metadata]}
        with patch.object(processing_smolvlm, "num2words", in_words):  # not installed; compared below
            return str(SmolVLMProcessor.replace_video_token(me, inputs, 0))
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
    metadata = SimpleNamespace(fps=1 / clip.frame_s, frames_indices=frames)
    return str(Qwen3VLProcessor.replace_video_token(me, {"video_grid_thw": grid, "video_metadata": [metadata]}, 0))


def processor_of(name: str, extractor: Extractor) -> Processor:
    family = model_type_of(name)
    return Processor(partial(own_picture, family), partial(own_text, family, extractor.config))


@pytest.mark.parametrize("check", PROCESSOR_CHECKS)
@pytest.mark.parametrize("name", TINY)
def test_processor(name: str, check: str) -> None:
    extractor = tiny(name)
    PROCESSOR_CHECKS[check](extractor, processor_of(name, extractor))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (1, "one"),
        (8, "eight"),
        (16, "sixteen"),
        (20, "twenty"),
        (32, "thirty-two"),
        (64, "sixty-four"),
        (100, "one hundred"),
        (123, "one hundred and twenty-three"),
        (900, "nine hundred"),
    ],
)
def test_numbers_in_words_are_those_of_num2words(number: int, words: str) -> None:
    assert in_words(number) == words


def test_smolvlm_takes_its_processors_template() -> None:
    """As `SmolVLMProcessor.apply_chat_template` does for a video, whatever the checkpoint's template is."""
    extractor = tiny("smolvlm")
    clip = Clip(2, SIDE, SIDE, 0.5)
    text = extractor.tokenizer.decode(extractor.token_ids("what happens?", clip))
    video = extractor.family.clip_text(extractor.config, clip)
    assert text == f"<|im_start|>User: {video}what happens?<end_of_utterance>\nAssistant:"
    assert video.startswith(
        "You are provided the following series of two frames from a 0:00:01 [H:MM:SS] video.\n\nFrame from 00:00:"
    )


@pytest.mark.parametrize("size", [(360, 640), (640, 360), (481, 853), (100, 100), (1080, 1920), (9, 640), (97, 51)])
def test_smolvlm_resizes_first_to_the_longest_edge_of_videos(size: tuple[int, int]) -> None:
    extractor = tiny("smolvlm")
    for preprocessing, longest in (
        ({"video_sampling": {"video_size": {"longest_edge": 512}}, "size": {"longest_edge": 2048}}, 512),
        ({"size": {"longest_edge": 2048}}, 2048),
        ({}, 4 * SIDE),
    ):
        expected = get_resize_output_image_size(torch.empty(3, *size), longest)
        steps = extractor.family.resize_steps(extractor.config, preprocessing, *size)
        assert steps == (expected, (SIDE, SIDE))
