"""The tables of events."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Index, String, Text, false, text
from sqlalchemy.orm import Mapped, mapped_column

from headhunt_svc.names import MOST_ID
from headhunt_svc.storage.sql import Base, UtcTime

_IS_OPEN = text("stop IS NULL")


class EventRow(Base):
    """An event.

    clip: the ending of its file. clip_start: when its first picture is. media_bytes: of clip and pictures. seen: as far
    as it is known to go.
    """

    __tablename__ = "events"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    key: Mapped[str] = mapped_column(String(128))
    camera: Mapped[str] = mapped_column(String(800))
    video_id: Mapped[str] = mapped_column(String(MOST_ID))
    start: Mapped[datetime] = mapped_column(UtcTime)
    stop: Mapped[datetime | None] = mapped_column(UtcTime)
    seen: Mapped[datetime] = mapped_column(UtcTime)
    peak: Mapped[datetime] = mapped_column(UtcTime)
    time_basis: Mapped[str] = mapped_column(String(16))
    time_zone: Mapped[str] = mapped_column(String(64))
    score: Mapped[float] = mapped_column(Double)
    threshold: Mapped[float] = mapped_column(Double)
    detector_id: Mapped[str] = mapped_column(String(64))
    contributions: Mapped[list[Any]] = mapped_column(JSON)
    origin: Mapped[str] = mapped_column(String(16))
    source: Mapped[str | None] = mapped_column(Text)
    start_s: Mapped[float | None] = mapped_column(Double)
    description: Mapped[str | None] = mapped_column(Text)
    created: Mapped[datetime] = mapped_column(UtcTime)
    state: Mapped[str] = mapped_column(String(16))
    note: Mapped[str] = mapped_column(Text)
    marked_by: Mapped[str | None] = mapped_column(String(200))
    marked: Mapped[datetime | None] = mapped_column(UtcTime)
    picture: Mapped[bool]
    clip: Mapped[str | None] = mapped_column(String(8))
    clip_start: Mapped[datetime | None] = mapped_column(UtcTime)
    features: Mapped[bool]
    places: Mapped[bool] = mapped_column(server_default=false())
    described: Mapped[datetime | None] = mapped_column(UtcTime)
    described_by: Mapped[str | None] = mapped_column(String(200))
    interrupted: Mapped[bool]
    media_bytes: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (
        Index(None, "start", "id"),
        Index(None, "camera", "start"),
        Index(None, "created"),
        Index(None, "described"),
        Index("ix_events_open", "start", "id", sqlite_where=_IS_OPEN, postgresql_where=_IS_OPEN),
    )


class PartRow(Base):
    """What was found and belongs to an event: one, or several that were close to each other."""

    __tablename__ = "event_parts"

    key: Mapped[str] = mapped_column(String(128), primary_key=True)
    event_id: Mapped[str] = mapped_column(ForeignKey("events.id", ondelete="CASCADE"), index=True)


class MarkRow(Base):
    """A change of an event by a person. spans: what of it happened, where that was corrected: UTC times as text."""

    __tablename__ = "event_marks"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    event_id: Mapped[str] = mapped_column(ForeignKey("events.id", ondelete="CASCADE"), index=True)
    time: Mapped[datetime] = mapped_column(UtcTime)
    by: Mapped[str] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(16))
    note: Mapped[str] = mapped_column(Text)
    spans: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
