"""Events of a live camera in a real store: what belongs to them, what waits, what goes on after a killed process."""

from collections.abc import Generator, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headhunt_svc.detector.batches import ScoredBatch
from headhunt_svc.errors import UnreachableError
from headhunt_svc.events import pictures as pictures_module
from headhunt_svc.events.live import RETRY_S, recover
from headhunt_svc.events.records import EventRecord, NewEvent
from headhunt_svc.events.store import Change, EventStore
from headhunt_svc.params import SegmentationParams
from headhunt_svc.settings import EventSettings
from headhunt_svc.types import FrameSpan, Segment
from headhunt_svc.video.source import SegmentPictures
from helpers.events import NOON
from helpers.live_events import Stream, Yard, follow, generated, live_events, seconds
from helpers.scored import scored_batches


@pytest.fixture
def real(event_settings: EventSettings) -> Iterator[EventStore]:
    with EventStore.open(event_settings) as store:
        yield store


class Coloured(Stream):
    """Segments of three pictures, the middle one of each of another brightness."""

    def segments(self, params: SegmentationParams) -> Iterator[SegmentPictures]:
        for i in range(4):
            pictures = np.zeros((3, 48, 64, 3), np.uint8)
            pictures[1] = 60 * i
            yield SegmentPictures(Segment("v", i, FrameSpan(i, i + 1), (i,)), pictures, i, i + 1)


def test_the_picture_is_of_the_highest_score_and_only_that_of_an_event_becomes_a_jpeg(
    real: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def jpeg(picture: np.ndarray) -> bytes:
        made.append(int(picture[0, 0, 0]))
        return original(picture)

    original = pictures_module.jpeg
    monkeypatch.setattr(pictures_module, "jpeg", jpeg)
    live = live_events(real)
    source = live.connected(Coloured())
    batches = scored_batches(np.array([0.1, 0.8, 0.9, 0.6]), 1)

    def scored() -> Generator[ScoredBatch]:
        for batch, _ in zip(
            batches, source.segments(SegmentationParams(length_s=1, frames_per_segment=3)), strict=True
        ):
            yield batch

    assert list(live.record(scored())) == batches
    live.close()
    (event,) = real.list()
    path = real.picture(event.id)
    assert path is not None
    with Image.open(path) as picture:
        assert abs(picture.getpixel((32, 24))[0] - 120) < 3
    assert made == [60, 120]


class Clips:
    """Writes a file when a clip ends."""

    def __init__(self) -> None:
        self.spans: list[tuple[float, float]] = []

    def start_clip(self, path: Path, since_s: float) -> Any:
        def finish(until_s: float) -> Path:
            self.spans.append((since_s, until_s))
            whole = path.with_suffix(".mp4")
            whole.write_bytes(b"clip")
            return whole

        return SimpleNamespace(finish=finish, abandon=lambda: None, start_s=since_s)


def test_a_stored_live_event_has_all_that_belongs_to_it(real: EventStore) -> None:
    clips = Clips()
    live = live_events(real, clips=clips, camera=Yard(merge_s=7))
    follow(live, [*[0.2] * 10, 0.7, 0.9, 0.8, *[0.3] * 8, 0.1], begins=60)
    (event,) = real.list()
    assert (event.camera, event.origin, event.time_basis, event.time_zone) == (
        "yard", "live", "stream", "Europe/Berlin",
    )  # fmt: skip
    assert (seconds(event), event.start_s, event.video_id) == ((70, 73), 10, "yard/live-60")
    assert (event.score, event.peak, event.threshold) == (0.9, NOON + timedelta(seconds=71.5), 0.5)
    assert (event.contributions, event.interrupted, event.clip) == ((0.9,), False, True)
    assert clips.spans == [(5, 18)]  # the margins before and behind
    assert event.clip_start == event.start - timedelta(seconds=5)
    path = real.clip(event.id)
    assert path is not None
    assert path.read_bytes() == b"clip"
    features = real.features(event.id)
    assert features is not None
    assert features.values.ravel().tolist() == [70, 71, 72]
    assert features.normal.ravel().tolist() == [*range(60, 70), *range(73, 80)]


def test_a_clip_ends_with_its_connection_and_the_longest_clip(real: EventStore) -> None:
    clips = Clips()
    limited = EventStore(real._engine, real.settings.model_copy(update={"clip_most_s": 10}))
    live = live_events(limited, clips=clips)
    follow(live, [0.1, 0.9])
    assert real.list()[0].clip
    follow(live, [0.9] * 30, begins=2)
    live.close()
    assert clips.spans == [(0, 7)]
    follow(live, [0.9] * 30, begins=100)
    assert clips.spans[1:] == [(0, 10)]
    follow(live_events(limited, clips=clips, camera=Yard(keep_clips=False)), [0.9], begins=200)
    assert len(clips.spans) == 2


def test_what_cannot_be_stored_is_stored_later(real: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    live = live_events(real, clock=lambda: now)
    add = real.add

    def fails(*_: object, **__: object) -> EventRecord:
        raise UnreachableError("away")

    monkeypatch.setattr(real, "add", fails)
    follow(live, [0.9, 0.1, 0.1, 0.1, 0.8, 0.1])
    assert (live.waiting, live.problem, live.open_event) == (1, "away", None)
    monkeypatch.setattr(real, "add", add)
    live.tick(NOON)
    assert real.list() == []  # not before the wait is over
    now = RETRY_S
    live.tick(NOON)
    assert (live.waiting, live.problem) == (0, None)
    assert [seconds(e) for e in real.list()] == [(4, None), (0, 1)]


def test_after_a_killed_process_each_event_is_closed_once_and_goes_on_if_it_is_close(
    event_settings: EventSettings,
) -> None:
    changes: list[tuple[str, Change]] = []
    with EventStore.open(event_settings, lambda _, event, change: changes.append((event.id, change))) as store:
        follow(live_events(store, clips=Clips()), [0.9, 0.9])  # and no more
        follow(live_events(store, camera=Yard(name="gate")), [0.9])
        other, yard = store.list()
        if other.camera == "yard":
            other, yard = yard, other
        (closed,) = recover(store, ["yard"], NOON + timedelta(seconds=30))
        assert (closed.id, seconds(closed), closed.interrupted) == (yard.id, (0, 2), True)
        assert recover(store, ["yard"], NOON + timedelta(seconds=30)) == []
        assert store.get(other.id).stop is None  # another process may watch that camera
        restarted = live_events(store)
        follow(restarted, [0.9, 0.8, 0.1, 0.1, 0.1], begins=3)
        again = store.get(yard.id)
        assert (seconds(again), again.interrupted) == ((0, 5), False)
        features = store.features(yard.id)
        assert features is not None
        assert features.raw.tolist() == [0.9, 0.9, 0.9, 0.8]
        assert [e.id for e in recover(store, [], NOON + timedelta(hours=2))] == [other.id]
        assert store.open_events() == []
    of_yard = [change for event_id, change in changes if event_id == yard.id and change != "grew"]
    assert of_yard == ["opened", "closed", "opened", "closed"]


def test_an_event_that_became_a_part_of_another_meanwhile_goes_on_there(real: EventStore) -> None:
    live = live_events(real)
    live.connected(Stream())
    for i, _ in enumerate(live.record(generated(scored_batches(np.array([0.9, 0.9, 0.9, 0.95, 0.1, 0.1, 0.1]), 1)))):
        if i == 1:
            (event,) = real.list()
            before = {"stop": NOON - timedelta(seconds=5), "start": NOON - timedelta(seconds=9), "key": "file"}
            earlier = EventRecord(**{**event.model_dump(), **before})
            fields = {name: getattr(earlier, name) for name in NewEvent.model_fields}
            first = real.add(NewEvent(**fields), merge_s=0)
            between = fields | {"key": "b", "start": fields["stop"], "stop": NOON + timedelta(seconds=1)}
            joined = real.add(NewEvent(**between), merge_s=1)
            assert joined.id == first.id
            assert len(real.list()) == 1
    (event,) = real.list()
    assert (event.id, seconds(event), event.score) == (first.id, (-9, 4), 0.95)
    features = real.features(event.id)
    assert features is not None
    assert sorted(features.values.ravel().tolist()) == [0, 1, 2, 3]
