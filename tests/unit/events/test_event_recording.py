"""Events of a video beside other processes, which join, delete and purge events meanwhile."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from conftest import write_video
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.errors import UnreachableError
from headhunt_svc.events.clips import cut
from headhunt_svc.events.recording import EventRecorder, WatchedVideo
from headhunt_svc.events.records import EventRecord
from headhunt_svc.events.store import EventStore
from headhunt_svc.settings import EventSettings
from headhunt_svc.types import HeadRef, OperatingPoint
from helpers.events import make_part
from helpers.reports import REPORT

LATER = datetime.now(UTC) + timedelta(days=400)


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[EventRecorder]:
    recorder = EventRecorder.open(EventSettings(folder=tmp_path / "events", name_pattern="%Y%m%d_%H%M%S"), "job")
    yield recorder
    recorder.close()


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    return write_video(tmp_path / "yard_20260301_120000.mp4", 20)


def watched(recorder: EventRecorder) -> WatchedVideo:
    scorer, bundle = SimpleNamespace(heads=(HeadRef(1, 2),)), SimpleNamespace(features_id="f")
    detector = Mock(spec=Detector, detector_id="d", scorer=scorer, bundle=bundle)
    detector.operating_point.return_value = OperatingPoint(0.0, 0.5, "offline")
    return recorder.watch(detector, Options())


def stored(recorder: EventRecorder, footage: Path) -> list[EventRecord]:
    report = REPORT.model_copy(update={"video_id": footage.name, "discontinuities": (), "stream": None})
    return watched(recorder).store_own(report, footage, "yard")


def while_cutting(patch: pytest.MonkeyPatch, action: Any) -> None:
    """Another process does something between `add` and `attach_clip`."""

    def cut_meanwhile(*args: Any) -> Any:
        action()
        return cut(*args)

    patch.setattr("headhunt_svc.events.recording.cut", cut_meanwhile)


@pytest.mark.parametrize("has_clip", [False, True])
def test_an_event_becomes_a_part_of_another_while_its_clip_is_cut(
    recorder: EventRecorder, footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_clip: bool
) -> None:
    store, joined = recorder.store, []

    def join() -> None:
        (event,) = store.list()
        joined.append(make_part(store, event))
        if has_clip:
            (tmp_path / "own.mp4").write_bytes(b"of the earlier file")
            store.attach_clip(joined[0].id, tmp_path / "own.mp4")

    while_cutting(monkeypatch, join)
    (event,) = stored(recorder, footage)
    assert (event.id, event.clip) == (joined[0].id, True)
    path = store.clip(event.id)
    assert path is not None
    assert (path.read_bytes() == b"of the earlier file") == has_clip
    if not has_clip:
        assert event.clip_start == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert stored(recorder, footage) == [store.get(event.id)]


def test_an_event_is_deleted_while_its_clip_is_cut(
    recorder: EventRecorder, footage: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    while_cutting(monkeypatch, lambda: recorder.store.purge(LATER, trust_clock=True))
    (event,) = stored(recorder, footage)
    assert not event.clip
    assert f"{footage.name}: no clip at 0.0 s (there is no event '{event.id}'" in caplog.text
    assert recorder.store.list() == []


@pytest.mark.parametrize("error", [PermissionError("of another user"), UnreachableError("the database is busy")])
def test_a_purge_that_fails_keeps_no_video_from_being_stored(
    recorder: EventRecorder,
    footage: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    monkeypatch.setattr(EventStore, "purge", Mock(side_effect=error))
    assert [event.clip for event in stored(recorder, footage)] == [True]
    assert f"old events were not deleted, which is tried again in an hour ({error})" in caplog.text
