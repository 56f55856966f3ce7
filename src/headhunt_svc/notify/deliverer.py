"""A thread that sends what is due in an outbox, beside what the process does."""

import logging
import threading
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

    def __enter__(self) -> "Deliverer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(LEAVE_S)

    def _run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._stop.wait(self._poll_s)
            self._deliver(datetime.now(UTC))

    def _deliver(self, now: datetime) -> None:
        try:
            self._outbox.deliver_due(now)
            if abs(now - self._purge_time) >= PURGE_EVERY:
                self._outbox.purge(now)
                self._purge_time = now
            self._is_away = False
        except UnreachableError as exc:
            if not self._is_away:
                logger.warning("notifications wait: %s", exc)
            self._is_away = True
