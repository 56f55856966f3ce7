"""What is written and logged about cameras while they are watched."""

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from headhunt_svc.cameras.config import Camera
from headhunt_svc.cameras.metrics import MOST_CAMERAS, CameraCollector
from headhunt_svc.cameras.states import LOG_AFTER_S, CameraStates
from headhunt_svc.cameras.status import CameraState, load_state, state_file
from headhunt_svc.cameras.watched import WatchedCamera
from headhunt_svc.errors import UnreachableError
from headhunt_svc.events.records import EventFilter, EventRecord
from headhunt_svc.events.store import EventStore
from headhunt_svc.settings import EventSettings
from helpers.events import NOON, new


class Yard(WatchedCamera):
    """A camera whose state is given; no thread is started."""

    def __init__(self) -> None:
        super().__init__(Camera.model_validate({"name": "yard", "source": "/dev/video0"}), None)
        self.now: dict[str, object] = {"phase": "receiving"}
        self.event: str | None = None

    @property
    def open_event(self) -> str | None:
        return self.event

    def watch_source(self) -> str | None:
        raise NotImplementedError

    def tick(self) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        raise NotImplementedError

    def state(self, now: datetime) -> CameraState:
        return CameraState.model_validate({"camera": "yard", "written": now, **self.now})


class Events(EventStore):
    """A store that counts how often it is asked, and may be away."""

    def __init__(self, folder: Path) -> None:
        self.settings = EventSettings(folder=folder)
        self.records: list[EventRecord] = []
        self.asked, self.is_away = 0, False

    def list(self, which: EventFilter = EventFilter(), after: str | None = None, limit: int = 100) -> list[EventRecord]:
        self.asked += 1
        if self.is_away:
            raise UnreachableError("the database is away")
        return self.records


@pytest.fixture
def events(tmp_path: Path) -> Events:
    return Events(tmp_path)


def test_a_change_is_written_at_once_and_everything_now_and_then(events: Events, tmp_path: Path) -> None:
    states, yard = CameraStates(tmp_path, events), Yard()
    states.update([yard], False)
    first = load_state(tmp_path, "yard")
    assert first is not None
    yard.now["last_picture"] = NOON  # changes all the time
    states.update([yard], False)
    assert load_state(tmp_path, "yard") == first
    states.update([yard], True)
    assert load_state(tmp_path, "yard") != first
    yard.now |= {"phase": "retrying", "problem": "gone"}
    states.update([yard], False)
    written = load_state(tmp_path, "yard")
    assert written is not None
    assert (written.phase, written.problem) == ("retrying", "gone")
    assert [state.phase for state in states.latest()] == ["retrying"]


def test_the_database_is_asked_for_the_last_event_when_there_may_be_another(events: Events, tmp_path: Path) -> None:
    states, yard = CameraStates(tmp_path, events), Yard()
    for _ in range(3):
        states.update([yard], False)
    assert events.asked == 1
    record = EventRecord(**new(stop=None).model_dump(), id="e1", created=NOON)
    events.records, yard.event = [record], "e1"
    states.update([yard], False)
    states.update([yard], False)
    written = load_state(tmp_path, "yard")
    assert events.asked == 2
    assert written is not None
    assert written.last_event is not None
    assert (written.last_event.id, written.last_event.is_open) == ("e1", True)


def test_while_the_database_is_away_states_are_written(events: Events, tmp_path: Path) -> None:
    states, yard = CameraStates(tmp_path, events), Yard()
    events.is_away = True
    with pytest.raises(UnreachableError):
        states.update([yard], True)
    assert load_state(tmp_path, "yard") is not None
    assert len(states.latest()) == 1


def test_a_problem_is_logged_once_if_it_lasts(events: Events, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    states, yard = CameraStates(tmp_path, events), Yard()

    def look(now_s: float, problem: str | None, phase: str = "receiving") -> list[str]:
        yard.now = {"phase": phase, "problem": problem}
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            states._log(yard.state(datetime.now(UTC)), now_s)
        return [record.message for record in caplog.records]

    assert look(0, None) == []
    assert look(1, "waits for a key frame") == []
    assert look(1 + LOG_AFTER_S / 2, None) == []
    assert look(100, None) == []
    assert look(101, "gone", "retrying") == []
    assert look(101 + LOG_AFTER_S, "gone", "retrying") == ["camera yard: gone"]
    assert look(150, "gone", "retrying") == []
    assert look(151, "refused", "retrying") == ["camera yard: refused"]
    assert look(160, None) == []
    assert look(160 + LOG_AFTER_S, None) == ["camera yard: all is well again"]
    assert look(200, None) == []


def test_a_camera_that_is_no_longer_watched_says_so_and_is_forgotten(events: Events, tmp_path: Path) -> None:
    states, yard = CameraStates(tmp_path, events), Yard()
    states.update([yard], True)
    states.write_stopped(yard)
    written = states.earlier("yard")
    assert written is not None
    assert written.phase == "stopped"
    states.forget("yard")
    assert (states.latest(), states.earlier("yard")) == ([], None)
    state_file(tmp_path, "yard").write_text("{", encoding="utf-8")
    assert states.earlier("yard") is None


def test_metrics_are_those_of_the_cameras_there_are() -> None:
    state = CameraState(
        camera="yard", written=NOON, phase="receiving", last_picture=NOON, last_scored=NOON - timedelta(seconds=2),
        offered_s=10, scored_s=8, dropped_s=2, dropped_segments=1, reconnects=3,
    )  # fmt: skip
    states = [state]
    registry = CollectorRegistry()
    registry.register(CameraCollector(lambda: states))
    text = generate_latest(registry).decode()
    for line in (
        'headhunt_camera_up{camera="yard"} 1.0',
        f'headhunt_camera_last_picture_timestamp_seconds{{camera="yard"}} {NOON.timestamp()}',
        'headhunt_camera_lag_seconds{camera="yard"} 2.0',
        'headhunt_camera_offered_seconds_total{camera="yard"} 10.0',
        'headhunt_camera_dropped_segments_total{camera="yard"} 1.0',
        'headhunt_camera_reconnects_total{camera="yard"} 3.0',
    ):
        number = line.rpartition(" ")[2]
        (found,) = (each for each in text.splitlines() if each.startswith(line.rpartition(" ")[0]))
        assert float(found.rpartition(" ")[2]) == float(number)
    states[:] = [state.model_copy(update={"camera": f"c{i}"}) for i in range(MOST_CAMERAS + 50)]
    text = generate_latest(registry).decode()
    assert 'camera="yard"' not in text
    assert sum(line.startswith("headhunt_camera_up{") for line in text.splitlines()) == MOST_CAMERAS
