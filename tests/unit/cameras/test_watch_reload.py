"""What `headhunt watch` does with its cameras when cameras.yaml changes, and when something fails."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from headhunt_svc.cameras import claims as claims_module
from headhunt_svc.cameras.alarms import WatchAlarms
from headhunt_svc.cameras.claims import CameraClaims
from headhunt_svc.cameras.config import Camera
from headhunt_svc.cameras.reload import CamerasFile
from headhunt_svc.cameras.sharing import Shared
from headhunt_svc.cameras.states import CameraStates
from headhunt_svc.cameras.status import CameraState, load_state
from headhunt_svc.cameras.watch import Watch
from headhunt_svc.cameras.watched import WatchedCamera
from headhunt_svc.errors import ConfigError, OutputError
from headhunt_svc.events.database import connect
from headhunt_svc.events.store import EventStore
from headhunt_svc.notify.outbox import Outbox
from headhunt_svc.settings import EventSettings, NotifySettings
from helpers.events import new

TEXT = "cameras:\n  yard: {source: /dev/video0}\n  street: {source: /dev/video1}\n"


class Idle(WatchedCamera):
    """A camera that receives nothing and goes on."""

    bug = False

    @property
    def open_event(self) -> None:
        return None

    def watch_source(self) -> str | None:
        self._phase = "receiving"
        self._stop.wait()
        return None

    def tick(self) -> None:
        pass

    def finish(self) -> None:
        pass

    def state(self, now: datetime) -> CameraState:
        if self.bug:
            raise ValueError("a bug")
        return CameraState(camera=self.camera.name, written=now, phase=self._phase)


class Watched(Watch):
    """A watch of such cameras."""

    def _watched(self, camera: Camera) -> WatchedCamera:
        if camera.operating_point == "none":
            raise ConfigError("no operating point 'none'")
        return Idle(camera, None)


class Place:
    def __init__(self, folder: Path, store: EventStore, engine: Any) -> None:
        self.folder, self.path, self.store = folder, folder / "cameras.yaml", store
        self.path.write_text(TEXT, encoding="utf-8")
        self.file = CamerasFile(self.path, lambda _: [])
        self.claims = CameraClaims(folder / "events")
        self.claims.claim(["yard", "street"])
        outbox = Outbox(engine, {}, NotifySettings())
        alarms = WatchAlarms(engine, outbox, lambda: self.file.cameras, self.claims, lambda: None)
        shared: Any = object.__new__(Shared)
        object.__setattr__(shared, "store", store)
        self.watch = Watched(self.file, shared, self.claims, alarms, CameraStates(folder / "states", store))
        self.watch.begin(self.watch.prepared(self.file.cameras.each()))

    def change(self, text: str) -> None:
        self.path.write_text(text, encoding="utf-8")
        self.watch.look_after()

    @property
    def cameras(self) -> dict[str, WatchedCamera]:
        return dict(self.watch._cameras)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(claims_module, "WAIT_S", 0.1)
    settings = EventSettings(folder=tmp_path / "events")
    engine = connect(settings)
    with EventStore(engine, settings) as store:
        place = Place(tmp_path, store, engine)
        with place.claims:
            yield place
            place.watch.end_all()
    assert place.watch.left_behind == 0


def test_a_changed_camera_begins_anew_and_the_others_are_not_touched(place: Place) -> None:
    before = place.cameras
    place.change(TEXT.replace("/dev/video1", "/dev/video1, threshold: 0.7") + "  lab: {source: /dev/video2}\n")
    after = place.cameras
    assert list(after) == ["yard", "street", "lab"]
    assert after["yard"] is before["yard"]
    assert after["street"] is not before["street"]
    assert after["street"].camera.threshold == 0.7
    assert before["street"].join(0)
    assert not after["street"].join(0)
    assert CameraClaims(place.folder / "events").is_elsewhere("lab")


def test_a_camera_that_is_gone_is_forgotten(place: Place) -> None:
    place.watch.look_after()
    states = place.folder / "states"
    assert load_state(states, "street") is not None
    place.change("cameras:\n  yard: {source: /dev/video0}\n")
    assert list(place.cameras) == ["yard"]
    assert load_state(states, "street") is None
    assert not CameraClaims(place.folder / "events").is_elsewhere("street")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (TEXT + "  lab: {source: nowhere, colour: red}\n", "cameras.lab.colour: unknown parameter"),
        (TEXT + "  lab: {source: /dev/video2, operating_point: none}\n", "no operating point 'none'"),
        (TEXT + "  taken: {source: /dev/video2}\n", "another `headhunt watch` watches the camera 'taken'"),
        ("", "cameras.yaml holds no parameters"),
    ],
)
def test_a_file_that_cannot_be_used_changes_nothing(
    place: Place, text: str, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = place.cameras
    with CameraClaims(place.folder / "events") as other, caplog.at_level(logging.ERROR):
        other.claim(["taken"])
        place.change(text)
        place.watch.look_after()
    assert sum(problem in record.message for record in caplog.records) == 1
    assert place.cameras == before
    assert [camera.name for camera in place.file.cameras.each()] == ["yard", "street"]
    place.change(TEXT + "  lab: {source: /dev/video2}\n")
    assert list(place.cameras) == ["yard", "street", "lab"]


def test_open_events_of_a_camera_that_comes_back_are_closed(place: Place) -> None:
    left = place.store.add(new(stop=None, camera="lab", origin="live"), merge_s=0)
    place.change(TEXT + "  lab: {source: /dev/video2}\n")
    assert place.store.get(left.id).interrupted


def test_a_bug_in_the_housekeeping_ends_no_camera(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    camera = place.cameras["yard"]
    assert isinstance(camera, Idle)
    camera.bug = True
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            place.watch.look_after()
        assert load_state(place.folder / "states", "street") is not None
        assert load_state(place.folder / "states", "yard") is None
        camera.bug = False
        place.watch.look_after()
    assert [r.message for r in caplog.records if "states" in r.message] == [
        "states of cameras: not expected",
        "states of cameras: all is well again",
    ]
    assert not camera.join(0)


def test_ending_writes_that_nobody_watches(place: Place) -> None:
    place.watch.end_all()
    state = load_state(place.folder / "states", "yard")
    assert state is not None
    assert (state.phase, (datetime.now(UTC) - state.written).total_seconds() < 60) == ("stopped", True)


def test_a_change_counts_once_the_disk_takes_its_locks(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OutputError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(CameraClaims, "claim", full)
        place.change(TEXT + "  lab: {source: /dev/video2}\n")
        assert "lab" not in place.cameras
    place.watch.look_after()
    assert "lab" in place.cameras


def test_a_state_that_cannot_be_deleted_keeps_no_camera_from_beginning(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(CameraStates, "forget", fail)
    place.change("cameras:\n  yard: {source: /dev/video0}\n  lab: {source: /dev/video2}\n")
    assert set(place.cameras) == {"yard", "lab"}


def test_a_camera_of_another_process_is_taken_over_once_that_has_ended(place: Place) -> None:
    with CameraClaims(place.folder / "events") as other:
        other.claim(["lab"])
        place.change(TEXT + "  lab: {source: /dev/video2}\n")
        assert "lab" not in place.cameras
    place.watch.look_after()
    assert "lab" in place.cameras


def test_a_camera_that_is_refused_is_left_to_other_processes(place: Place) -> None:
    place.change(TEXT + "  lab: {source: /dev/video2, operating_point: none}\n")
    assert not CameraClaims(place.folder / "events").is_elsewhere("lab")


def test_a_picture_of_a_clock_that_was_ahead_is_none() -> None:
    now = datetime.now(UTC)
    camera = Camera.model_validate({"name": "yard", "source": "/dev/video0", "expect_every_s": 10})
    ahead, before = (
        Idle(camera, CameraState(camera="yard", written=now, phase="receiving", last_picture=now + timedelta(hours=h)))
        for h in (5, -5)
    )
    assert ahead._last_picture is None
    assert before._last_picture == now - timedelta(hours=5)
