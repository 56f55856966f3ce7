"""Since when an alarm goes on: an alarm that earlier windows had keeps its beginning."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from pydantic import AwareDatetime, BaseModel, Field

from headhunt_svc.monitoring.verdicts import SILENCE, CameraVerdict, Status


class EarlierCamera(BaseModel):
    """What is read of a camera in an earlier verdict."""

    status: Status
    kind: str | None = None
    since: AwareDatetime | None = None
    waiting: dict[str, AwareDatetime] = Field(default_factory=dict)

    @property
    def alarms(self) -> Mapping[str, datetime]:
        """The alarms that were open, each with its beginning."""
        if self.kind is None or self.since is None:
            return self.waiting
        alarm = SILENCE if self.status in ("silent", "no data") else self.kind
        return {**self.waiting, alarm: self.since}


def dated(verdict: CameraVerdict, earlier: EarlierCamera | None) -> CameraVerdict:
    """The verdict with the beginning of its alarm, and with the alarms of which it cannot tell whether they go on."""
    alarms = {} if earlier is None else earlier.alarms
    waiting = {name: since for name, since in alarms.items() if not verdict.can_tell(name)}
    since = verdict.since if verdict.alarm is None else alarms.get(verdict.alarm, verdict.since)
    return replace(verdict, since=since, waiting=waiting)
