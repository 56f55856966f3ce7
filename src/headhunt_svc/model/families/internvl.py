"""InternVL: one square tile a frame; the prompt announces every frame by its number."""

import math
from typing import Any

from headhunt_svc.model.families.base import (
    IMAGENET,
    Clip,
    Encoded,
    Family,
    ModelConfig,
    ModelInputs,
    Pixels,
    VisionWork,
    encoder_outputs,
)


class InternVL(Family):
    """InternVL3 (a Qwen2.5 decoder) and InternVL3.5 (Qwen3), in transformers' layout (-hf and -HF checkpoints)."""

    name = "InternVL3 and InternVL3.5"
    checkpoints = (
        *(f"OpenGVLab/InternVL3-{size}-hf" for size in ("1B", "2B", "8B", "14B", "38B", "78B")),
        *(f"OpenGVLab/InternVL3_5-{size}-HF" for size in ("1B", "2B", "4B", "8B", "14B", "38B", "30B-A3B")),
    )
    original_types = ("internvl_chat",)
    decoders = ("qwen2", "qwen3", "qwen3_moe")
    model_class = "InternVLForConditionalGeneration"
    video_text = "<video>"
    norm = IMAGENET

    def token_grid(self, config: ModelConfig, clip: Clip) -> tuple[int, int, int]:
        """A square of tokens a frame."""
        side = math.isqrt(config.image_seq_length)
        return clip.n_frames, side, side

    def clip_text(self, config: ModelConfig, clip: Clip) -> str:
        """Frame1: <img>...</img>, a line a frame."""
        visual = f"<img>{'<IMG_CONTEXT>' * config.image_seq_length}</img>"
        return "\n".join(f"Frame{i}: {visual}" for i in range(1, clip.n_frames + 1))

    def vision_work(self, config: ModelConfig, clip: Clip) -> VisionWork:
        """Frame by frame, with a class token; patches are merged before the projector."""
        vision = config.vision_config
        patches = math.prod(n // size for n, size in zip(vision.image_size, vision.patch_size, strict=True))
        rows = patches + 1
        return VisionWork(
            "vision_tower",
            ("multi_modal_projector",),
            clip.n_frames * patches,
            clip.n_frames * rows,
            vision.num_hidden_layers * clip.n_frames * rows**2,
            math.prod(self.token_grid(config, clip)),
        )

    def visual_token_id(self, config: ModelConfig) -> int:
        """Frames are pictures to this family."""
        return int(config.image_token_id)

    def picture_inputs(self, config: ModelConfig, pixels: Pixels, clip: Clip) -> ModelInputs:
        """Frames of all segments in one row."""
        return {"pixel_values": pixels.flatten(0, 1)}

    def encode_frames(self, model: Any, pictures: ModelInputs) -> list[Encoded]:
        """One level of tokens a frame."""
        return [(tokens,) for tokens in model.get_image_features(**pictures, return_dict=True).pooler_output]

    def with_encoded_frames(self, model: Any, clips: list[list[Encoded]]) -> ModelInputs:
        """Frames of all segments in one row."""
        import torch

        return encoder_outputs("image", torch.stack([encoded[0] for clip in clips for encoded in clip]))
