"""Alarms of `headhunt watch`: begun in time, told to those of the camera, over when it is known that they are."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from headhunt_svc.cameras.alarms import WatchAlarms
from headhunt_svc.cameras.claims import CameraClaims
from headhunt_svc.cameras.config import Camera, Cameras
from headhunt_svc.cameras.status import CameraState
from headhunt_svc.cameras.watched import WatchedCamera
from headhunt_svc.events.database import connect
from headhunt_svc.notify.outbox import Outbox
from headhunt_svc.notify.tables import DeliveryRow
from headhunt_svc.settings import EventSettings, NotifySettings
from helpers.events import NOON


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def camera(name: str, *notify: str) -> Camera:
    return Camera.model_validate(
        {"name": name, "source": "/dev/video0", "notify": notify, "expect_every_s": 20, "time_zone": "Europe/Berlin"}
    )


YARD, STREET = camera("yard", "ops"), camera("street", "ops", "mail")


class Watched(WatchedCamera):
    """A camera that is in a given state; no thread is started."""

    def __init__(
        self, camera: Camera, active_since: datetime | None = NOON, last_picture: datetime | None = NOON
    ) -> None:
        super().__init__(camera, None)
        self.active_since, self.last_picture = active_since, last_picture
        self.problem: str | None = None

    @property
    def open_event(self) -> None:
        return None

    def watch_source(self) -> str | None:
        raise NotImplementedError

    def tick(self) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        raise NotImplementedError

    def state(self, now: datetime) -> CameraState:
        phase: Any = "off" if self.active_since is None else "receiving"
        return CameraState(
            camera=self.camera.name, written=now, phase=phase, last_picture=self.last_picture, problem=self.problem
        )


@dataclass
class Place:
    """A process that watches cameras, and the database."""

    engine: Engine
    folder: Path
    cameras: list[Watched]
    log_problem: str | None = None

    def __post_init__(self) -> None:
        self.claims = CameraClaims(self.folder)
        self.claims.claim(each.camera.name for each in self.cameras)
        outbox = Outbox(self.engine, {}, NotifySettings())
        self.alarms = WatchAlarms(self.engine, outbox, self.file, self.claims, lambda: self.log_problem)

    def file(self) -> Cameras:
        return Cameras(cameras=tuple(each.camera for each in self.cameras))

    def look(self, seconds: float) -> None:
        self.alarms.update(self.cameras, [each.state(at(seconds)) for each in self.cameras], at(seconds))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = connect(EventSettings(folder=tmp_path))
    yield engine
    engine.dispose()


@pytest.fixture
def place(engine: Engine, tmp_path: Path) -> Iterator[Place]:
    place = Place(engine, tmp_path, [Watched(YARD), Watched(STREET)])
    with place.claims:
        yield place


def messages(engine: Engine) -> list[tuple[str, str, str]]:
    with Session(engine) as session:
        rows = session.query(DeliveryRow).order_by(DeliveryRow.id).all()
        return [(row.channel, row.phase, json.loads(row.message)["camera"]) for row in rows]


def texts(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return [json.loads(row.message)["text"] for row in session.query(DeliveryRow).order_by(DeliveryRow.id)]


def test_a_camera_without_new_pictures_alarms_once_and_is_told_to_be_well_again(place: Place) -> None:
    place.look(19)
    assert messages(place.engine) == []
    place.cameras[1].last_picture = at(15)
    place.look(21)
    place.look(26)
    assert messages(place.engine) == [("ops", "begin", "yard")]
    assert texts(place.engine) == ["no new picture for more than 20 s: it answers, and no new picture comes"]
    place.cameras[0].last_picture = place.cameras[1].last_picture = at(30)
    place.look(31)
    assert messages(place.engine) == [("ops", "begin", "yard"), ("ops", "end", "yard")]


def test_a_camera_that_never_answers_alarms_with_the_reason(place: Place) -> None:
    place.cameras[0].last_picture = at(20)
    place.cameras[1].last_picture = None
    place.cameras[1].problem = "user name or password is missing or wrong (401)"
    place.look(21)
    assert messages(place.engine) == [("ops", "begin", "street"), ("mail", "begin", "street")]
    assert texts(place.engine)[0].endswith("20 s: user name or password is missing or wrong (401)")


def test_a_camera_that_is_off_is_not_silent_and_its_alarm_waits(place: Place) -> None:
    place.cameras[1].active_since = None
    place.look(21)
    assert messages(place.engine) == [("ops", "begin", "yard")]
    place.cameras[0].active_since = None
    place.look(25)
    place.cameras[0].active_since = at(1000)
    place.look(1010)  # nobody knows yet
    assert len(messages(place.engine)) == 1
    place.cameras[0].last_picture = at(1012)
    place.look(1013)
    assert messages(place.engine)[1:] == [("ops", "end", "yard")]


def test_after_a_restart_an_alarm_goes_on_until_a_picture_comes(place: Place, tmp_path: Path) -> None:
    place.cameras[1].last_picture = at(20)
    place.look(21)
    place.claims.__exit__()
    again = Place(place.engine, tmp_path, [Watched(YARD, at(100)), Watched(STREET, at(100), at(100))])
    again.look(105)
    assert messages(place.engine) == [("ops", "begin", "yard")]
    again.cameras[1].last_picture = at(130)
    again.look(130)  # is silent still: no second message
    assert messages(place.engine) == [("ops", "begin", "yard")]
    again.cameras[0].last_picture = at(131)
    again.look(132)
    assert messages(place.engine)[1:] == [("ops", "end", "yard")]
    again.claims.__exit__()


def test_two_processes_leave_each_other_s_alarms_alone(place: Place, tmp_path: Path) -> None:
    place.look(21)
    assert len(messages(place.engine)) == 3
    other = Place(place.engine, tmp_path, [Watched(camera("lab", "ops"), at(0), at(22))])
    other.look(23)
    assert len(messages(place.engine)) == 3
    place.claims.give_up("street")  # it is in no file any more
    other.look(24)
    assert len(place.alarms._book.open_alarms()) == 1
    other.claims.__exit__()


def test_those_who_were_told_learn_that_a_camera_is_gone_from_the_file(place: Place) -> None:
    place.cameras[0].last_picture = at(20)
    place.look(21)
    del place.cameras[1]
    place.claims.give_up("street")
    place.look(22)
    assert messages(place.engine)[2:] == [("ops", "end", "street"), ("mail", "end", "street")]


def test_a_log_that_is_not_written_alarms_everybody_once(place: Place) -> None:
    place.log_problem = "disk full"
    place.look(1)
    place.look(6)
    assert messages(place.engine) == [("ops", "begin", None), ("mail", "begin", None)]
    assert texts(place.engine)[0] == "the prediction log cannot be written, scoring goes on: disk full"
    place.log_problem = None
    place.look(11)
    assert messages(place.engine)[2:] == [("ops", "end", None), ("mail", "end", None)]
