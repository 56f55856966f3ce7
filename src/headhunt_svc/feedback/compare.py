"""The detector in use and its candidate, compared over the segments that both have scored."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float

from headhunt_svc.events.records import EventFilter, EventRecord
from headhunt_svc.events.store import EventStore
from headhunt_svc.prediction_log.pairs import Pairs, read_pairs

MATCH_S = 2.0  # a stored event may begin so much before or behind the segments that it is of
MOST_EVENTS = 10_000  # of one camera, that are looked through for the ids of flips


@dataclass(frozen=True, slots=True)
class Flip:
    """An event of one of the two that the other has not. event_id: where it is stored."""

    camera: str
    video_id: str
    time: datetime
    start_s: float
    stop_s: float
    of: str  # active: it would be gone; candidate: it would be new
    peak_active: float
    peak_candidate: float
    event_id: str | None


@dataclass(frozen=True, slots=True)
class CameraComparison:
    """One camera. hours: of footage that both have scored. active_only, candidate_only: segments without the other.

    agreement: share of the segments that are in an event of both or of neither; None without such segments.
    """

    camera: str
    segments: int
    hours: float
    active_only: int
    candidate_only: int
    agreement: float | None
    events_active: int
    events_candidate: int
    flips: tuple[Flip, ...]

    @property
    def per_day(self) -> tuple[float | None, float | None]:
        """Events per day of footage: of the detector in use, and of the candidate."""
        if not self.hours:
            return None, None
        return 24 * self.events_active / self.hours, 24 * self.events_candidate / self.hours


@dataclass(frozen=True, slots=True)
class Comparison:
    """All cameras; days: on which both have scored something."""

    active: str
    candidate: str
    start: datetime
    stop: datetime
    days: int
    cameras: tuple[CameraComparison, ...]

    @property
    def events(self) -> int:
        """Events of either detector that were compared."""
        gone = sum(flip.of == "candidate" for camera in self.cameras for flip in camera.flips)
        return sum(camera.events_active for camera in self.cameras) + gone


def compare(
    log: str,
    active: str,
    candidate: str,
    start: datetime,
    stop: datetime,
    store: EventStore | None,
    merging: Callable[[str], float],
) -> Comparison:
    """Compare two detectors over the prediction log and the rows of candidates beside it.

    active, candidate: their ids. store: where the ids of events are looked for. merging: seconds by camera,
    below which two events are one.

    Raises:
        UnreachableError: log or store do not answer. ArtifactError: a file of the log cannot be read.
    """
    cameras: list[CameraComparison] = []
    days: set[date] = set()
    for pairs in read_pairs(log, active, candidate, start, stop):
        cameras.append(_camera(pairs, active, store, merging(pairs.camera)))
        days.update(pc.unique(pc.cast(pairs.table["time"], pa.date32())).to_pylist())
    return Comparison(active, candidate, start, stop, len(days), tuple(cameras))


def _camera(pairs: Pairs, active: str, store: EventStore | None, merge_s: float) -> CameraComparison:
    table = pairs.table
    ours, theirs = _flags(table, "in_event"), _flags(table, "in_event_candidate")
    events = _events(table, ours, merge_s), _events(table, theirs, merge_s)
    flips = [
        *(("active", event) for event in events[0] if not theirs[event].any()),
        *(("candidate", event) for event in events[1] if not ours[event].any()),
    ]
    stored = _stored(store, pairs, active) if flips else []
    return CameraComparison(
        camera=pairs.camera,
        segments=len(table),
        hours=_covered_s(table) / 3600,
        active_only=pairs.active_only,
        candidate_only=pairs.candidate_only,
        agreement=float((ours == theirs).mean()) if len(table) else None,
        events_active=len(events[0]),
        events_candidate=len(events[1]),
        flips=tuple(_flip(pairs, of, event, stored) for of, event in flips),
    )


def _flags(table: pa.Table, name: str) -> Bool[np.ndarray, " row"]:
    return np.asarray(table[name].to_numpy(), bool)


def _numbers(table: pa.Table, name: str) -> Float[np.ndarray, " row"]:
    return np.asarray(table[name].to_numpy(), np.float64)


def _new_pass(table: pa.Table) -> Bool[np.ndarray, " row"]:
    """Is the row the first of its pass?"""
    passes = np.asarray(pc.rank(table["pass_id"].combine_chunks(), tiebreaker="dense").to_numpy())
    return np.concatenate([[True], np.diff(passes.astype(np.int64)) != 0]) if len(table) else np.zeros(0, bool)


def _covered_s(table: pa.Table) -> float:
    """Seconds of footage; what overlapping segments share counts once."""
    if not len(table):
        return 0.0
    starts, stops = _numbers(table, "start_s"), _numbers(table, "stop_s")
    following = np.append(np.where(_new_pass(table)[1:], np.inf, starts[1:]), np.inf)
    return float((np.minimum(stops, following) - starts).sum())


def _events(table: pa.Table, above: Bool[np.ndarray, " row"], merge_s: float) -> list[slice]:
    """The rows of each event: from its first segment above to its last, with gaps that are shorter than merge_s."""
    if not above.any():
        return []
    rows = np.flatnonzero(above)
    number_of_pass = np.cumsum(_new_pass(table))[rows]
    gap_s = _numbers(table, "start_s")[rows][1:] - _numbers(table, "stop_s")[rows][:-1]
    follows = (np.diff(rows) == 1) & (gap_s < 1e-3) | (gap_s < merge_s)
    breaks = np.flatnonzero((np.diff(number_of_pass) != 0) | ~follows) + 1
    return [slice(int(part[0]), int(part[-1]) + 1) for part in np.split(rows, breaks)]


def _stored(store: EventStore | None, pairs: Pairs, active: str) -> list[EventRecord]:
    """The stored events of the camera in the time of the rows, by the detector in use."""
    if store is None:
        return []
    which = EventFilter(camera=pairs.camera, detector_id=active, questions=False)
    records: list[EventRecord] = []
    after: str | None = None
    while len(records) < MOST_EVENTS and (page := store.list(which, after=after)):
        records += page
        after = page[-1].cursor
    return records


def _flip(pairs: Pairs, of: str, event: slice, stored: list[EventRecord]) -> Flip:
    rows = pairs.table.slice(event.start, event.stop - event.start)
    video, start_s, stop_s = rows["video"][0].as_py(), rows["start_s"][0].as_py(), rows["stop_s"][-1].as_py()
    ids = (
        record.id
        for record in stored
        if record.video_id == video
        and record.start_s is not None
        and start_s - MATCH_S <= record.start_s <= stop_s + MATCH_S
    )
    return Flip(
        camera=pairs.camera,
        video_id=video,
        time=rows["time"][0].as_py(),
        start_s=start_s,
        stop_s=stop_s,
        of=of,
        peak_active=float(_numbers(rows, "smoothed").max()),
        peak_candidate=float(_numbers(rows, "smoothed_candidate").max()),
        event_id=next(ids, None) if of == "active" else None,
    )


def lines(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """As JSON: one object a camera."""
    for camera in comparison.cameras:
        active, candidate = camera.per_day
        yield {
            "active": comparison.active,
            "candidate": comparison.candidate,
            "camera": camera.camera,
            "segments": camera.segments,
            "hours": camera.hours,
            "active_only": camera.active_only,
            "candidate_only": camera.candidate_only,
            "agreement": camera.agreement,
            "events_active": camera.events_active,
            "events_candidate": camera.events_candidate,
            "per_day_active": active,
            "per_day_candidate": candidate,
            "flips": [
                {name: getattr(flip, name) for name in Flip.__slots__} | {"time": flip.time.isoformat()}
                for flip in camera.flips
            ],
        }
