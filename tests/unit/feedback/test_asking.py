"""Questions as stored events: where they come from, that they stay, and that they are no alarms."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy.orm import Session

from headhunt_svc.events.features import EventFeatures
from headhunt_svc.events.records import EventFilter, EventRecord, EventState
from headhunt_svc.events.store import Change, EventStore
from headhunt_svc.feedback.asking import Ask, ask, load_questions, of_day, of_window
from headhunt_svc.feedback.candidates import NO_BUNDLE, NO_EVENT_FEATURES, NO_FEATURES, Sources
from headhunt_svc.names import uri_of
from headhunt_svc.settings import EventSettings
from headhunt_svc.storage.store import Store
from headhunt_svc.types import HeadRef
from helpers.consoles import clip
from helpers.events import NOON, new
from helpers.log_rows import METADATA, rows, write

DAY = Ask("2026-03-01", NOON - timedelta(hours=12), NOON + timedelta(hours=12), 10, 1)


def sampled(normal_raw: float, at_s: float = 100.0) -> EventFeatures:
    """Two segments of an event at 0 and 2 s, and one normal segment."""
    values = np.arange(6, dtype=np.float32).reshape(2, 1, 3)
    own, numbers = np.array([0.0, 2.0]), np.array([0.8, 0.9])
    normal = np.full((1, 1, 3), 7, np.float32)
    return EventFeatures(
        "d" * 12, (HeadRef(1, 2),), values, own, numbers, normal, np.array([at_s], np.float64), np.array([normal_raw])
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    with EventStore.open(EventSettings(folder=tmp_path / "events")) as opened:
        yield opened


@pytest.fixture
def sources(store: EventStore, tmp_path: Path) -> Sources:
    return Sources(store, Store(str(tmp_path / "log")), None, lambda _: (), lambda _: "Europe/Berlin")


def test_a_sampled_normal_segment_becomes_a_question_with_its_exact_features(
    store: EventStore, sources: Sources
) -> None:
    event = store.add(new(score=0.99), merge_s=None, features=sampled(0.45))
    (question,) = ask(sources, DAY, NOON).questions
    record, features = question.event, store.features(question.event.id)
    assert features is not None
    assert (record.origin, record.state, record.score, record.camera) == ("question", "new", 0.45, "yard")
    assert record.start == event.start + timedelta(seconds=100)
    assert record.stop == record.start + timedelta(seconds=2)  # as long as the event's own segments
    assert features.values.tolist() == [[[7, 7, 7]]]
    assert (features.detector_id, features.heads, len(features.normal)) == ("d" * 12, (HeadRef(1, 2),), 0)
    assert "close to the threshold" in question.stored.words


def test_questions_stay_through_a_restart_and_later_ones_are_added(store: EventStore, sources: Sources) -> None:
    store.add(new(score=0.6), merge_s=None, features=sampled(0.01))  # near the threshold, and unmarked
    first = ask(sources, DAY, NOON)
    assert [q.event.origin for q in first.questions] == ["detect"]
    store.add(new(3600, 3608, camera="dock", score=0.55), merge_s=None, features=sampled(0.01))
    with EventStore.open(store.settings) as other:  # another process
        same = ask(replace(sources, events=other), DAY, NOON + timedelta(minutes=5))
        assert [q.event.id for q in same.questions] == [q.event.id for q in first.questions]
        more = ask(replace(sources, events=other), DAY, NOON + timedelta(minutes=11))
    assert [q.event.camera for q in more.questions] == ["yard", "dock"]
    assert more.questions[0].event.id == first.questions[0].event.id
    store.mark(more.questions[0].event.id, EventState.FALSE_ALARM, "anna")
    store.mark(more.questions[1].event.id, EventState.ACKNOWLEDGED, "anna")
    now = load_questions(store, DAY.name)
    assert now is not None
    assert [len(now.questions), len(now.open), len(now.answered)] == [2, 0, 1]


def test_rows_of_the_log_with_whole_features_are_asked_and_others_are_counted(
    store: EventStore, sources: Sources, tmp_path: Path
) -> None:
    def scores(n: int) -> dict[str, np.ndarray]:
        return {"raw": np.full(n, 0.1), "smoothed": np.full(n, 0.1)}

    prompts = {"prompt_scores": [None] * 49 + [np.array([0.2, 0.7])]}
    whole = rows(50, "yard", "y.mp4", NOON, **scores(50), **prompts)
    write(str(tmp_path / "log"), whole, metadata=replace(METADATA, features="all"))
    write(str(tmp_path / "log"), rows(30, "dock", "d.mp4", NOON, **scores(30)), metadata=METADATA)
    asked = ask(sources, DAY, NOON + timedelta(hours=1))
    (question,) = asked.questions
    assert (question.stored.reason, question.stored.words) == (
        "disagreeing", "1 of 2 ways to ask the model put it above the threshold",
    )  # fmt: skip
    assert question.event.start == NOON + timedelta(seconds=49 * 1.6)
    features = store.features(question.event.id)
    assert features is not None
    logged = np.array(whole["features"][49].as_py(), np.float32)
    assert (features.values.ravel() == logged).all()
    assert asked.set.left_out[NO_FEATURES] == 30
    assert asked.set.left_out[NO_BUNDLE] == 50


def test_a_segment_is_not_asked_about_twice_nor_one_of_an_event(store: EventStore, sources: Sources) -> None:
    store.add(new(0, 8, score=0.99), merge_s=None, features=sampled(0.45, 100))
    store.add(new(98, 106, score=0.99, key="marked"), merge_s=None, features=sampled(0.45, 300))
    first = ask(sources, DAY, NOON)
    assert [q.event.start for q in first.questions] == [NOON + timedelta(seconds=98 + 300)]  # the other is in an event
    window = of_window("yard", DAY.since, DAY.until)
    assert ask(sources, window, NOON).questions == ()
    assert ask(sources, of_window("gate", DAY.since, DAY.until), NOON).questions == ()


def test_questions_are_no_alarms(store: EventStore, sources: Sources, tmp_path: Path) -> None:
    told: list[str] = []

    def listen(session: Session, event: EventRecord, change: Change) -> None:
        told.append(event.origin)

    event = store.add(new(score=0.99), merge_s=None, features=sampled(0.45))
    with EventStore.open(store.settings, changed=listen) as telling:
        (question,) = ask(replace(sources, events=telling), DAY, NOON).questions
        assert telling.list(EventFilter(questions=False)) == [event]
        assert [e.id for e in telling.list(EventFilter(origin="question", questions=False))] == [question.event.id]
        assert len(telling.list()) == 2
        near = telling.add(new(101, 103, key="near", score=0.9), merge_s=60)  # no part of the question
        assert near.origin == "detect"
    assert told == ["detect"]


def test_what_cannot_be_learnt_from_is_left_out_and_named(store: EventStore, sources: Sources) -> None:
    store.add(new(score=0.6), merge_s=None)
    asked = ask(sources, DAY, NOON)
    assert asked.questions == ()
    assert asked.set.left_out == {NO_EVENT_FEATURES: 1}


def test_a_picture_comes_from_the_file_unless_its_masks_are_unknown(
    store: EventStore, sources: Sources, tmp_path: Path
) -> None:
    video = clip(tmp_path / "yard.mp4", "h264")
    event = new(0, 1, score=0.99, source=uri_of(video), start_s=0.0)
    store.add(event, merge_s=None, features=sampled(0.45, 2.0))
    (shown,) = ask(sources, DAY, NOON).questions
    assert shown.event.picture
    with EventStore.open(EventSettings(folder=tmp_path / "other")) as other:
        other.add(event, merge_s=None, features=sampled(0.45, 2.0))
        (hidden,) = ask(replace(sources, events=other, masks=lambda _: None), DAY, NOON).questions
        assert not hidden.event.picture


def test_a_day_has_the_settings_number_in_the_cameras_zone(store: EventStore) -> None:
    settings = store.settings.model_copy(update={"time_zone": "Asia/Tokyo", "questions": 3})
    request = of_day(NOON.replace(hour=20), settings)
    assert (request.name, request.most, request.each, request.camera) == ("2026-03-02", 3, 1, None)
