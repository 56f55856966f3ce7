"""The detector in use against its candidate, over rows that a test makes up; counts are those of plain loops."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from headhunt_svc.events.store import EventStore
from headhunt_svc.feedback.compare import compare, lines
from headhunt_svc.prediction_log.shadowing import shadow_uri
from headhunt_svc.prediction_log.writer import PredictionLog
from headhunt_svc.settings import EventSettings
from helpers.events import new
from helpers.log_rows import METADATA, START, rows

ACTIVE, CANDIDATE = METADATA.detector_id, "cccccccccccc"
STOP = START + timedelta(days=2)


def write(folder: Path, detector_id: str, camera: str, above: str, first: int = 0, video: str = "a.mp4") -> None:
    """A pass whose segments from `first` on are in an event where `above` has an x."""
    flags = np.array([c == "x" for c in above])
    table = rows(first + len(above), camera, video, detector_id=[detector_id] * (first + len(above)))
    flags = np.concatenate([np.zeros(first, bool), flags])
    scores = np.where(flags, 0.9 if detector_id == ACTIVE else 0.8, 0.1)
    for name, values in (("in_event", flags), ("smoothed", scores), ("raw", scores)):
        column = table.schema.get_field_index(name)
        table = table.set_column(column, table.schema.field(name), [values])
    log = PredictionLog(str(folder), today=lambda: START.date())
    log.put(replace(METADATA, detector_id=detector_id), table.slice(first))
    log.close()


@pytest.fixture
def log(tmp_path: Path) -> str:
    return str(tmp_path / "log")


def both(log: str, camera: str, active: str, candidate: str, video: str = "a.mp4") -> None:
    write(Path(log), ACTIVE, camera, active, video=video)
    write(Path(shadow_uri(log)), CANDIDATE, camera, candidate, video=video)


def always(merge_s: float) -> Callable[[str], float]:
    return lambda _: merge_s


def test_events_flips_and_agreement(log: str) -> None:
    #           gone         both                   new
    both(log, "yard", "..xx......................xxx..............", "..........................xx........xx.....")
    (camera,) = compare(log, ACTIVE, CANDIDATE, START, STOP, None, always(3.2)).cameras
    n = 43
    assert (camera.camera, camera.segments, camera.active_only, camera.candidate_only) == ("yard", n, 0, 0)
    assert camera.hours == pytest.approx(n * 1.6 / 3600)
    assert (camera.events_active, camera.events_candidate) == (2, 2)
    assert camera.agreement == pytest.approx(1 - 5 / n)
    gone, added = camera.flips
    assert (gone.of, gone.start_s, gone.stop_s) == ("active", pytest.approx(3.2), pytest.approx(6.4))
    assert (gone.peak_active, gone.peak_candidate) == (0.9, 0.1)
    assert (added.of, added.start_s, added.time) == ("candidate", pytest.approx(57.6), START + timedelta(seconds=57.6))
    assert camera.per_day == pytest.approx((2 * 24 / camera.hours,) * 2)


def test_events_that_are_close_are_one_but_not_those_of_two_videos(log: str) -> None:
    both(log, "yard", "x..x", "....")
    both(log, "yard", "x...", "....", video="b.mp4")
    both(log, "lane", "x..x", "....")
    for merge_s, count in ((1.0, [2, 3]), (10.0, [1, 2])):
        cameras = compare(log, ACTIVE, CANDIDATE, START, STOP, None, always(merge_s)).cameras
        assert [camera.events_active for camera in cameras] == count


def test_each_camera_has_its_own_merging(log: str) -> None:
    for camera in ("lane", "yard"):
        both(log, camera, "x..x", "....")
    cameras = compare(log, ACTIVE, CANDIDATE, START, STOP, None, {"lane": 1.0, "yard": 10.0}.__getitem__).cameras
    assert [(camera.camera, camera.events_active) for camera in cameras] == [("lane", 2), ("yard", 1)]


def test_what_only_one_has_scored_is_said_and_not_compared(log: str) -> None:
    write(Path(log), ACTIVE, "yard", "xx..")
    write(Path(shadow_uri(log)), CANDIDATE, "yard", "..", first=2)
    write(Path(log), ACTIVE, "lane", "xx")
    write(Path(shadow_uri(log)), "eeeeeeeeeeee", "lane", "xx")  # an earlier candidate
    lane, yard = compare(log, ACTIVE, CANDIDATE, START, STOP, None, always(1.0)).cameras
    assert (yard.segments, yard.active_only, yard.candidate_only, yard.events_active) == (2, 2, 0, 0)
    assert (lane.segments, lane.hours, lane.active_only, lane.agreement, lane.per_day) == (0, 0, 2, None, (None, None))


def test_a_window_and_another_detector_leave_nothing(log: str) -> None:
    both(log, "yard", "xx", "..")
    before = START - timedelta(days=1)
    assert compare(log, ACTIVE, CANDIDATE, before, before + timedelta(hours=1), None, always(1.0)).cameras == ()
    assert compare(log, "eeeeeeeeeeee", "ffffffffffff", START, STOP, None, always(1.0)).cameras == ()


def test_an_event_that_would_be_gone_has_its_id(log: str, tmp_path: Path) -> None:
    both(log, "yard", "..xx....", "........")
    with EventStore.open(EventSettings(folder=tmp_path / "events")) as store:
        other = new(video_id="b.mp4", start_s=3.2, detector_id=ACTIVE)
        event = new(video_id="a.mp4", start_s=3.2, detector_id=ACTIVE, key="a")
        store.add(other, merge_s=None)
        event_id = store.add(event, merge_s=None).id
        comparison = compare(log, ACTIVE, CANDIDATE, START, STOP, store, always(1.0))
    (line,) = lines(comparison)
    (flip,) = line["flips"]
    assert (flip["event_id"], flip["of"], line["events_candidate"]) == (event_id, "active", 0)
    assert datetime.fromisoformat(flip["time"]) == (START + timedelta(seconds=3.2)).astimezone(UTC)
    assert (comparison.events, comparison.days) == (1, 1)


def test_rows_that_are_logged_twice_count_once(log: str) -> None:
    both(log, "yard", "xx..", "xx..")
    both(log, "yard", "xx..", "xx..")
    (camera,) = compare(log, ACTIVE, CANDIDATE, START, STOP, None, always(1.0)).cameras
    assert (camera.segments, camera.events_active, camera.agreement) == (4, 1, 1.0)
