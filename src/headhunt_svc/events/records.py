"""An event as every part of the package writes and reads it; also the wire format of /v1/events."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from headhunt_svc.errors import ConfigError
from headhunt_svc.names import CameraName, VideoId, printable

Origin = Literal["live", "job", "service", "detect", "archive", "manual", "question"]
QUESTION: Literal["question"] = "question"  # a segment that somebody was asked about (feedback/questions.py), no alarm
Utc = Annotated[AwareDatetime, AfterValidator(lambda time: time.astimezone(UTC))]
Spans = tuple[tuple[datetime, datetime], ...]  # in UTC, starts and stops
MOST_NOTE, MOST_BY = 4000, 200  # characters


def plain(text: str) -> str:
    """Text of several lines that every database can store and every terminal can show (names.printable)."""
    return "\n".join(printable(line) for line in text.splitlines())


Text = Annotated[str, AfterValidator(plain)]


class EventState(StrEnum):
    """What people have said about an event."""

    NEW = "new"
    ACKNOWLEDGED = "acknowledged"
    FALSE_ALARM = "false_alarm"
    CONFIRMED = "confirmed"


class Tool(StrEnum):
    """Annotation tools that events can be given to."""

    LABEL_STUDIO = "label-studio"
    CVAT = "cvat"


class TimeBasis(StrEnum):
    """Where the UTC time of an event comes from, the best first.

    stream: the clock of the live stream. file_name: a time in the file's name. container: the creation time in the
    file. modified: the time when the file was last written, taken for the end of its footage. log: that of the
    prediction log: of recording where it knows that, else of scoring.
    """

    STREAM = "stream"
    FILE_NAME = "file_name"
    CONTAINER = "container"
    MODIFIED = "modified"
    LOG = "log"

    @property
    def compares_files(self) -> bool:
        """Do times of different files with this basis say which footage follows which? Copying changes the others."""
        return self in (TimeBasis.STREAM, TimeBasis.FILE_NAME)


class NewEvent(BaseModel):
    """An event that is to be stored.

    stop: None while it goes on. peak: when the score was highest. start_s: of a file, the event's start in it, in
    seconds from its first picture. contributions: of the heads at the peak, as in a report. key: names footage,
    detector and start; what is scored twice is stored once. time_zone: how times are shown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    camera: Annotated[str, AfterValidator(CameraName)]
    video_id: Annotated[str, AfterValidator(VideoId)]
    start: Utc
    stop: Utc | None
    peak: Utc
    time_basis: TimeBasis
    score: float = Field(ge=0, le=1)
    threshold: float = Field(ge=0, le=1)
    detector_id: str
    contributions: tuple[float, ...]
    origin: Origin
    key: str = Field(min_length=1, max_length=128)
    time_zone: str = "UTC"
    source: Text | None = None  # path or URI of the file
    start_s: float | None = None
    description: Text | None = None

    @model_validator(mode="after")
    def _in_order(self) -> "NewEvent":
        if self.stop is not None and not self.start <= self.stop:
            raise ValueError("stop is before start")
        return self


class EventRecord(NewEvent):
    """A stored event. id: sorts by when it was stored. picture, clip, features, places: is there one?

    clip_start: when the first picture of the clip is; None where that is not known. interrupted: what scored it ended
    before the event did. described, described_by: when and by whom the model was asked for the description afterwards.
    """

    id: str
    created: Utc
    state: EventState = EventState.NEW
    note: str = ""
    marked_by: str | None = None
    marked: Utc | None = None
    picture: bool = False
    clip: bool = False
    clip_start: Utc | None = None
    features: bool = False
    places: bool = False
    described: Utc | None = None
    described_by: str | None = None
    interrupted: bool = False

    @property
    def cursor(self) -> str:
        """Its place in a list, for `EventStore.list(after=...)`."""
        return f"{_microseconds(self.start)}.{self.id}"


class EventFilter(BaseModel):
    """Which events are listed; a field that is None leaves none out. since <= start < until.

    questions: also the segments that people were asked about (origin question)?
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    camera: Annotated[str, AfterValidator(CameraName)] | None = None
    video_id: Text | None = None
    state: EventState | None = None
    since: Utc | None = None
    until: Utc | None = None
    min_score: float | None = Field(default=None, ge=0, le=1)
    detector_id: Text | None = None
    origin: Origin | None = None
    questions: bool = True


class Mark(BaseModel):
    """One change of an event by a person. spans: what of it happened, where they have corrected that."""

    model_config = ConfigDict(frozen=True)

    time: Utc
    by: str
    state: EventState
    note: str
    spans: tuple[tuple[Utc, Utc], ...] | None = None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _microseconds(time: datetime) -> int:
    since = time - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def place_of(cursor: str) -> tuple[datetime, str]:
    """The start and the id of the event that `EventRecord.cursor` stands for. Raises ConfigError."""
    start, dot, event_id = cursor.partition(".")
    try:
        if not dot or not cursor.isascii() or not cursor.isprintable():
            raise ValueError(cursor)
        return _EPOCH + timedelta(microseconds=int(start)), event_id
    except (ValueError, OverflowError) as exc:
        raise ConfigError(f"{cursor!r} is no place in a list of events: use `next` of the page before") from exc
