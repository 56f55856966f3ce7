"""Events stored, joined, marked and listed, in a real SQLite file and a real PostgreSQL."""

import multiprocessing
import shutil
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from headhunt_svc.errors import ConfigError, UnreachableError
from headhunt_svc.events.database import connect
from headhunt_svc.events.export import all_events, export_events
from headhunt_svc.events.features import load_features
from headhunt_svc.events.records import EventFilter, EventRecord, EventState, NewEvent, TimeBasis
from headhunt_svc.events.rows import new_id
from headhunt_svc.events.store import Change, EventStore, NoSuchEventError
from headhunt_svc.settings import EventSettings
from headhunt_svc.storage.sql import Base, open_engine
from headhunt_svc.types import HeadRef
from helpers.events import NOON, features, make_part, new


@pytest.fixture
def settings(event_settings: EventSettings) -> EventSettings:
    return event_settings


@pytest.fixture
def store(settings: EventSettings) -> Any:
    with EventStore.open(settings) as store:
        yield store


def test_the_migrations_make_the_tables_that_the_code_has(settings: EventSettings) -> None:
    engine = connect(settings)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_a_database_of_a_newer_version_is_refused(settings: EventSettings) -> None:
    EventStore.open(settings).close_store()
    engine = open_engine(settings.database_url, "the test's URL")
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(ConfigError, match=r"newer version of headhunt-svc.*9999"):
        EventStore.open(settings)


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("nonsense", ConfigError, "no database URL"),
        ("mysql://a@b/c", ConfigError, "neither sqlite nor postgresql"),
        ("postgresql://a@127.0.0.1:1/b", UnreachableError, "does not answer"),
    ],
)
def test_a_database_that_cannot_be_used(tmp_path: Path, url: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        EventStore.open(EventSettings.model_validate({"folder": tmp_path, "database": url}))


def test_an_event_is_stored_with_picture_and_features(store: EventStore) -> None:
    added = store.add(new(), merge_s=5, picture=b"jpeg", features=features(1))
    found = store.get(added.id)
    assert found == added
    assert (found.state, found.picture, found.features, found.clip) == (EventState.NEW, True, True, False)
    assert found.start == NOON
    path = store.picture(found.id)
    assert path is not None
    assert path.read_bytes() == b"jpeg"
    stored = store.features(found.id)
    assert stored is not None
    np.testing.assert_array_equal(stored.values, features(1).values)
    assert stored.heads == (HeadRef(1, 2),)


def test_scored_twice_is_stored_once(store: EventStore) -> None:
    first = store.add(new(), merge_s=0, picture=b"1")
    moved = new(start=5000, stop=5009, key=first.key, time_basis=TimeBasis.MODIFIED)  # the file was copied
    assert store.add(moved, merge_s=0, picture=b"2") == first
    assert store.list() == [first]


@pytest.mark.parametrize(("gap", "n"), [(4.9, 1), (5, 2), (6, 2), (-3, 1)])
def test_events_closer_than_the_distance_are_one(store: EventStore, gap: float, n: int) -> None:
    store.add(new(0, 8), merge_s=5)
    later = store.add(new(8 + gap, 20, score=0.95, contributions=(3.0, 4.0)), merge_s=5, picture=b"higher")
    assert len(store.list()) == n
    if n == 1:
        (event,) = store.list()
        assert (event.start, event.stop) == (NOON, NOON + timedelta(seconds=20))
        assert (event.score, event.contributions, event.peak) == (0.95, (3.0, 4.0), NOON + timedelta(seconds=8 + gap))
        assert event == later
        again = store.add(new(8 + gap, 20, score=0.95), merge_s=5)  # its key is a part of the event
        assert again == event


def test_the_picture_is_of_the_highest_peak(store: EventStore) -> None:
    event = store.add(new(0, 8, score=0.9), merge_s=5, picture=b"high", features=features(1))
    store.add(new(9, 12, score=0.6), merge_s=5, picture=b"low", features=features(2, 3))
    path = store.picture(event.id)
    assert path is not None
    assert path.read_bytes() == b"high"
    stored = store.features(event.id)
    assert stored is not None
    assert stored.values[:, 0, 0].tolist() == [1, 1, 2, 2, 2]


@pytest.mark.parametrize(
    "other",
    [
        {"camera": "door"},
        {"detector_id": "e" * 12},
        {"video_id": "b.mp4", "time_basis": TimeBasis.MODIFIED},
        {"video_id": "b.mp4", "time_basis": TimeBasis.CONTAINER},
    ],
)
def test_what_is_not_the_same_happening_stays_apart(store: EventStore, other: dict[str, Any]) -> None:
    store.add(new(0, 8), merge_s=60)
    store.add(new(2, 9, key="other", **other), merge_s=60)
    assert len(store.list()) == 2


def test_files_with_comparable_times_are_joined_across_their_border(store: EventStore) -> None:
    store.add(new(0, 8, video_id="12.mp4"), merge_s=5)
    store.add(new(8, 11, video_id="13.mp4", time_basis=TimeBasis.STREAM, key="k"), merge_s=5)
    assert [(e.start, e.stop) for e in store.list()] == [(NOON, NOON + timedelta(seconds=11))]


def test_copies_written_at_the_same_time_are_not_joined(store: EventStore) -> None:
    """Unpacked files have one modification time: that says nothing about when their footage is of."""
    for name in "abc":
        store.add(new(0, 8, video_id=f"{name}.mp4", time_basis=TimeBasis.MODIFIED), merge_s=60)
    assert len(store.list()) == 3


def test_an_event_between_two_makes_them_one_and_keeps_what_people_said(store: EventStore) -> None:
    left = store.add(new(0, 8), merge_s=5, picture=b"left", features=features(1))
    right = store.add(new(16, 24, score=0.99), merge_s=5, picture=b"right", features=features(2))
    store.mark(right.id, EventState.CONFIRMED, "anna", "a fall")
    store.mark(left.id, EventState.NEW, "otto", "what is this")
    joined = store.add(new(9, 15, score=0.7), merge_s=5, features=features(3))
    assert store.list() == [joined]
    assert (joined.id, joined.state, joined.marked_by) == (right.id, EventState.CONFIRMED, "anna")
    assert joined.note == "a fall\nwhat is this"
    assert [m.by for m in store.marks(joined.id)] == ["anna", "otto"]
    stored = store.features(joined.id)
    assert stored is not None
    assert sorted(stored.values[:, 0, 0].tolist()) == [1, 1, 2, 2, 3, 3]
    with pytest.raises(NoSuchEventError):
        store.get(left.id)
    assert store.add(new(0, 8), merge_s=5) == joined  # the parts of both are known


def test_a_live_event_opens_grows_and_closes(settings: EventSettings) -> None:
    changes: list[tuple[str, Change]] = []

    def changed(session: object, event: EventRecord, change: Change) -> None:
        changes.append((event.id, change))

    with EventStore.open(settings, changed) as store:
        event = store.add(new(0, None, origin="live"), merge_s=5, picture=b"1")
        assert store.open_events() == [event]
        at = NOON + timedelta(seconds=6)
        grown = store.extend(event.id, stop=at, peak=at, score=0.97, contributions=(9.0, 0.0), picture=b"2")
        assert (grown.score, grown.peak, grown.contributions, grown.stop) == (0.97, at, (9.0, 0.0), None)
        lower = store.extend(event.id, stop=at, peak=NOON, score=0.6, contributions=(0.0, 0.0), picture=b"3")
        assert lower == grown
        path = store.picture(event.id)
        assert path is not None
        assert path.read_bytes() == b"2"
        closed = store.close(event.id, stop=at)
        assert (closed.stop, closed.interrupted) == (at, False)
        assert store.close(event.id, stop=NOON + timedelta(seconds=60), interrupted=True) == closed
        assert store.open_events() == []
        reopened = store.add(new(8, None, origin="live"), merge_s=5)
        assert (reopened.id, reopened.stop) == (event.id, None)
    assert changes == [(event.id, c) for c in ("opened", "grew", "grew", "closed", "opened")]


def test_what_was_open_is_closed_as_interrupted(store: EventStore) -> None:
    event = store.add(new(0, None), merge_s=5)
    assert store.close(event.id, stop=NOON + timedelta(seconds=3), interrupted=True).interrupted
    assert store.get(event.id).stop == NOON + timedelta(seconds=3)


def test_what_a_listener_raises_leaves_nothing_stored(settings: EventSettings) -> None:
    def refuse(session: object, event: EventRecord, change: Change) -> None:
        raise ConfigError("no such channel")

    with EventStore.open(settings, refuse) as store:
        with pytest.raises(ConfigError, match="no such channel"):
            store.add(new(), merge_s=0)
        assert store.list() == []


def test_every_mark_is_kept(store: EventStore) -> None:
    event = store.add(new(), merge_s=0)
    store.mark(event.id, EventState.FALSE_ALARM, "anna", "a cat")
    marked = store.mark(event.id, EventState.CONFIRMED, "bo\x1bb")
    assert (marked.state, marked.note, marked.marked_by) == (EventState.CONFIRMED, "a cat", "bo%1Bb")
    assert [(m.by, m.state, m.note) for m in store.marks(event.id)] == [
        ("anna", EventState.FALSE_ALARM, "a cat"),
        ("bo%1Bb", EventState.CONFIRMED, "a cat"),
    ]
    with pytest.raises(ConfigError, match="4000 characters"):
        store.mark(event.id, EventState.NEW, "anna", "x" * 4001)
    with pytest.raises(NoSuchEventError, match="no event 'x'"):
        store.mark("x", EventState.NEW, "anna")


def test_spans_that_were_corrected_stay_until_others_are_given_or_it_was_a_false_alarm(store: EventStore) -> None:
    event = store.add(new(), merge_s=0)
    times = [NOON + timedelta(seconds=s) for s in (0, 2, 3.000005, 4)]
    spans = ((times[0], times[1]), (times[2], times[3]))
    for state, given in (
        (EventState.CONFIRMED, None), (EventState.CONFIRMED, spans), (EventState.ACKNOWLEDGED, None),
        (EventState.CONFIRMED, spans[:1]), (EventState.FALSE_ALARM, None), (EventState.CONFIRMED, None),
    ):  # fmt: skip
        store.mark(event.id, state, "anna", spans=given)
    assert [m.spans for m in store.marks(event.id)] == [None, spans, spans, spans[:1], None, None]


def test_pages_hold_every_event_once_whatever_is_added_meanwhile(store: EventStore) -> None:
    starts = [0, 100, 100, 200, 300, 300, 300]
    stored = [store.add(new(s, s + 1, video_id=f"{i}.mp4", camera=f"c{i}"), merge_s=0) for i, s in enumerate(starts)]
    pages: list[list[EventRecord]] = []
    after = None
    while page := store.list(after=after, limit=3):
        pages.append(page)
        after = page[-1].cursor
        store.add(new(1000 + len(pages), 1001 + len(pages), video_id="later"), merge_s=0)
    listed = [event for page in pages for event in page]
    assert listed == sorted(stored, key=lambda e: (e.start, e.id), reverse=True)
    for wrong in ("x", "1", "1e9.x", "9" * 40 + ".x"):
        with pytest.raises(ConfigError, match="no place in a list"):
            store.list(after=wrong)


def test_filters(store: EventStore) -> None:
    a = store.add(new(0, 8, camera="a"), merge_s=0)
    b = store.add(new(60, 68, camera="b", score=0.6, origin="live", detector_id="e" * 12), merge_s=0)
    store.mark(b.id, EventState.CONFIRMED, "anna")
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({}, [b.id, a.id]),
        ({"camera": "a"}, [a.id]),
        ({"state": "confirmed"}, [b.id]),
        ({"since": NOON + timedelta(seconds=1)}, [b.id]),
        ({"until": NOON + timedelta(seconds=60)}, [a.id]),
        ({"since": NOON, "until": NOON + timedelta(seconds=61)}, [b.id, a.id]),
        ({"min_score": 0.7}, [a.id]),
        ({"detector_id": "e" * 12}, [b.id]),
        ({"origin": "detect"}, [a.id]),
        ({"camera": "a", "origin": "live"}, []),
    ]
    for fields, ids in cases:
        assert [e.id for e in store.list(EventFilter(**fields))] == ids, fields


def _add(settings: EventSettings, worker: int) -> None:
    with EventStore.open(settings) as store:
        for i in range(20):
            store.add(new(30 * i, 30 * i + 8, video_id="v", key=f"v {i}"), merge_s=5, picture=b"p")
            store.add(new(30 * i, 30 * i + 8, camera=f"c{worker}", key=f"{worker} {i}"), merge_s=5)


def test_many_processes_store_each_event_once(settings: EventSettings) -> None:
    """All make the tables at once, and all find the same events of one camera, and some of their own."""
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_add, args=(settings, n)) for n in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    with EventStore.open(settings) as store:
        assert len(store.list(EventFilter(camera="yard"), limit=1000)) == 20
        assert len(store.list(limit=1000)) == 60


def test_ids_sort_by_time_and_are_uuids_of_version_7() -> None:
    before = int(time.time() * 1000)
    one = uuid.UUID(new_id())
    assert one.version == 7
    assert one.variant == uuid.RFC_4122
    assert before <= one.int >> 80 <= before + 5000
    assert len({new_id() for _ in range(1000)}) == 1000


def test_times_are_utc_whatever_they_were(store: EventStore) -> None:
    local = NOON.astimezone(ZoneInfo("Asia/Tokyo"))
    event = store.add(NewEvent(**{**new().model_dump(), "start": local}), merge_s=0)
    assert store.get(event.id).start == NOON
    assert store.get(event.id).start.utcoffset() == timedelta(0)
    with pytest.raises(ValueError):
        NewEvent(**{**new().model_dump(), "start": datetime(2026, 1, 1)})
    with pytest.raises(ValueError, match="stop is before start"):
        new(5, 4)


def test_the_database_keeps_what_a_killed_process_has_stored(settings: EventSettings) -> None:
    context = multiprocessing.get_context("spawn")
    worker = context.Process(target=_add, args=(settings, 0))
    worker.start()
    with EventStore.open(settings) as store:
        while not store.list():
            time.sleep(0.01)
        worker.kill()
        worker.join()
        for event in store.list(limit=1000):
            path = store.picture(event.id)
            assert path is None or path.read_bytes() == b"p"
        with store._engine.connect() as connection:
            n_parts = connection.execute(sa.text("SELECT COUNT(*) FROM event_parts")).scalar()
        assert n_parts == len(store.list(limit=1000))


def test_a_clip_whose_row_could_not_be_stored_is_still_there(
    store: EventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = store.add(new(), merge_s=0)
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"clip")

    def fail(_: object) -> None:
        raise sa.exc.OperationalError("COMMIT", {}, Exception("database or disk is full"))

    with monkeypatch.context() as patched:
        patched.setattr(store._files, "count", fail)
        with pytest.raises(UnreachableError, match="disk is full"):
            store.attach_clip(event.id, clip)
    assert store.attach_clip(event.id, clip).clip
    assert not clip.exists()


def test_a_database_whose_file_is_deleted_takes_nothing_that_nobody_finds_again(tmp_path: Path) -> None:
    settings = EventSettings(folder=tmp_path)
    with EventStore.open(settings) as store:
        store.add(new(), merge_s=0)
        for path in tmp_path.glob("events.sqlite*"):
            path.unlink()
        with pytest.raises(UnreachableError, match="no such table"):
            store.add(new(), merge_s=0)
        with EventStore.open(settings) as other:
            event = store.add(new(), merge_s=0)
            assert [e.id for e in other.list()] == [event.id]


def test_who_marks_has_a_name_that_every_database_takes(store: EventStore) -> None:
    event = store.add(new(), merge_s=0)
    with pytest.raises(ConfigError, match="at most 200 characters, this one 201"):
        store.mark(event.id, EventState.CONFIRMED, "x" * 201)


def test_a_file_that_is_gone_keeps_no_other_from_being_exported(store: EventStore, tmp_path: Path) -> None:
    event = store.add(new(), merge_s=0, picture=b"jpeg", features=features(0.5))
    store.media.path(event.id, ".jpg").unlink()
    assert export_events(store, EventFilter(), tmp_path / "out") == 1
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".jsonl", ".safetensors"}


def purge(store: EventStore) -> None:
    """What another process may do at any time: delete all that does not go on."""
    store.purge(datetime.now(UTC) + timedelta(days=3000), trust_clock=True)


def test_an_event_that_is_deleted_keeps_no_other_from_being_exported(
    store: EventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gone = store.add(new(), merge_s=0, picture=b"jpeg", features=features(0.5))
    kept = store.add(new(500, None), merge_s=0, picture=b"jpeg")

    def listed(*args: Any) -> list[EventRecord]:
        events = list(all_events(*args))
        purge(store)
        return events

    monkeypatch.setattr("headhunt_svc.events.export.all_events", listed)
    assert export_events(store, EventFilter(), tmp_path / "out") == 1
    assert f"{gone.id} is not in the export: it was deleted" in caplog.text
    assert gone.id not in (tmp_path / "out" / "events.jsonl").read_text()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"events.jsonl", f"{kept.id}.jpg"}


def test_a_file_that_goes_while_it_is_exported(
    store: EventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    event = store.add(new(), merge_s=0, picture=b"jpeg", features=features(0.5))
    copyfile = shutil.copyfile

    def copy_late(source: Path, target: Path) -> Path:
        if source.suffix == ".jpg":
            source.unlink()
        return copyfile(source, target)

    monkeypatch.setattr(shutil, "copyfile", copy_late)
    assert export_events(store, EventFilter(), tmp_path / "out") == 1
    assert f"{event.id}.jpg is not in the export: somebody has deleted it" in caplog.text
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".jsonl", ".safetensors"}


def test_an_event_that_is_deleted_while_its_features_are_read_has_none(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = store.add(new(), merge_s=0, features=features(0.5))

    def load_late(path: Path) -> Any:
        purge(store)
        return load_features(path)

    monkeypatch.setattr("headhunt_svc.events.store.load_features", load_late)
    assert store.features(event.id) is None
    assert (store.features(event.id), store.places(event.id)) == (None, None)


def test_an_event_whose_picture_is_deleted_can_become_a_part_of_another(
    store: EventStore, caplog: pytest.LogCaptureFixture
) -> None:
    earlier = store.add(new(0, 8), merge_s=0)
    higher = store.add(new(20, 28, score=0.95), merge_s=0, picture=b"jpeg")
    store.media.path(higher.id, ".jpg").unlink()
    joined = store.add(new(8, 20), merge_s=5)
    assert (joined.id, joined.score, joined.picture) == (earlier.id, 0.95, False)
    assert f"{higher.id}.jpg is gone: somebody has deleted it" in caplog.text


def test_a_key_leads_to_the_event_that_it_belongs_to_now(store: EventStore) -> None:
    event = store.add(new(key="a"), merge_s=0)
    assert (store.found("a"), store.found("b")) == (event, None)
    earlier = make_part(store, event)
    assert store.found("a") == store.get(earlier.id)
    purge(store)
    assert store.found("a") is None
