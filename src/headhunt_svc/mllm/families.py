"""What differs between model families: one row each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from headhunt_svc.errors import ModelError


@dataclass(frozen=True, slots=True)
class Family:
    """A family of MLLMs that transformers implements.

    model_class: name of the class in transformers.
    video_token: what the chat template writes where a video belongs.
    frames_text: (model config, number of frames) -> the text that stands for that video.
    image_size: model config -> (height, width) of a picture.
    mean, std: normalisation where the checkpoint states none.
    """

    model_class: str
    video_token: str
    frames_text: Callable[[Any, int], str]
    image_size: Callable[[Any], tuple[int, int]]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def _internvl_frames(config: Any, n_frames: int) -> str:
    visual = f"<img>{'<IMG_CONTEXT>' * config.image_seq_length}</img>"
    return "\n".join(f"Frame{i}: {visual}" for i in range(1, n_frames + 1))


FAMILIES: dict[str, Family] = {
    "internvl": Family(
        model_class="InternVLForConditionalGeneration",
        video_token="<video>",
        frames_text=_internvl_frames,
        image_size=lambda config: tuple(config.vision_config.image_size),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    ),
}


def family_of(model_type: str, mllm_id: str) -> Family:
    """The family of a model type.

    Raises:
        ModelError: an unsupported one; lists what is supported.
    """
    if model_type not in FAMILIES:
        raise ModelError(
            f"{mllm_id} is of type {model_type!r}, which is not supported; supported: {', '.join(sorted(FAMILIES))}"
        )
    return FAMILIES[model_type]
