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
LEAVE_S = 15.0  # what a message that is being sent may still take when the process ends


class Deliverer:
    """Use it in a `with` block. What is not sent when the block ends stays in the outbox."""

    def __init__(self, outbox: Outbox, poll_s: float = POLL_S) -> None:
        self._outbox, self._poll_s = outbox, poll_s
        self._stop = threading.Event()
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
        is_away, purge_time = False, datetime.min.replace(tzinfo=UTC)
        while not self._stop.wait(self._poll_s):
            now = datetime.now(UTC)
            try:
                self._outbox.deliver_due(now)
                if abs(now - purge_time) >= PURGE_EVERY:
                    self._outbox.purge(now)
                    purge_time = now
                is_away = False
            except UnreachableError as exc:
                if not is_away:
                    logger.warning("notifications wait: %s", exc)
                is_away = True
