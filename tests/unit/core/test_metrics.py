"""Frame metrics against scikit-learn, on scores with and without ties."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    auc,
    average_precision_score,
    brier_score_loss,
    f1_score,
    precision_recall_curve,
    precision_recall_fscore_support,
    roc_auc_score,
    roc_curve,
)

from headhunt_svc.core.metrics import (
    Counts,
    best_f1,
    count,
    count_metrics,
    curves,
    flagged,
    rank_figures,
    reliability,
    resamples,
)
from headhunt_svc.errors import FeatureError

seeds = st.integers(0, 10_000)
digits = st.sampled_from([0, 1, 2, 12])  # 0: two values only


def videos(seed: int, decimals: int, lengths: tuple[int, ...] = (30, 50, 20)) -> tuple[list[np.ndarray], ...]:
    rng = np.random.default_rng(seed)
    truths = [rng.random(n) < 0.4 for n in lengths]
    return truths, [np.round(0.7 * rng.random(len(t)) + 0.3 * t * rng.random(len(t)), decimals) for t in truths]


def frames(truths: list[np.ndarray], scores: list[np.ndarray]) -> Counts:
    number = np.repeat(np.arange(len(truths)), [len(t) for t in truths])
    truth = np.concatenate(truths)
    return count(number, np.concatenate(scores), truth, ~truth)


def trapezoid(truth: np.ndarray, score: np.ndarray) -> float:
    precision, recall, _ = precision_recall_curve(truth, score)
    return auc(recall, precision)


@given(seeds, digits)
def test_rank_metrics_equal_scikit_learn(seed: int, decimals: int) -> None:
    truths, scores = videos(seed, decimals)
    truth, score = np.concatenate(truths), np.concatenate(scores)
    metrics = count_metrics(frames(truths, scores), bootstrap=0, seed=0)
    assert metrics.roc_auc == pytest.approx(roc_auc_score(truth, score), abs=1e-12)
    assert metrics.average_precision == pytest.approx(average_precision_score(truth, score), abs=1e-12)
    assert metrics.pr_auc_trapezoid == pytest.approx(trapezoid(truth, score), abs=1e-12)
    assert (metrics.n_videos, metrics.n_frames, metrics.roc_auc_interval) == (3, 100, None)


@given(seeds, digits)
def test_a_resample_equals_scikit_learn_on_the_repeated_videos(seed: int, decimals: int) -> None:
    truths, scores = videos(seed, decimals)
    counts = frames(truths, scores)
    for weights in resamples(3, 3, seed):
        assert weights.sum() == 3
        chosen = np.repeat(np.arange(3), weights)
        truth, score = (np.concatenate([a[i] for i in chosen]) for a in (truths, scores))
        figures = rank_figures(*counts.totals(weights))
        expected = (roc_auc_score(truth, score), average_precision_score(truth, score), trapezoid(truth, score))
        assert figures == pytest.approx(expected, abs=1e-12)


@given(seeds)
def test_segments_count_as_their_frames(seed: int) -> None:
    rng = np.random.default_rng(seed)
    length, share = rng.integers(1, 9, 20), rng.random(20)
    anomalous = np.round(length * share).astype(int)
    assume(0 < anomalous.sum() < length.sum())
    scores, number = np.round(rng.random(20), 1), np.arange(20) // 5
    truth = [np.arange(n) < a for n, a in zip(length, anomalous, strict=True)]
    pieces = count(number, scores, anomalous, length - anomalous)
    whole = count(np.repeat(number, length), np.repeat(scores, length), np.concatenate(truth), ~np.concatenate(truth))
    assert count_metrics(pieces, 5, 1) == count_metrics(whole, 5, 1)


@given(seeds, digits)
def test_figures_at_a_threshold_equal_scikit_learn(seed: int, decimals: int) -> None:
    truths, scores = videos(seed, decimals)
    truth, score = np.concatenate(truths), np.concatenate(scores)
    thresholds = [*np.unique(score)[:5], 0.37, -1.0, 2.0]
    for row, t in zip(flagged(frames(truths, scores), thresholds), thresholds, strict=True):
        above = score > t
        figures = precision_recall_fscore_support(truth, above, average="binary", zero_division=0.0)[:3]
        assert row[1:] == pytest.approx(figures, abs=1e-12)


@given(seeds, digits)
def test_no_threshold_beats_the_best(seed: int, decimals: int) -> None:
    truths, scores = videos(seed, decimals)
    truth, score = np.concatenate(truths), np.concatenate(scores)
    best = best_f1(frames(truths, scores))
    assert best.f1 == pytest.approx(f1_score(truth, score > best.threshold), abs=1e-12)
    precision, recall, _ = precision_recall_curve(truth, score)  # at every score
    assert best.f1 == pytest.approx(max(2 * precision * recall / np.maximum(precision + recall, 1e-12)), abs=1e-12)


@given(seeds, digits)
def test_reliability_equals_scikit_learn(seed: int, decimals: int) -> None:
    truths, scores = videos(seed, decimals)
    truth, score = np.concatenate(truths), np.concatenate(scores)
    measured = reliability(frames(truths, scores))
    assert measured is not None
    assert measured.brier == pytest.approx(brier_score_loss(truth, score), abs=1e-12)
    assert sum(b.n_frames for b in measured.bins) == len(truth)
    if decimals == 12:  # scikit-learn puts a score on an edge into the other bin
        share, mean = calibration_curve(truth, score, n_bins=10)
        np.testing.assert_allclose([b.anomalous_share for b in measured.bins], share, atol=1e-12)
        np.testing.assert_allclose([b.mean_score for b in measured.bins], mean, atol=1e-12)
        gaps = [b.n_frames * abs(b.anomalous_share - b.mean_score) for b in measured.bins]
        assert measured.expected_calibration_error == pytest.approx(sum(gaps) / len(truth))


def test_scores_that_are_no_probabilities_have_no_brier_score() -> None:
    assert reliability(count(np.zeros(2, int), np.array([0.5, 1.5]), np.array([1, 0]), np.array([0, 1]))) is None


@given(seeds)
def test_curves_go_through_scikit_learns_points(seed: int) -> None:
    truths, scores = videos(seed, 12)
    truth, score = np.concatenate(truths), np.concatenate(scores)
    roc, pr = curves(frames(truths, scores), bootstrap=20, seed=0, points=51)
    false, true, _ = roc_curve(truth, score, drop_intermediate=False)
    np.testing.assert_allclose(roc.y, np.interp(roc.x, false, true), atol=1e-9)
    precision, recall, _ = precision_recall_curve(truth, score)
    for x, y in zip(pr.x[:-1], pr.y[:-1], strict=True):
        reached = recall[recall >= x - 1e-12].min()
        assert y == pytest.approx(precision[np.isclose(recall, reached)].max(), abs=1e-9)
    for curve in (roc, pr):
        assert curve.low is not None
        assert curve.high is not None
        assert (curve.low <= curve.high).all()


def test_intervals_are_over_videos_and_hold_the_figure() -> None:
    rng = np.random.default_rng(1)
    truths = [rng.random(40) < 0.3 for _ in range(20)]
    scores = [t * 0.3 + rng.random(40) for t in truths]
    metrics = count_metrics(frames(truths, scores), bootstrap=200, seed=0)
    for name in ("roc_auc", "average_precision", "pr_auc_trapezoid"):
        low, high = getattr(metrics, f"{name}_interval")
        assert low < getattr(metrics, name) < high
    # frames of a video belong together: copies of every frame make no interval narrower
    again = count_metrics(frames([np.repeat(t, 9) for t in truths], [np.repeat(s, 9) for s in scores]), 200, 0)
    assert again.roc_auc_interval == pytest.approx(metrics.roc_auc_interval)


def test_one_class_has_no_rank_metrics() -> None:
    with pytest.raises(FeatureError, match="one class only"):
        count(np.zeros(2, int), np.zeros(2), np.zeros(2, int), np.ones(2, int))
