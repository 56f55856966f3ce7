"""Stores an event that the detector has missed and that somebody has marked, with all that is known of it.

Scores come from the prediction log; features, too, where it holds them whole. Picture and clip come from the footage's
file, where this machine has it and it has not changed since it was scored.
"""

import hashlib
import json
import logging
import os
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int

from headhunt_svc.cameras.config import Camera
from headhunt_svc.cameras.sources import FolderSource
from headhunt_svc.console import media
from headhunt_svc.console.clock import moment
from headhunt_svc.console.desk import Desk
from headhunt_svc.errors import ArtifactError, ConfigError, VideoError
from headhunt_svc.events.clips import cut
from headhunt_svc.events.features import MOST_SEGMENTS, NORMAL_SEGMENTS, EventFeatures
from headhunt_svc.events.parts import attach_part_clip, change_part
from headhunt_svc.events.records import EventFilter, EventRecord, EventState, NewEvent, TimeBasis
from headhunt_svc.events.store import NoSuchEventError
from headhunt_svc.names import CameraName
from headhunt_svc.prediction_log.schema import LogMetadata
from headhunt_svc.prediction_log.stretches import days_between, read_stretch

logger = logging.getLogger(__name__)
LONGEST = timedelta(hours=1)
_AROUND = timedelta(seconds=30)  # a segment may begin so long before the span that lies in it
_BESIDE = timedelta(minutes=10)  # where normal segments are looked for
_OWN = ("live", "detect", "archive", "manual")  # origins whose files this machine may open in this process
_COLUMNS = ("video", "pass_id", "start_s", "stop_s", "raw", "smoothed", "in_event", "contributions")


@dataclass(frozen=True, slots=True, eq=False)
class _Marked:
    """The marked segments, all of one pass. rows: of that pass around them. inside: numbers of the marked ones.

    times: when each row began, in seconds since the epoch, as the log has it: of scoring, where that is all it knows.
    rate: seconds of footage in a second of these times; above 1 where it was scored faster than it plays.
    """

    metadata: LogMetadata
    rows: pa.Table
    times: Float[np.ndarray, " row"]
    rate: Float[np.ndarray, " row"]
    inside: Int[np.ndarray, " marked"]
    peak: int

    def of(self, column: str, row: int) -> float:
        """A number of a row."""
        return float(self.rows[column][row].as_py())

    def footage_s(self, row: int, time: datetime) -> float:
        """The second of the footage at a time that lies in a row."""
        passed_s = max(time.timestamp() - float(self.times[row]), 0.0) * float(self.rate[row])
        return min(self.of("start_s", row) + passed_s, self.of("stop_s", row))


def store_missed(
    desk: Desk, camera: str, times: tuple[datetime, datetime], by: str, note: str, zone: str
) -> EventRecord:
    """Store a span of a camera's footage as a confirmed event.

    Raises:
        ConfigError: the span is empty or too long, or nothing was scored there.
        NoSuchEventError: the event was deleted before it was marked.
        UnreachableError, OutputError: see EventStore.
    """
    start, stop = times
    if not start < stop <= start + LONGEST:
        raise ConfigError("the end must be behind the start, by an hour at most")
    name = CameraName(camera)
    marked = _marked(desk, name, start, stop)
    if marked is None:
        raise ConfigError(
            f"nothing of {name} was scored between {moment(start, zone).local} and {moment(stop, zone).local}, so "
            "there is nothing to learn from: store a file of it with `headhunt events add`"
        )
    first, last, peak = int(marked.inside[0]), int(marked.inside[-1]), marked.peak
    video = str(marked.rows["video"][peak].as_py())
    beside = next(iter(desk.events.list(EventFilter(camera=name, video_id=video), limit=1)), None)
    basis, start_s, stop_s = TimeBasis.LOG, marked.footage_s(first, start), marked.footage_s(last, stop)
    begun = start - timedelta(seconds=start_s)
    if beside is not None and beside.start_s is not None:  # it says when the video began
        begun = beside.start - timedelta(seconds=beside.start_s)
        basis, start_s, stop_s = beside.time_basis, marked.of("start_s", first), marked.of("stop_s", last)
    middle_s = (marked.of("start_s", peak) + marked.of("stop_s", peak)) / 2
    start, stop, peak_time = (  # the log may have the times of scoring, which is faster than the footage
        begun + timedelta(seconds=s) for s in (start_s, stop_s, min(max(middle_s, start_s), stop_s))
    )
    configured = desk.fleet.cameras().get(name)
    file = _file(configured, video, beside, datetime.fromtimestamp(marked.times[peak], UTC))
    text = json.dumps([name, *(time.isoformat() for time in times), marked.metadata.detector_id, "marked"])
    key = hashlib.sha256(text.encode()).hexdigest()[:40]
    event = NewEvent(
        camera=name,
        video_id=video,
        start=start,
        stop=stop,
        peak=peak_time,
        time_basis=basis,
        time_zone=zone,
        score=min(max(marked.of("smoothed", peak), 0.0), 1.0),
        threshold=marked.metadata.threshold,
        detector_id=marked.metadata.detector_id,
        contributions=tuple(marked.rows["contributions"][peak].as_py()),
        origin="manual",
        key=key,
        source=None if beside is None else beside.source,
        start_s=start_s,
    )
    picture = None if file is None else _picture(file, marked, configured)
    record = desk.events.add(event, merge_s=None, picture=picture, features=_features(marked))
    if file is not None and not record.clip:
        _attach_clip(desk, record, key, start_s, file, marked)
    return change_part(desk.events, record, key, lambda now: desk.events.mark(now.id, EventState.CONFIRMED, by, note))


def _marked(desk: Desk, name: CameraName, start: datetime, stop: datetime) -> _Marked | None:
    """The rows between two times and beside them; None where nothing was scored."""
    span = start - _BESIDE - _AROUND, stop + _BESIDE
    stretch = read_stretch(desk.log, name, days_between(*span), (*_COLUMNS, "features"), span)
    if stretch.metadata is None:
        return None
    table = stretch.table
    times = _seconds(table)
    passes = np.asarray(pc.cast(table["pass_id"], pa.string()).to_numpy(zero_copy_only=False))
    starts = np.asarray(table["start_s"].to_numpy(), np.float64)
    lengths = np.asarray(table["stop_s"].to_numpy(), np.float64) - starts
    logged = _lasts(times, lengths, passes)
    is_inside = (times + logged > start.timestamp()) & (times < stop.timestamp())
    if not is_inside.any():
        return None
    scores = np.where(is_inside, np.asarray(table["smoothed"].to_numpy(), np.float64), -1.0)
    is_same = passes == passes[int(scores.argmax())]
    rows, inside = table.filter(pa.array(is_same)), np.flatnonzero(is_inside[is_same])
    peak = int(inside[np.argmax(np.asarray(rows["smoothed"].to_numpy(), np.float64)[inside])])
    rate = np.divide(_lasts(starts, lengths, passes), logged, out=np.ones_like(logged), where=logged > 0)
    return _Marked(stretch.metadata, rows, _seconds(rows), rate[is_same], inside, peak)


def _lasts(column: Float[np.ndarray, " row"], lengths: Float[np.ndarray, " row"], passes: np.ndarray) -> np.ndarray:
    """How much of a column of times each row covers: its length, or less where the pass goes on before."""
    lasts = lengths.copy()
    for name in np.unique(passes):
        rows = np.flatnonzero(passes == name)
        lasts[rows[:-1]] = np.minimum(lasts[rows[:-1]], np.diff(column[rows]))
    return lasts


def _seconds(table: pa.Table) -> Float[np.ndarray, " row"]:
    return np.asarray(pc.cast(table["time"], pa.int64()).to_numpy(), np.float64) / 1e6


def _features(marked: _Marked) -> EventFeatures | None:
    """Features of the marked segments and of normal ones beside them; None where the log does not hold them whole."""
    column = marked.rows["features"]
    if marked.metadata.features != "all" or pc.any(pc.is_null(column)).as_py():
        return None
    is_normal = ~np.asarray(marked.rows["in_event"].to_numpy(zero_copy_only=False), bool)
    is_normal[marked.inside] = False
    others = np.flatnonzero(is_normal).tolist()
    sample = random.Random(marked.metadata.detector_id).sample(others, min(NORMAL_SEGMENTS, len(others)))
    step = -(-len(marked.inside) // MOST_SEGMENTS)
    heads = marked.metadata.heads

    def arrays(numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = marked.rows.take(pa.array(numbers, pa.int64()))
        values = np.array(rows["features"].to_pylist(), np.float32).reshape(len(rows), len(heads), -1)
        return values, np.asarray(rows["start_s"].to_numpy()), np.asarray(rows["raw"].to_numpy())

    values, starts, raw = arrays(marked.inside[::step].tolist())
    if not sample:
        none = np.empty(0, np.float64)
        return EventFeatures(marked.metadata.detector_id, heads, values, starts, raw, values[:0], none, none)
    return EventFeatures(marked.metadata.detector_id, heads, values, starts, raw, *arrays(sorted(sample)))


def _file(camera: Camera | None, video: str, beside: EventRecord | None, scored: datetime) -> Path | None:
    """The file of a video, if this machine has it and it was not written since it was scored.

    beside: an event of the same video, which says where it lies. Else it may be in the folder of its camera.
    """
    path: Path | None = None
    if beside is not None and beside.source is not None and beside.origin in _OWN:
        path = path_of(beside.source)
    elif camera is not None and isinstance(camera.source, FolderSource):
        folder, within = camera.source.path.resolve(), f"{camera.name}/"
        path = (folder / video.removeprefix(within)).resolve() if video.startswith(within) else None
        path = path if path is not None and path.is_relative_to(folder) else None
    try:
        is_same = path is not None and path.is_file() and path.stat().st_mtime <= scored.timestamp()
    except OSError:
        return None
    return path if is_same else None


def path_of(source: str) -> Path | None:
    """The path that an event's source names; None where it is no file of this machine (names.uri_of)."""
    if source.startswith("file:///"):
        return Path(os.fsdecode(unquote_to_bytes(source.removeprefix("file://"))))
    return Path(source) if source.startswith("/") else None


def _picture(file: Path, marked: _Marked, camera: Camera | None) -> bytes | None:
    middle_s = (marked.of("start_s", marked.peak) + marked.of("stop_s", marked.peak)) / 2
    try:
        return media.picture_at(file, middle_s, () if camera is None else camera.masks)
    except (VideoError, ArtifactError) as exc:
        logger.warning("%s: no picture of a missed event (%s)", file, exc)
        return None


def _attach_clip(desk: Desk, event: EventRecord, key: str, event_s: float, file: Path, marked: _Marked) -> None:
    """event_s: where the event begins in the file."""
    settings = desk.events.settings
    first_s, last_s = marked.of("start_s", int(marked.inside[0])), marked.of("stop_s", int(marked.inside[-1]))
    start_s = max(first_s - settings.clip_margin_s, 0.0)
    stop_s = min(last_s + settings.clip_margin_s, start_s + settings.clip_most_s)
    try:
        with tempfile.TemporaryDirectory(prefix="headhunt-") as folder:
            clip = cut(file, start_s, stop_s, Path(folder) / "clip")
            begins = event.start + timedelta(seconds=clip.start_s - event_s)
            attach_part_clip(desk.events, event, key, clip.path, begins)
    except (VideoError, NoSuchEventError) as exc:  # or the event was deleted meanwhile
        logger.warning("%s: no clip of a missed event (%s)", file, exc)
