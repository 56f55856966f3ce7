"""Logging never fails scoring: errors are counted, and logged once."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from headhunt_svc.prediction_log.metrics import LOST_ROWS

logger = logging.getLogger(__name__)
_logged: set[type[Exception]] = set()


@contextmanager
def log_errors() -> Iterator[None]:
    """Swallows errors inside its `with`: all are counted, the first of each type is logged with its traceback."""
    try:
        yield
    except Exception as exc:  # scores do not depend on the log
        LOST_ROWS.labels("observer failed").inc()
        if type(exc) not in _logged:
            logger.error("prediction log failed, scoring goes on: %s", exc, exc_info=exc)
            _logged.add(type(exc))
