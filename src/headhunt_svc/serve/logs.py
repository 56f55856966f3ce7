"""Log lines as JSON with the request's id; `extra={"fields": {...}}` adds fields, never footage, file names or keys."""

import json
import logging
import sys
import time
import traceback
from contextvars import ContextVar

from headhunt_svc.names import printable

MOST_CAUSES = 10  # of an error, in a log line
request_id: ContextVar[str] = ContextVar("request_id", default="")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {"time": f"{stamp}.{int(record.msecs):03d}Z", "level": record.levelname, "message": record.getMessage()}
        line |= {"request_id": request_id.get()} if request_id.get() else {}
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = _traceback(record.exc_info[1])
        return json.dumps(line)


def _traceback(error: BaseException | None) -> str:
    """Where an error comes from; its message, which may name a file, only in a debug log."""
    debugs = logging.getLogger("headhunt_svc").isEnabledFor(logging.DEBUG)
    lines: list[str] = []
    while error is not None and len(lines) < MOST_CAUSES:
        frames = traceback.format_tb(error.__traceback__)
        what = traceback.format_exception_only(error) if debugs else [type(error).__name__]
        lines[:0] = ["".join([*frames, *map(printable, what)])]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\nthen:\n".join(lines)


def configure(level: str) -> None:
    """Write this package's log to standard output, one JSON object a line."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Json())
    logger = logging.getLogger("headhunt_svc")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(level)
