"""Log lines of the service: one JSON object a line, without names of files."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from headhunt_svc.serve import logs

SECRET = "/srv/footage/children 7.mp4"


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """The package's logger, which is as it was afterwards."""
    logger = logging.getLogger("headhunt_svc")
    before = logger.handlers[:], logger.propagate, logger.level
    yield logger
    logger.handlers[:], logger.propagate = before[:2]
    logger.setLevel(before[2])


def written(logger: logging.Logger, level: str) -> list[dict[str, str]]:
    """The lines about a request that failed with an error that names a file."""
    logs.configure(level)
    (handler,) = logger.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream := io.StringIO())
    try:
        try:
            Path(SECRET).read_bytes()
        except OSError as exc:
            raise ValueError(f"{SECRET}\n\x1b[31m{{}}") from exc
    except ValueError:
        logger.exception("a request failed")
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_traceback_in_the_log_names_places_in_the_code_and_no_file_of_footage(logger: logging.Logger) -> None:
    (line,) = written(logger, "INFO")
    assert "children" not in json.dumps(line)
    assert "FileNotFoundError" in line["traceback"]
    assert line["traceback"].rstrip().endswith("ValueError")
    assert "test_logs.py" in line["traceback"]


def test_the_debug_log_has_the_messages_too_and_nothing_that_steers_a_terminal(logger: logging.Logger) -> None:
    (line,) = written(logger, "DEBUG")
    assert "children 7.mp4" in line["traceback"]
    assert "\x1b" not in line["traceback"]
