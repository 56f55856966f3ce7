"""Since when an alarm goes on: an alarm that earlier windows had keeps its beginning."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from headhunt_svc.monitoring.verdicts import CameraVerdict


def _open_alarms(verdict: CameraVerdict) -> Mapping[str, datetime]:
    """The alarms that were open after a window, each with its beginning."""
    if verdict.alarm is None or verdict.since is None:
        return verdict.waiting
    return {**verdict.waiting, verdict.alarm: verdict.since}


def dated(verdict: CameraVerdict, earlier: CameraVerdict | None) -> CameraVerdict:
    """The verdict with the beginning of its alarm, and with the alarms of which it cannot tell whether they go on."""
    alarms = {} if earlier is None else _open_alarms(earlier)
    waiting = {name: since for name, since in alarms.items() if not verdict.can_tell(name)}
    since = verdict.since if verdict.alarm is None else alarms.get(verdict.alarm, verdict.since)
    return replace(verdict, since=since, waiting=waiting)
