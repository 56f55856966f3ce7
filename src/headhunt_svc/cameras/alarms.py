"""Alarms of a process that watches cameras: no pictures of a camera, and a prediction log that is not written."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy.engine import Engine

from headhunt_svc.cameras.claims import CameraClaims
from headhunt_svc.cameras.config import Cameras
from headhunt_svc.cameras.status import CameraState
from headhunt_svc.cameras.watched import WatchedCamera
from headhunt_svc.notify.alarms import Alarm, AlarmBook
from headhunt_svc.notify.messages import MessageKind
from headhunt_svc.notify.outbox import Outbox

SOURCE = "watch"
SILENCE, LOG = "silence/", "log/"  # keys of alarms: before the name of a camera


def silence_of(camera: WatchedCamera, state: CameraState, now: datetime) -> Alarm | None:
    """The alarm of a camera that is within its hours and has had no new picture for expect_every_s."""
    since = camera.active_since
    if since is None:
        return None
    expected = timedelta(seconds=camera.camera.expect_every_s)
    if now - max(since, state.last_picture or since) <= expected:
        return None
    reason = state.problem or "it answers, and no new picture comes"
    return Alarm(
        key=f"{SILENCE}{camera.camera.name}",
        kind=MessageKind.SILENCE,
        text=f"no new picture for more than {camera.camera.expect_every_s:g} s: {reason}",
        began=state.last_picture or since,
        camera=camera.camera.name,
        time_zone=camera.camera.time_zone,
    )


def is_unsure(camera: WatchedCamera, state: CameraState) -> bool:
    """Can it not be told whether the camera is silent? It is off, or has just begun to be watched."""
    since = camera.active_since
    return since is None or state.last_picture is None or state.last_picture < since


class WatchAlarms:
    """The alarms of one process. Others that watch other cameras may use the same database."""

    def __init__(
        self,
        engine: Engine,
        outbox: Outbox,
        cameras: Callable[[], Cameras],
        claims: CameraClaims,
        log_problem: Callable[[], str | None],
    ) -> None:
        """cameras: those of cameras.yaml now, which say who gets their alarms. log_problem: of the prediction log."""
        self._cameras, self._claims, self._log_problem = cameras, claims, log_problem
        self._book = AlarmBook(engine, outbox, SOURCE, self._channels)
        self._notify: dict[str, Sequence[str]] = {}  # also of cameras that are gone, whose alarms end
        self._log_stopped: datetime | None = None

    def _channels(self, camera: str | None) -> Sequence[str]:
        """Who gets alarms of a camera; those of none go to everybody."""
        cameras = self._cameras()
        if camera is None:
            return tuple(dict.fromkeys(name for each in cameras.each() for name in each.notify))
        if (settings := cameras.get(camera)) is not None:
            self._notify[camera] = settings.notify
        return self._notify.get(camera, ())

    def update(self, watched: Iterable[WatchedCamera], latest: Iterable[CameraState], now: datetime) -> None:
        """Say what is wrong now. latest: their states. Raises UnreachableError."""
        by_name = {state.camera: state for state in latest}
        cameras = {camera.camera.name: camera for camera in watched}
        states = {name: (camera, by_name[name]) for name, camera in cameras.items() if name in by_name}
        alarms = [alarm for camera, state in states.values() if (alarm := silence_of(camera, state, now)) is not None]
        if (stopped := self._stopped_log(min(cameras, default=""), now)) is not None:
            alarms.append(stopped)

        def is_unknown(key: str) -> bool:
            name = key.partition("/")[2]
            if name not in cameras:
                return self._claims.is_elsewhere(name)
            return key.startswith(SILENCE) and (name not in states or is_unsure(*states[name]))

        self._book.update(alarms, now, now, is_unknown)

    def _stopped_log(self, key: str, now: datetime) -> Alarm | None:
        """The alarm of a prediction log that cannot be written. key: a camera of this process."""
        reason = self._log_problem()
        if reason is None:
            self._log_stopped = None
            return None
        self._log_stopped = self._log_stopped or now
        text = f"the prediction log cannot be written, scoring goes on: {reason}"
        return Alarm(key=f"{LOG}{key}", kind=MessageKind.LOG, text=text, began=self._log_stopped)
