"""Old events and large files go, in a real SQLite file and a real PostgreSQL; what people have marked stays longer."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headhunt_svc.events.records import EventState
from headhunt_svc.events.retention import Purged
from headhunt_svc.events.rows import new_id
from headhunt_svc.events.store import EventStore
from headhunt_svc.settings import EventSettings
from headhunt_svc.storage.retention import SETTLE_S
from helpers.events import features, new
from helpers.vanishing import removed_when_listed


def test_old_events_and_large_files_go(event_settings: EventSettings, tmp_path: Path) -> None:
    limited = event_settings.model_copy(update={"keep_days": 10, "keep_bytes": 25})
    with EventStore.open(limited) as store:
        events = [store.add(new(100 * i, 100 * i + 8), merge_s=0, picture=b"p" * 10) for i in range(3)]
        open_event = store.add(new(900, None), merge_s=0, features=features(1))
        for event in events[:2]:
            clip = tmp_path / "clip.mp4"
            clip.write_bytes(b"c" * 10)
            assert store.attach_clip(event.id, clip).clip
            assert not clip.exists()
        now = datetime.now(UTC)
        purged = store.purge(now)  # 50 bytes: both clips go, then one picture
        assert (purged.events, purged.clips, purged.pictures) == (0, 2, 1)
        kept = {e.id: (e.clip, e.picture) for e in store.list()}
        assert [kept[e.id] for e in events] == [(False, False), (False, True), (False, True)]
        assert sorted(p.suffix for p in store.media.folder.rglob("*.*")) == [".jpg", ".jpg", ".safetensors"]
        orphan = store.media.path(new_id(), ".jpg")
        orphan.parent.mkdir(exist_ok=True)
        orphan.write_bytes(b"left by a crash")
        assert store.purge(now).orphans == 0  # it may be about to be stored
        os.utime(orphan, (time.time() - 7200, time.time() - 7200))
        assert store.purge(now).orphans == 1
        unfinished = store.media.live("yard") / "clip.part"
        unfinished.parent.mkdir(parents=True)
        unfinished.write_bytes(b"left by a crash")
        assert store.purge(now).orphans == 0  # it may go on
        os.utime(unfinished, (time.time() - 100_000, time.time() - 100_000))
        assert store.purge(now).orphans == 1
        assert store.purge(now + timedelta(days=11), trust_clock=True).events == 3
        assert [e.id for e in store.list()] == [open_event.id]
        assert [p.suffix for p in store.media.folder.rglob("*.*")] == [".safetensors"]


def test_what_people_have_marked_stays_longer_and_is_no_longer_shown(
    event_settings: EventSettings, caplog: pytest.LogCaptureFixture
) -> None:
    limited = event_settings.model_copy(update={"keep_days": 10, "keep_marked_days": 30, "keep_bytes": 25})
    now = datetime.now(UTC)
    with EventStore.open(limited) as store:
        events = {
            state: store.add(new(100 * i, 100 * i + 8), merge_s=0, picture=b"p" * 10, features=features(i))
            for i, state in enumerate(EventState)
        }
        for state, event in events.items():
            store.mark(event.id, state, "anna")
        assert store.purge(now).pictures == 2  # beyond 25 bytes, those that nobody has said what they are of
        assert {s for s, e in events.items() if not store.get(e.id).picture} == {
            EventState.NEW,
            EventState.ACKNOWLEDGED,
        }
        purged = store.purge(now + timedelta(days=11), trust_clock=True)
        assert (purged.events, purged.marked, purged.pictures) == (2, 0, 2)
        kept = [events[EventState.CONFIRMED].id, events[EventState.FALSE_ALARM].id]
        assert sorted(e.id for e in store.list()) == sorted(kept)
        for event_id in kept:
            assert store.picture(event_id) is None
            assert store.features(event_id) is not None
            assert store.marks(event_id)
        purged = store.purge(now + timedelta(days=31), trust_clock=True)
        assert (purged.events, purged.marked) == (2, 2)
        assert "2 confirmed events or false alarms were deleted after 30 days" in caplog.text
        assert list(store.media.folder.rglob("*.*")) == []


def test_a_clock_that_jumps_ahead_deletes_nothing(
    event_settings: EventSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, running_s = datetime.now(UTC), 0.0
    monkeypatch.setattr("headhunt_svc.storage.retention.monotonic", lambda: running_s)
    jumped = now + timedelta(days=400)
    with EventStore.open(event_settings) as store:
        store.add(new(), merge_s=0, picture=b"p")
        assert store.purge(now) == Purged()
        assert store.purge(jumped) == Purged(waits=True)
        assert store.purge(now) == Purged()  # it was set right again
        assert len(store.list()) == 1
    with EventStore.open(event_settings) as store:  # a process that has seen no other clock
        assert store.purge(jumped).waits
        running_s = SETTLE_S - 1
        assert store.purge(jumped).waits
        running_s = SETTLE_S
        assert store.purge(jumped) == Purged(events=1)


def test_live_clips_that_another_process_removes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EventStore.open(EventSettings(folder=tmp_path)) as store:
        for camera in ("yard", "gate"):
            clip = store.media.live(camera) / "0.mkv"
            clip.parent.mkdir(parents=True)
            clip.write_bytes(b"left by a crash")
            os.utime(clip, (time.time() - 100_000,) * 2)
        (tmp_path / "live" / "a file").touch()
        removed_when_listed(monkeypatch, store.media.live("gate"))  # as `recover` does when `headhunt watch` starts
        assert store.purge() == Purged(orphans=1)
        assert [path.name for path in (tmp_path / "live").rglob("*.mkv")] == []


def test_a_folder_that_nobody_may_list_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EventStore.open(EventSettings(folder=tmp_path)) as store:
        event = store.add(new(), merge_s=0, picture=b"p")
        (store.media.folder / "lost+found").mkdir()
        listdir = os.listdir

        def refused(path: str) -> list[str]:
            if Path(path).name == "lost+found":
                raise PermissionError(path)
            return listdir(path)

        monkeypatch.setattr(os, "listdir", refused)
        assert [found for found, _, _ in store.media.files()] == [event.id]
