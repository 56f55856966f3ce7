"""What runs the model on a batch: alone, or so that every score can be explained."""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, runtime_checkable

from headhunt_svc.detector.batches import FeatureBatch, PixelBatch
from headhunt_svc.model.attribution import record
from headhunt_svc.model.extractor import Extractor
from headhunt_svc.types import Scorer


@runtime_checkable
class FeatureReader(Protocol):
    """Reads the features of batches; may share the model with other videos, explain, or probe."""

    def read(self, batch: PixelBatch) -> FeatureBatch:
        """Features of a batch at the expert heads."""

    def exclusive(self) -> AbstractContextManager[object]:
        """Inside, nobody else runs the model."""


class ModelReader:
    """Runs the model directly.

    explain: also keep what attribution needs, until the batch is scored (ScoredBatch.attribution).
    """

    def __init__(self, extractor: Extractor, prompt: str, scorer: Scorer, explain: bool = False) -> None:
        self.extractor, self.prompt, self.scorer, self.explain = extractor, prompt, scorer, explain

    def read(self, batch: PixelBatch) -> FeatureBatch:
        """See FeatureReader."""
        seen = batch.cache, batch.frames
        if self.explain:
            recorded = record(self.extractor, batch.pixels, self.prompt, self.scorer.heads, *seen)
            return FeatureBatch(batch.segments, recorded.features, recorded)
        features = self.extractor.features(batch.pixels, [self.prompt], self.scorer.heads, *seen)[0]
        return FeatureBatch(batch.segments, features)

    def exclusive(self) -> AbstractContextManager[object]:
        """See FeatureReader."""
        return nullcontext()
