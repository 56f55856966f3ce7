"""Operating points: planted answers, and brute force over the grid."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import gamma
from sklearn.metrics import f1_score

from conftest import scored_video
from headhunt_svc.core.calibration import (
    best_f1_point,
    conformal,
    operating_points,
    points_for_smoothing,
)
from headhunt_svc.core.localization import smooth
from headhunt_svc.core.protocol import ScoredVideo
from headhunt_svc.errors import FeatureError
from headhunt_svc.params import CalibrateParams
from headhunt_svc.types import CalibratedPair, CalibratedPoint, OperatingPoint, Smoothing, Unavailable

PARAMS = CalibrateParams(
    sigma_segments=(0.0, 0.75, 1.5), n_thresholds=19, false_alarms_per_hour=200.0, recall=0.75, conformal_rate=0.3
)


def replace_params(**fields: object) -> CalibrateParams:
    return PARAMS.model_copy(update=fields)


def some_videos(seed: int) -> list[ScoredVideo]:
    """Five normal and five anomalous videos of 30 s; anomalies score higher, mostly."""
    rng = np.random.default_rng(seed)
    videos = []
    for i in range(10):
        truth = [(60, 120)] if i % 2 else []
        scores = rng.beta(2, 5, 30)
        if truth:
            scores[6:12] += 0.4 * rng.random(6)
        videos.append(scored_video(scores, truth, name=f"v{i}", length=10))
    return videos


def frames_above(v: ScoredVideo, choice: CalibratedPoint) -> np.ndarray:
    point = choice.operating_point
    return np.repeat(smooth(v.scores, point.sigma_segments, point.smoothing) > point.threshold, 10)


def alarms(above: np.ndarray) -> int:
    return int(np.sum(np.diff(np.append(0, above.astype(int))) == 1))


def test_the_planted_threshold_is_found() -> None:
    truth = [(i, i + 3) for i in range(0, 100, 10)]
    video = scored_video(np.where(np.arange(100) % 10 < 3, 0.7, 0.4), truth)
    choice = best_f1_point([video], CalibrateParams())
    assert choice.f1 == 1.0
    assert choice.operating_point.sigma_segments == 0.0
    assert 0.4 <= choice.operating_point.threshold < 0.7


def rows_within_budget(videos: list[ScoredVideo], smoothing: Smoothing) -> list[tuple[float, float]]:
    """Recall and F1 of the thresholds within the budget, by hand: from the highest down to the first that fails."""
    truth = np.concatenate([v.record.truth() for v in videos])
    smoothed = [np.repeat(smooth(v.scores, 0.75, smoothing), 10) for v in videos]
    grid = (np.arange(19) + 0.5) / 19
    counts = [[alarms(s > t) for s, v in zip(smoothed, videos, strict=True) if not v.record.is_anomalous] for t in grid]
    sizes = [sum(c * c for c in row) / max(sum(row), 1) or 1.0 for row in counts]
    rows = []
    for i in range(18, -1, -1):
        size = max(sizes[max(i - 1, 0)], sizes[i])
        # gamma: the quantile of a Poisson rate, also between two counts
        if size * gamma.ppf(0.95, sum(counts[i]) / size + 1) / (5 * 30 / 3600) > 200:
            break
        above = [s > grid[i] for s in smoothed]
        recall = np.mean([a[60:120].any() for a, v in zip(above, videos, strict=True) if v.record.is_anomalous])
        if recall and not np.concatenate(above)[~truth].all():
            rows.append((float(recall), float(f1_score(truth, np.concatenate(above), zero_division=0.0))))
    return rows


@settings(max_examples=20)
@given(st.integers(0, 1000), st.sampled_from(["offline", "causal"]))
def test_every_point_keeps_its_promise_and_nothing_on_the_grid_is_better(seed: int, smoothing) -> None:
    videos = some_videos(seed)
    truth = np.concatenate([v.record.truth() for v in videos])
    rows = []  # f1, recall, false alarms per hour of every point, by hand
    promised = rows_within_budget(videos, smoothing)
    for sigma in PARAMS.sigma_segments:
        for t in (np.arange(19) + 0.5) / 19:
            above = [np.repeat(smooth(v.scores, sigma, smoothing) > t, 10) for v in videos]
            if np.concatenate(above)[~truth].all() or not np.concatenate(above)[truth].any():
                continue  # says nothing: an alarm that never ends, or none
            recall = np.mean([a[60:120].any() for a, v in zip(above, videos, strict=True) if v.record.is_anomalous])
            n = sum(alarms(a) for a, v in zip(above, videos, strict=True) if not v.record.is_anomalous)
            rows.append((f1_score(truth, np.concatenate(above), zero_division=0.0), recall, n / (5 * 30 / 3600)))
    points = points_for_smoothing(videos, PARAMS, smoothing)
    expected = {
        "f1": max(rows, key=lambda r: r[0]),
        "recall": max((r for r in rows if r[1] >= 0.75), key=lambda r: (-r[2], r[0])),
    }
    for name, row in expected.items():
        choice = points[name]
        assert isinstance(choice, CalibratedPoint)
        assert (choice.f1, choice.recall, choice.false_alarms_per_hour) == pytest.approx(row)
        assert choice.operating_point.smoothing == smoothing
        above = np.concatenate([frames_above(v, choice) for v in videos])
        assert choice.f1 == pytest.approx(f1_score(truth, above, zero_division=0.0))
    budget = points["budget"]
    if isinstance(budget, Unavailable):
        assert not promised
    else:
        assert (budget.recall, budget.f1) == pytest.approx(max(promised))
        assert (budget.false_alarms_per_hour, budget.false_alarms_per_hour_bound) == (None, 200.0)
        assert budget.operating_point.sigma_segments == PARAMS.promise_sigma
    conformal = points["conformal"]
    if isinstance(conformal, Unavailable):
        assert "none of the true spans scores higher" in conformal.reason
        return
    assert conformal.recall
    assert conformal.operating_point.sigma_segments == PARAMS.promise_sigma
    with_alarm = sum(frames_above(v, conformal).any() for v in videos if not v.record.is_anomalous)
    assert with_alarm <= 0.3 * 5


def test_a_camera_without_a_labelled_anomaly_gets_the_conformal_point() -> None:
    normal = [v for v in some_videos(1) if not v.record.is_anomalous]
    points = points_for_smoothing(normal, PARAMS)
    conformal = points.pop("conformal")
    assert isinstance(conformal, CalibratedPoint)
    assert (conformal.f1, conformal.recall) == (None, None)
    assert conformal.false_alarms_per_hour is not None
    for why in points.values():
        assert "at least one anomaly" in str(why)
    # and anomalous videos do not change it
    assert points_for_smoothing(some_videos(1), PARAMS)["conformal"].operating_point == conformal.operating_point  # type: ignore[union-attr]


def test_without_normal_videos_false_alarms_are_not_made_up() -> None:
    anomalous = [v for v in some_videos(1) if v.record.is_anomalous]
    points = points_for_smoothing(anomalous, PARAMS)
    assert isinstance(points["f1"], CalibratedPoint)
    assert points["f1"].false_alarms_per_hour is None
    for name in ("budget", "recall"):
        assert "of which there are none" in str(points[name])
    assert "0 normal videos" in str(points["conformal"])


def test_the_best_f1_needs_an_anomaly() -> None:
    with pytest.raises(FeatureError, match="at least one anomaly"):
        best_f1_point([scored_video([0.0] * 3)], CalibrateParams())


def test_points_come_for_both_smoothings_or_with_a_reason() -> None:
    points = operating_points([v for v in some_videos(1) if not v.record.is_anomalous], PARAMS)
    pair = points["conformal"]
    assert isinstance(pair, CalibratedPair)
    assert pair.causal is not None
    assert (pair.offline.operating_point.smoothing, pair.causal.operating_point.smoothing) == ("offline", "causal")
    assert points["f1"] == Unavailable(
        "calibration of the operating point needs validation videos with at least one anomaly"
    )
    with pytest.raises(FeatureError, match=r"f1: .*; conformal: 1 normal videos cannot guarantee"):
        operating_points([scored_video([0.0, 0.1, 0.2])], PARAMS)


def test_false_alarms_are_per_hour_of_footage_without_holes() -> None:
    """Two alarms in two seconds of normal video, with 600 s between them."""
    fall = scored_video([0.1, 0.9], [(10, 20)], "fall", length=10)
    calm = scored_video([0.8, 0.8], name="calm", length=10)
    record = replace(calm.record, span_starts_s=())
    holed = ScoredVideo(record, calm.spans, calm.scores, np.array([[0.0, 1.0], [601.0, 602.0]]))
    for video, alarms in ((calm, 1), (holed, 2)):
        point = best_f1_point([fall, video], CalibrateParams(sigma_segments=(0.0,), n_thresholds=2))
        assert point.operating_point.threshold == 0.25
        assert point.false_alarms_per_hour == pytest.approx(alarms / (2 / 3600))


def hour(score: float, name: str, fall: float | None = None) -> ScoredVideo:
    """A video of an hour whose segments of 100 s score alike, but for a fall in one of them."""
    scores = np.full(36, score) + np.linspace(0, 0.001, 36)
    if fall is not None:
        scores[20] = fall
    return scored_video(scores, [] if fall is None else [(20_000, 21_000)], name, length=1000)


def test_a_point_that_found_nothing_is_not_available() -> None:
    """The anomalies score lower than everything else: no threshold finds one without an alarm that never ends."""
    videos = [hour(0.6, f"n{i}") for i in range(4)] + [hour(0.6, f"a{i}", fall=0.2) for i in range(4)]
    points = points_for_smoothing(videos, replace_params(sigma_segments=(0.0,), promise_sigma=0.0))
    for name in ("f1", "budget", "recall"):
        assert "no true span of the validation videos is found, or every normal segment raises" in str(points[name])
    assert "none of the true spans scores higher" in str(points["conformal"])
    with pytest.raises(FeatureError, match=r"f1: at every sigma .*; conformal: normal videos score up to 0\.601"):
        operating_points(videos, replace_params(sigma_segments=(0.0,), promise_sigma=0.0))


def test_an_alarm_that_never_ends_is_not_one_false_alarm_an_hour() -> None:
    """In hours of normal video an alarm from end to end is one an hour, which the budget would allow."""
    normal = [hour(0.6, f"n{i}") for i in range(4)]
    videos = [*normal, hour(0.6, "found", fall=0.9), hour(0.6, "missed", fall=0.5)]
    budget = points_for_smoothing(videos, replace_params(sigma_segments=(0.0,), false_alarms_per_hour=1.0))["budget"]
    assert isinstance(budget, CalibratedPoint)
    assert (budget.recall, budget.false_alarms_per_hour_bound) == (0.5, 1.0)
    assert "with 95 % confidence at most 1 false alarms per hour (0 in 4 h of validation)" in budget.rule
    assert 0.6 < budget.operating_point.threshold < 0.9


def test_a_budget_that_the_hours_cannot_support_is_not_available() -> None:
    """Three hours without an alarm hold 1 / h with 95 % confidence: -ln(.05) / 1."""
    videos = [hour(0.6, f"n{i}") for i in range(2)] + [hour(0.6, "found", fall=0.9)]
    budget = points_for_smoothing(videos, replace_params(false_alarms_per_hour=1.0))["budget"]
    assert str(budget).count("takes 3 h of normal video, and there are 2 h, with 0 false alarms at the highest") == 1
    enough = points_for_smoothing(videos, replace_params(false_alarms_per_hour=1.5, sigma_segments=(0.0,)))["budget"]
    assert isinstance(enough, CalibratedPoint)
    assert enough.figures["validation_false_alarms_per_hour_bound"] == 1.5
    assert "validation_false_alarms_per_hour" not in enough.figures


def test_a_choice_at_the_edge_of_the_grid_says_so() -> None:
    rng = np.random.default_rng(0)
    videos = [scored_video(rng.random(60) + 3.0 * (np.arange(60) // 20 == 1), [(20, 40)], f"v{i}") for i in range(4)]
    videos = [replace(v, scores=v.scores / 8) for v in videos]  # long spans in noise: the more smoothing, the better
    noisy = [replace(v, scores=np.clip(v.scores + 0.3 * rng.normal(size=60), 0, 1)) for v in videos]
    rules = []
    for sigmas in ((0.0, 0.5), (0.0, 0.5, 2.0, 9.0), (0.5,)):
        point = points_for_smoothing(noisy, replace_params(sigma_segments=sigmas))["f1"]
        assert isinstance(point, CalibratedPoint)
        rules.append(point.rule)
    edge = "; sigma is the largest of calibrate.sigma_segments: try larger ones"
    assert rules == [f"the best frame F1{edge}", "the best frame F1", "the best frame F1"]
    low = [replace(v, scores=np.where(v.anomalous > 0, 2e-3, 5e-4 * rng.random(60))) for v in videos]
    crowded = points_for_smoothing(low, replace_params(sigma_segments=(0.0,), n_thresholds=500))["f1"]
    assert isinstance(crowded, CalibratedPoint)
    assert crowded.rule.endswith("; the threshold is at the edge of its grid: try a larger calibrate.n_thresholds")


def test_normal_videos_that_the_detector_finds_anomalous_are_refused() -> None:
    """The f1 point alarms in most of the normal footage, as that scores like the anomalies."""
    rng = np.random.default_rng(0)
    normal = [scored_video(0.6 + 0.1 * rng.random(30), name=f"n{i}") for i in range(9)]
    fall = scored_video(np.append(np.full(29, 0.65), 0.9), [(0, 30)], "fall")
    points = points_for_smoothing([*normal, fall], replace_params(sigma_segments=(0.0,), promise_sigma=0.0))
    assert "of the segments of the normal videos anomalous" in str(points["conformal"])
    usual = OperatingPoint(0.0, 0.75)
    assert conformal(normal, PARAMS, "offline", usual) == conformal(normal, PARAMS, "offline")
    with pytest.raises(FeatureError, match=r"finds 100% of the segments"):
        conformal(normal, PARAMS, "offline", OperatingPoint(0.0, 0.5))


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
def test_constant_scores_give_no_point(score: float) -> None:
    videos = [scored_video([score] * 6, [(2, 4)] if i % 2 else [], f"v{i}") for i in range(10)]
    with pytest.raises(FeatureError, match=rf"^all 60 segments have the score {score:.3f}, which tells nothing apart"):
        operating_points(videos, PARAMS)


def test_a_conformal_threshold_that_nothing_passes_is_not_available() -> None:
    normal = [scored_video([0.2, 1.0], name=f"v{i}") for i in range(10)]
    with pytest.raises(FeatureError, match=r"normal videos score up to 1\.000 and no score is higher"):
        conformal(normal, CalibrateParams(promise_sigma=0.0), "offline")


def test_causal_smoothing_alone_may_have_no_point() -> None:
    """Offline points are kept where the causal ones find nothing."""
    rng = np.random.default_rng(0)
    videos = []
    for i in range(10):
        scores = 0.3 + 0.01 * rng.random(30)
        if i % 2:
            scores[10] = 0.9
        videos.append(scored_video(scores, [(9, 10)] if i % 2 else [], f"v{i}"))
    params = replace_params(sigma_segments=(3.0,), promise_sigma=3.0, n_thresholds=99, false_alarms_per_hour=1000.0)
    points = operating_points(videos, params)
    pair = points["budget"]
    assert isinstance(pair, CalibratedPair)
    assert pair.offline.recall == 1.0
    assert pair.causal is None
