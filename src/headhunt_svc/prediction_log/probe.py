"""The prompt probe: some segments are also read under all calibration prompts, behind one shared prefix.

It is a second pass beside the scoring, so that scores are the same bits with and without it.
"""

import zlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np

from headhunt_svc.core.scoring import apply_scorer, contributions
from headhunt_svc.detector.batches import FeatureBatch, PixelBatch, PromptReading
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.readers import FeatureReader
from headhunt_svc.model.extractor import VisionCache
from headhunt_svc.prediction_log.guard import log_errors
from headhunt_svc.prediction_log.metrics import PROBE_FAILURES, PROBED
from headhunt_svc.types import HeadRef


def is_probed(video_id: str, frame: int, share: float) -> bool:
    """Is the segment with this first frame probed? The same segments in every pass over a video."""
    return zlib.crc32(f"{video_id}:{frame}".encode()) < share * 2**32


class ProbingReader:
    """Reads as another reader does; then reads a share of the segments under all calibration prompts.

    A probe that fails is logged and counted; the features are not touched.
    """

    def __init__(self, detector: Detector, reader: FeatureReader, share: float) -> None:
        self._extractor, self._weights = detector.extractor, detector.scorer
        self._prompts = detector.bundle.calibration_prompts
        self._reader, self._share = reader, share

    def exclusive(self) -> AbstractContextManager[object]:
        """See FeatureReader."""
        return self._reader.exclusive()

    def read(self, batch: PixelBatch) -> FeatureBatch:
        """See FeatureReader."""
        features = self._reader.read(batch)
        with log_errors(), self.exclusive():
            try:
                features = replace(features, prompt_readings=self._probe(batch))
            except Exception:
                PROBE_FAILURES.inc()
                raise
        return features

    def _probe(self, batch: PixelBatch) -> dict[int, PromptReading]:
        frames = batch.frames
        places = [i for i, s in enumerate(batch.segments) if is_probed(s.segment.video_id, frames[i][0], self._share)]
        if not places or len(self._prompts) < 2:
            return {}
        heads: Sequence[HeadRef] = self._weights.heads
        cache = VisionCache(batch.cache.frame_s, dict(batch.cache.units))  # the scoring's own cache stays as it is
        features = self._extractor.features(
            batch.pixels[places], self._prompts, heads, cache, [frames[i] for i in places]
        )
        scores = np.stack([apply_scorer(self._weights, z.reshape(len(z), -1)) for z in features]).astype(np.float32)
        shares = np.stack([contributions(self._weights, z) for z in features]).astype(np.float32)
        PROBED.inc(len(places))
        return {i: PromptReading(scores[:, k], shares[:, k]) for k, i in enumerate(places)}
