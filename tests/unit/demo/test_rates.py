from pathlib import Path

import numpy as np
import pytest

from headhunt_svc.core.protocol import ScoredVideo
from headhunt_svc.demo.params import CorpusParams
from headhunt_svc.demo.rates import alarm_rates, long_videos
from headhunt_svc.demo.scenes import N_LABELLED_CAMERAS
from headhunt_svc.detector.bundle import StoredPoint
from headhunt_svc.types import NORMAL, FrameSpan, VideoRecord


def scored(name: str, scores: list[float]) -> ScoredVideo:
    """A normal video of six minutes a segment."""
    spans = tuple(FrameSpan(3600 * i, 3600 * (i + 1)) for i in range(len(scores)))
    record = VideoRecord(name, Path(name), 3600 * len(scores), 10.0, "test", NORMAL, ())
    return ScoredVideo(record, spans, np.array(scores))


def test_every_point_counts_its_alarms_and_says_what_it_promises() -> None:
    """Counted by hand: a smoothing kernel of half a segment takes alarms of single segments away."""
    videos = [scored("yard", [0.9, 0.1, 0.9, 0.9, 0.1, 0.1, 0.9, 0.1, 0.1, 0.1]), scored("gate", [0.1] * 20)]
    points = {
        "f1": StoredPoint(
            sigma_segments=0.0,
            threshold=0.5,
            rule="the best",
            causal=StoredPoint(sigma_segments=0.0, threshold=0.95, rule="the best live"),
        ),
        "recall": StoredPoint(sigma_segments=0.75, threshold=0.6),
    }
    rows = alarm_rates(videos, points, 720.0)
    assert {name: list(row) for name, row in rows.items()} == {"f1": ["offline", "causal"], "recall": ["offline"]}
    row = rows["f1"]["offline"]
    assert (row["rule"], row["events"], row["hours"], row["per_hour"]) == ("the best", 3, 3.0, 1.0)
    assert row["interval"] == pytest.approx([0.6187 / 3, 8.7673 / 3], rel=1e-4)  # tables of Poisson limits, 3 events
    assert row["per_camera"] == {
        "yard": {"events": 3, "per_hour": 3.0},
        "gate": {"events": 0, "per_hour": 0.0},
    }
    assert row["dispersion"] == pytest.approx((3 - 1) ** 2 / 1 + (0 - 2) ** 2 / 2)
    assert row["windows_with_alarm"] == pytest.approx(6 / 28)  # two segments long: 9 in the yard, 19 at the gate
    live = rows["f1"]["causal"]
    assert (live["rule"], live["events"], live["dispersion"]) == ("the best live", 0, None)
    assert (rows["recall"]["offline"]["events"], rows["recall"]["offline"]["rule"]) == (2, None)


def test_long_videos_are_of_cameras_without_labels_and_long_enough() -> None:
    videos = long_videos(2.05, CorpusParams())
    assert sum(v.seconds for v in videos) >= 2.05 * 3600 > sum(v.seconds for v in videos[1:])
    assert [v.index for v in videos] == [N_LABELLED_CAMERAS + i for i in range(13)]
    assert len({v.file for v in videos}) == 13
