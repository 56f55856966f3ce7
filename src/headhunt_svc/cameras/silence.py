"""Alarms of a process that watches cameras: no pictures of a camera, and a prediction log that is not written."""

from datetime import datetime, timedelta

from headhunt_svc.cameras.status import CameraState
from headhunt_svc.cameras.watched import WatchedCamera
from headhunt_svc.notify.alarms import Alarm
from headhunt_svc.notify.messages import MessageKind

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


def stopped_log(key: str, reason: str, since: datetime) -> Alarm:
    """The alarm of a prediction log that cannot be written."""
    text = f"the prediction log cannot be written, scoring goes on: {reason}"
    return Alarm(key=f"{LOG}{key}", kind=MessageKind.LOG, text=text, began=since)
