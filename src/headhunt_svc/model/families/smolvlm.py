"""SmolVLM2: every frame is a picture with its time; the prompt begins with the number of frames and the duration."""

import math
from datetime import timedelta
from typing import Any

from headhunt_svc.errors import ModelError
from headhunt_svc.model.families.base import (
    HALF,
    Clip,
    Encoded,
    Family,
    ModelConfig,
    ModelInputs,
    Pixels,
    VisionWork,
    encoder_outputs,
)

SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def in_words(number: int) -> str:
    """A number below 1000 in English words, as num2words writes it: "one hundred and twenty-three"."""
    if number < len(SMALL):
        return SMALL[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return TENS[tens - 2] + (f"-{SMALL[ones]}" if ones else "")
    if number < 1000:
        hundreds, rest = divmod(number, 100)
        return f"{SMALL[hundreds]} hundred" + (f" and {in_words(rest)}" if rest else "")
    raise ModelError(f"{number} frames in a segment are too many: lower segmentation.frames_per_segment")


class SmolVLM(Family):
    """SmolVLM2: the smallest video models, which a laptop runs without a GPU."""

    name = "SmolVLM2"
    checkpoints = (
        "HuggingFaceTB/SmolVLM2-256M-Video-Instruct",
        "HuggingFaceTB/SmolVLM2-500M-Video-Instruct",
        "HuggingFaceTB/SmolVLM2-2.2B-Instruct",
    )
    decoders = ("llama",)
    model_class = "SmolVLMForConditionalGeneration"
    video_text = "<video>"
    norm = HALF

    def chat_template(self, tokenizer: Any) -> str | None:
        """The processor's own: the checkpoints' templates know pictures only, and the processor replaces them."""
        from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE

        return str(DEFAULT_CHAT_TEMPLATE)

    def resize_steps(
        self, config: ModelConfig, preprocessing: dict[str, Any], height: int, width: int
    ) -> tuple[tuple[int, int], ...]:
        """First to the longest edge of videos, in the picture's proportions and whole pairs of pixels; then square."""
        square = self.image_size(config, preprocessing, height, width)
        size = (preprocessing.get("video_sampling") or {}).get("video_size") or preprocessing.get("size") or {}
        longest = int(size.get("longest_edge") or 4 * square[0])  # the library's default, too
        aspect = width / height
        shorter = int(longest / aspect if width >= height else longest * aspect)  # rounds as the library does
        shorter = max(shorter + shorter % 2, 1)
        return ((shorter, longest) if width >= height else (longest, shorter)), square

    def token_grid(self, config: ModelConfig, clip: Clip) -> tuple[int, int, int]:
        """A square of tokens a frame; a token stands for a square of patches."""
        vision = config.vision_config
        side = vision.image_size // vision.patch_size // config.scale_factor
        return clip.n_frames, side, side

    def clip_text(self, config: ModelConfig, clip: Clip) -> str:
        """The processor's introduction, and every frame behind its time in minutes and seconds."""
        from transformers.models.smolvlm import processing_smolvlm as library

        _, rows, columns = self.token_grid(config, clip)
        duration = str(timedelta(seconds=int(clip.n_frames * clip.frame_s)))
        intro = library.DEFAULT_VIDEO_INTRO.format(frame_count=in_words(clip.n_frames), video_duration=duration)
        visual = f"<fake_token_around_image><global-img>{'<image>' * rows * columns}<fake_token_around_image>"
        frames = []
        for i in range(clip.n_frames):
            minutes, seconds = divmod(int(i * clip.frame_s), 60)
            frames.append(library.FRAME_TIMESTAMP_MESSAGE.format(timestamp=f"{minutes:02d}:{seconds:02d}") + visual)
        return f"{intro}{''.join(frames)}{library.DEFAULT_MEDIA_OUTTRO}"

    def vision_work(self, config: ModelConfig, clip: Clip) -> VisionWork:
        """Frame by frame; patches are merged before the connector."""
        vision = config.vision_config
        patches = (vision.image_size // vision.patch_size) ** 2
        n, pairs = clip.n_frames * patches, vision.num_hidden_layers * clip.n_frames * patches**2
        return VisionWork("vision_model", ("connector",), n, n, pairs, math.prod(self.token_grid(config, clip)))

    def visual_token_id(self, config: ModelConfig) -> int:
        """Frames are pictures to this family."""
        return int(config.image_token_id)

    def picture_inputs(self, config: ModelConfig, pixels: Pixels, clip: Clip) -> ModelInputs:
        """Pixels as they are."""
        return {"pixel_values": pixels}

    def encode_frames(self, model: Any, pictures: ModelInputs) -> list[Encoded]:
        """One level of tokens a frame."""
        return [(tokens,) for tokens in model.get_image_features(**pictures, return_dict=True).pooler_output]

    def with_encoded_frames(self, model: Any, clips: list[list[Encoded]]) -> ModelInputs:
        """Frames of all segments in one row."""
        import torch

        return encoder_outputs("image", torch.cat([encoded[0] for clip in clips for encoded in clip]))
