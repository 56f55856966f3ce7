"""Qwen2.5-VL and Qwen3-VL: frames in pairs, any aspect ratio, positions in time, row and column."""

import math
from typing import Any, ClassVar

from headhunt_svc.model.families.base import (
    CLIP_NORM,
    HALF,
    Clip,
    Encoded,
    Family,
    ModelConfig,
    ModelInputs,
    Pixels,
    TokenIds,
    VisionWork,
    encoder_outputs,
)

MIN_PIXELS, MAX_PIXELS = 128 * 28 * 28, 768 * 28 * 28  # of one frame: the library's defaults for videos


def patch_grid(config: ModelConfig, clip: Clip) -> tuple[int, int, int]:
    """(pairs of frames, rows, columns) of patches; a token stands for a square of them."""
    vision = config.vision_config
    pairs = -(-clip.n_frames // vision.temporal_patch_size)
    return pairs, clip.height // vision.patch_size, clip.width // vision.patch_size


class Qwen(Family):
    """What both generations share."""

    mergers: ClassVar[tuple[str, ...]] = ("merger",)

    def image_size(
        self, config: ModelConfig, preprocessing: dict[str, Any], height: int, width: int
    ) -> tuple[int, int]:
        """The size nearest to the picture's own within the bounds on pixels, in whole tokens."""
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

        vision, size = config.vision_config, preprocessing.get("size") or {}
        least = preprocessing.get("min_pixels") or size.get("shortest_edge") or MIN_PIXELS
        most = preprocessing.get("max_pixels") or size.get("longest_edge") or MAX_PIXELS
        # an image processor's bounds are for stills: a frame of a video gets no more than the video default
        most = min(int(most), MAX_PIXELS)
        side = vision.patch_size * vision.spatial_merge_size
        resized = smart_resize(height, width, side, min(int(least), most), most)
        return int(resized[0]), int(resized[1])

    def token_grid(self, config: ModelConfig, clip: Clip) -> tuple[int, int, int]:
        """Pairs of frames instead of frames."""
        pairs, rows, columns = patch_grid(config, clip)
        merge = config.vision_config.spatial_merge_size
        return pairs, rows // merge, columns // merge

    def vision_work(self, config: ModelConfig, clip: Clip) -> VisionWork:
        """Pair by pair; patches are merged before the projectors."""
        pairs, rows, columns = patch_grid(config, clip)
        n, attended = pairs * rows * columns, pairs * self.attended(config, rows, columns)
        names = tuple(f"visual.{name}" for name in self.mergers)
        return VisionWork("visual", names, n, n, attended, math.prod(self.token_grid(config, clip)))

    def attended(self, config: ModelConfig, rows: int, columns: int) -> int:
        """Pairs of patches of one picture that attend to each other, summed over layers: all of them in every layer."""
        return int(config.vision_config.depth) * (rows * columns) ** 2

    def frames_at_once(self, config: ModelConfig) -> int:
        """A pair."""
        return int(config.vision_config.temporal_patch_size)

    def picture_inputs(self, config: ModelConfig, pixels: Pixels, clip: Clip) -> ModelInputs:
        """Patches in the order of tokens: pair, row and column of the token, then within it."""
        import torch

        vision = config.vision_config
        t, p, m = vision.temporal_patch_size, vision.patch_size, vision.spatial_merge_size
        pairs, rows, columns = patch_grid(config, clip)
        missing = pairs * t - clip.n_frames  # an odd frame is shown twice, as the library's processor does
        if missing:
            pixels = torch.cat([pixels, pixels[:, -1:].expand(-1, missing, -1, -1, -1)], 1)
        batch = len(pixels)
        x = pixels.reshape(batch, pairs, t, 3, rows // m, m, p, columns // m, m, p)
        patches = x.permute(0, 1, 4, 7, 5, 8, 3, 2, 6, 9).reshape(batch * pairs * rows * columns, 3 * t * p * p)
        grid = torch.tensor([[pairs, rows, columns]] * batch, device=pixels.device)
        return {"pixel_values_videos": patches, "video_grid_thw": grid}

    def position_inputs(self, config: ModelConfig, ids: TokenIds, clip: Clip) -> ModelInputs:
        """The grid of patches, and which tokens belong to the video."""
        import torch

        grid = torch.tensor([patch_grid(config, clip)] * len(ids), device=ids.device)
        return {"video_grid_thw": grid, "mm_token_type_ids": 2 * (ids == config.video_token_id).int()}

    def encode_frames(self, model: Any, pictures: ModelInputs) -> list[Encoded]:
        """Tokens of a pair, and those that Qwen3-VL adds in deeper layers."""
        output = model.get_video_features(**pictures, return_dict=True)
        return list(zip(output.pooler_output, *(getattr(output, "deepstack_features", None) or []), strict=True))

    def with_encoded_frames(self, model: Any, clips: list[list[Encoded]]) -> ModelInputs:
        """Level by level, a clip's pairs in one row."""
        import torch

        tokens, *deeper = (
            tuple(torch.cat([encoded[level] for encoded in clip]) for clip in clips)
            for level in range(len(clips[0][0]))
        )
        return encoder_outputs("video", tokens, deeper)


class Qwen25VL(Qwen):
    """Qwen2.5-VL: the time of a pair is in its position."""

    name = "Qwen2.5-VL"
    checkpoints = tuple(f"Qwen/Qwen2.5-VL-{size}-Instruct" for size in ("3B", "7B", "32B", "72B"))
    model_class = "Qwen2_5_VLForConditionalGeneration"
    video_text = "<|video_pad|>"
    norm = CLIP_NORM

    def clip_text(self, config: ModelConfig, clip: Clip) -> str:
        """Nothing but visual tokens."""
        return "<|video_pad|>" * math.prod(self.token_grid(config, clip))

    def attended(self, config: ModelConfig, rows: int, columns: int) -> int:
        """In most layers patches attend to those of their window only; the last windows of a picture are smaller."""
        vision = config.vision_config
        side = vision.window_size // vision.patch_size // vision.spatial_merge_size * vision.spatial_merge_size
        heights, widths = ([min(side, n - i) for i in range(0, n, side)] for n in (rows, columns))
        windows = sum((height * width) ** 2 for height in heights for width in widths)
        whole: int = len(vision.fullatt_block_indexes)
        return int(whole * (rows * columns) ** 2 + (vision.depth - whole) * windows)

    def position_inputs(self, config: ModelConfig, ids: TokenIds, clip: Clip) -> ModelInputs:
        """Also the seconds between two pairs."""
        import torch

        pair_s = clip.frame_s * config.vision_config.temporal_patch_size
        per_segment = torch.full((len(ids),), pair_s, device=ids.device)
        return {**super().position_inputs(config, ids, clip), "second_per_grid_ts": per_segment}


class Qwen3VL(Qwen):
    """Qwen3-VL: the prompt writes the time of every pair."""

    name = "Qwen3-VL"
    mergers = ("merger", "deepstack_merger_list")
    checkpoints = tuple(f"Qwen/Qwen3-VL-{size}-Instruct" for size in ("2B", "4B", "8B", "32B"))
    model_class = "Qwen3VLForConditionalGeneration"
    video_text = "<|vision_start|><|video_pad|><|vision_end|>"
    norm = HALF

    def clip_text(self, config: ModelConfig, clip: Clip) -> str:
        """<0.1 seconds> and the visual tokens, pair by pair."""
        pairs, rows, columns = self.token_grid(config, clip)
        t = config.vision_config.temporal_patch_size
        visual = "<|video_pad|>" * (rows * columns)
        texts = []
        for pair in range(pairs):
            first, last = (min(pair * t + i, clip.n_frames - 1) * clip.frame_s for i in (0, t - 1))
            texts.append(f"<{(first + last) / 2:.1f} seconds><|vision_start|>{visual}<|vision_end|>")
        return "".join(texts)
