"""The outbox: messages are put in with what they report, in one transaction, and sent until a channel takes them.

A message is sent at least once, always under one id. Several processes may send from one outbox.
"""

import logging
import random
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session, aliased

from headhunt_svc.notify import metrics
from headhunt_svc.notify.channels import Channel, DeliveryError
from headhunt_svc.notify.messages import Message, MessageKind
from headhunt_svc.notify.policy import Policy
from headhunt_svc.notify.tables import DeliveryRow
from headhunt_svc.settings import NotifySettings
from headhunt_svc.storage.sql import WRITES, database_errors

logger = logging.getLogger(__name__)
LEASE_S = 120.0  # a process that ends while it sends leaves the message to others after this time
MOST_CHANNELS = 8  # at the same time
MOST_ROWS = 200  # of one query
LEAST_ATTEMPTS = 12  # before a message is given up: a clock that jumps ahead makes it old at once
JITTER = 0.2


@dataclass(frozen=True, slots=True)
class ChannelStatus:
    """What an outbox holds for a channel. oldest: when the first message that waits was put in."""

    channel: str
    waiting: int
    sent: int
    given_up: int
    held_back: int
    oldest: datetime | None
    error: str | None


@dataclass(slots=True)
class _Rest:
    """A channel that failed is left alone until then, so that its time-outs do not hold others up."""

    failures: int
    until: datetime


class Outbox:
    """Puts messages in, and sends them. Raises UnreachableError from every method but `put`."""

    def __init__(self, engine: Engine, channels: Mapping[str, Channel], settings: NotifySettings) -> None:
        self._engine, self._channels, self._settings = engine, channels, settings
        self._writing = engine.execution_options(**WRITES)
        self._rests: dict[str, _Rest] = {}
        self._reported: dict[str, str] = {}
        for name in channels:  # from 0, so that the first failure is an increase
            for counter in (metrics.SENT, metrics.FAILURES, metrics.GIVEN_UP):
                counter.labels(name)

    def put(
        self,
        session: Session,
        message: Message,
        channels: Sequence[str],
        policy: Policy | None = None,
        now: datetime | None = None,
    ) -> None:
        """Put a message in for each channel, within the session's transaction; a second time changes nothing.

        That something has ended is sent where its beginning was. policy: of events.
        """
        moment = now or datetime.now(UTC)
        for channel in dict.fromkeys(channels):
            if self._find(session, message.delivery_id, channel) is None:
                self._put_one(session, message, channel, policy or Policy(), moment)
        session.flush()

    def put_end(
        self, session: Session, message: Message, channels: Sequence[str] = (), now: datetime | None = None
    ) -> None:
        """Put in that something has ended: for every channel that its beginning was put in for.

        channels: where that is forgotten, because it was so long ago.
        """
        query = sa.select(DeliveryRow.channel).where(DeliveryRow.delivery_id == f"{message.id}/begin")
        begun = session.scalars(query.order_by(DeliveryRow.id)).all()
        self.put(session, message, begun or channels, now=now)

    def _put_one(self, session: Session, message: Message, channel: str, policy: Policy, now: datetime) -> None:
        held_back = self._reason_to_hold_back(session, message, channel, policy, now)
        if held_back is None and message.kind is MessageKind.EVENT and message.phase == "begin":
            message = message.model_copy(update={"held_back": self._held_back(session, message, channel)})
        session.add(
            DeliveryRow(
                delivery_id=message.delivery_id,
                message_id=message.id,
                channel=channel,
                kind=message.kind.value,
                phase=message.phase,
                camera=message.camera,
                message=message.model_dump_json(),
                state="waiting" if held_back is None else "held_back",
                created=now,
                due=now,
                attempts=0,
                error=held_back,
            )
        )

    def _find(self, session: Session, delivery_id: str, channel: str) -> DeliveryRow | None:
        query = sa.select(DeliveryRow).where(DeliveryRow.delivery_id == delivery_id, DeliveryRow.channel == channel)
        return session.scalars(query).one_or_none()

    def _reason_to_hold_back(
        self, session: Session, message: Message, channel: str, policy: Policy, now: datetime
    ) -> str | None:
        if message.kind is not MessageKind.EVENT:
            return None
        if message.phase == "end":
            begin = self._find(session, f"{message.id}/begin", channel)
            return "it was not sent that this began" if begin is None or begin.state == "held_back" else None
        return policy.reason_to_hold_back(now, self._latest(session, message, channel))

    def _of_camera(self, message: Message, channel: str) -> list[sa.ColumnElement[bool]]:
        """Beginnings of the camera's events."""
        return [
            DeliveryRow.channel == channel,
            DeliveryRow.camera == message.camera,
            DeliveryRow.kind == MessageKind.EVENT.value,
            DeliveryRow.phase == "begin",
        ]

    def _latest(self, session: Session, message: Message, channel: str) -> datetime | None:
        """When the last message that an event of this camera has begun was put in and not held back."""
        query = sa.select(DeliveryRow.created).where(
            *self._of_camera(message, channel), DeliveryRow.state != "held_back"
        )
        return session.scalars(query.order_by(DeliveryRow.created.desc()).limit(1)).one_or_none()

    def _held_back(self, session: Session, message: Message, channel: str) -> int:
        """How many events of this camera were held back since the last that was not."""
        of_camera = self._of_camera(message, channel)
        last = sa.select(sa.func.coalesce(sa.func.max(DeliveryRow.id), 0)).where(
            *of_camera, DeliveryRow.state != "held_back"
        )
        count = sa.select(sa.func.count()).where(*of_camera, DeliveryRow.id > last.scalar_subquery())
        return session.scalars(count).one()

    def deliver_due(self, now: datetime) -> int:
        """Send what is due, to all channels at the same time; returns how many messages were sent."""
        if not (names := self.due_channels(now)):
            return 0
        with ThreadPoolExecutor(min(len(names), MOST_CHANNELS)) as pool:
            return sum(pool.map(lambda name: self.deliver_to(name, now), names))

    def deliver_to(self, channel: str, now: datetime) -> int:
        """Send a channel what is due, until it takes one not; returns how many messages were sent."""
        began, sent = time.monotonic(), 0
        while rows := self._due(channel, now):
            for row in rows:
                moment = now + timedelta(seconds=time.monotonic() - began)
                if not self._claim(row, moment):
                    continue
                error = self._send(row)
                self._record(row, error, now + timedelta(seconds=time.monotonic() - began))
                if error is not None:
                    return sent
                sent += 1
        return sent

    def due_channels(self, now: datetime) -> list[str]:
        """The channels that something is due for, but for those that failed a moment ago."""
        resting = [name for name, rest in self._rests.items() if rest.until > now]
        query = sa.select(DeliveryRow.channel).where(self._is_due(now), DeliveryRow.channel.not_in(resting))
        with database_errors(), Session(self._engine) as session:
            return list(session.scalars(query.distinct().order_by(DeliveryRow.channel)))

    def _is_due(self, now: datetime) -> sa.ColumnElement[bool]:
        # a row that is due later than any wait can last was written by a clock that was ahead
        latest = now + timedelta(seconds=max(self._settings.backoff_most_s * (1 + JITTER), LEASE_S) + 1)
        return sa.and_(DeliveryRow.state == "waiting", sa.or_(DeliveryRow.due <= now, DeliveryRow.due > latest))

    def _due(self, channel: str, now: datetime) -> Sequence[DeliveryRow]:
        """Messages that are due; of an event or alarm only the first one, so that its end never comes first."""
        earlier = aliased(DeliveryRow)
        first = ~sa.exists().where(
            earlier.message_id == DeliveryRow.message_id,
            earlier.channel == DeliveryRow.channel,
            earlier.state == "waiting",
            earlier.id < DeliveryRow.id,
        )
        query = (
            sa.select(DeliveryRow)
            .where(DeliveryRow.channel == channel, self._is_due(now), first)
            .order_by(DeliveryRow.due, DeliveryRow.id)
            .limit(MOST_ROWS)
        )
        with database_errors(), Session(self._engine, expire_on_commit=False) as session, session.begin():
            return session.scalars(query).all()

    def _claim(self, row: DeliveryRow, now: datetime) -> bool:
        """Count an attempt, unless another process has taken the message meanwhile."""
        claim = (
            sa.update(DeliveryRow)
            .where(DeliveryRow.id == row.id, DeliveryRow.state == "waiting", DeliveryRow.attempts == row.attempts)
            .values(attempts=row.attempts + 1, due=now + timedelta(seconds=LEASE_S))
        )
        with database_errors(), self._writing.begin() as connection:
            return connection.execute(claim).rowcount == 1

    def _send(self, row: DeliveryRow) -> str | None:
        """One attempt; returns why it failed, if it did."""
        channel = self._channels.get(row.channel)
        if channel is None:
            return f"there is no channel {row.channel}"
        try:
            channel.send(Message.model_validate_json(row.message))
        except DeliveryError as exc:
            return str(exc)
        except Exception as exc:  # of a library of a service: the message is kept, others go on
            logger.exception("channel %s", row.channel)
            return f"{type(exc).__name__}: {exc}"
        return None

    def _record(self, row: DeliveryRow, error: str | None, now: datetime) -> None:
        """Write down how an attempt ended."""
        values: dict[str, object] = {"error": error}
        if error is None:
            values["state"] = "sent"
            metrics.SENT.labels(row.channel).inc()
            self._rests.pop(row.channel, None)
            self._reported.pop(row.channel, None)
        else:
            metrics.FAILURES.labels(row.channel).inc()
            self._rest(row.channel, now)
            attempts, age = row.attempts + 1, now - row.created
            values["due"] = now + self._wait(attempts)
            if age > timedelta(hours=self._settings.give_up_h) and attempts >= LEAST_ATTEMPTS:
                values["state"] = "given_up"
                metrics.GIVEN_UP.labels(row.channel).inc()
            self._report(row, error, given_up="state" in values)
        with database_errors(), self._writing.begin() as connection:
            connection.execute(sa.update(DeliveryRow).where(DeliveryRow.id == row.id).values(**values))

    def _rest(self, channel: str, now: datetime) -> None:
        failures = self._rests[channel].failures + 1 if channel in self._rests else 1
        self._rests[channel] = _Rest(failures, now + min(self._wait(failures), timedelta(seconds=60)))

    def _wait(self, attempts: int) -> timedelta:
        """How long to wait after so many attempts."""
        longest = min(self._settings.backoff_s * 2.0 ** min(attempts - 1, 30), self._settings.backoff_most_s)
        return timedelta(seconds=longest * random.uniform(1 - JITTER, 1 + JITTER))

    def _report(self, row: DeliveryRow, error: str, given_up: bool) -> None:
        """Log a failure once as long as it stays the same; what is given up always."""
        if given_up:
            logger.error("channel %s: %s was given up after %s: %s", row.channel, row.delivery_id, row.created, error)
        elif self._reported.get(row.channel) != error:
            self._reported[row.channel] = error
            logger.warning("channel %s: %s (it is tried again)", row.channel, error)

    def measure(self, now: datetime) -> None:
        """Set the gauge of how long the oldest message has waited."""
        with database_errors(), Session(self._engine) as session:
            query = sa.select(sa.func.min(DeliveryRow.created)).where(DeliveryRow.state == "waiting")
            oldest = session.scalars(query).one()
        metrics.OLDEST_SECONDS.set(0.0 if oldest is None else max((now - oldest).total_seconds(), 0.0))

    def status(self) -> list[ChannelStatus]:
        """What is in the outbox, by channel; error: the latest of a message that waits or was given up."""
        oldest = sa.func.min(sa.case((DeliveryRow.state == "waiting", DeliveryRow.created)))
        waiting, sent, given_up, held_back = (
            sa.func.count(sa.case((DeliveryRow.state == state, 1)))
            for state in ("waiting", "sent", "given_up", "held_back")
        )
        query = sa.select(DeliveryRow.channel, waiting, sent, given_up, held_back, oldest)
        with database_errors(), Session(self._engine) as session:
            rows = session.execute(query.group_by(DeliveryRow.channel).order_by(DeliveryRow.channel)).all()
            return [
                ChannelStatus(name, n[0], n[1], n[2], n[3], since, self._last_error(session, name))
                for name, *n, since in (tuple(row) for row in rows)
            ]

    def _last_error(self, session: Session, channel: str) -> str | None:
        query = sa.select(DeliveryRow.error).where(
            DeliveryRow.channel == channel,
            DeliveryRow.state.in_(("waiting", "given_up")),
            DeliveryRow.error.is_not(None),
        )
        return session.scalars(query.order_by(DeliveryRow.due.desc()).limit(1)).one_or_none()

    def purge(self, now: datetime) -> int:
        """Forget messages that are done and older than keep_days; returns how many."""
        old = sa.delete(DeliveryRow).where(
            DeliveryRow.state != "waiting", DeliveryRow.created < now - timedelta(days=self._settings.keep_days)
        )
        with database_errors(), self._writing.begin() as connection:
            return connection.execute(old).rowcount
