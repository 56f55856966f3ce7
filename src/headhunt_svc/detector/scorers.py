"""What runs the model on a batch: alone, or explaining every score."""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from headhunt_svc.core.scoring import apply_scorer
from headhunt_svc.detector.batches import PixelBatch, ScoredBatch, TimedSegment
from headhunt_svc.model.attribution import Attribution, attribute
from headhunt_svc.model.extractor import Extractor
from headhunt_svc.types import Scorer


@runtime_checkable
class SegmentScorer(Protocol):
    """Scores batches; may share the model with other videos, explain, or probe."""

    def score(self, batch: PixelBatch) -> ScoredBatch:
        """Features and raw scores of a batch."""

    def exclusive(self) -> AbstractContextManager[object]:
        """Inside, nobody else runs the model."""


def scored_batch(
    scorer: Scorer,
    segments: tuple[TimedSegment, ...],
    features: Float32[np.ndarray, "segment head d_head"],
    attribution: Attribution | None = None,
) -> ScoredBatch:
    """Segments with their features and raw scores. A score's last bits depend on which rows are scored together."""
    raw = apply_scorer(scorer, features.reshape(len(features), -1))
    return ScoredBatch(segments, features, raw, attribution)


class ModelScorer:
    """Runs the model directly.

    explain: also measure what every token and head adds to the logits (ScoredBatch.attribution).
    """

    def __init__(self, extractor: Extractor, prompt: str, scorer: Scorer, explain: bool = False) -> None:
        self.extractor, self.prompt, self.scorer, self.explain = extractor, prompt, scorer, explain

    def score(self, batch: PixelBatch) -> ScoredBatch:
        """See SegmentScorer."""
        seen = batch.cache, batch.frames
        if self.explain:
            explained = attribute(self.extractor, batch.pixels, self.prompt, self.scorer, *seen)
            return scored_batch(self.scorer, batch.segments, *explained)
        features = self.extractor.features(batch.pixels, [self.prompt], self.scorer.heads, *seen)[0]
        return scored_batch(self.scorer, batch.segments, features)

    def exclusive(self) -> AbstractContextManager[object]:
        """See SegmentScorer."""
        return nullcontext()
