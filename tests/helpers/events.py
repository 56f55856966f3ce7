"""Events as tests store them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from headhunt_svc.events.features import EventFeatures
from headhunt_svc.events.records import EventRecord, NewEvent, TimeBasis
from headhunt_svc.events.store import EventStore
from headhunt_svc.types import HeadRef

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def new(start: float = 0, stop: float | None = 8, **fields: Any) -> NewEvent:
    """An event, seconds after noon."""
    default: dict[str, Any] = {
        "camera": "yard",
        "video_id": "yard.mp4",
        "start": NOON + timedelta(seconds=start),
        "stop": None if stop is None else NOON + timedelta(seconds=stop),
        "peak": NOON + timedelta(seconds=start),
        "time_basis": TimeBasis.FILE_NAME,
        "score": 0.9,
        "threshold": 0.5,
        "detector_id": "d" * 12,
        "contributions": (1.0, -0.5),
        "origin": "detect",
        "key": f"{fields.get('video_id', '')} {start}",
    }
    return NewEvent(**default | fields)


def features(value: float, n: int = 2) -> EventFeatures:
    values, numbers = np.full((n, 1, 3), value, np.float32), np.arange(n, dtype=np.float64)
    return EventFeatures("d" * 12, (HeadRef(1, 2),), values, numbers, numbers, values, numbers, numbers)


def make_part(store: EventStore, event: EventRecord) -> EventRecord:
    """What another process may do at any time: store what joins an event to an earlier one, which is returned."""
    fields = {name: getattr(event, name) for name in NewEvent.model_fields}

    def add(key: str, start: float, stop: float) -> EventRecord:
        times = {"start": event.start + timedelta(seconds=start), "stop": event.start + timedelta(seconds=stop)}
        return store.add(NewEvent(**fields | times | {"peak": times["start"], "key": key}), merge_s=5)

    earlier = add("earlier", -30, -20)
    assert add("between", -18, -2).id == earlier.id
    assert event.id not in {one.id for one in store.list()}
    return earlier
