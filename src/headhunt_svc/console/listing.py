"""The list of events: what the page's filters mean, and its rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from headhunt_svc.console.clock import Moment, moment
from headhunt_svc.console.links import address
from headhunt_svc.console.pages import length_of
from headhunt_svc.errors import ConfigError
from headhunt_svc.events.records import QUESTION, EventFilter, EventRecord, EventState
from headhunt_svc.events.store import EventStore
from headhunt_svc.sections import first_problem

PAGE = 50
FIELDS = ("camera", "state", "since", "until", "min_score", "what")


@dataclass(frozen=True, slots=True)
class Filters:
    """What somebody has typed, as it was typed; times without a zone are those of `zone`.

    what: `question` for the segments that people were asked about instead of alarms.
    """

    camera: str = ""
    state: str = ""
    since: str = ""
    until: str = ""
    min_score: str = ""
    what: str = ""
    after: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Filters":
        """Of the address of the page."""
        return cls(**{name: query.get(name, "").strip() for name in (*FIELDS, "after")})

    def as_filter(self, zone: str) -> EventFilter:
        """For the store. Raises ConfigError: something is no time, score or state."""
        try:
            return EventFilter(
                camera=self.camera or None,
                state=EventState(self.state) if self.state else None,
                since=_time(self.since, zone),
                until=_time(self.until, zone),
                min_score=float(self.min_score.replace(",", ".")) if self.min_score else None,
                origin=QUESTION if self.what == QUESTION else None,
                questions=self.what == QUESTION,
            )
        except ValidationError as exc:
            raise ConfigError(f"the filter cannot be used: {first_problem(exc)}") from exc
        except ValueError as exc:
            raise ConfigError(f"the filter cannot be used: {exc}") from exc

    def link(self, after: str = "") -> str:
        """The address of this list from a place on."""
        fields: dict[str, str | None] = {name: getattr(self, name) for name in FIELDS}
        return address("/events", fields | {"after": after})


def _time(text: str, zone: str) -> datetime | None:
    return local_time(text, zone) if text else None


def local_time(text: str, zone: str) -> datetime:
    """A time that somebody has typed; without a zone it is of this one. Raises ValueError."""
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=ZoneInfo(zone)) if time.tzinfo is None else time


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event in the list."""

    record: EventRecord
    start: Moment
    length: str


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of the list. newer, older: addresses; None where there is nothing."""

    rows: tuple[EventRow, ...]
    older: str | None
    newest: str | None


def listing(store: EventStore, filters: Filters, zone: str) -> Listing:
    """The events that the filters leave, the latest first. Raises ConfigError."""
    records = store.list(filters.as_filter(zone), filters.after or None, PAGE + 1)
    page = records[:PAGE]
    rows = tuple(EventRow(r, moment(r.start, r.time_zone), length_of(r.start, r.stop)) for r in page)
    return Listing(
        rows,
        filters.link(page[-1].cursor) if len(records) > PAGE else None,
        filters.link() if filters.after else None,
    )
