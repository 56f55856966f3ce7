"""Deletes old events, and the oldest clips and pictures beyond a size."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from headhunt_svc.events.media import Media
from headhunt_svc.events.tables import EventRow
from headhunt_svc.settings import EventSettings

_ORPHAN_S = 3600.0  # a file whose event is not stored by then was left by a crash
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Purged:
    """How much was deleted: events with all their files; clips and pictures of events that stay; files of no event."""

    events: int
    clips: int
    pictures: int
    orphans: int


def purge(session: Session, media: Media, settings: EventSettings, now: datetime) -> Purged:
    """Delete events that were stored more than keep_days ago, then clips and pictures beyond keep_bytes.

    Events that go on are kept. Files go before the rows that name them: after a crash in between, the row goes next
    time.
    """
    ended = EventRow.stop.is_not(None)
    old = sa.select(EventRow).where(ended, EventRow.created < now - timedelta(days=settings.keep_days))
    n_events = 0
    for row in session.scalars(old):
        for suffix in (row.clip, ".jpg", ".safetensors"):
            if suffix is not None:
                media.remove(row.id, suffix)
        session.delete(row)
        n_events += 1
    session.flush()
    used = session.scalar(sa.select(sa.func.coalesce(sa.func.sum(EventRow.media_bytes), 0))) or 0
    n_clips = n_pictures = 0
    oldest = sa.select(EventRow).where(ended, EventRow.media_bytes > 0).order_by(EventRow.created, EventRow.id)
    if used > settings.keep_bytes:
        for row in session.scalars(oldest.where(EventRow.clip.is_not(None))):
            if used <= settings.keep_bytes:
                break
            assert row.clip is not None
            media.remove(row.id, row.clip)
            kept = media.size(row.id, ".jpg") if row.picture else 0
            used, row.media_bytes, row.clip = used - row.media_bytes + kept, kept, None
            n_clips += 1
        session.flush()
    if used > settings.keep_bytes:
        for row in session.scalars(oldest.where(EventRow.picture)):
            if used <= settings.keep_bytes:
                break
            media.remove(row.id, ".jpg")
            used, row.media_bytes, row.picture = used - row.media_bytes, 0, False
            n_pictures += 1
    return Purged(n_events, n_clips, n_pictures, _remove_orphans(session, media, now))


def _remove_orphans(session: Session, media: Media, now: datetime) -> int:
    """Remove files of events that are not stored."""
    old = [(event, path) for event, path, written in media.files() if now.timestamp() - written > _ORPHAN_S]
    stored: set[str] = set()
    ids = sorted({event for event, _ in old})
    for i in range(0, len(ids), _PAGE):
        stored |= set(session.scalars(sa.select(EventRow.id).where(EventRow.id.in_(ids[i : i + _PAGE]))))
    orphans = [path for event, path in old if event not in stored]
    for path in orphans:
        path.unlink(missing_ok=True)
    return len(orphans)
