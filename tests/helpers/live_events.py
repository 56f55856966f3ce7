"""Live events of a camera whose scores are given, and a store in memory for them."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from headhunt_svc.detector.batches import ScoredBatch
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Reporter
from headhunt_svc.events.live import ClipSource, LiveEvents
from headhunt_svc.events.records import EventRecord, NewEvent
from headhunt_svc.events.store import Change, EventStore
from headhunt_svc.params import SegmentationParams
from headhunt_svc.settings import EventSettings
from headhunt_svc.types import HeadRef, OperatingPoint
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
