"""Keeps a worker's log readable: while the database is away, DBOS repeats its warnings hundreds of times a second."""

import logging
import re
import time
from collections.abc import Callable

from dbos import error

EVERY_S = 60.0
_TRACEBACK = " Traceback (most recent call last):"
_RAISED = re.compile(r"[\w.]+: ")  # begins the line of a traceback that names the error


def shorten(logger: logging.Logger, now: Callable[[], float] = time.monotonic) -> None:
    """Log each warning of a logger at most once a minute, in one line, and no error for a video that was cancelled."""
    latest: dict[tuple[str, int], float] = {}  # by the line of code that warns

    def keep(record: logging.LogRecord) -> bool:
        if record.levelno > logging.WARNING:
            return not (record.exc_info and isinstance(record.exc_info[1], error.DBOSAwaitedWorkflowCancelledError))
        place, time_s = (record.pathname, record.lineno), now()
        if time_s - latest.get(place, -EVERY_S) < EVERY_S:
            return False
        latest[place] = time_s
        first, *others = record.getMessage().splitlines() or [""]
        if first.endswith(_TRACEBACK):
            errors = [line for line in others if _RAISED.match(line)]
            first = " ".join([first.removesuffix(_TRACEBACK), *errors[-1:]])
        record.msg, record.args = first, ()
        return True

    logger.addFilter(keep)
