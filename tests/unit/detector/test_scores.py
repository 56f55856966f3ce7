"""Batches of features become scores: relative to a background, as if the video were one array."""

import numpy as np
import pytest

from headhunt_svc.core.background import inputs
from headhunt_svc.core.scoring import apply_scorer, contributions
from headhunt_svc.detector.batches import FeatureBatch, TimedSegment
from headhunt_svc.detector.scores import VideoScores, scored
from headhunt_svc.errors import ConfigError
from headhunt_svc.types import Background, FrameSpan, HeadRef, Scorer, Segment

HEADS = (HeadRef(0, 1), HeadRef(2, 0))
Z = np.random.default_rng(0).normal(size=(23, 2, 3)).astype(np.float32)


def scorer(background: Background | None) -> Scorer:
    weight = np.random.default_rng(1).normal(size=6 if background is None else 12)
    return Scorer(HEADS, weight, 0.3, background=background)


def batches(size: int, resumed: int = 0) -> list[FeatureBatch]:
    """resumed: so many of them come from a checkpoint."""
    segments = [TimedSegment(Segment("v", i, FrameSpan(i, i + 1), (i,)), float(i), i + 1.0) for i in range(len(Z))]
    return [
        FeatureBatch(tuple(segments[i : i + size]), Z[i : i + size], resumed=i < resumed * size)
        for i in range(0, len(Z), size)
    ]


@pytest.mark.parametrize("background", [None, "ema", "median"])
@pytest.mark.parametrize("size", [1, 4, 23])
def test_scores_are_those_of_the_whole_video(background: Background | None, size: int) -> None:
    judge, x = scorer(background), inputs(background, Z)
    given_out = list(scored(judge, batches(size)))
    assert [b.segments for b in given_out] == [b.segments for b in batches(size)]
    raw = np.concatenate([b.raw for b in given_out])
    np.testing.assert_allclose(raw, apply_scorer(judge, x.reshape(len(x), -1)), atol=1e-12)
    shares = np.concatenate([b.contributions for b in given_out])
    np.testing.assert_allclose(shares, contributions(judge, x), atol=1e-12)
    np.testing.assert_allclose(1 / (1 + np.exp(-shares.sum(1) - judge.bias)), raw, atol=1e-12)
    again = list(scored(judge, batches(size, resumed=2)))
    assert all(np.array_equal(a.raw, b.raw) for a, b in zip(again, given_out, strict=True))  # to the bit
    assert [b.resumed for b in again] == [i < 2 for i in range(len(again))]


def test_only_a_median_waits_for_the_end_of_the_video() -> None:
    taken: list[int] = []

    def counted() -> object:
        for batch in batches(4):
            taken.append(len(batch.segments))
            yield batch

    for background, n in (("ema", 1), (None, 1), ("median", 6)):
        taken.clear()
        next(scored(scorer(background), counted()))  # type: ignore[arg-type]
        assert len(taken) == n


def test_one_segment_has_itself_as_its_background_and_no_median() -> None:
    judge = scorer("ema")
    first = VideoScores(judge).add(batches(1)[0])
    expected = 1 / (1 + np.exp(-judge.weight[:6] @ Z[0].ravel().astype(np.float64) - judge.bias))
    np.testing.assert_allclose(first.raw, [expected], atol=1e-12)
    with pytest.raises(ConfigError, match=r"fit\.background: ema"):
        VideoScores(scorer("median"))
