"""Features -> scores, in the order of a video's segments: every caller scores here."""

from collections.abc import Iterable, Iterator

from headhunt_svc.core.scoring import apply_scorer, contributions
from headhunt_svc.detector.batches import FeatureBatch, ScoredBatch
from headhunt_svc.types import Scorer


class VideoScores:
    """Scores the batches of one video, one after the other. A score's last bits depend on which rows a batch has."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def add(self, batch: FeatureBatch) -> ScoredBatch:
        """The next batch with its raw scores, what each head adds to the logits, and the attribution if it can be."""
        x = batch.features
        return ScoredBatch(
            batch.segments,
            batch.features,
            apply_scorer(self._scorer, x.reshape(len(x), -1)),
            contributions(self._scorer, x),
            None if batch.recorded is None else batch.recorded.attribution(self._scorer, x),
            batch.prompt_readings,
            resumed=batch.resumed,
        )


def scored(scorer: Scorer, batches: Iterable[FeatureBatch]) -> Iterator[ScoredBatch]:
    """The batches of one video with their scores."""
    return map(VideoScores(scorer).add, batches)
