"""A message to people: what has begun or ended, where and when, as text and as JSON."""

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from headhunt_svc.names import CameraName, printable

MOST_TEXT = 4000  # characters of what a message adds in words
Utc = Annotated[AwareDatetime, AfterValidator(lambda time: time.astimezone(UTC))]
Text = Annotated[str, AfterValidator(lambda text: printable(text)[:MOST_TEXT])]


def _zone(name: str) -> str:
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, OSError) as exc:  # unknown; a folder
        raise ValueError(f"{name!r} is no time zone, such as Europe/Berlin") from exc


Zone = Annotated[str, AfterValidator(_zone)]


class MessageKind(StrEnum):
    """What a message is about."""

    EVENT = "event"
    DRIFT = "drift"
    SILENCE = "silence"  # a camera from which no pictures come
    LOG = "log"  # a prediction log that is not written
    TEST = "test"


class Message(BaseModel):
    """One message. id: of the event or alarm, the same when it begins and when it ends.

    phase: has it begun or ended? An event that is over when it is stored has one message: it has begun, with a stop.
    link: the path of it below the service's address. held_back: how many of this camera's messages were left out
    before this one, because of cooldown or quiet hours.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: MessageKind
    phase: Literal["begin", "end"]
    id: str = Field(min_length=1, max_length=128)
    camera: Annotated[str, AfterValidator(CameraName)] | None = None
    start: Utc
    stop: Utc | None = None
    peak: Utc | None = None
    time_zone: Zone = "UTC"
    score: float | None = Field(default=None, ge=0, le=1)
    threshold: float | None = Field(default=None, ge=0, le=1)
    text: Text = ""
    picture: Path | None = None
    link: str | None = None
    held_back: int = Field(default=0, ge=0)

    @property
    def delivery_id(self) -> str:
        """The same for every attempt at this message, so that a receiver can drop a second copy."""
        return f"{self.id}/{self.phase}"

    @property
    def title(self) -> str:
        """One line for a subject."""
        subject = self.camera or "headhunt"
        if self.kind is MessageKind.TEST:
            return "headhunt: test message"
        if self.kind is MessageKind.EVENT:
            begun = "has begun" if self.stop is None else "was found"  # in a file: it is over
            return f"{subject}: event {begun if self.phase == 'begin' else 'has ended'}"
        what = {MessageKind.DRIFT: "drift", MessageKind.SILENCE: "no pictures", MessageKind.LOG: "log stopped"}
        return f"{subject}: {what[self.kind]}" if self.phase == "begin" else f"resolved: {subject}: {what[self.kind]}"

    def body(self, link: str | None = None) -> str:
        """The text, a fact a line. link: where the service is."""
        lines = [self.text] if self.text else []
        if self.score is not None:
            limit = "" if self.threshold is None else f" (threshold {self.threshold:.2f})"
            lines.append(f"score {self.score:.2f}{limit}")
        times = {"start": self.start, "highest score": self.peak, "end": self.stop}
        lines += [f"{name}: {both_times(time, self.time_zone)}" for name, time in times.items() if time is not None]
        if self.held_back:
            lines.append(f"{self.held_back} earlier of this camera left out (cooldown or quiet hours)")
        if (url := self.url(link)) is not None:
            lines.append(url)
        return "\n".join([*lines, f"id: {self.delivery_id}"])

    def url(self, link: str | None) -> str | None:
        """The address of what it is about, where the service's address is known."""
        return None if link is None or self.link is None else link.rstrip("/") + self.link

    def as_json(self, link: str | None = None) -> dict[str, Any]:
        """As a webhook has it."""
        document = self.model_dump(mode="json", exclude={"picture", "link"})
        zone = ZoneInfo(self.time_zone)
        local = {
            f"{name}_local": time.astimezone(zone).isoformat()
            for name, time in (("start", self.start), ("stop", self.stop), ("peak", self.peak))
            if time is not None
        }
        return {"delivery_id": self.delivery_id, "title": self.title, **document, **local, "link": self.url(link)}


def both_times(time: datetime, zone: str) -> str:
    """A time in the camera's zone, with UTC beside it where that differs."""
    utc, local = time.astimezone(UTC), time.astimezone(ZoneInfo(zone))
    if local.utcoffset() == utc.utcoffset():
        return f"{utc:%Y-%m-%d %H:%M:%S} UTC"
    other_day = "%Y-%m-%d " if local.date() != utc.date() else ""
    return f"{local:%Y-%m-%d %H:%M:%S %Z} ({utc.strftime(f'{other_day}%H:%M:%S')} UTC)"
