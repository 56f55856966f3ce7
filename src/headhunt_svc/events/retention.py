"""Deletes old events, and the oldest clips and pictures beyond a size.

What people have marked as confirmed or as a false alarm is what feedback learns from: such events stay longer, with
their features; their pictures and clips show people, and go when those of other events do.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from headhunt_svc.events.media import Media
from headhunt_svc.events.places import SUFFIX as PLACES
from headhunt_svc.events.records import EventState
from headhunt_svc.events.row_files import RowFiles
from headhunt_svc.events.tables import EventRow
from headhunt_svc.settings import EventSettings
from headhunt_svc.storage.retention import Retention

_ORPHAN_S = 3600.0  # a file whose event is not stored by then was left by a crash
_UNFINISHED_S = 86_400.0  # the same of a clip of a live camera, which may be long
_PAGE = 500
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Purged:
    """How much was deleted: events with all their files; clips and pictures of events that stay; files of no event.

    marked: how many of the events people had marked as confirmed or as a false alarm. waits: nothing was deleted for
    its age, because the clock seems to have jumped ahead.
    """

    events: int = 0
    marked: int = 0
    clips: int = 0
    pictures: int = 0
    orphans: int = 0
    waits: bool = False

    def __bool__(self) -> bool:
        """Was anything deleted?"""
        return any((self.events, self.clips, self.pictures, self.orphans))


class Purge:
    """One deletion, within a transaction. Events that go on are kept.

    Files go before the rows that name them: after a crash in between, the row goes next time.
    """

    def __init__(self, session: Session, media: Media, settings: EventSettings, now: datetime) -> None:
        self._session, self._media, self._settings, self._now = session, media, settings, now
        self._files = RowFiles(media)
        self._ended = EventRow.stop.is_not(None)
        self._marked = EventRow.state.in_([EventState.CONFIRMED.value, EventState.FALSE_ALARM.value])
        self._events = self._n_marked = self._clips = self._pictures = 0

    def run(self, retention: Retention) -> Purged:
        """Delete what is too old, as far as the clock is believed, then clips and pictures beyond keep_bytes."""
        is_believed = retention.may_remove(self._now.timestamp() / _DAY_S, self._latest_day())
        if is_believed:
            self._delete_old()
        self._delete_beyond_size()
        orphans = self._delete_orphans() if is_believed else 0
        return Purged(self._events, self._n_marked, self._clips, self._pictures, orphans, not is_believed)

    def _latest_day(self) -> float | None:
        """When the latest event was stored, except by a clock that was ahead."""
        query = sa.select(sa.func.max(EventRow.created)).where(EventRow.created <= self._now)
        latest = self._session.scalar(query)
        return None if latest is None else latest.astimezone(UTC).timestamp() / _DAY_S

    def _before(self, days: float) -> sa.ColumnElement[bool]:
        try:
            return EventRow.created < self._now - timedelta(days=days)
        except OverflowError:  # before the year 1
            return sa.false()

    def _delete_old(self) -> None:
        settings = self._settings
        old = self._before(settings.keep_days)
        kept_days = max(settings.keep_marked_days, settings.keep_days)
        gone = sa.or_(sa.and_(~self._marked, old), sa.and_(self._marked, self._before(kept_days)))
        for row in self._session.scalars(sa.select(EventRow).where(self._ended, gone)):
            for suffix in (row.clip, ".jpg", ".safetensors", PLACES):
                if suffix is not None:
                    self._media.remove(row.id, suffix)
            self._n_marked += row.state in (EventState.CONFIRMED.value, EventState.FALSE_ALARM.value)
            self._session.delete(row)
            self._events += 1
        self._session.flush()
        has_media = sa.or_(EventRow.clip.is_not(None), EventRow.picture, EventRow.places)
        for row in self._session.scalars(sa.select(EventRow).where(self._ended, old, has_media)):
            self._delete_clip(row)
            self._delete_picture(row)
        self._session.flush()

    def _delete_clip(self, row: EventRow) -> None:
        if row.clip is not None:
            self._media.remove(row.id, row.clip)
            row.clip = row.clip_start = None
            self._files.count(row)
            self._clips += 1

    def _delete_picture(self, row: EventRow) -> None:
        if row.picture or row.places:
            for suffix in (".jpg", PLACES):
                self._media.remove(row.id, suffix)
            row.picture = row.places = False
            self._files.count(row)
            self._pictures += 1

    def _delete_beyond_size(self) -> None:
        """Clips before pictures, those of marked events last, the oldest first."""
        used = self._session.scalar(sa.select(sa.func.coalesce(sa.func.sum(EventRow.media_bytes), 0))) or 0
        oldest = sa.select(EventRow).where(self._ended).order_by(self._marked, EventRow.created, EventRow.id)
        for has_file, delete in (
            (EventRow.clip.is_not(None), self._delete_clip),
            (sa.or_(EventRow.picture, EventRow.places), self._delete_picture),
        ):
            if used <= self._settings.keep_bytes:
                return
            for row in self._session.scalars(oldest.where(has_file)):
                before = row.media_bytes
                delete(row)
                used += row.media_bytes - before
                if used <= self._settings.keep_bytes:
                    break
            self._session.flush()

    def _delete_orphans(self) -> int:
        """Delete files of events that are not stored, and clips that nobody goes on with."""
        now = self._now.timestamp()
        old = [(event, path) for event, path, written in self._media.files() if now - written > _ORPHAN_S]
        stored: set[str] = set()
        ids = sorted({event for event, _ in old})
        for i in range(0, len(ids), _PAGE):
            stored |= set(self._session.scalars(sa.select(EventRow.id).where(EventRow.id.in_(ids[i : i + _PAGE]))))
        orphans = [path for event, path in old if event not in stored]
        orphans += [path for path, written in self._media.unfinished() if now - written > _UNFINISHED_S]
        _unlink(orphans)
        return len(orphans)


def _unlink(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
