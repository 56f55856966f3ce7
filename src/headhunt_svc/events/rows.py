"""Rows of events within a transaction: which belong together, how one is made and how it grows."""

import secrets
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from headhunt_svc.errors import ConfigError
from headhunt_svc.events.records import (
    MOST_BY,
    MOST_NOTE,
    QUESTION,
    EventFilter,
    EventRecord,
    EventState,
    NewEvent,
    Spans,
    TimeBasis,
    plain,
)
from headhunt_svc.events.tables import EventRow, MarkRow
from headhunt_svc.names import printable


def new_id() -> str:
    """An id that sorts by time: a UUID of version 7 (RFC 9562), which Python has from 3.14 on."""
    number = int(time.time() * 1000) << 80 | secrets.randbits(80)
    number = number & ~(0xF << 76) | 0x7 << 76
    text = f"{number & ~(0x3 << 62) | 0x2 << 62:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def record_of(row: EventRow) -> EventRecord:
    """A row as a record."""
    fields = {name: getattr(row, name) for name in EventRecord.model_fields if name not in ("contributions", "clip")}
    return EventRecord(**fields, contributions=tuple(row.contributions), clip=row.clip is not None)


def near(session: Session, event: NewEvent, merge_s: float) -> Sequence[EventRow]:
    """The events that this one belongs to: first one that a person has marked, then the earliest."""
    distance = timedelta(seconds=merge_s)
    conditions = [
        EventRow.camera == event.camera,
        EventRow.detector_id == event.detector_id,
        EventRow.origin != QUESTION,
        sa.func.coalesce(EventRow.stop, EventRow.seen) > event.start - distance,
        EventRow.start < (event.stop or event.peak) + distance,
    ]
    of_this_file = EventRow.video_id == event.video_id
    if event.time_basis.compares_files:
        comparable = [basis.value for basis in TimeBasis if basis.compares_files]
        conditions.append(sa.or_(of_this_file, EventRow.time_basis.in_(comparable)))
    else:
        conditions += [of_this_file, EventRow.time_basis == event.time_basis.value]
    is_new = EventRow.state == EventState.NEW.value
    query = sa.select(EventRow).where(*conditions).order_by(is_new, EventRow.start, EventRow.id)
    return session.scalars(query).all()


def insert(session: Session, event: NewEvent) -> EventRow:
    """Store an event that belongs to no other."""
    fields = event.model_dump()
    fields |= {"contributions": list(event.contributions), "time_basis": event.time_basis.value}
    row = EventRow(
        **fields,
        id=new_id(),
        seen=event.stop or event.peak,
        created=datetime.now(UTC),
        state=EventState.NEW.value,
        note="",
        picture=False,
        features=False,
        places=False,
        interrupted=False,
        media_bytes=0,
    )
    session.add(row)
    session.flush()
    return row


def grow(row: EventRow, event: NewEvent) -> bool:
    """Make an event reach as far as one that belongs to it; returns whether that one's peak is the higher one."""
    row.start = min(row.start, event.start)
    row.stop = None if row.stop is None or event.stop is None else max(row.stop, event.stop)
    row.seen = max(row.seen, event.stop or event.peak)
    is_higher = event.score > row.score
    if is_higher:
        row.score, row.peak, row.contributions = event.score, event.peak, list(event.contributions)
        row.description = event.description or row.description
    return is_higher


def checked_words(note: str | None, by: str) -> tuple[str | None, str]:
    """A note and the name of its author as they are stored. Raises ConfigError: too long."""
    note, by = None if note is None else plain(note), printable(by)
    if note is not None and len(note) > MOST_NOTE:
        raise ConfigError(f"a note has at most {MOST_NOTE} characters, this one {len(note)}")
    if len(by) > MOST_BY:
        raise ConfigError(f"the name of who says so has at most {MOST_BY} characters, this one {len(by)}")
    return note, by


def add_mark(session: Session, row: EventRow, now: datetime, spans: Spans | None) -> None:
    """Keep what somebody has just said about an event; without spans, those of the mark before stay."""
    if row.state == EventState.FALSE_ALARM:
        stored = None
    elif spans is None:
        query = sa.select(MarkRow.spans).where(MarkRow.event_id == row.id).order_by(MarkRow.id.desc()).limit(1)
        stored = session.scalar(query)
    else:
        stored = [[time.isoformat() for time in span] for span in spans]
    mark = MarkRow(event_id=row.id, time=now, by=row.marked_by, state=row.state, note=row.note, spans=stored)
    session.add(mark)


def conditions(which: EventFilter) -> Iterator[sa.ColumnElement[bool]]:
    """What a filter says in SQL."""
    equal = {
        EventRow.camera: which.camera,
        EventRow.video_id: which.video_id,
        EventRow.state: None if which.state is None else which.state.value,
        EventRow.detector_id: which.detector_id,
        EventRow.origin: which.origin,
    }
    yield from (column == value for column, value in equal.items() if value is not None)
    if not which.questions and which.origin != QUESTION:
        yield EventRow.origin != QUESTION
    if which.since is not None:
        yield EventRow.start >= which.since
    if which.until is not None:
        yield EventRow.start < which.until
    if which.min_score is not None:
        yield EventRow.score >= which.min_score
