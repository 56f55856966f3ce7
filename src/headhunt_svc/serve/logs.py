"""Log lines as JSON with the request's id; `extra={"fields": {...}}` adds fields, never footage, file names or keys."""

import json
import logging
import sys
import time
from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {"time": f"{stamp}.{int(record.msecs):03d}Z", "level": record.levelname, "message": record.getMessage()}
        line |= {"request_id": request_id.get()} if request_id.get() else {}
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure(level: str) -> None:
    """Write this package's log to standard output, one JSON object a line."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Json())
    logger = logging.getLogger("headhunt_svc")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(level)
