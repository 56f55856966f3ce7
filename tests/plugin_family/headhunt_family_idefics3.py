"""Idefics3 and the first SmolVLM, which know pictures only: a clip is a row of pictures."""

from typing import Any

from headhunt_svc.model.families.base import (
    HALF,
    Clip,
    Encoded,
    Family,
    ModelConfig,
    ModelInputs,
    Pixels,
    encoder_outputs,
)


class Idefics3(Family):
    """Every frame is one picture, without the tiles that the processor cuts large pictures into."""

    name = "Idefics3"
    checkpoints = ("HuggingFaceTB/SmolVLM-256M-Instruct", "HuggingFaceTB/SmolVLM-500M-Instruct")
    decoders = ("llama",)
    model_class = "Idefics3ForConditionalGeneration"
    video_text = "<image>"
    norm = HALF

    def chat_template(self, tokenizer: Any) -> str | None:
        """The tokenizer's template, which writes <image> for a picture: here for the clip."""
        template = super().chat_template(tokenizer)
        return template and template.replace("== 'image'", "== 'video'")

    def token_grid(self, config: ModelConfig, clip: Clip) -> tuple[int, int, int]:
        """A square of tokens a frame; a token stands for a square of patches."""
        vision = config.vision_config
        side = vision.image_size // vision.patch_size // config.scale_factor
        return clip.n_frames, side, side

    def clip_text(self, config: ModelConfig, clip: Clip) -> str:
        """What the processor writes for a picture, once for every frame."""
        frames, rows, columns = self.token_grid(config, clip)
        visual = "<image>" * rows * columns
        return f"<fake_token_around_image><global-img>{visual}<fake_token_around_image>" * frames

    def visual_token_id(self, config: ModelConfig) -> int:
        """Frames are pictures to this family."""
        return int(config.image_token_id)

    def picture_inputs(self, config: ModelConfig, pixels: Pixels, clip: Clip) -> ModelInputs:
        """Pixels as they are: segment, picture, colour, row, column."""
        return {"pixel_values": pixels}

    def encode_frames(self, model: Any, pictures: ModelInputs) -> list[Encoded]:
        """One level of tokens a frame."""
        tokens = model.get_image_features(**pictures, return_dict=True).pooler_output
        return [(frame,) for frame in tokens]

    def with_encoded_frames(self, model: Any, clips: list[list[Encoded]]) -> ModelInputs:
        """Frames of all segments, one behind the other."""
        import torch

        return encoder_outputs("image", torch.cat([encoded[0] for clip in clips for encoded in clip]))
