"""The whole protocol on videos whose figures are known."""

from dataclasses import replace

import numpy as np
import pytest

from conftest import scored_video
from headhunt_svc.core.localization import smooth
from headhunt_svc.core.protocol import ScoredVideo, assess, by_kind, counts_of
from headhunt_svc.errors import FeatureError
from headhunt_svc.params import EvaluateParams
from headhunt_svc.types import OperatingPoint

PARAMS = EvaluateParams(bootstrap=20, random_draws=3)
VIDEOS = [
    scored_video([0.1, 0.9, 0.8, 0.2], [(10, 30)], "good", "fall", 10),
    scored_video([0.1, 0.7, 0.3, 0.2], [(20, 40)], "bad", "fall+fight", 10),
    scored_video([0.1, 0.6, 0.1, 0.7], [], "calm", None, 10),
]


def test_every_figure_of_three_videos() -> None:
    figures = assess(VIDEOS, OperatingPoint(0.0, 0.5), PARAMS)
    assert (figures["n_videos"], figures["n_frames"]) == (3, 120)
    assert figures["at_threshold"] == {
        "threshold": 0.5,
        "precision": pytest.approx(2 / 5),
        "recall": pytest.approx(2 / 4),
        "f1": pytest.approx(4 / 9),
        "chosen": "beforehand",
    }
    assert figures["events"]["at_iou"]["0.5"] == {
        "precision": pytest.approx(1 / 4),
        "recall": pytest.approx(1 / 2),
        "f1": pytest.approx(2 / 6),
        "average_precision": pytest.approx(1 / 2),
    }
    assert figures["events"]["mean_average_precision"] == pytest.approx(0.5)
    assert figures["detection_delay"]["found"] == 1
    assert figures["false_alarms"] == {"events": 2, "hours": pytest.approx(4 / 3600), "per_hour": pytest.approx(1800)}
    assert list(figures["by_kind"]) == ["fall", "fight"]
    assert (figures["by_kind"]["fall"]["n_videos"], figures["by_kind"]["fight"]["n_videos"]) == (3, 2)
    assert figures["anomalous_videos_only"]["n_videos"] == 2
    assert figures["per_video"]["good"]["roc_auc"] == 1.0
    assert figures["per_video"]["calm"]["roc_auc"] is None
    assert figures["mean_roc_auc_of_videos"] == pytest.approx((1.0 + 0.5) / 2)
    assert figures["reliability"]["brier"] > 0


def test_baselines_are_what_they_must_be() -> None:
    rows = assess(VIDEOS, None, PARAMS)["baselines"]
    assert rows["constant"]["roc_auc"] == 0.5
    assert rows["constant"]["average_precision"] == rows["constant"]["precision"] == pytest.approx(1 / 3)
    assert rows["constant"]["pr_auc_trapezoid"] == pytest.approx(2 / 3)  # why the trapezoid is not called AP here
    assert rows["video_oracle"]["precision"] == rows["video_oracle"]["average_precision"] == pytest.approx(1 / 2)
    assert rows["video_oracle"]["roc_auc"] == pytest.approx(0.75)
    assert 0 < rows["random"]["roc_auc"] < 1


def test_without_a_threshold_the_best_one_is_taken_and_that_is_said() -> None:
    at = assess(VIDEOS, None, PARAMS)["at_threshold"]
    assert at["chosen"] == "best F1 on these very videos"
    assert all(at["f1"] >= assess(VIDEOS, OperatingPoint(0, t), PARAMS)["at_threshold"]["f1"] for t in (0.2, 0.5, 0.85))


def test_a_kind_of_one_class_only_is_undefined_and_not_zero() -> None:
    whole = [scored_video([0.9, 0.8], [(0, 2)], "a", "fire"), scored_video([0.3, 0.8], [(0, 1)], "b", "fall")]
    row = by_kind(whole, 0)["fire"]
    assert "one class only" in row["undefined"]
    assert "roc_auc" not in row


def test_scores_that_leave_frames_out_are_named() -> None:
    good = scored_video([0.1, 0.2, 0.3], name="yard")
    for spans, scores, says in (
        (good.spans[:2], good.scores[:2], "yard: the scores do not cover its 3 frames"),
        ((good.spans[0], good.spans[2]), good.scores[:2], "do not cover"),
        (good.spans, good.scores[:2], "2 scores for 3 segments"),
        (good.spans, np.array([0.1, np.nan, 0.2]), "1 of 3 scores are no numbers"),
        ((), np.zeros(0), "do not cover"),
    ):
        with pytest.raises(FeatureError, match=says):
            type(good)(good.record, spans, scores)
    with pytest.raises(FeatureError, match="no video"):
        counts_of([])


def with_times(video: ScoredVideo, edges_s: list[tuple[float, float]], starts_s: list[float] | None) -> ScoredVideo:
    """The video with times of its segments; starts_s: of its true spans, None where it has a constant rate."""
    record = replace(video.record, span_starts_s=None if starts_s is None else tuple(starts_s))
    return ScoredVideo(record, video.spans, video.scores, np.array(edges_s))


HOLE = [(0.0, 2.0), (2.0, 3.0), (603.0, 604.0), (604.0, 606.0)]  # of segments of ten frames each


def test_seconds_are_those_of_the_frames() -> None:
    """Alarm in the fourth segment; the truth begins in the second, two frames after its beginning, at 2.3 s."""
    late = with_times(scored_video([0.1, 0.1, 0.1, 0.9], [(12, 40)], "late", "fall", 10), HOLE, [2.3])
    calm = with_times(scored_video([0.1, 0.9, 0.9, 0.1], [], "calm", None, 10), HOLE, [])
    figures = assess([late, calm], OperatingPoint(0.0, 0.5), PARAMS)
    assert figures["detection_delay"]["mean_s"] == pytest.approx(604.0 - 2.3)
    alarms = figures["false_alarms"]
    assert alarms["hours"] == pytest.approx((3.0 + 3.0) / 3600)  # without the hole
    assert alarms["events"] == 2  # one on each side of it
    assert [tuple(e) for e in calm.events(0.5).events] == [(10, 20), (20, 30)]
    assert late.true_seconds() == [(2.3, 606.0)]


def test_an_alarm_that_goes_on_when_the_truth_begins_has_no_delay() -> None:
    video = with_times(scored_video([0.9, 0.9, 0.1, 0.9], [(12, 40)], "v", "fall", 10), HOLE, [2.3])
    assert assess([video], OperatingPoint(0.0, 0.5), PARAMS)["detection_delay"]["mean_s"] == 0.0


def test_scores_are_not_smoothed_across_a_hole() -> None:
    scores = [0.1, 0.9, 0.2, 0.4]
    video = with_times(scored_video(scores, [], "v", None, 10), HOLE, [])
    for smoothing in ("offline", "causal"):
        parts = [smooth(np.array(part), 1.0, smoothing) for part in (scores[:2], scores[2:])]  # type: ignore[arg-type]
        np.testing.assert_array_equal(video.smoothed(1.0, smoothing).scores, np.concatenate(parts))


def test_a_constant_rate_counts_frames_with_and_without_times() -> None:
    edges_s = [(i + 1e-9, i + 1 + 1e-9) for i in range(4)]
    timed = [with_times(v, edges_s, None) for v in VIDEOS]
    point = OperatingPoint(0.75, 0.5)
    assert assess(timed, point, PARAMS) == assess(VIDEOS, point, PARAMS)
