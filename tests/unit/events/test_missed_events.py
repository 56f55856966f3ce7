"""Missed events that other processes join to others while they are stored: the mark goes along."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from conftest import write_video
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.events.clips import cut
from headhunt_svc.events.missed import add_missed
from headhunt_svc.events.records import EventRecord, EventState
from headhunt_svc.events.store import EventStore, NoSuchEventError
from headhunt_svc.settings import EventSettings
from headhunt_svc.types import HeadRef, OperatingPoint
from helpers.events import make_part
from helpers.live_events import generated
from helpers.scored import scored_batches


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    with EventStore.open(EventSettings(folder=tmp_path / "events", name_pattern="%Y%m%d_%H%M%S")) as store:
        yield store


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "yard_20260301_120000.mp4", 30)


def add(store: EventStore, video: Path) -> EventRecord:
    scorer = SimpleNamespace(heads=(HeadRef(0, 1),), background="median")
    bundle = SimpleNamespace(features_id="f", default_point="f1")
    detector = Mock(spec=Detector, detector_id="d", scorer=scorer, bundle=bundle)
    detector.at.return_value = detector
    detector.operating_point.return_value = OperatingPoint(0.0, 0.5, "offline")
    detector.score.return_value = generated(scored_batches(np.array([0.2, 0.3, 0.2]), 1))
    return add_missed(store, detector, video, (0.0, 2.0), "yard", "anna", "a thief")


def test_the_mark_goes_to_the_event_that_this_one_has_become_a_part_of(
    store: EventStore, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = store.mark
    joined: list[EventRecord] = []

    def mark_late(event_id: str, *args: Any) -> EventRecord:
        if not joined:
            joined.append(make_part(store, store.get(event_id)))
        return mark(event_id, *args)

    monkeypatch.setattr(store, "mark", mark_late)
    event = add(store, video)
    assert (event.id, event.state, event.note, event.clip) == (joined[0].id, EventState.CONFIRMED, "a thief", True)
    assert [mark.by for mark in store.marks(event.id)] == ["anna"]


def test_so_does_the_clip(store: EventStore, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    joined: list[EventRecord] = []

    def cut_late(*args: Any) -> Any:
        (event,) = store.list()
        store.mark(event.id, EventState.NEW, "otto")  # or the other one would become a part of it
        joined.append(make_part(store, event))
        return cut(*args)

    monkeypatch.setattr("headhunt_svc.events.missed.cut", cut_late)
    event = add(store, video)
    assert (event.id, event.clip) == (joined[0].id, True)
    assert [mark.by for mark in store.marks(event.id)] == ["anna", "otto"]


def test_a_mark_of_an_event_that_is_deleted_is_refused_by_name(
    store: EventStore, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Mock(side_effect=NoSuchEventError("there is no event 'x'"))
    monkeypatch.setattr(store, "mark", gone)
    with pytest.raises(NoSuchEventError, match="there is no event 'x'"):
        add(store, video)
    assert gone.call_count == 1
