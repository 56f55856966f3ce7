"""Scores from stored features of all heads, and the reader that stores them: a test video is decoded once.

Another choice of heads, scorer or operating point needs neither the pictures nor the model.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
from jaxtyping import Float32

from headhunt_svc.data.feature_store import VideoFeatures
from headhunt_svc.detector.batches import FeatureBatch, PixelBatch, ScoredBatch, TimedSegment
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.scores import scored
from headhunt_svc.pipeline.shards import Readings
from headhunt_svc.types import HeadRef, Scorer
from headhunt_svc.video.source import VideoState


def _at(
    experts: tuple[HeadRef, ...], heads: tuple[HeadRef, ...], values: Float32[np.ndarray, "segment head d_head"]
) -> Float32[np.ndarray, "segment expert d_head"]:
    """The outputs of some heads, laid out as the model's own: a product's last bits depend on the layout."""
    return np.ascontiguousarray(values[:, [heads.index(h) for h in experts]])


class StoringReader:
    """Runs the model of a detector that was loaded with all heads; keeps what it reads of one video for the store."""

    def __init__(self, detector: Detector) -> None:
        self._extractor, self._experts, self._prompt = detector.extractor, detector.scorer.heads, detector.bundle.prompt
        self._readings = Readings(detector.extractor.heads)

    def read(self, batch: PixelBatch) -> FeatureBatch:
        """See FeatureReader."""
        heads = self._extractor.heads
        reading = self._extractor.read(batch.pixels, [self._prompt], heads, batch.cache, batch.frames)
        self._readings.add(batch.segments, reading)
        return FeatureBatch(batch.segments, _at(self._experts, heads, reading.heads[0]))

    def exclusive(self) -> AbstractContextManager[object]:
        """See FeatureReader."""
        return nullcontext()

    def features(self, state: VideoState) -> VideoFeatures:
        """What the store keeps of the video, once all of it was scored."""
        return self._readings.features(state)


def stored_batches(features: VideoFeatures, scorer: Scorer) -> Iterator[ScoredBatch]:
    """The batches of a video as they were when its features were stored, scored by any scorer of the same model."""
    segments = tuple(
        TimedSegment(segment, start_s, stop_s)
        for segment, (start_s, stop_s) in zip(features.segments, features.times.tolist(), strict=True)
    )
    values = _at(scorer.heads, features.heads, features.values[0])
    batches = (slice(i, i + features.batch_segments) for i in range(0, len(segments), features.batch_segments))
    return scored(scorer, (FeatureBatch(segments[batch], values[batch]) for batch in batches))
