"""A camera's thread: whatever ends an attempt is named and tried again, and nothing but `stop` ends the thread."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from headhunt_svc.cameras.config import Camera
from headhunt_svc.cameras.status import CameraState
from headhunt_svc.cameras.watched import STEADY_S, Backoff, WatchedCamera
from headhunt_svc.errors import HeadHuntError, UnreachableError, VideoAccessError, VideoOpenError

SATURDAY = datetime(2026, 11, 28, 12, tzinfo=UTC)


class Scripted(WatchedCamera):
    """A camera whose attempts do what a list says, and whose last one goes on until it is over."""

    def __init__(self, script: list[Exception | str | None], hours: tuple[str, ...] = ()) -> None:
        camera = Camera.model_validate({"name": "yard", "source": "rtsp://host/1", "active_hours": hours})
        self.time = SATURDAY
        super().__init__(camera, None, lambda: self.time)
        self._backoff, self._refused = Backoff(0.01, 0.02, 0.001), Backoff(0.3, 0.3, 0.3)
        self.script, self.attempts, self.ticks, self.finished = script, 0, 0, False
        self.goes_on = threading.Event()
        self.in_finish: Exception | None = None

    @property
    def open_event(self) -> None:
        return None

    def watch_source(self) -> str | None:
        self.attempts += 1
        if self.script:
            step = self.script.pop(0)
            if isinstance(step, Exception):
                raise step
            return step
        self._phase, self._problem = "receiving", None
        self.goes_on.set()
        while not self.is_over():
            time.sleep(0.001)
        return "closed"

    def tick(self) -> None:
        self.ticks += 1

    def finish(self) -> None:
        self.finished = True
        if self.in_finish is not None:
            raise self.in_finish

    def state(self, now: datetime) -> CameraState:
        return CameraState(camera="yard", written=now, phase=self._phase, problem=self._problem)


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.mark.parametrize(
    ("end", "problem"),
    [
        (VideoOpenError("nothing listens"), "nothing listens"),
        (UnreachableError("the database is away"), "the database is away"),
        (ValueError("a bug\nin two lines"), "not expected: ValueError: a bug"),
        ("no data for 10 s", "no data for 10 s"),
        (None, "the source has ended"),
    ],
)
def test_whatever_ends_an_attempt_is_named_and_tried_again(end: Exception | str | None, problem: str) -> None:
    camera = Scripted([end])
    camera._backoff = Backoff(1, 1, 1)  # long enough to be seen on a busy machine
    camera.start()
    wait_for(lambda: camera.state(SATURDAY).phase == "retrying")
    assert camera.state(SATURDAY).problem == problem
    assert camera.goes_on.wait(5)
    assert camera.state(SATURDAY) == CameraState(camera="yard", written=SATURDAY, phase="receiving")
    assert camera.ticks > 0
    camera.stop()
    assert camera.join(2)
    assert camera.finished


def test_a_bug_that_comes_again_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    camera = Scripted([ValueError("bug")] * 5 + [KeyError("another")])
    with caplog.at_level(logging.ERROR):
        camera.start()
        assert camera.goes_on.wait(10)
        camera.stop()
        assert camera.join(2)
    assert [record.message for record in caplog.records] == [
        "camera yard: not expected: ValueError: bug",
        "camera yard: not expected: KeyError: 'another'",
    ]
    assert all(record.exc_info for record in caplog.records)


def test_wrong_passwords_are_tried_less_often() -> None:
    began = time.monotonic()
    camera = Scripted([VideoAccessError("user name or password is wrong")])
    camera.start()
    assert camera.goes_on.wait(5)
    assert time.monotonic() - began >= 0.3
    camera.stop()
    assert camera.join(2)
    assert Scripted([])._backoff.next_s() <= 0.02


def test_outside_its_hours_a_camera_is_left_alone() -> None:
    camera = Scripted([], ("sat 10:00-13:00",))
    camera.start()
    assert camera.goes_on.wait(5)
    assert camera.active_since == SATURDAY
    camera.time = SATURDAY.replace(hour=13)
    wait_for(lambda: camera.state(SATURDAY).phase == "off")
    assert camera.active_since is None
    assert camera.attempts == 1
    camera.goes_on.clear()
    camera.time = SATURDAY.replace(hour=11)
    assert camera.goes_on.wait(5)
    assert (camera.attempts, camera.active_since) == (2, SATURDAY.replace(hour=11))
    camera.stop()
    assert camera.join(2)


@pytest.mark.parametrize("trouble", [HeadHuntError("away"), ValueError("bug")])
def test_a_failure_at_the_end_ends_nothing_else(trouble: Exception) -> None:
    camera = Scripted([])
    camera.in_finish = trouble
    camera.start()
    assert camera.goes_on.wait(5)
    camera.stop()
    assert camera.join(2)


def test_waits_double_up_to_a_limit_and_are_random() -> None:
    for _ in range(50):
        backoff, longest = Backoff(1, 60, 0.2), 1.0
        for _ in range(12):
            assert 0.2 <= backoff.next_s() <= longest
            longest = min(2 * longest, 60)
        assert 0.2 <= backoff.next_s(STEADY_S) <= 1
    backoff = Backoff(64, 64, 0.2)
    assert len({backoff.next_s() for _ in range(20)}) == 20
