"""The prompt probe: some segments are also read under all calibration prompts, behind one shared prefix.

It is a second pass beside the scoring, so that scores are the same bits with and without it.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32

from headhunt_svc.core.scoring import apply_scorer, contributions
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.model.extractor import Frames, VisionCache
from headhunt_svc.prediction_log.metrics import PROBED
from headhunt_svc.types import HeadRef


@dataclass(frozen=True, slots=True)
class Probed:
    """One segment under every calibration prompt: raw scores, and what each head adds to the logits."""

    scores: Float32[np.ndarray, " prompt"]
    contributions: Float32[np.ndarray, "prompt head"]


def chosen(video_id: str, frame: int, share: float) -> bool:
    """Is the segment with this first frame probed? The same segments in every pass over a video."""
    return zlib.crc32(f"{video_id}:{frame}".encode()) < share * 2**32


class Probe:
    """Reads a share of the segments of one detector under all prompts that its heads were chosen with."""

    def __init__(self, detector: Detector, share: float) -> None:
        self.extractor, self.scorer = detector.extractor, detector.scorer
        self.prompts, self.share = detector.bundle.calibration_prompts, share

    def read(
        self, video_id: str, pixels: torch.Tensor, view: VisionCache, frames: Frames
    ) -> dict[tuple[int, ...], Probed]:
        """What is chosen of a batch float[B, F, 3, h, w], by frame numbers. Run it where the model is run."""
        wanted = [i for i, f in enumerate(frames) if chosen(video_id, f[0], self.share)]
        if not wanted or len(self.prompts) < 2:
            return {}
        heads: Sequence[HeadRef] = self.scorer.heads
        seen = VisionCache(view.frame_s, dict(view.units))  # the scoring's own memory of pictures stays as it is
        z = self.extractor.features(pixels[wanted], self.prompts, heads, seen, [frames[i] for i in wanted])
        scores = np.stack([apply_scorer(self.scorer, of.reshape(len(of), -1)) for of in z]).astype(np.float32)
        shares = np.stack([contributions(self.scorer, of) for of in z]).astype(np.float32)
        PROBED.inc(len(wanted))
        return {frames[i]: Probed(scores[:, k], shares[:, k]) for k, i in enumerate(wanted)}
