"""Stores events: live, jobs, archives, the service and `detect --events` all write through `EventStore.add`.

Every change is one transaction. Files are written before the row that names them, so a row never names a file that is
missing; what a crash leaves behind is removed by `purge`.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Literal, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from headhunt_svc.errors import ArtifactError, ConfigError
from headhunt_svc.events.database import connect
from headhunt_svc.events.features import EventFeatures, load_features
from headhunt_svc.events.media import Media
from headhunt_svc.events.places import SUFFIX as PLACES
from headhunt_svc.events.places import Places, load_places
from headhunt_svc.events.records import (
    MOST_BY,
    QUESTION,
    EventFilter,
    EventRecord,
    EventState,
    Mark,
    NewEvent,
    Spans,
    place_of,
    plain,
)
from headhunt_svc.events.retention import Purge, Purged
from headhunt_svc.events.row_files import RowFiles
from headhunt_svc.events.rows import add_mark, checked_words, conditions, grow, insert, near, record_of
from headhunt_svc.events.tables import EventRow, MarkRow, PartRow
from headhunt_svc.names import printable
from headhunt_svc.settings import EventSettings
from headhunt_svc.storage.audit import audit
from headhunt_svc.storage.retention import Retention
from headhunt_svc.storage.sql import WRITES, database_errors

logger = logging.getLogger(__name__)
PAGE = 100
AUDIT = "audit.jsonl"  # in the folder of the events
_KEYS = 500  # in one query
Records: TypeAlias = list[EventRecord]  # the class has a method `list`
Marks: TypeAlias = list[Mark]
Change = Literal["opened", "grew", "closed", "joined"]
Loaded = TypeVar("Loaded")
Listener = Callable[[Session, EventRecord, Change], None]  # called within the transaction of the change
_LATEST = tuple(sa.select(sa.func.max(of)) for of in (EventRow.created, MarkRow.id, EventRow.described))
_CAMERA_LOCK = 7_411_902  # the class of PostgreSQL's advisory locks of cameras


class NoSuchEventError(ConfigError):
    """No event has this id."""


class EventStore:
    """The events of a folder or database; use it in a `with`. Threads may share it.

    Every method raises UnreachableError where the database does not answer, and OutputError where a file cannot be
    written.
    """

    def __init__(self, engine: Engine, settings: EventSettings, changed: Listener | None = None) -> None:
        self.settings, self.media = settings, Media(settings.folder)
        self._engine, self._changed, self._files = engine, changed, RowFiles(self.media)
        self._writing_engine = engine.execution_options(**WRITES)
        self._retention = Retention(settings.keep_days)

    @classmethod
    def open(cls, settings: EventSettings, changed: Listener | None = None) -> "EventStore":
        """Open the events, with all tables.

        changed: called with every event that opens, grows or closes, in the transaction that stores the change;
        with no question.

        Raises:
            ConfigError, OutputError, UnreachableError: see database.connect.
        """
        return cls(connect(settings), settings, changed)

    def __enter__(self) -> "EventStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close_store()

    def close_store(self) -> None:
        """Disconnect."""
        self._engine.dispose()

    @contextmanager
    def _session(self, writes: bool = False) -> Iterator[Session]:
        """One transaction."""
        with (
            database_errors(),
            Session(self._writing_engine if writes else self._engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    # what is found

    def add(
        self,
        event: NewEvent,
        *,
        merge_s: float | None,
        picture: bytes | None = None,
        features: EventFeatures | None = None,
        places: Places | None = None,
    ) -> EventRecord:
        """Store an event, or make it part of the camera's event that is closer than merge_s; returns what is stored.

        merge_s: None: it belongs to no other, however close.

        An event whose key is there already changes nothing. Only events of one detector are joined, and those of
        different files only where their times can be compared (TimeBasis.compares_files).

        picture: JPEG of the peak. places: of the peak, where they are known.
        """
        with self._session(writes=True) as session:
            self._lock_camera(session, event.camera)
            part = session.get(PartRow, event.key)
            if part is not None:
                return record_of(self._row(session, part.event_id))
            others = [] if merge_s is None else near(session, event, merge_s)
            row = others[0] if others else insert(session, event)
            session.add(PartRow(key=event.key, event_id=row.id))
            if not others:
                self._files.write(row, picture, features, True, places=places)
                return self._tell(session, row, "opened")
            was_open = row.stop is None
            for other in others[1:]:
                self._absorb(session, row, other)
            is_higher = grow(row, event)
            self._files.write(row, picture, features, is_higher, places=places)
            change: Change = "closed" if was_open and row.stop is not None else "grew"
            return self._tell(session, row, "opened" if row.stop is None and not was_open else change)

    def extend(
        self,
        event_id: str,
        *,
        stop: datetime,
        peak: datetime,
        score: float,
        contributions: Sequence[float] = (),
        picture: bytes | None = None,
        features: EventFeatures | None = None,
    ) -> EventRecord:
        """An open event goes on, at least until `stop`; peak and what belongs to it count where the score is higher.

        features: instead of those that it has.

        Raises:
            NoSuchEventError: there is none of this id.
        """
        with self._session(writes=True) as session:
            row = self._row(session, event_id, for_update=True)
            if row.stop is not None:
                row.stop = max(row.stop, stop)
            row.seen = max(row.seen, stop)
            is_higher = score > row.score
            if is_higher:
                row.score, row.peak, row.contributions = score, peak, list(contributions)
            self._files.write(row, picture, features, is_higher, replaces=True)
            return self._tell(session, row, "grew")

    def close(self, event_id: str, *, stop: datetime | None, interrupted: bool = False) -> EventRecord:
        """An open event has ended. interrupted: what scored it ended first. One that is closed stays as it is.

        stop: None: as far as it is known to go.

        Raises:
            NoSuchEventError: there is none of this id.
        """
        with self._session(writes=True) as session:
            row = self._row(session, event_id, for_update=True)
            if row.stop is not None:
                return record_of(row)
            row.stop, row.interrupted = max(stop or row.seen, row.start), interrupted
            row.seen = row.stop
            return self._tell(session, row, "closed")

    def attach_clip(self, event_id: str, path: Path, begins: datetime | None = None) -> EventRecord:
        """Take over a file as the event's clip; an earlier one is replaced. begins: when its first picture is.

        Raises:
            NoSuchEventError: there is none of this id.
        """
        with self._session(writes=True) as session:
            row = self._row(session, event_id, for_update=True)
            old = row.clip
            row.clip, row.clip_start = path.suffix, begins
            self.media.copy(row.id, path)
            if old is not None and old != path.suffix:
                self.media.remove(row.id, old)
            self._files.count(row)
            record = record_of(row)
        path.unlink(missing_ok=True)  # only now: what could not be stored is tried again
        return record

    # what is read

    def get(self, event_id: str) -> EventRecord:
        """An event. Raises NoSuchEventError."""
        with self._session() as session:
            return record_of(self._row(session, event_id))

    def found(self, key: str) -> EventRecord | None:
        """The event that what was found under a key belongs to now; None: nothing was, or it is deleted."""
        query = sa.select(EventRow).join(PartRow, PartRow.event_id == EventRow.id).where(PartRow.key == key)
        with self._session() as session:
            row = session.scalar(query)
            return None if row is None else record_of(row)

    def list(self, which: EventFilter = EventFilter(), after: str | None = None, limit: int = PAGE) -> Records:
        """Events, the latest first. after: the cursor of the last one of the page before. Raises ConfigError."""
        query = sa.select(EventRow).where(*conditions(which))
        if after is not None:
            start, event_id = place_of(after)
            query = query.where(
                sa.or_(EventRow.start < start, sa.and_(EventRow.start == start, EventRow.id < event_id))
            )
        query = query.order_by(EventRow.start.desc(), EventRow.id.desc()).limit(limit)
        with self._session() as session:
            return [record_of(row) for row in session.scalars(query)]

    def stored(self, keys: Sequence[str]) -> set[str]:
        """Those of these keys that are stored."""
        pages = [keys[i : i + _KEYS] for i in range(0, len(keys), _KEYS)]
        with self._session() as session:
            return {
                key for page in pages for key in session.scalars(sa.select(PartRow.key).where(PartRow.key.in_(page)))
            }

    def open_events(self, seen_before: datetime | None = None) -> Records:
        """Events that have not ended. seen_before: only those that are not known to go on at this time or later."""
        query = sa.select(EventRow).where(EventRow.stop.is_(None)).order_by(EventRow.start, EventRow.id)
        if seen_before is not None:
            query = query.where(EventRow.seen < seen_before)
        with self._session() as session:
            return [record_of(row) for row in session.scalars(query)]

    def cameras(self) -> tuple[str, ...]:
        """The cameras that have events, by name; each is looked up in the index, so many events cost nothing."""
        names: tuple[str, ...] = ()
        with self._session() as session:
            query = sa.select(sa.func.min(EventRow.camera))
            while (name := session.scalar(query.where(EventRow.camera > names[-1]) if names else query)) is not None:
                names += (name,)
        return names

    def version(self, open_since: datetime) -> str:
        """A text that changes when an event is stored, marked or described or, if it began after open_since, grows."""
        is_open = sa.and_(EventRow.start >= open_since, EventRow.stop.is_(None))
        with self._session() as session:
            last, mark, described = (session.scalar(query) for query in _LATEST)
            going_on = session.execute(sa.select(sa.func.count(), sa.func.max(EventRow.seen)).where(is_open)).one()
        return f"{last} {mark} {described} {going_on[0]} {going_on[1]}"

    def marks(self, event_id: str) -> Marks:
        """What people have said about an event, the oldest first. Raises NoSuchEventError."""
        query = sa.select(MarkRow).where(MarkRow.event_id == event_id).order_by(MarkRow.id)
        with self._session() as session:
            self._row(session, event_id)
            return [Mark.model_validate(row, from_attributes=True) for row in session.scalars(query)]

    def picture(self, event_id: str) -> Path | None:
        """The JPEG of an event's peak, if it has one. Raises NoSuchEventError."""
        return self.media.path(event_id, ".jpg") if self.get(event_id).picture else None

    def clip(self, event_id: str) -> Path | None:
        """The clip of an event, if it has one. Raises NoSuchEventError."""
        with self._session() as session:
            suffix = self._row(session, event_id).clip
        return None if suffix is None else self.media.path(event_id, suffix)

    def features(self, event_id: str) -> EventFeatures | None:
        """The features of an event; None where it has none, or is deleted. Raises ArtifactError: they are damaged."""
        return self._loaded(event_id, lambda event: event.features, ".safetensors", load_features)

    def places(self, event_id: str) -> Places | None:
        """Which places spoke for an event, if that is known, as `features`. Raises ArtifactError: they are damaged."""
        return self._loaded(event_id, lambda event: event.places, PLACES, load_places)

    def _loaded(
        self, event_id: str, has_file: Callable[[EventRecord], bool], suffix: str, load: Callable[[Path], Loaded]
    ) -> Loaded | None:
        """What a file of an event holds. A purge of another process may delete the event, or first its file."""
        try:
            if not has_file(self.get(event_id)):
                return None
        except NoSuchEventError:
            return None
        path = self.media.path(event_id, suffix)
        try:
            return load(path)
        except ArtifactError as exc:
            if not path.exists():
                logger.warning("%s is gone: somebody has deleted it", path)
                return None
            raise ArtifactError(f"{path}: {exc}") from exc

    # what people do

    def describe(self, event_id: str, text: str, by: str, places: Places | None = None) -> EventRecord:
        """Store what the model says about an event, and which places spoke for it; the audit log says who asked.

        places: None leaves those that it has.

        Raises:
            NoSuchEventError: there is none of this id.
        """
        by, text = printable(by)[:MOST_BY], plain(text)
        with self._session(writes=True) as session:
            row = self._row(session, event_id, for_update=True)
            audit(self.settings.folder / AUDIT, what="description", event=event_id, text=text, by=by)
            row.description, row.described, row.described_by = text, datetime.now(UTC), by
            if places is not None:
                self._files.write_places(row, places)
            return record_of(row)

    def mark(
        self, event_id: str, state: EventState, by: str, note: str | None = None, spans: Spans | None = None
    ) -> EventRecord:
        """Say what an event was. note: None leaves the note as it is.

        spans: what of it happened, instead of all of it; None leaves them as they are. A false alarm has none.

        Raises:
            NoSuchEventError: there is none of this id. ConfigError: note or name are too long.
        """
        note, by = checked_words(note, by)
        now = datetime.now(UTC)
        with self._session(writes=True) as session:
            row = self._row(session, event_id, for_update=True)
            row.state, row.marked_by, row.marked = state.value, by, now
            row.note = row.note if note is None else note
            add_mark(session, row, now, spans)
            return record_of(row)

    def purge(self, now: datetime | None = None, trust_clock: bool = False) -> Purged:
        """Delete what is too old, and the oldest clips and pictures beyond the size that is kept (events/retention.py).

        trust_clock: also where all that is there is too old, or the clock of this process has jumped ahead.
        """
        retention = Retention(math.inf) if trust_clock else self._retention
        with self._session(writes=True) as session:
            purged = Purge(session, self.media, self.settings, now or datetime.now(UTC)).run(retention)
        if purged:
            logger.info("events: %s", purged)
        if purged.marked:
            days = self.settings.keep_marked_days
            logger.warning("%d confirmed events or false alarms were deleted after %g days", purged.marked, days)
        return purged

    # within a transaction

    def _tell(self, session: Session, row: EventRow, change: Change) -> EventRecord:
        record = record_of(row)
        if self._changed is not None and row.origin != QUESTION:
            session.flush()
            self._changed(session, record, change)
        return record

    def _lock_camera(self, session: Session, camera: str) -> None:
        """One writer for each camera, or two would store the same event; SQLite has one writer anyway."""
        if self._engine.dialect.name == "postgresql":
            lock = sa.select(sa.func.pg_advisory_xact_lock(_CAMERA_LOCK, sa.func.hashtext(camera)))
            session.execute(lock)

    def _row(self, session: Session, event_id: str, for_update: bool = False) -> EventRow:
        is_text = event_id.isprintable() and event_id.isascii()  # no database is asked for a zero byte
        row = session.get(EventRow, event_id, with_for_update=for_update or None) if is_text else None
        if row is None:
            raise NoSuchEventError(f"there is no event {event_id!r}: `headhunt events list` shows which there are")
        return row

    def _absorb(self, session: Session, row: EventRow, other: EventRow) -> None:
        """Two events that a third one joins become one; a listener is told of the one that is gone ("joined")."""
        row.start = min(row.start, other.start)
        row.stop = None if row.stop is None or other.stop is None else max(row.stop, other.stop)
        row.seen = max(row.seen, other.seen)
        row.interrupted = row.interrupted or other.interrupted
        row.note = "\n".join(note for note in (row.note, other.note) if note)
        features = self._files.features(other)
        if other.score > row.score:
            row.score, row.peak, row.contributions = other.score, other.peak, other.contributions
            row.description = other.description or row.description
            places = self._files.places(other)
            self._files.write(row, self._files.picture(other), features, True, places=places)
        else:
            self._files.write(row, None, features, False)
        for table in (PartRow, MarkRow):
            session.execute(sa.update(table).where(table.event_id == other.id).values(event_id=row.id))
        self._tell(session, other, "joined")
        session.delete(other)
        session.flush()
