"""Events of a live camera: opened, extended and closed as scores come, over lost connections and killed processes."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from headhunt_svc.detector.batches import ScoredBatch, located
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Reporter
from headhunt_svc.errors import OutputError, UnreachableError
from headhunt_svc.events import live as live_module
from headhunt_svc.events import pictures as pictures_module
from headhunt_svc.events.features import NORMAL_SEGMENTS
from headhunt_svc.events.live import MOST_WAITING, RETRY_S, ClipSource, LiveEvents, recover
from headhunt_svc.events.records import EventRecord, NewEvent
from headhunt_svc.events.store import Change, EventStore
from headhunt_svc.params import SegmentationParams
from headhunt_svc.settings import EventSettings
from headhunt_svc.types import FrameSpan, HeadRef, OperatingPoint, Segment
from headhunt_svc.video.source import SegmentPictures, VideoSource
from helpers.events import NOON
from helpers.scored import scored_batches

CAUSAL = Options(smoothing="causal")


class Stream(VideoSource):
    """A connection whose first picture was taken some seconds after noon."""

    def __init__(self, begins: float = 0.0, video_id: str = "yard/live") -> None:
        super().__init__(video_id=f"{video_id}-{begins:g}", is_live=True)
        self.begins = begins

    def utc(self, time_s: float) -> datetime:
        return NOON + timedelta(seconds=self.begins + time_s)

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def segments(self, params: SegmentationParams) -> Iterator[SegmentPictures]:
        yield from ()


@dataclass(slots=True, kw_only=True)
class Yard:
    name: str = "yard"
    time_zone: str = "Europe/Berlin"
    merge_s: float = 3.0
    keep_clips: bool = True


class Memory(EventStore):
    """A store in memory that refuses what may not happen to an event."""

    def __init__(self) -> None:
        self.settings = EventSettings(folder=Path("nowhere"))
        self.events: dict[str, EventRecord] = {}
        self.changes: list[tuple[str, Change]] = []

    def add(self, event: NewEvent, **_: Any) -> EventRecord:
        record = EventRecord(**event.model_dump(), id=str(len(self.events)), created=NOON)
        self.events[record.id] = record
        self.changes.append((record.id, "opened"))
        return record

    def extend(self, event_id: str, *, stop: datetime, peak: datetime, score: float, **_: Any) -> EventRecord:
        record = self.events[event_id]
        assert record.stop is None
        assert record.start <= stop
        if score > record.score:
            self.events[event_id] = record.model_copy(update={"score": score, "peak": peak})
        return self.events[event_id]

    def close(self, event_id: str, *, stop: datetime | None, interrupted: bool = False) -> EventRecord:
        record = self.events[event_id]
        assert record.stop is None
        self.events[event_id] = record.model_copy(update={"stop": stop, "interrupted": interrupted})
        self.changes.append((event_id, "closed"))
        return self.events[event_id]


class Fixed(Reporter):
    """A detector with this operating point."""

    def __init__(self, point: OperatingPoint) -> None:
        self.point, self.detector_id = point, "d" * 12
        self.scorer: Any = SimpleNamespace(heads=(HeadRef(0, 1),))
        self.bundle: Any = SimpleNamespace(features_id="f" * 12)

    def at(self, camera: str | None) -> "Fixed":
        return self

    def operating_point(self, options: Options = CAUSAL) -> OperatingPoint:
        return self.point


def live_events(
    store: Any, point: OperatingPoint | None = None, camera: Yard | None = None, clips: ClipSource | None = None,
    **more: Any,
) -> LiveEvents:  # fmt: skip
    point = point or OperatingPoint(0.0, 0.5, "causal")
    return LiveEvents(store, camera or Yard(), Fixed(point), CAUSAL, clips, **more)


def generated(batches: Sequence[ScoredBatch]) -> Generator[ScoredBatch]:
    yield from batches


def follow(live: LiveEvents, raw: Sequence[float], begins: float = 0.0, size: int = 1) -> None:
    """A connection that breaks after these segments of a second."""
    batches = scored_batches(np.array(raw, np.float64), size, first=int(begins))
    live.connected(Stream(begins))
    assert list(live.record(generated(batches))) == batches


def seconds(event: EventRecord) -> tuple[float, float | None]:
    stop = None if event.stop is None else (event.stop - NOON).total_seconds()
    return (event.start - NOON).total_seconds(), stop


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=60),
    st.integers(1, 9),
    st.floats(0, 3),
    st.floats(0, 1),
    st.frozensets(st.integers(0, 59), max_size=3),
    st.sampled_from([0.0, 1.0, 2.5, 5.0, 11.0, 60.0]),
)
def test_live_events_are_those_of_the_file_run_that_are_not_close(
    raw: list[float], size: int, sigma: float, threshold: float, holes: frozenset[int], merge_s: float
) -> None:
    point = OperatingPoint(sigma, threshold, "causal")
    parts = scored_batches(np.array(raw), size, holes)
    smoothed, events = located([s for part in parts for s in part.segments], np.array(raw), point)
    if np.isclose(smoothed, threshold, atol=1e-9).any():
        return  # rounding decides
    merged: list[list[float]] = []
    for event in events:
        if merged and event.start_s - merged[-1][1] < merge_s:
            merged[-1][1] = event.stop_s
            merged[-1][2:] = max(merged[-1][2:], [event.peak, -event.peak_s])
        else:
            merged.append([event.start_s, event.stop_s, event.peak, -event.peak_s])
    store = Memory()
    live = live_events(store, point, Yard(merge_s=merge_s))
    live.connected(Stream())
    for _ in live.record(generated(parts)):
        assert sum(e.stop is None for e in store.events.values()) <= 1
    live.close()
    found = [[*seconds(e), e.score, -(e.peak - NOON).total_seconds()] for e in store.events.values()]
    assert [f[:2] for f in found] == [m[:2] for m in merged]
    np.testing.assert_allclose(found, merged, rtol=1e-12, atol=1e-12) if merged else None
    assert store.changes == [(str(i), c) for i in range(len(merged)) for c in ("opened", "closed")]


def test_an_event_closes_when_nothing_was_above_for_the_merge_distance() -> None:
    store = Memory()
    live = live_events(store)
    live.connected(Stream())
    stops = []
    for _ in live.record(generated(scored_batches(np.array([0.1, 0.9, 0.1, 0.1, 0.9, 0.1, 0.1, 0.1, 0.1]), 1))):
        stops.append([e.stop is None for e in store.events.values()])
    assert stops == [[], [True], [True], [True], [True], [True], [True], [False], [False]]
    (event,) = store.events.values()
    assert (seconds(event), event.interrupted) == ((1, 5), False)


@pytest.mark.parametrize(("away_s", "events"), [(1, [(2, 7)]), (2.5, [(2, 8.5)]), (3, [(2, 4), (7, 9)])])
def test_a_stream_that_comes_back_within_the_merge_distance_goes_on_with_its_event(
    away_s: float, events: list[tuple[float, float]]
) -> None:
    store = Memory()
    live = live_events(store)
    follow(live, [0.1, 0.1, 0.9, 0.9])
    live.tick(NOON + timedelta(seconds=4))
    live.tick(NOON + timedelta(seconds=4 + away_s - 0.1))
    assert live.open_event is not None
    follow(live, [0.9, 0.9, 0.1, 0.1, 0.1], begins=4 + away_s)
    assert [seconds(e) for e in store.events.values()] == events
    assert store.changes == [(str(i), c) for i in range(len(events)) for c in ("opened", "closed")]


@pytest.mark.parametrize(("last", "interrupted"), [(0.9, True), (0.1, False)])
def test_an_event_whose_stream_stays_away_ends(last: float, interrupted: bool) -> None:
    store = Memory()
    live = live_events(store)
    follow(live, [0.9, 0.9, last])
    live.tick(NOON + timedelta(days=1))
    live.tick(NOON)  # the clock was set back: the wait begins anew
    live.tick(NOON + timedelta(seconds=2.9))
    assert live.open_event is not None
    live.tick(NOON + timedelta(seconds=3))
    assert live.open_event is None
    (event,) = store.events.values()
    assert (seconds(event)[1], event.interrupted) == (3 if interrupted else 2, interrupted)


def test_a_clock_that_was_set_back_between_two_connections_makes_no_time_twice() -> None:
    store = Memory()
    live = live_events(store)
    follow(live, [0.9, 0.9])
    follow(live, [0.9, 0.1, 0.1, 0.1, 0.1, 0.9], begins=-3600)
    live.close()
    assert [e.stop is not None and e.start <= e.stop for e in store.events.values()] == [True, True]


def test_closing_ends_what_goes_on_as_interrupted() -> None:
    store = Memory()
    live = live_events(store)
    follow(live, [0.1, 0.9])
    live.close()
    live.close()
    (event,) = store.events.values()
    assert (seconds(event), event.interrupted) == ((1, 2), True)


def test_smoothing_that_looks_ahead_is_refused() -> None:
    with pytest.raises(ValueError, match="causal"):
        live_events(Memory(), OperatingPoint(1.0, 0.5, "offline"))


def test_memory_stays_flat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "NORMAL_OVER", 256)
    store = Memory()
    live = live_events(store)
    live.connected(Stream())
    for _ in live.record(generated(scored_batches(np.tile([0.9, 0.1, 0.1, 0.1, 0.1], 400), 1))):
        candidates = live._candidates
        assert len(candidates.runs) <= 1
        assert len(live._ended) == 0
        assert len(candidates._raw) <= 3
        assert len(candidates._normal) <= NORMAL_SEGMENTS
    assert len(store.events) == 400
    kept = [segment.index for segment in live._candidates._normal]
    assert np.median(kept) > 1600  # old ones go


# with a real store


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


def test_no_more_wait_than_memory_allows(caplog: pytest.LogCaptureFixture) -> None:
    class Full(Memory):
        def add(self, event: NewEvent, **_: Any) -> EventRecord:
            raise OutputError("disk full")

    live = live_events(Full())
    follow(live, [0.9, 0.1, 0.1, 0.1] * (MOST_WAITING + 3))
    assert live.waiting == MOST_WAITING
    assert caplog.text.count("is lost (disk full)") == 3
    assert caplog.text.count("wait to be stored") == 1


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
