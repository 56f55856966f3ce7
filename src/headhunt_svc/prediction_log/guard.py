"""Logging never fails scoring: errors are counted, and logged once."""

import logging
from types import TracebackType

from headhunt_svc.prediction_log.metrics import LOST_ROWS

logger = logging.getLogger(__name__)


class LogErrors:
    """Swallows errors inside its `with`: all are counted, the first of each type is logged with its traceback."""

    def __init__(self) -> None:
        self._logged: set[type[BaseException]] = set()

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        LOST_ROWS.labels("observer failed").inc()
        if type(error) not in self._logged:
            logger.error("prediction log failed, scoring goes on: %s", error, exc_info=error)
            self._logged.add(type(error))
        return True
