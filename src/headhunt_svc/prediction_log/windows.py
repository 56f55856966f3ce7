"""The prediction log -> the rows of a window, camera by camera; what does not belong is left out, named and counted.

Whole blocks of neighbouring segments are drawn where there are more rows than are needed, so memory does not grow with
the log; how many segments and events there are is counted on all rows.
"""

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float, Int

from headhunt_svc.core.drift import Sample
from headhunt_svc.errors import ArtifactError, UnreachableError
from headhunt_svc.prediction_log.schema import COLUMNS, About
from headhunt_svc.prediction_log.writer import Partition, live
from headhunt_svc.storage.store import Store
from headhunt_svc.storage.tables import open_parquet, read_table

BACKWARDS_S, AHEAD_S = 1.0, 300.0  # a clock that goes back, or is ahead of ours, by more than this is named
_NARROW = ["time", "pass_id", "segment", "in_event"]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one camera in a window: a draw of whole blocks, and the counts of all."""

    about: About
    table: pa.Table
    total: int
    events: int


@dataclass(slots=True)
class Window:
    """What the log holds between two times. excluded: rows by why they are left out; missing: days without rows."""

    start: datetime
    stop: datetime
    cameras: dict[str, Rows] = field(default_factory=dict)
    excluded: Counter[str] = field(default_factory=Counter)
    missing: dict[str, list[date]] = field(default_factory=dict)
    detectors: Counter[str] = field(default_factory=Counter)  # rows of every detector in the window, used or not


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    about: About
    narrow: pa.Table


def _files(store: Store, start: datetime, stop: datetime, window: Window) -> dict[str, list[_File]]:
    """The readable files of the window's days by camera, with their narrow columns."""
    found: dict[str, list[_File]] = {}
    for name in live(store.glob("day=*/camera=*/*.parquet")):
        try:
            partition = Partition.of(name)
        except ValueError:
            window.excluded["file in a folder that is no day and camera"] += 1
            continue
        if not start.date() <= partition.day <= stop.date():
            continue
        try:
            with store.open(name) as f:
                file = open_parquet(f)
                about = About.read(file.schema_arrow.metadata, name)
                narrow = read_table(file, _NARROW)
        except ArtifactError as exc:
            window.excluded[str(exc).removeprefix(f"{name}: ").removeprefix(f"{name} ")] += 1
            continue
        except (OSError, UnreachableError, pa.ArrowException):
            window.excluded["unreadable file"] += 1
            continue
        found.setdefault(partition.camera, []).append(_File(name, about, narrow))
    return found


def _codes(passes: Iterable[pa.ChunkedArray]) -> Int[np.ndarray, " row"]:
    """A number for every pass, the same in all files."""
    known: dict[str, int] = {}
    parts = []
    for column in passes:
        for chunk in column.chunks:
            coded = chunk if isinstance(chunk, pa.DictionaryArray) else chunk.dictionary_encode()
            numbers = [known.setdefault(name, len(known)) for name in coded.dictionary.to_pylist()]
            parts.append(np.asarray(numbers, np.int64)[coded.indices.to_numpy()])
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _in_order(
    passes: Int[np.ndarray, " row"], segments: Int[np.ndarray, " row"], seconds: Float[np.ndarray, " row"]
) -> tuple[Bool[np.ndarray, " row"], Bool[np.ndarray, " row"]]:
    """Rows that are not logged twice, and rows whose time is not behind that of an earlier segment of their pass."""
    order = np.lexsort((segments, passes))
    p, s, t = passes[order], segments[order], seconds[order]
    first = np.concatenate([[True], (np.diff(p) != 0) | (np.diff(s) != 0)]) if len(p) else np.zeros(0, bool)
    step = np.ptp(t) + 1 if len(t) else 1.0
    latest = np.maximum.accumulate(t + p * step) - p * step  # passes are so far apart that none reaches the next
    single, forward = np.empty(len(p), bool), np.empty(len(p), bool)
    single[order], forward[order] = first, t >= latest - BACKWARDS_S
    return single, forward


def read_window(
    store: Store,
    start: datetime,
    stop: datetime,
    *,
    detector_id: str | None,
    block_segments: int,
    sample_rows: int,
    now: datetime | None = None,
) -> Window:
    """The rows from start (included) to stop; those of another detector than `detector_id` are left out.

    Without a detector_id, the detector with the most rows counts.
    """
    window = Window(start, stop)
    by_camera = _files(store, start, stop, window)
    edge = ((now or datetime.now(UTC)) + timedelta(seconds=AHEAD_S)).timestamp()
    inside = {camera: [_between(f, start, stop) for f in files] for camera, files in by_camera.items()}
    for camera, files in by_camera.items():
        for file, rows in zip(files, inside[camera], strict=True):
            window.detectors[file.about.detector_id] += int(rows.sum())
    wanted = detector_id or max(window.detectors, key=lambda d: window.detectors[d], default=None)
    for camera, files in by_camera.items():
        _camera(store, window, camera, files, inside[camera], wanted, edge, block_segments, sample_rows)
    return window


def _between(file: _File, start: datetime, stop: datetime) -> Bool[np.ndarray, " row"]:
    seconds = _seconds(file.narrow)
    return np.asarray((seconds >= start.timestamp()) & (seconds < stop.timestamp()))


def _seconds(table: pa.Table) -> Float[np.ndarray, " row"]:
    return np.asarray(pc.cast(table["time"], pa.int64()).to_numpy() / 1e6)


def _camera(
    store: Store,
    window: Window,
    camera: str,
    files: Sequence[_File],
    inside: Sequence[np.ndarray],
    wanted: str | None,
    edge: float,
    block_segments: int,
    sample_rows: int,
) -> None:
    """Add a camera's rows to the window."""
    own = [(f, rows) for f, rows in zip(files, inside, strict=True) if rows.any()]
    for file, rows in own:
        if file.about.detector_id != wanted:
            window.excluded[f"detector {file.about.detector_id}"] += int(rows.sum())
    own = [(f, rows) for f, rows in own if f.about.detector_id == wanted]
    if not own:
        return
    about = own[-1][0].about
    for file, rows in own:
        if file.about != about:
            window.excluded["other code, operating point or features of the same detector"] += int(rows.sum())
    own = [(f, rows) for f, rows in own if f.about == about]
    passes = _codes(f.narrow["pass_id"] for f, _ in own)
    segments = np.concatenate([f.narrow["segment"].to_numpy() for f, _ in own]).astype(np.int64)
    seconds = np.concatenate([_seconds(f.narrow) for f, _ in own])
    kept = np.concatenate([rows for _, rows in own])
    single, forward = _in_order(passes, segments, seconds)
    for why, good in (
        ("logged twice", single),
        ("clock jumped back", forward),
        ("time in the future", seconds <= edge),
    ):
        if n := int((kept & ~good).sum()):
            window.excluded[why] += n
        kept &= good
    total = int(kept.sum())
    if not total:
        return
    events = int(np.concatenate([f.narrow["in_event"].to_numpy() for f, _ in own])[kept].sum())
    blocks = passes * (1 << 24) + segments // block_segments
    drawn = kept & (_uniform(blocks) < sample_rows / total)
    parts, at = [], 0
    for file, rows in own:
        here = np.flatnonzero(drawn[at : at + len(rows)])
        at += len(rows)
        if len(here):
            table = read_table(io.BytesIO(store.read(file.name)))
            parts.append(table.select(COLUMNS.names).cast(COLUMNS).take(pa.array(here)))
    if not parts:
        return
    window.cameras[camera] = Rows(about, pa.concat_tables(parts).unify_dictionaries(), total, events)


def _uniform(blocks: Int[np.ndarray, " row"]) -> Float[np.ndarray, " row"]:
    """A number in [0, 1) for every block, always the same."""
    mixed = blocks.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    return np.asarray((mixed * np.uint64(0xBF58476D1CE4E5B9) >> np.uint64(40)) / 2.0**24)


def _matrix(table: pa.Table, name: str, width: int) -> Float[np.ndarray, "row width"]:
    """A column of vectors; NaN where there is none."""
    result = np.full((len(table), width), np.nan)
    at = 0
    for chunk in table[name].chunks:
        valid = np.flatnonzero(chunk.is_valid().to_numpy(zero_copy_only=False))
        if len(valid):
            result[at + valid] = chunk.flatten().to_numpy(zero_copy_only=False).reshape(len(valid), -1)
        at += len(chunk)
    return result


def _width(table: pa.Table, name: str) -> int:
    longest = pc.max(pc.list_value_length(table[name])).as_py()
    return int(longest or 0)


def sample_of(rows: Rows, block_segments: int) -> Sample:
    """Rows as arrays."""
    table, about = rows.table, rows.about
    k, n_prompts = len(about.heads), len(about.prompts)

    def column(name: str) -> np.ndarray:
        return np.asarray(table[name].to_numpy(), np.float64)

    features, tiles = _width(table, "features"), _width(table, "layout")
    probes = _matrix(table, "prompt_contributions", n_prompts * k)
    passes, segments = _codes([table["pass_id"]]), np.asarray(table["segment"].to_numpy(), np.int64)
    return Sample(
        block=np.unique(passes * (1 << 24) + segments // block_segments, return_inverse=True)[1],
        raw=column("raw"),
        in_event=np.asarray(table["in_event"].to_numpy(), bool),
        brightness=column("brightness"),
        sharpness=column("sharpness"),
        dropped=np.nan_to_num(column("dropped_frames")),
        layout=_matrix(table, "layout", tiles),
        heads=_matrix(table, "features", features).reshape(len(table), k, -1)
        if features
        else np.zeros((len(table), k, 0)),
        prompt_scores=_matrix(table, "prompt_scores", n_prompts),
        prompt_heads=probes.reshape(len(table), n_prompts, k),
        total=rows.total,
        events=rows.events,
    )


def days(start: datetime, stop: datetime) -> list[date]:
    """The days that a window touches."""
    last = (stop - timedelta(microseconds=1)).date()
    return [start.date() + timedelta(days=i) for i in range((last - start.date()).days + 1)]


def name_missing(window: Window, expected: Iterable[str], store: Store) -> None:
    """Note the days of the window on which an expected camera has no file."""
    there = {Partition.of(n) for n in store.glob("day=*/camera=*")}
    for camera in expected:
        if gone := [d for d in days(window.start, window.stop) if Partition(d, camera) not in there]:
            window.missing[camera] = gone


def about_rows(rows: Rows) -> dict[str, Any]:
    """Of which time rows are, and how many."""
    times = pc.min_max(rows.table["time"]).as_py()
    return {"from": times["min"].isoformat(), "to": times["max"].isoformat(), "segments": rows.total}
