from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from headhunt_svc.core.fitting import calibration_curve, fit_scorer
from headhunt_svc.core.folds import video_folds
from headhunt_svc.core.localization import contiguous, events, smooth
from headhunt_svc.core.scoring import apply_scorer
from headhunt_svc.errors import FeatureError
from headhunt_svc.params import PUBLISHED, FitParams
from headhunt_svc.types import FrameSpan, HeadRef, OperatingPoint, Smoothing

series = st.lists(st.floats(0, 1), min_size=1, max_size=60).map(np.array)


def _data() -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(3)
    labels = rng.random(200) < 0.3
    z = rng.normal(2, 5, size=(200, 6)) + labels[:, None] * [4, 0, -3, 0, 1, 0]
    return z.astype(np.float32), labels, [f"v{i // 10}" for i in range(200)]


def _oracle(z: np.ndarray, labels: np.ndarray, videos: list[str], c: float) -> CalibratedClassifierCV:
    """scikit-learn's Platt scaling of margins on videos held out, around one regression on everything."""
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=c, class_weight="balanced", tol=1e-6))
    folds = video_folds(labels, videos, FitParams().folds)
    return CalibratedClassifierCV(pipeline, method="sigmoid", cv=folds, ensemble=False).fit(z.astype(float), labels)


def test_scorer_equals_scikit_learn_with_standardisation_and_calibration() -> None:
    z, labels, videos = _data()
    fitted = fit_scorer(z, labels, videos, (HeadRef(0, 0), HeadRef(1, 2)), FitParams(grid=(0.3,), scorer="logistic"))
    oracle = _oracle(z, labels, videos, 0.3)
    np.testing.assert_allclose(apply_scorer(fitted.scorer, z), oracle.predict_proba(z)[:, 1], atol=1e-3)
    assert fitted.c == 0.3


def test_more_features_than_segments_give_the_same_regression() -> None:
    z, labels, videos = _data()
    wide = np.concatenate([z, np.random.default_rng(1).normal(size=(200, 394))], axis=1).astype(np.float32)
    scorer = fit_scorer(wide, labels, videos, (HeadRef(0, 0),), FitParams(grid=(0.01,), scorer="logistic")).scorer
    oracle = _oracle(wide, labels, videos, 0.01)
    fresh = np.random.default_rng(2).normal(size=(50, 400))
    for x in (wide, fresh):
        np.testing.assert_allclose(apply_scorer(scorer, x), oracle.predict_proba(x)[:, 1], atol=2e-3)


@pytest.mark.parametrize("n_features", [6, 400])
def test_the_papers_scorer_is_scikit_learns_on_features_as_they_are(n_features: int) -> None:
    z, labels, videos = _data()
    noise = np.random.default_rng(1).normal(size=(200, n_features - 6))
    z = np.concatenate([z, noise], axis=1).astype(np.float32)
    published = FitParams(**PUBLISHED["fit"])
    fitted = fit_scorer(z, labels, videos, (HeadRef(0, 0),), published)
    oracle = LogisticRegression(C=1.0).fit(z.astype(float), labels)
    fresh = np.random.default_rng(2).normal(2, 5, size=(50, n_features))
    for x in (z, fresh):
        np.testing.assert_allclose(apply_scorer(fitted.scorer, x), oracle.predict_proba(x)[:, 1], atol=1e-9)
    assert fitted.c == 1.0
    default = fit_scorer(z, labels, videos, (HeadRef(0, 0),), FitParams())
    assert np.abs(apply_scorer(default.scorer, fresh) - apply_scorer(fitted.scorer, fresh)).max() > 0.01


@pytest.mark.parametrize("field", ["standardised", "balanced", "platt"])
def test_each_deviation_from_the_paper_changes_the_scorer(field: str) -> None:
    z, labels, videos = _data()
    logistic = FitParams(scorer="logistic")
    params = (logistic, logistic.model_copy(update={field: False}))
    one, other = (fit_scorer(z, labels, videos, (HeadRef(0, 0),), p).scorer for p in params)
    assert np.abs(one.weight - other.weight).max() > 1e-3


def test_probabilities_are_as_frequent_as_they_say() -> None:
    """Labels drawn with known probabilities: held-out and fresh predictions are those, whatever the class balance."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(4000, 3)).astype(np.float32)
    true = 1 / (1 + np.exp(-(z @ [1.5, -1.0, 0.0] - 1.5)))
    fitted = fit_scorer(z, rng.random(4000) < true, [f"v{i // 20}" for i in range(4000)], (HeadRef(0, 0),), FitParams())
    assert np.abs(apply_scorer(fitted.scorer, z) - true).mean() < 0.03
    np.testing.assert_allclose(fitted.curve.predicted, fitted.curve.observed, atol=0.05)
    assert fitted.curve.counts == (400,) * 10
    assert fitted.curve.brier == pytest.approx(np.mean(true * (1 - true)), abs=0.01)


def test_curve_of_given_probabilities() -> None:
    curve = calibration_curve(np.array([0.9, 0.1, 0.2, 0.8]), np.array([True, False, True, True]), bins=2)
    assert curve.predicted == pytest.approx((0.15, 0.85))
    assert (curve.observed, curve.counts) == ((0.5, 1.0), (2, 2))
    assert curve.brier == pytest.approx((0.01 + 0.01 + 0.64 + 0.04) / 4)


def test_margins_that_rank_worse_than_chance_are_not_turned_round() -> None:
    rng = np.random.default_rng(2)
    video = np.repeat(np.arange(6), 10)
    z = (rng.normal(size=(60, 30)) + 3 * rng.normal(size=(6, 30))[video]).astype(np.float32)
    labels = video % 2 == 0
    fitted = fit_scorer(z, labels, [str(v) for v in video], (HeadRef(0, 0),), FitParams())
    assert fitted.held_out_auc < 0.5
    assert roc_auc_score(labels, apply_scorer(fitted.scorer, z)) > 0.9


def test_c_is_chosen_on_videos_that_were_held_out() -> None:
    rng = np.random.default_rng(0)
    video = np.repeat(np.arange(20), 10)
    labels = video % 2 == 0
    z = np.concatenate(
        [np.eye(20)[video] * 8, rng.normal(size=(200, 1)) + labels[:, None]], axis=1
    )  # names, and a signal
    scorer = fit_scorer(z, labels, [str(v) for v in video], (HeadRef(0, 0),), FitParams()).scorer
    held_out = np.concatenate([np.zeros((200, 20)), z[:, 20:]], axis=1)
    assert roc_auc_score(labels, apply_scorer(scorer, held_out)) > 0.7


def test_one_video_per_class_is_too_few() -> None:
    z, labels, _ = _data()
    with pytest.raises(FeatureError, match="at least two videos"):
        fit_scorer(z, labels, ["a" if y else "b" for y in labels], (HeadRef(0, 0),), FitParams())


@given(series, st.floats(0.3, 5))
def test_smoothing_equals_scipy_normalised(scores: np.ndarray, sigma: float) -> None:
    ones = gaussian_filter1d(np.ones(len(scores)), sigma, mode="constant")
    oracle = gaussian_filter1d(scores, sigma, mode="constant") / ones
    np.testing.assert_allclose(smooth(scores, sigma), oracle, atol=1e-9)


@given(series, st.floats(0.3, 12))
def test_mirrored_smoothing_is_scipys_default(scores: np.ndarray, sigma: float) -> None:
    np.testing.assert_allclose(smooth(scores, sigma, "mirrored"), gaussian_filter1d(scores, sigma), atol=1e-9)


@given(series, st.floats(0.3, 5))
def test_causal_smoothing_equals_scipy_normalised_on_a_one_sided_kernel(scores: np.ndarray, sigma: float) -> None:
    radius = int(4 * sigma + 0.5)
    impulse = np.zeros(2 * radius + 1)
    impulse[radius] = 1.0
    weights = gaussian_filter1d(impulse, sigma, mode="constant")[radius:]  # of now, one before, two before, ...
    oracle = lfilter(weights, 1.0, scores) / lfilter(weights, 1.0, np.ones(len(scores)))
    np.testing.assert_allclose(smooth(scores, sigma, "causal"), oracle, atol=1e-9)


@given(series, st.floats(0, 5), st.integers(1, 60))
def test_causal_smoothing_never_changes_what_it_said(scores: np.ndarray, sigma: float, n: int) -> None:
    np.testing.assert_allclose(smooth(scores[:n], sigma, "causal"), smooth(scores, sigma, "causal")[:n], atol=1e-12)


@given(series, st.floats(0.3, 5), st.sampled_from(get_args(Smoothing)), st.data())
def test_smoothing_with_breaks_is_that_of_each_run_alone(
    scores: np.ndarray, sigma: float, smoothing: Smoothing, data: st.DataObject
) -> None:
    n = len(scores)
    goes_on = np.array(data.draw(st.lists(st.booleans(), min_size=n - 1, max_size=n - 1)), bool)
    run = np.append(0, np.cumsum(~goes_on))  # number of each segment's run
    oracle = np.empty(n)
    for part in (run == i for i in range(run[-1] + 1)):
        if smoothing == "mirrored":
            oracle[part] = gaussian_filter1d(scores[part], sigma)
        elif smoothing == "offline":
            weight = gaussian_filter1d(np.ones(part.sum()), sigma, mode="constant")
            oracle[part] = gaussian_filter1d(scores[part], sigma, mode="constant") / weight
        else:
            oracle[part] = smooth(scores[part], sigma, "causal")  # compared with scipy above
    np.testing.assert_allclose(smooth(scores, sigma, smoothing, goes_on), oracle, atol=1e-9)


@pytest.mark.parametrize("smoothing", get_args(Smoothing))
@given(st.floats(-3, 3), st.integers(1, 50), st.floats(0, 4))
def test_smoothing_keeps_constants_and_length(smoothing: Smoothing, value: float, n: int, sigma: float) -> None:
    assert smooth(np.full(n, value), sigma, smoothing).tolist() == [value] * n


@given(series, st.floats(0, 0.99))
def test_events_cover_exactly_what_is_above_the_threshold(scores: np.ndarray, threshold: float) -> None:
    n = len(scores)
    spans = [FrameSpan(10 * i, 10 * i + 10) for i in range(n)]
    starts_s = np.arange(float(n))
    detected = events(scores, spans, starts_s, starts_s + 1, OperatingPoint(0.0, threshold))
    covered = np.zeros(10 * n, bool)
    for e in detected:
        assert not covered[max(e.span.start - 1, 0) : e.span.stop].any()  # events do not touch
        covered[e.span.start : e.span.stop] = True
        assert e.peak == scores[e.span.start // 10 : e.span.stop // 10].max()
        assert e.start_s <= e.peak_s <= e.stop_s
    np.testing.assert_array_equal(covered, np.repeat(scores > threshold, 10))


def test_a_gap_in_the_frames_ends_an_event() -> None:
    detected = events(
        np.array([0.9, 0.9]),
        [FrameSpan(0, 5), FrameSpan(8, 9)],
        np.array([0.0, 8]),
        np.array([5.0, 9]),
        OperatingPoint(0, 0.5),
    )
    assert [tuple(e.span) for e in detected] == [(0, 5), (8, 9)]


def test_a_hole_in_time_ends_an_event_although_the_frames_go_on() -> None:
    spans = [FrameSpan(5 * i, 5 * i + 5) for i in range(4)]
    starts_s = np.array([0.0, 1.0, 602.0, 603.0])
    detected = events(np.full(4, 0.9), spans, starts_s, starts_s + 1, OperatingPoint(0, 0.5))
    assert [(e.start_s, e.stop_s, tuple(e.span)) for e in detected] == [(0, 2, (0, 10)), (602, 604, (10, 20))]


@given(st.lists(st.floats(0.01, 1e5), min_size=1, max_size=50))
def test_rounded_times_are_no_break(lengths: list[float]) -> None:
    bounds = np.append(0.0, np.cumsum(lengths))
    edges = np.stack([bounds[:-1], bounds[1:] * (1 - 1e-12)], 1)
    assert contiguous(edges).all()
    edges[1:, 0] += 0.1
    assert not contiguous(edges).any()
