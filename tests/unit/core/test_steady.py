"""What is strange about a video all the time is taken off its scores, and nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from headhunt_svc.core.camera_normality import NormalFootage, camera_scorer
from headhunt_svc.core.scoring import logits, novelty
from headhunt_svc.core.steady import AHEAD, BEHIND, LEAST, WithoutSteady, steady_part, without_steady
from headhunt_svc.types import HeadRef, Normality, Scorer, Smoothing

SMOOTHINGS: list[Smoothing] = ["offline", "causal"]
VIDEOS = st.lists(st.tuples(st.floats(0.001, 0.999), st.floats(-3, 6)), min_size=1, max_size=40)


def scorer(ignores_steady: bool = True, typical: float | None = 2.0) -> Scorer:
    normality = Normality(np.zeros(3), np.eye(3), 1.5, typical, ignores_steady)
    return Scorer((HeadRef(0, 0),), np.array([0.3, -0.2, 0.1]), -1.0, normality)


def by_hand(scores: np.ndarray, new: np.ndarray, ahead: int) -> np.ndarray:
    """Segment by segment, with the quantile of numpy that takes a value and no mean of two."""
    left = []
    for i, score in enumerate(scores):
        around = new[max(0, i - BEHIND) : i + ahead + 1]
        steady = np.quantile(around, 0.2, method="lower") if len(around) >= LEAST else 0.0
        left.append(score if steady <= 0 else expit(logit(score) - steady))
    return np.array(left)


@given(VIDEOS, st.sampled_from(SMOOTHINGS))
def test_it_is_the_lowest_fifth_of_the_novelty_around_a_segment(
    video: list[tuple[float, float]], smoothing: Smoothing
) -> None:
    scores, new = np.array(video).T
    expected = by_hand(scores, new, 0 if smoothing == "causal" else AHEAD)
    np.testing.assert_allclose(without_steady(scores, new, smoothing), expected, atol=1e-12)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_only_the_last_minutes_count(smoothing: Smoothing) -> None:
    rng, n = np.random.default_rng(0), 3 * BEHIND
    scores, new = rng.uniform(0.1, 0.9, n), rng.normal(1, 2, n)
    expected = by_hand(scores, new, 0 if smoothing == "causal" else AHEAD)
    np.testing.assert_allclose(without_steady(scores, new, smoothing), expected, atol=1e-12)
    video = WithoutSteady(smoothing)
    for score, value in zip(scores.tolist(), new.tolist(), strict=True):
        video.add(score, value)
    assert len(video._novelty) <= BEHIND + AHEAD + 1  # memory does not grow with the video
    assert video.waiting == (0 if smoothing == "causal" else AHEAD)


@given(VIDEOS, st.sampled_from(SMOOTHINGS), st.data())
def test_what_stood_there_before_a_break_counts_after_it_but_not_the_other_way_round(
    video: list[tuple[float, float]], smoothing: Smoothing, data: st.DataObject
) -> None:
    scores, new = np.array(video).T
    goes_on = np.array(data.draw(st.lists(st.booleans(), min_size=len(video) - 1, max_size=len(video) - 1)), bool)
    ends = np.append(np.flatnonzero(~goes_on) + 1, len(video))
    ahead = 0 if smoothing == "causal" else AHEAD
    expected = [
        by_hand(scores[:stop], new[:stop], ahead)[i]
        for i in range(len(video))
        for stop in [ends[np.searchsorted(ends, i, "right")]]
    ]
    np.testing.assert_allclose(without_steady(scores, new, smoothing, goes_on), expected, atol=1e-12)


def test_a_connection_that_is_lost_again_and_again_does_not_bring_the_alarm_back() -> None:
    new = np.full(200, 4.0)
    goes_on = np.arange(1, 200) % 5 != 0
    for smoothing in SMOOTHINGS:
        left = logit(without_steady(expit(new - 2), new, smoothing, goes_on))
        np.testing.assert_allclose(left[LEAST - 1 :], -2)


def test_a_score_of_1_whose_logit_is_lost_is_taken_to_have_the_logit_of_its_novelty() -> None:
    new = np.full(40, 60.0)
    new[20:25] += 30
    left = without_steady(np.ones(40), new, "offline")
    assert (left[:20] == 0.5).all()
    assert (left[20:25] > 1 - 1e-12).all()


def test_a_video_without_segments_has_no_scores() -> None:
    assert without_steady(np.zeros(0), np.zeros(0), "offline", np.zeros(0, bool)).shape == (0,)


@given(VIDEOS, st.integers(0, 39))
def test_live_no_score_changes_when_more_video_comes(video: list[tuple[float, float]], stop: int) -> None:
    scores, new = np.array(video).T
    whole = without_steady(scores, new, "causal")
    np.testing.assert_array_equal(without_steady(scores[:stop], new[:stop], "causal"), whole[:stop])


@given(VIDEOS, st.sampled_from(SMOOTHINGS))
def test_scores_never_rise_and_without_novelty_stay_to_the_bit(
    video: list[tuple[float, float]], smoothing: Smoothing
) -> None:
    scores, new = np.array(video).T
    assert (without_steady(scores, new, smoothing) <= scores).all()
    np.testing.assert_array_equal(without_steady(scores, -np.abs(new), smoothing), scores)
    np.testing.assert_array_equal(without_steady(scores, None, smoothing), scores)
    passed = WithoutSteady(smoothing)
    assert [passed.add(score, None) for score in scores.tolist()] == [[score] for score in scores.tolist()]


def test_what_stands_there_goes_and_what_happens_stays() -> None:
    """A thing that stands in view from the start, and an event of five segments beside it."""
    new = np.full(60, 4.0)
    new[30:35] += 3
    left = logit(without_steady(expit(new - 2), new, "offline"))
    np.testing.assert_allclose(left[:30], -2)
    np.testing.assert_allclose(left[30:35], 1)
    live = logit(without_steady(expit(new - 2), new, "causal"))
    np.testing.assert_allclose(live[: LEAST - 1], 2)  # nobody knows yet that it stands there
    np.testing.assert_allclose(live[LEAST - 1 : 30], -2)


def test_few_segments_tell_nothing() -> None:
    assert steady_part([5.0] * (LEAST - 1)) == 0
    assert steady_part([5.0] * LEAST) == 5


def test_novelty_is_what_the_distance_adds_above_the_typical() -> None:
    z = np.array([[0.0, 0, 0], [2, 0, 0], [0, 3, 4]])
    new = novelty(scorer(), z)
    assert new is not None
    np.testing.assert_allclose(new, 1.5 * (np.array([0, 2, 5]) - 2))
    alone = Scorer(scorer().heads, scorer().weight, scorer().bias)
    np.testing.assert_allclose(logits(scorer(), z) - logits(alone, z), new + 3)
    assert novelty(alone, z) is None
    assert novelty(scorer(ignores_steady=False), z) is None
    assert novelty(scorer(typical=None), z) is None


def test_a_camera_of_its_own_ignores_it_too() -> None:
    rows = np.random.default_rng(0).normal(size=(30, 3))
    measured = NormalFootage.measure(rows)
    footage = NormalFootage(measured.segments, measured.mean, measured.factor, typical=1.8)
    own = camera_scorer(scorer(), footage).normality
    assert own is not None
    assert own.ignores_steady
    kept = camera_scorer(scorer(ignores_steady=False), footage).normality
    assert kept is not None
    assert not kept.ignores_steady
