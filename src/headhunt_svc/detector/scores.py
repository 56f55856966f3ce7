"""Features -> scores, in the order of a video's segments: every caller scores here."""

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Float

from headhunt_svc.core.background import MovingAverage, beside, check_live, median
from headhunt_svc.core.scoring import apply_scorer, contributions, novelty
from headhunt_svc.detector.batches import FeatureBatch, ScoredBatch
from headhunt_svc.types import Scorer


def _score(scorer: Scorer, batch: FeatureBatch, x: Float[np.ndarray, "segment row d_head"]) -> ScoredBatch:
    """A batch with scores; x: its features or, with a background, what core/background.py makes of them."""
    flat = x.reshape(len(x), -1)
    return ScoredBatch(
        batch.segments,
        batch.features,
        apply_scorer(scorer, flat),
        contributions(scorer, x),
        None if batch.recorded is None else batch.recorded.attribution(scorer, x),
        batch.prompt_readings,
        resumed=batch.resumed,
        novelty=novelty(scorer, flat),
    )


class VideoScores:
    """Scores the batches of one video, one after the other. A score's last bits depend on which rows a batch has.

    Where the scores are relative to the earlier segments, all batches of the video must pass through here, those of a
    checkpoint, too.
    """

    def __init__(self, scorer: Scorer) -> None:
        """Raises ConfigError: scores are known only when the whole video is."""
        check_live(scorer.background, "scores of single segments")
        self._scorer = scorer
        self._average = MovingAverage() if scorer.background == "ema" else None

    def add(self, batch: FeatureBatch) -> ScoredBatch:
        """The next batch with its raw scores, what each head adds to the logits, and the attribution if it can be."""
        x = batch.features if self._average is None else self._average.push(batch.features)
        return _score(self._scorer, batch, x)


def scored(scorer: Scorer, batches: Iterable[FeatureBatch]) -> Iterator[ScoredBatch]:
    """The batches of one video with their scores: as they come or, relative to the video's median, all at its end."""
    if scorer.background != "median":
        yield from map(VideoScores(scorer).add, batches)
        return
    kept = list(batches)
    background = median(np.concatenate([batch.features for batch in kept]))
    for batch in kept:
        yield _score(scorer, batch, beside(batch.features, background))
