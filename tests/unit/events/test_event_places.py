"""Places and descriptions of stored events."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

import headhunt_svc.events.database
from headhunt_svc.errors import ArtifactError
from headhunt_svc.events.database import connect
from headhunt_svc.events.places import SUFFIX, Places
from headhunt_svc.events.records import EventState
from headhunt_svc.events.store import AUDIT, EventStore
from headhunt_svc.settings import EventSettings
from headhunt_svc.storage.sql import WRITES, open_engine
from helpers.events import NOON, new


@pytest.fixture
def store(event_settings: EventSettings) -> Any:
    with EventStore.open(event_settings) as store:
        yield store


def places(value: float) -> Places:
    return Places("d" * 12, 0.9, np.full((2, 3, 4), value, np.float32), b"jpeg of the peak")


def test_places_are_those_of_the_highest_peak(store: EventStore) -> None:
    event = store.add(new(0, 8, score=0.8), merge_s=5, picture=b"1", places=places(1))
    store.add(new(9, 12, score=0.6), merge_s=5, picture=b"2", places=places(2))
    stored = store.places(event.id)
    assert stored is not None
    np.testing.assert_array_equal(stored.shares, places(1).shares)
    np.testing.assert_array_equal(stored.total, np.full((3, 4), 2.0))
    assert (stored.picture, stored.raw, stored.detector_id) == (b"jpeg of the peak", 0.9, "d" * 12)
    store.add(new(13, 14, score=0.9), merge_s=5, picture=b"3", places=places(3))
    stored = store.places(event.id)
    assert stored is not None
    assert stored.shares[0, 0, 0] == 3
    store.add(new(15, 16, score=0.95), merge_s=5, picture=b"4")  # nothing is known about this peak
    assert not store.get(event.id).places
    assert store.places(event.id) is None


def test_places_of_an_event_that_is_joined_go_along(store: EventStore) -> None:
    first = store.add(new(0, 8, score=0.6), merge_s=2, picture=b"1", places=places(1))
    store.add(new(15, 20, score=0.9, description="a fall"), merge_s=2, picture=b"2", places=places(2))
    store.add(new(9, 14, score=0.5), merge_s=2)
    (event,) = store.list()
    assert (event.id, event.description) == (first.id, "a fall")
    stored = store.places(event.id)
    assert stored is not None
    assert stored.shares[0, 0, 0] == 2


def test_damaged_places_are_named(store: EventStore) -> None:
    event = store.add(new(), merge_s=None, places=places(1))
    path = store.media.path(event.id, SUFFIX)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ArtifactError, match=str(path)):
        store.places(event.id)


def test_places_go_with_the_pictures(store: EventStore) -> None:
    kept = store.add(new(), merge_s=None, places=places(1))
    store.mark(kept.id, EventState.CONFIRMED, "anna")
    gone = store.add(new(key="g"), merge_s=None, places=places(1))
    later = datetime.now(UTC) + timedelta(days=store.settings.keep_days + 1)
    store.purge(later, trust_clock=True)
    assert not store.get(kept.id).places  # its picture shows people
    assert not any(store.media.path(event.id, SUFFIX).exists() for event in (kept, gone))


def test_a_description_is_audited_and_seen(store: EventStore) -> None:
    event = store.add(new(), merge_s=None, picture=b"1")
    before = store.version(NOON)
    described = store.describe(event.id, "somebody\x00 falls", "anna", places(1))
    assert (described.description, described.described_by, described.places) == ("somebody%00 falls", "anna", True)
    assert described.described is not None
    assert store.version(NOON) != before
    store.describe(event.id, "somebody fell", "ben")
    assert store.get(event.id).places  # they stay
    lines = [json.loads(line) for line in (store.settings.folder / AUDIT).read_text().splitlines()]
    assert [(line["by"], line["text"], line["event"]) for line in lines] == [
        ("anna", "somebody%00 falls", event.id),
        ("ben", "somebody fell", event.id),
    ]


def test_events_of_an_earlier_version_are_kept(tmp_path: Path) -> None:
    settings = EventSettings(folder=tmp_path)
    engine = open_engine(settings.database_url, "the test's URL")
    config = Config()
    config.set_main_option("script_location", str(Path(headhunt_svc.events.database.__file__).parent / "migrations"))
    with engine.execution_options(**WRITES).connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        columns = "key camera video_id time_basis time_zone detector_id origin state note contributions".split()
        times = "start seen peak created".split()
        values = dict.fromkeys(columns, "x") | dict.fromkeys(times, "2026-03-01 12:00:00.000000")
        values |= {"id": "e", "contributions": "[]", "time_basis": "stream", "state": "new", "origin": "live"}
        values |= {"score": "0.9", "threshold": "0.5", "picture": "0", "features": "0", "interrupted": "0"}
        names = ", ".join([*values, "media_bytes"])
        texts = ", ".join([*(f"'{value}'" for value in values.values()), "0"])
        connection.execute(sa.text(f"INSERT INTO events ({names}) VALUES ({texts})"))
    engine.dispose()
    with EventStore.open(settings) as store:
        (event,) = store.open_events()
        assert (event.id, event.places, event.described, event.start) == ("e", False, None, NOON)


def test_open_events_are_found_by_an_index(tmp_path: Path) -> None:
    engine = connect(EventSettings(folder=tmp_path))
    with engine.connect() as connection:
        for query in (
            "SELECT * FROM events WHERE stop IS NULL ORDER BY start, id",
            "SELECT count(*), max(seen) FROM events WHERE start >= '2026' AND stop IS NULL",
        ):
            plan = connection.execute(sa.text(f"EXPLAIN QUERY PLAN {query}")).all()
            assert ["ix_events_open" in step.detail for step in plan] == [True], plan
    engine.dispose()
