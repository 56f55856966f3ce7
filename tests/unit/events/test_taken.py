"""Which files were taken, as the database remembers it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine

from headhunt_svc.events.database import connect
from headhunt_svc.events.taken import TakenFile, TakenFiles
from headhunt_svc.settings import EventSettings
from helpers.events import NOON

FILE = TakenFile("p1", "a.mp4", "10-1", "c" * 64, NOON)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = connect(EventSettings(folder=tmp_path))
    yield engine
    engine.dispose()


def test_a_file_is_known_by_its_path_and_by_its_content(engine: Engine) -> None:
    files = TakenFiles(engine, "yard")
    assert (files.versions(), files.has("c" * 64)) == ({}, False)
    files.put(FILE)
    again = TakenFiles(engine, "yard")  # after a restart
    assert (again.versions(), again.has("c" * 64)) == ({"p1": "10-1"}, True)
    other = TakenFiles(engine, "street")
    assert (other.versions(), other.has("c" * 64)) == ({}, False)


def test_what_could_not_be_scored_is_told_and_not_known_by_its_content(engine: Engine) -> None:
    files = TakenFiles(engine, "yard")
    files.put(replace(FILE, problem="not a video"))
    assert (files.versions(), files.has("c" * 64)) == ({"p1": "10-1"}, False)
    assert [file.problem for file in files.problems()] == ["not a video"]
    files.put(replace(FILE, version="12-2"))
    assert (files.versions(), files.problems()) == ({"p1": "12-2"}, [])


def test_files_that_are_gone_for_long_are_forgotten(engine: Engine) -> None:
    files = TakenFiles(engine, "yard")
    for i in range(600):
        files.put(replace(FILE, path_id=f"p{i}", taken=NOON + timedelta(days=i % 2)))
    files.forget((f"p{i}" for i in range(590)), NOON + timedelta(hours=1))
    left = files.versions()
    assert len(left) == 295 + 10
    assert "p599" in left
