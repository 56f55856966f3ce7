"""Keeps a worker's log readable: while the database is away, DBOS repeats its warnings hundreds of times a second."""

import logging
import re
import time
from collections.abc import Callable

from dbos import error
from sqlalchemy.exc import OperationalError

EVERY_S = 60.0
_TRACEBACK = " Traceback (most recent call last):"
_RAISED = re.compile(r"[\w.]+: ")  # begins the line of a traceback that names the error


def shorten(logger: logging.Logger, now: Callable[[], float] = time.monotonic) -> None:
    """Log each warning of a logger, and a database that is away, at most once a minute, in one line.

    A video that was cancelled is no error.
    """
    latest: dict[tuple[str, int], float] = {}  # by the line of code that warns

    def keep(record: logging.LogRecord) -> bool:
        raised = record.exc_info[1] if record.exc_info else None
        if isinstance(raised, error.DBOSAwaitedWorkflowCancelledError):
            return False
        if record.levelno > logging.WARNING and not isinstance(raised, OperationalError):
            return True
        place, time_s = (record.pathname, record.lineno), now()
        if time_s - latest.get(place, -EVERY_S) < EVERY_S:
            return False
        latest[place] = time_s
        record.msg, record.args, record.exc_info = _one_line(record.getMessage(), raised), (), None
        return True

    logger.addFilter(keep)


def _one_line(message: str, raised: BaseException | None) -> str:
    first, *others = [*message.splitlines(), *str(raised or "").splitlines()] or [""]
    if not first.endswith(_TRACEBACK):
        return " ".join([first, *others[:1]]) if raised else first
    errors = [line for line in others if _RAISED.match(line)]
    return " ".join([first.removesuffix(_TRACEBACK), *errors[-1:]])
