"""An event's page: score over time, what its heads add, where it comes from."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float
from markupsafe import Markup

from headhunt_svc.console import charts
from headhunt_svc.console.charts import Bar, Mark
from headhunt_svc.console.clock import duration, moment
from headhunt_svc.console.media import PLAYED, codec_of
from headhunt_svc.errors import ArtifactError, VideoError
from headhunt_svc.events.features import EventFeatures
from headhunt_svc.events.records import EventRecord
from headhunt_svc.events.store import EventStore
from headhunt_svc.prediction_log.stretches import Stretch, between, days_between, read_stretch
from headhunt_svc.storage.store import Store
from headhunt_svc.types import HeadRef

LEAST_BESIDE_S = 30.0  # shown before and behind an event
MOST_BARS = 480


@dataclass(frozen=True, slots=True)
class Head:
    """What a head adds to the score at the peak, in words. share: of the largest one, for its bar."""

    name: str
    words: str
    value: float
    share: float


@dataclass(frozen=True, slots=True)
class Clip:
    """How a clip is shown. plays: in the page itself; else as a strip of pictures. problem: why neither."""

    suffix: str
    codec: str
    plays: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Scores around an event. source: where they come from, in words. heads: of the detector, where that is known."""

    chart: Markup
    source: str
    heads: tuple[HeadRef, ...] | None = None


def clip_of(path: Path | None) -> Clip | None:
    """How the clip of an event is shown; None where there is none."""
    if path is None:
        return None
    try:
        codec = _codec(path, path.stat().st_mtime_ns)
    except (OSError, VideoError) as exc:
        return Clip(path.suffix, "", False, str(exc))
    return Clip(path.suffix, codec, codec in PLAYED)


@lru_cache(maxsize=512)
def _codec(path: Path, written: int) -> str:
    """written: when; a new clip of the same name is another one."""
    return codec_of(path)


def heads_of(event: EventRecord, heads: tuple[HeadRef, ...] | None) -> tuple[Head, ...]:
    """What each head adds, the largest first; heads: None where nothing says which they are."""
    most = max((abs(value) for value in event.contributions), default=0.0)
    named = []
    for i, value in enumerate(event.contributions):
        ref = heads[i] if heads is not None and len(heads) == len(event.contributions) else None
        name = f"head {i + 1}" if ref is None else f"head {ref.head} of layer {ref.layer}"
        named.append(Head(name, _strength(value, most), value, abs(value) / most if most else 0.0))
    return tuple(sorted(named, key=lambda head: -head.value))


def _strength(value: float, most: float) -> str:
    if abs(value) < 0.05:
        return "says nothing"
    how = "strongly" if abs(value) > 0.66 * most else "clearly" if abs(value) > 0.33 * most else "a little"
    return f"speaks {how} {'for' if value > 0 else 'against'} an event"


def features_of(store: EventStore, event: EventRecord) -> tuple[EventFeatures | None, str]:
    """The event's features, if there are some; and why they cannot be read, where they cannot."""
    if not event.features:
        return None, ""
    try:
        return store.features(event.id), ""
    except ArtifactError as exc:
        return None, str(exc)


def timeline(log: Store, event: EventRecord, features: EventFeatures | None, zone: str) -> Timeline | None:
    """Scores before, in and behind an event: of the prediction log, or of what is stored with the event."""
    stop = event.stop or event.peak
    beside = timedelta(seconds=max(LEAST_BESIDE_S, (stop - event.start).total_seconds() / 2))
    first, last = event.start - beside, stop + beside
    days = {*days_between(first, last), event.created.date()}
    stretch = read_stretch(log, event.camera, sorted(days), _COLUMNS)
    logged = _logged(stretch, event, first, last)
    length = (last - first).total_seconds()
    if logged is not None:
        starts, stops, values = logged
        source = "of the prediction log"
    elif features is not None and event.start_s is not None:
        starts = features.start_s - event.start_s + beside.total_seconds()
        step = float(np.median(np.diff(np.sort(starts)))) if len(starts) > 1 else 1.0
        stops, values, source = starts + step, features.raw, "raw, of the event's own segments"
    else:
        return None
    bars: list[Bar] = charts.thinned(starts / length, stops / length, values, MOST_BARS)
    begin, end = beside.total_seconds() / length, 1 - beside.total_seconds() / length
    peak = (event.peak - first).total_seconds() / length
    marks = [Mark(begin, end, "span", "the event"), Mark(peak, peak, "peak", "its peak")]
    ticks = [
        (begin, moment(event.start, zone).local[11:19]),
        (end, moment(stop, zone).local[11:19]),
        (0.0, f"{duration(beside.total_seconds())} before"),
        (1.0, f"{duration(beside.total_seconds())} behind"),
    ]
    label = f"score over time, threshold {event.threshold:.2f}, peak {event.score:.2f}"
    metadata = stretch.metadata
    heads = metadata.heads if metadata is not None and metadata.detector_id == event.detector_id else None
    return Timeline(charts.scores(bars, event.threshold, marks, ticks, label), source, heads)


_COLUMNS = ("video", "pass_id", "start_s", "stop_s", "smoothed")
Times = Float[np.ndarray, " segment"]


def _logged(stretch: Stretch, event: EventRecord, first: datetime, last: datetime) -> tuple[Times, Times, Times] | None:
    """Starts and stops, in seconds from `first`, and scores of the segments of the event's video, of its last pass.

    In a file the place of an event is known to the picture, whatever its clock was taken for.
    """
    table = stretch.table.filter(pc.equal(pc.cast(stretch.table["video"], pa.string()), event.video_id))
    if event.start_s is None:
        table = between(table, first, last)
        starts = np.asarray(pc.cast(table["time"], pa.int64()).to_numpy()) / 1e6 - first.timestamp()
    else:
        starts = _column(table, "start_s") - event.start_s + (event.start - first).total_seconds()
    length = (last - first).total_seconds()
    stops = starts + _column(table, "stop_s") - _column(table, "start_s")
    inside = (stops > 0) & (starts < length)
    if not inside.any():
        return None
    passes = np.asarray(pc.cast(table["pass_id"], pa.string()).to_numpy())
    inside &= passes == passes[np.flatnonzero(inside)[-1]]
    scores = _column(table, "smoothed")
    return starts[inside], stops[inside], scores[inside]


def _column(table: pa.Table, name: str) -> Times:
    return np.asarray(table[name].to_numpy(), np.float64)
