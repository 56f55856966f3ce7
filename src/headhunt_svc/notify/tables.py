"""The tables of notifications: messages on their way, and alarms."""

from datetime import datetime

from sqlalchemy import Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from headhunt_svc.storage.sql import Base, UtcTime


class DeliveryRow(Base):
    """A message for one channel. state: waiting, sent, given_up, held_back (error then says why)."""

    __tablename__ = "notify_deliveries"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    delivery_id: Mapped[str] = mapped_column(String(140))
    message_id: Mapped[str] = mapped_column(String(128))
    channel: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(16))
    phase: Mapped[str] = mapped_column(String(8))
    camera: Mapped[str | None] = mapped_column(String(800))
    message: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16))
    created: Mapped[datetime] = mapped_column(UtcTime)
    due: Mapped[datetime] = mapped_column(UtcTime)
    attempts: Mapped[int]
    error: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        UniqueConstraint("delivery_id", "channel"),
        Index(None, "state", "due"),
        Index(None, "message_id", "channel"),
        Index(None, "camera", "channel"),
    )


class AlarmRow(Base):
    """An alarm. source: what looks for it; key: what it is, among the alarms of the source. is_open: true, or null.

    checked: when the source last said whether it goes on.
    """

    __tablename__ = "notify_alarms"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    source: Mapped[str] = mapped_column(String(64))
    key: Mapped[str] = mapped_column(String(1000))
    kind: Mapped[str] = mapped_column(String(16))
    camera: Mapped[str | None] = mapped_column(String(800))
    text: Mapped[str] = mapped_column(Text)
    time_zone: Mapped[str] = mapped_column(String(64))
    began: Mapped[datetime] = mapped_column(UtcTime)
    checked: Mapped[datetime] = mapped_column(UtcTime)
    ended: Mapped[datetime | None] = mapped_column(UtcTime)
    is_open: Mapped[bool | None]

    __table_args__ = (UniqueConstraint("source", "key", "is_open"),)  # null differs from null: one open one of a key
