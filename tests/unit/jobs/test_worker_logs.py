"""The log of a worker: what DBOS repeats while the database is away, and what it says of cancelled videos."""

import logging

import pytest
from dbos import error
from sqlalchemy.exc import OperationalError

from headhunt_svc.jobs.logs import shorten

LONG = """Exception polling schedules: Traceback (most recent call last):
  File "_scheduler.py", line 1
sqlalchemy.exc.OperationalError: refused
(Background: ...)"""


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    logger = logging.getLogger("dbos of a test")
    clock = iter(range(0, 1000, 10))
    shorten(logger, now=lambda: next(clock))
    for _ in range(12):  # every ten seconds
        logger.warning(LONG)
    cancelled = error.DBOSAwaitedWorkflowCancelledError("job/0/video/1")
    logger.error("Exception encountered in background workflow:", exc_info=cancelled)
    for _ in range(2):
        logger.error("Exception encountered in background workflow:", exc_info=ValueError("a bug"))
    return caplog.records


def test_a_warning_that_repeats_is_one_line_a_minute(lines: list[logging.LogRecord]) -> None:
    warnings = [record.getMessage() for record in lines if record.levelno == logging.WARNING]
    assert warnings == ["Exception polling schedules: sqlalchemy.exc.OperationalError: refused"] * 2


def test_a_cancelled_video_is_no_error_and_errors_are_kept(lines: list[logging.LogRecord]) -> None:
    errors = [record.exc_info[1] for record in lines if record.levelno == logging.ERROR and record.exc_info]
    assert [str(raised) for raised in errors] == ["a bug"] * 2


def test_a_database_that_is_away_is_one_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("dbos of another test")
    clock = iter(range(0, 1000, 10))
    shorten(logger, now=lambda: next(clock))
    away = OperationalError("SELECT 1", {}, ConnectionRefusedError("refused"))
    for _ in range(12):
        logger.error("DBOS failed to launch:", exc_info=away)
    line = "DBOS failed to launch: (builtins.ConnectionRefusedError) refused"
    assert [(record.getMessage(), record.exc_info) for record in caplog.records] == [(line, None)] * 2
