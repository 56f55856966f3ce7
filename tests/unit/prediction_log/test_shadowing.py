"""A candidate in shadow: the same features, rows in a place of their own, and no harm to the detector in use."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY

from conftest import ROOT
from headhunt_svc.core.scoring import apply_scorer
from headhunt_svc.detector.batches import FeatureBatch, ScoredBatch, TimedSegment
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Reporter
from headhunt_svc.detector.scores import VideoScores
from headhunt_svc.prediction_log.recording import Recorder
from headhunt_svc.prediction_log.windows import WindowQuery, read_window
from headhunt_svc.prediction_log.writer import PredictionLog
from headhunt_svc.storage.store import Store
from headhunt_svc.storage.tables import read_table
from headhunt_svc.types import FrameSpan, Segment
from helpers.bundles import rebiased
from helpers.events import NOON


@pytest.fixture(scope="module")
def active() -> Reporter:
    return Reporter.load(ROOT / "artifacts" / "detector")


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Reporter:
    return Reporter.load(rebiased(tmp_path_factory.mktemp("bundles"), "candidate", 2.0))


def features(active: Reporter, n: int = 24) -> list[FeatureBatch]:
    k = len(active.scorer.heads)
    values = np.random.default_rng(3).normal(size=(n, k, active.scorer.n_features // k)).astype(np.float32)
    timed = [TimedSegment(Segment("yard/1", i, FrameSpan(i, i + 1), (i,)), 1.6 * i, 1.6 * i + 1.6) for i in range(n)]
    return [FeatureBatch(tuple(timed[i : i + 8]), values[i : i + 8]) for i in range(0, n, 8)]


def scored(active: Reporter) -> Generator[ScoredBatch]:
    scores = VideoScores(active.scorer)
    yield from map(scores.add, features(active))


def rows_in(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("day=*/camera=*/*.parquet")) for row in read_table(path).to_pylist()]


def count(name: str) -> float:
    return REGISTRY.get_sample_value(f"headhunt_shadow_{name}_total") or 0.0


def recorded(recorder: Recorder, active: Any, candidate: Any, **options: Any) -> list[ScoredBatch]:
    made = recorder.record(
        active, "yard/1", scored(active), Options(**options), recorded=NOON, candidate=lambda: candidate
    )
    return list(made)


def test_a_candidate_is_logged_beside_and_changes_nothing(active: Any, candidate: Reporter, tmp_path: Path) -> None:
    alone = list(scored(active))
    segments, events = count("segments"), count("events")
    recorder = Recorder(PredictionLog(str(tmp_path / "log"), flush_s=60))
    batches = recorded(recorder, active, candidate)
    recorder.close()
    assert [b.raw.tolist() for b in batches] == [b.raw.tolist() for b in alone]
    ours, theirs = rows_in(tmp_path / "log"), rows_in(tmp_path / "log" / "shadow")
    assert {row["detector_id"] for row in ours} == {active.detector_id}
    assert {row["detector_id"] for row in theirs} == {candidate.detector_id}
    assert [(r["pass_id"], r["segment"], r["time"]) for r in ours] == [
        (r["pass_id"], r["segment"], r["time"]) for r in theirs
    ]
    z = np.concatenate([batch.features for batch in features(active)])
    expected = apply_scorer(candidate.scorer, z.reshape(len(z), -1))
    assert [row["raw"] for row in theirs] == pytest.approx(expected.tolist())
    assert count("segments") == segments + 24
    above = [row["in_event"] for row in theirs]
    before = [False, *above[:-1]]
    assert count("events") - events == sum(now and not then for then, now in zip(before, above, strict=True)) > 0

    # no window of the monitor sees the candidate
    query = WindowQuery(NOON, NOON.replace(hour=23), now=NOON.replace(hour=23))
    window = read_window(Store(str(tmp_path / "log")), query)
    assert dict(window.detectors) == {active.detector_id: 24}


def test_without_a_log_would_be_events_are_counted(active: Any, candidate: Reporter) -> None:
    before = count("segments")
    assert len(recorded(Recorder(None), active, candidate)) == 3
    assert count("segments") == before + 24


def test_a_candidate_that_comes_and_goes_within_a_video(active: Any, candidate: Reporter, tmp_path: Path) -> None:
    turns = iter([None, candidate, None])
    recorder = Recorder(PredictionLog(str(tmp_path / "log"), flush_s=60))
    batches = recorder.record(active, "yard/1", scored(active), recorded=NOON, candidate=lambda: next(turns))
    assert len(list(batches)) == 3
    recorder.close()
    assert len(rows_in(tmp_path / "log")) == 24
    assert [row["segment"] for row in rows_in(tmp_path / "log" / "shadow")] == list(range(8, 16))


class Broken(Reporter):
    """A candidate that cannot score."""

    def __init__(self) -> None:
        self.detector_id = "b" * 12

    def at(self, camera: str | None) -> "Broken":
        raise MemoryError("too large")


def test_a_fault_of_the_candidate_harms_nothing(active: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    failures = count("failures")
    recorder = Recorder(PredictionLog(str(tmp_path / "log"), flush_s=60))
    for _ in range(2):
        batches = recorded(recorder, active, Broken())
        assert [b.raw.tolist() for b in batches] == [b.raw.tolist() for b in scored(active)]
    recorder.close()
    assert len(rows_in(tmp_path / "log")) == 48
    assert not (tmp_path / "log" / "shadow").exists()
    assert count("failures") == failures + 2
    (line,) = [r.message for r in caplog.records if "candidate" in r.message]  # said once
    assert line == "candidate bbbbbbbbbbbb fails and is left out of yard/1: too large"


def test_a_candidate_without_the_operating_point_of_a_video_is_left_out(
    active: Any, candidate: Reporter, tmp_path: Path
) -> None:
    failures = count("failures")
    points = {name: point for name, point in candidate.bundle.operating_points.items() if name != "f1"}
    other = Reporter(candidate.bundle.model_copy(update={"operating_points": points}), candidate.scorer)
    assert len(recorded(Recorder(None), active, other, operating_point="f1")) == 3
    assert count("failures") == failures + 1
