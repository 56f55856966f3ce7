"""LLaVA-OneVision: pooled tokens of every frame, and one newline at the end of the clip."""

import math
from typing import Any

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


class LlavaOneVision(Family):
    """LLaVA-OneVision, in the layout of transformers (the -hf checkpoints)."""

    name = "LLaVA-OneVision"
    checkpoints = tuple(
        f"llava-hf/llava-onevision-qwen2-{size}-hf"
        for size in ("0.5b-ov", "7b-ov", "7b-ov-chat", "72b-ov", "72b-ov-chat")
    )
    original_types = ("llava", "llava_qwen")
    decoders = ("qwen2",)
    model_class = "LlavaOnevisionForConditionalGeneration"
    video_text = "<video>"
    norm = HALF

    def token_grid(self, config: ModelConfig, clip: Clip) -> tuple[int, int, int]:
        """Half as many rows and columns as the vision tower has, rounded up."""
        side = math.ceil(config.vision_config.image_size // config.vision_config.patch_size / 2)
        return clip.n_frames, side, side

    def clip_text(self, config: ModelConfig, clip: Clip) -> str:
        """Visual tokens and the newline."""
        return "<video>" * (math.prod(self.token_grid(config, clip)) + 1)

    def vision_work(self, config: ModelConfig, clip: Clip) -> VisionWork:
        """Frame by frame; patches are pooled behind the projector."""
        vision = config.vision_config
        patches = (vision.image_size // vision.patch_size) ** 2
        n, pairs = clip.n_frames * patches, vision.num_hidden_layers * clip.n_frames * patches**2
        return VisionWork("vision_tower", ("multi_modal_projector",), n, n, pairs, n)

    def picture_inputs(self, config: ModelConfig, pixels: Pixels, clip: Clip) -> ModelInputs:
        """Pixels as they are."""
        return {"pixel_values_videos": pixels}

    def encode_frames(self, model: Any, pictures: ModelInputs) -> list[Encoded]:
        """Tokens of a frame, without the newline that the library appends."""
        clips = model.get_video_features(**pictures, return_dict=True).pooler_output
        return [(tokens[:-1],) for tokens in clips]

    def with_encoded_frames(self, model: Any, clips: list[list[Encoded]]) -> ModelInputs:
        """A clip's frames in one row, the newline behind them."""
        import torch

        newline = model.image_newline[None]
        rows = [torch.cat([encoded[0] for encoded in clip] + [newline]) for clip in clips]
        return encoder_outputs("video", torch.stack(rows))
