"""Cameras that are silent: no rows in the window, or none for longer than cameras.yaml expects."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from headhunt_svc.monitoring.verdicts import FLEET, CameraVerdict
from headhunt_svc.prediction_log.windows import Window

STEP = timedelta(minutes=1)  # hours of cameras.yaml are given to the minute
WRITING = timedelta(minutes=1)  # what smoothing, queue and writer of the log may take until a segment is in it


def _always(_: datetime) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Expected:
    """How often a camera is heard of. is_active: is it scored at this time? Other times are no silence."""

    every: timedelta
    is_active: Callable[[datetime], bool] = _always

    def is_overdue(self, last: datetime, now: datetime) -> bool:
        """Has the camera been active for longer than `every` since its last row?"""
        silent, time = timedelta(), last
        while time < now and silent <= self.every + WRITING:
            step = min(STEP, now - time)
            silent += step if self.is_active(time) else timedelta()
            time += step
        return silent > self.every + WRITING


def with_silence(
    verdicts: Mapping[str, CameraVerdict],
    window: Window,
    expected: Mapping[str, Expected],
    last_before: Callable[[str], datetime | None],
) -> dict[str, CameraVerdict]:
    """The same verdicts, in which silent cameras say so, since when, and are an alarm.

    expected: of the cameras of cameras.yaml; others are silent if they have no rows in the window. last_before: the
    last row of a camera before the window.
    """
    return {
        name: verdict if name == FLEET else _with_silence(verdict, window, expected.get(name), last_before)
        for name, verdict in verdicts.items()
    }


def _with_silence(
    verdict: CameraVerdict, window: Window, expected: Expected | None, last_before: Callable[[str], datetime | None]
) -> CameraVerdict:
    rows = window.cameras.get(verdict.camera)
    if rows is not None and expected is None:
        return verdict
    last = last_before(verdict.camera) if rows is None else rows.last
    since = last or window.start
    if expected is not None and not expected.is_overdue(since, window.stop):
        return verdict if rows is not None else replace(verdict, why=f"{verdict.why}; none was expected")
    has = "no segment of this detector in the log" if last is None else f"no segment since {last:%Y-%m-%d %H:%M:%S} UTC"
    limit = "" if expected is None else f", one is expected every {expected.every.total_seconds():g} s"
    without = "" if verdict.baseline else "; it has no baseline"
    return replace(verdict, status="silent", kind="pipeline", since=since, why=f"{has}{limit}{without}")
