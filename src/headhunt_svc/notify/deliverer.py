"""Threads that send what is due in an outbox, beside what the process does; a channel that hangs delays no other."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import TracebackType

from headhunt_svc.errors import UnreachableError
from headhunt_svc.notify.outbox import Outbox

logger = logging.getLogger(__name__)
POLL_S = 1.0
PURGE_EVERY = timedelta(hours=1)
LEAVE_S = 5.0  # what messages may still take when the process ends


class Deliverer:
    """Use it in a `with` block. At its end, what is due is sent once more; what is not sent stays in the outbox."""

    def __init__(self, outbox: Outbox, poll_s: float = POLL_S) -> None:
        self._outbox, self._poll_s = outbox, poll_s
        self._stop = threading.Event()
        self._is_away, self._purge_time = False, datetime.min.replace(tzinfo=UTC)
        self._thread = threading.Thread(target=self._run, name="notifications", daemon=True)
        self._channels: dict[str, threading.Thread] = {}  # that are being sent something

    def __enter__(self) -> "Deliverer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        until_s = time.monotonic() + LEAVE_S
        self._stop.set()
        self._thread.join(LEAVE_S)
        for thread in list(self._channels.values()):
            thread.join(max(until_s - time.monotonic(), 0.0))

    def _run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._stop.wait(self._poll_s)
            self._guarded(lambda: self._begin(datetime.now(UTC)))

    def _begin(self, now: datetime) -> None:
        """Begin to send to every channel that something is due for, and that is not being sent something."""
        for name in self._outbox.due_channels(now):
            if (before := self._channels.get(name)) is None or not before.is_alive():
                self._channels[name] = threading.Thread(target=self._send, args=(name,), name=f"to {name}", daemon=True)
                self._channels[name].start()
        self._outbox.measure(now)
        if abs(now - self._purge_time) >= PURGE_EVERY:
            self._outbox.purge(now)
            self._purge_time = now
        self._is_away = False

    def _send(self, channel: str) -> None:
        self._guarded(lambda: self._outbox.deliver_to(channel, datetime.now(UTC)))

    def _guarded(self, action: Callable[[], object]) -> None:
        """Do what needs the database; that it is away is logged once."""
        try:
            action()
        except UnreachableError as exc:
            if not self._is_away:
                logger.warning("notifications wait: %s", exc)
            self._is_away = True
