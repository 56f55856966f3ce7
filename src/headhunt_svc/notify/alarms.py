"""Alarms: what goes on for a while and is no event. One message when one begins and one when it is over.

What looks for them says each time which there are; this module compares that with the open ones in the database.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from headhunt_svc.notify.messages import Message, MessageKind
from headhunt_svc.notify.outbox import Outbox
from headhunt_svc.notify.tables import AlarmRow
from headhunt_svc.storage.sql import WRITES, database_errors


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm that there is now. key: what tells it from the other alarms of its source.

    is_covered: another alarm says the same of more cameras, so this one does not begin; if it has begun, it goes on.
    """

    key: str
    kind: MessageKind
    text: str
    began: datetime
    camera: str | None = None
    time_zone: str = "UTC"
    is_covered: bool = False


def _nothing(_: str) -> bool:
    return False


def _own_text(_: str) -> None:
    return None


class AlarmBook:
    """The alarms of one source: of a monitor, or of `watch`. Raises UnreachableError."""

    def __init__(
        self,
        engine: Engine,
        outbox: Outbox,
        source: str,
        channels: Sequence[str] | Callable[[str | None], Sequence[str]],
        formerly: str | None = None,
    ) -> None:
        """channels: that get all alarms, or those that get the alarms of a camera (None: of no single one).

        formerly: the source under which earlier versions stored these alarms, together with those of others: an open
        one belongs to the first who says that it goes on or is over.
        """
        self._engine = engine.execution_options(**WRITES)
        self._outbox, self._source, self._formerly = outbox, source, formerly
        self._channels = channels if callable(channels) else lambda _: channels

    def update(
        self,
        alarms: Sequence[Alarm],
        at: datetime,
        now: datetime,
        is_unknown: Callable[[str], bool] = _nothing,
        closing: Callable[[str], str | None] = _own_text,
    ) -> None:
        """Open the alarms that are new, and close those that are no more; each puts a message into the outbox.

        at: the time of which the alarms are; what was said of a later time stays as it is. is_unknown: can it not be
        told whether the open alarm of this key goes on? It stays open then. closing: why the alarm of this key is over,
        in place of its own text.
        """
        with database_errors(), Session(self._engine) as session, session.begin():
            if (latest := self._latest(session, now)) is not None and latest > at:
                return
            rows = {row.key: row for row in (*self._open(session, self._formerly), *self._open(session, self._source))}
            current = {alarm.key: alarm for alarm in alarms}
            for key, row in rows.items():
                if key not in current and not is_unknown(key):
                    row.text = closing(key) or row.text
                    self._end(session, row, at, now)
            for key, alarm in current.items():
                if key in rows:
                    rows[key].text, rows[key].checked, rows[key].source = alarm.text, at, self._source
                elif not alarm.is_covered:
                    self._begin(session, alarm, at, now)

    def _open(self, session: Session, source: str | None) -> Sequence[AlarmRow]:
        query = sa.select(AlarmRow).where(AlarmRow.source == source, AlarmRow.is_open.is_(True))
        return session.scalars(query.order_by(AlarmRow.began, AlarmRow.id)).all()

    def _latest(self, session: Session, now: datetime) -> datetime | None:
        """The latest time that was judged, except by a clock that was ahead."""
        query = sa.select(sa.func.max(AlarmRow.checked)).where(AlarmRow.checked <= now)
        return session.scalars(query.where(AlarmRow.source.in_({self._source, self._formerly or self._source}))).one()

    def _begin(self, session: Session, alarm: Alarm, at: datetime, now: datetime) -> None:
        row = AlarmRow(
            id=secrets.token_hex(16),
            source=self._source,
            key=alarm.key,
            kind=alarm.kind.value,
            camera=alarm.camera,
            text=alarm.text,
            time_zone=alarm.time_zone,
            began=alarm.began,
            checked=at,
            ended=None,
            is_open=True,
        )
        session.add(row)
        session.flush()
        self._outbox.put(session, _message(row, "begin"), self._channels(row.camera), now=now)

    def _end(self, session: Session, row: AlarmRow, at: datetime, now: datetime) -> None:
        row.is_open, row.ended, row.checked, row.source = None, max(at, row.began), at, self._source
        self._outbox.put_end(session, _message(row, "end"), self._channels(row.camera), now=now)

    def open_alarms(self) -> list[Alarm]:
        """The alarms of this source that have not ended."""
        with database_errors(), Session(self._engine) as session, session.begin():
            rows = self._open(session, self._source)
            return [Alarm(r.key, MessageKind(r.kind), r.text, r.began, r.camera, r.time_zone) for r in rows]


def _message(row: AlarmRow, phase: str) -> Message:
    return Message.model_validate(
        {
            "kind": row.kind,
            "phase": phase,
            "id": row.id,
            "camera": row.camera,
            "start": row.began,
            "stop": row.ended,
            "time_zone": row.time_zone,
            "text": row.text,
        }
    )
