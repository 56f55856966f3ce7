"""Reads the rows of a time window from the prediction log, camera by camera; invalid rows are left out and counted.

If there are more rows than needed, whole blocks of neighbouring segments are drawn, so memory does not grow with the
log. Segments and events are counted on all rows.
"""

import io
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float, Int

from headhunt_svc.core.samples import Sample
from headhunt_svc.errors import ArtifactError, UnreachableError
from headhunt_svc.names import CameraName
from headhunt_svc.prediction_log.reading import TRIES, is_part, partition_of, partitions, read_partition
from headhunt_svc.prediction_log.schema import COLUMNS, LogMetadata, as_columns
from headhunt_svc.prediction_log.writer import Partition, unmerged_files
from headhunt_svc.storage.store import Store
from headhunt_svc.storage.tables import open_parquet, read_table

BACKWARDS_S = 1.0  # within a pass, times may go back by this much
FUTURE_S = 300.0  # the writer's clock may be ahead of ours by this much
PASS_STRIDE = 1 << 24  # more than the blocks of any pass
_INDEX = pa.schema([COLUMNS.field(name) for name in ("time", "pass_id", "segment", "in_event")])
_PASS = COLUMNS.field("pass_id").type
_GONE = "file that was removed while it was read"


@dataclass(frozen=True, slots=True)
class WindowQuery:
    """Which rows to read: from start (included) to stop, of one detector.

    detector_id: without it, the detector with the most rows in the window. block_segments, sample_rows: of a camera
    with more than sample_rows rows, whole blocks of block_segments neighbouring segments are drawn. now: later rows are
    left out as errors of a clock; without it, the time of reading. camera: only its rows.
    """

    start: datetime
    stop: datetime
    detector_id: str | None = None
    block_segments: int = 1
    sample_rows: int = sys.maxsize
    now: datetime | None = None
    camera: str | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one camera in a window: a draw of whole blocks, and the counts of segments and events in all rows.

    last: the time of the last of all rows in the window; None for rows that are kept, such as a baseline.
    """

    metadata: LogMetadata
    table: pa.Table
    total: int
    events: int
    last: datetime | None = None


@dataclass(slots=True)
class Window:
    """The rows between two times by camera.

    excluded: number of rows left out, by reason. missing: days without rows, by camera. detectors: number of rows of
    every detector in the window, used or not.
    """

    start: datetime
    stop: datetime
    cameras: dict[str, Rows] = field(default_factory=dict)
    excluded: Counter[str] = field(default_factory=Counter)
    missing: dict[str, list[date]] = field(default_factory=dict)
    detectors: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _File:
    """A file of the log with the columns that say which rows count; inside: the rows between start and stop."""

    name: str
    metadata: LogMetadata
    index: pa.Table
    inside: Bool[np.ndarray, " row"]


@dataclass(slots=True)
class _Index:
    """The readable files of one camera with rows in the window; excluded: others, by the reason."""

    files: list[_File] = field(default_factory=list)
    excluded: Counter[str] = field(default_factory=Counter)


def read_window(store: Store, query: WindowQuery) -> Window:
    """The rows that the query asks for; what is left out is counted in `excluded`.

    Raises:
        UnreachableError: the store does not answer.
    """
    window = Window(query.start, query.stop)
    window.excluded.update(_foreign(store.glob("day=*/camera=*/*.parquet")))
    days = partitions(store, query.start.date(), query.stop.date(), query.camera)
    indexes = {camera: _index(store, days[camera], query) for camera in days}
    detectors = _detectors(indexes.values())
    detector_id = query.detector_id or max(detectors, key=lambda d: detectors[d], default=None)
    for camera in days:
        for tries_left in reversed(range(TRIES)):
            files, excluded = indexes[camera].files, indexes[camera].excluded.copy()
            chosen = _of_one_detector(files, detector_id, excluded)
            rows = _rows(store, chosen, query, excluded) if chosen else None
            if not (excluded[_GONE] and tries_left):
                break
            indexes[camera] = _index(store, days[camera], query)  # a merged file holds the rows now
        window.excluded.update(excluded)
        if rows is not None:
            window.cameras[camera] = rows
    window.detectors = _detectors(indexes.values())
    return window


def _foreign(names: Sequence[str]) -> Counter[str]:
    """Files that are not of the log's writers and folders, counted by what is wrong with them."""
    ours = [name for name in names if is_part(name)]
    foreign = Counter({"file that is no part of the log": len(names) - len(ours)})
    strange = [name for name in unmerged_files(ours) if partition_of(name) is None]
    foreign["file in a folder that is no day and camera"] = len(strange)
    return +foreign


def _detectors(indexes: Iterable[_Index]) -> Counter[str]:
    """The number of rows of each detector."""
    detectors: Counter[str] = Counter()
    for index in indexes:
        for file in index.files:
            detectors[file.metadata.detector_id] += int(file.inside.sum())
    return detectors


def _index(store: Store, days: Iterable[Partition], query: WindowQuery) -> _Index:
    """The files of one camera."""
    index = _Index()
    for day in days:
        for file in read_partition(store, day, partial(_indexed, store, query)):
            if not isinstance(file, _File):
                index.excluded[file or "unreadable file"] += 1
            elif file.inside.any():
                index.files.append(file)
    return index


def _indexed(store: Store, query: WindowQuery, name: str) -> _File | str | None:
    """A file, or why it is left out; None: it cannot be read. Raises FileNotFoundError."""
    try:
        with store.open(name) as f:
            parquet = open_parquet(f)
            metadata = LogMetadata.from_parquet(parquet.schema_arrow.metadata, name)
            as_logged(parquet.schema_arrow.empty_table())
            index = read_table(parquet, _INDEX.names).cast(_INDEX)
    except ArtifactError as exc:
        return str(exc).removeprefix(f"{name}: ").removeprefix(f"{name} ")
    except FileNotFoundError:
        raise
    except (OSError, UnreachableError, ValueError, KeyError, pa.ArrowException):
        return None
    seconds = seconds_of(index)
    return _File(name, metadata, index, (seconds >= query.start.timestamp()) & (seconds < query.stop.timestamp()))


def _of_one_detector(files: Sequence[_File], detector_id: str | None, excluded: Counter[str]) -> list[_File]:
    """The files of this detector that agree with the last of them; rows of the others are counted.

    The threshold may differ: it is a camera's own, and each row says whether it was above the one of then.
    """
    latest = next((file.metadata for file in reversed(files) if file.metadata.detector_id == detector_id), None)
    if latest is not None:
        files = [replace(f, metadata=replace(f.metadata, threshold=latest.threshold)) for f in files]
    for file in files:
        if file.metadata.detector_id != detector_id:
            excluded[f"detector {file.metadata.detector_id}"] += int(file.inside.sum())
        elif file.metadata != latest:
            excluded["other code, smoothing or features of the same detector"] += int(file.inside.sum())
    return [file for file in files if file.metadata == latest]


def _rows(store: Store, files: Sequence[_File], query: WindowQuery, excluded: Counter[str]) -> Rows | None:
    """The valid rows of one camera's files, or a draw of their blocks; None if there are none."""
    passes = _pass_numbers(f.index["pass_id"] for f in files)
    segments = np.concatenate([f.index["segment"].to_numpy() for f in files]).astype(np.int64)
    valid = _valid(files, passes, segments, query.now or datetime.now(UTC), excluded)
    total = int(valid.sum())
    if not total:
        return None
    events = int(np.concatenate([f.index["in_event"].to_numpy() for f in files])[valid].sum())
    blocks = _block_numbers(passes, segments, query.block_segments)
    drawn = valid & (_uniform(blocks) < query.sample_rows / total)
    parts, stops = [], np.cumsum([len(f.inside) for f in files])
    for file, rows in zip(files, np.split(drawn, stops[:-1]), strict=True):
        if rows.any():
            try:
                table = as_logged(read_table(io.BytesIO(store.read(file.name))))
            except FileNotFoundError:
                excluded[_GONE] += 1
                continue
            except (OSError, ValueError, KeyError, pa.ArrowException):  # its other columns are damaged
                excluded["unreadable file"] += 1
                continue
            parts.append(table.take(pa.array(np.flatnonzero(rows))))
    if not parts:
        return None
    table = pa.concat_tables(parts).unify_dictionaries()
    fitting = vectors_fit(table, files[0].metadata)
    if n := int((~fitting).sum()):
        excluded["vectors of another length"] += n
        table = table.filter(pa.array(fitting))
    last = datetime.fromtimestamp(float(np.concatenate([seconds_of(f.index) for f in files])[valid].max()), UTC)
    return Rows(files[0].metadata, table, total, events, last) if len(table) else None


def as_logged(table: pa.Table) -> pa.Table:
    """The columns of the log, whatever else is in the table. Raises ValueError, KeyError or pyarrow.ArrowException."""
    return as_columns(table, COLUMNS)


def vectors_fit(table: pa.Table, metadata: LogMetadata) -> Bool[np.ndarray, " row"]:
    """Which rows have vectors of the lengths that heads, prompts and, for layouts and features, most rows have."""
    k, m = len(metadata.heads), len(metadata.prompts)
    fitting = np.ones(len(table), bool)
    for name, length in {"contributions": k, "prompt_scores": m, "prompt_contributions": m * k}.items():
        fitting &= _lengths(table, name, length) == length
    for name, multiple in (("features", k), ("layout", 1)):
        lengths = _lengths(table, name, -1)
        usual = np.bincount(lengths[lengths >= 0]).argmax() if (lengths >= 0).any() else 0
        fitting &= (lengths == -1) | ((lengths == usual) & (usual % multiple == 0))
    return fitting


def _lengths(table: pa.Table, name: str, missing: int) -> Int[np.ndarray, " row"]:
    """The length of each vector of a column; `missing` where there is none."""
    return np.asarray(pc.fill_null(pc.list_value_length(table[name]), missing).to_numpy(), np.int64)


def _valid(
    files: Sequence[_File],
    passes: Int[np.ndarray, " row"],
    segments: Int[np.ndarray, " row"],
    now: datetime,
    excluded: Counter[str],
) -> Bool[np.ndarray, " row"]:
    """Which rows count; the others are counted under the first reason against them."""
    seconds = np.concatenate([seconds_of(f.index) for f in files])
    single, forward = _single_and_forward(passes, segments, seconds)
    valid = np.concatenate([f.inside for f in files])
    for reason, good in (
        ("logged twice", single),
        ("clock jumped back", forward),
        ("time in the future", seconds <= now.timestamp() + FUTURE_S),
    ):
        if n := int((valid & ~good).sum()):
            excluded[reason] += n
        valid &= good
    return valid


def _single_and_forward(
    passes: Int[np.ndarray, " row"], segments: Int[np.ndarray, " row"], seconds: Float[np.ndarray, " row"]
) -> tuple[Bool[np.ndarray, " row"], Bool[np.ndarray, " row"]]:
    """Rows that are the first of their pass and segment; rows not earlier than a previous segment of their pass."""
    order = np.lexsort((segments, passes))
    p, s, t = passes[order], segments[order], seconds[order]
    first = np.concatenate([[True], (np.diff(p) != 0) | (np.diff(s) != 0)]) if len(p) else np.zeros(0, bool)
    step = np.ptp(t) + 1 if len(t) else 1.0
    latest = np.maximum.accumulate(t + p * step) - p * step  # passes are shifted apart, so none reaches the next
    single, forward = np.empty(len(p), bool), np.empty(len(p), bool)
    single[order], forward[order] = first, t >= latest - BACKWARDS_S
    return single, forward


def _pass_numbers(passes: Iterable[pa.ChunkedArray]) -> Int[np.ndarray, " row"]:
    """A number for every pass, the same in all files."""
    chunks = [chunk.cast(_PASS) for column in passes for chunk in column.chunks]
    column = pa.chunked_array(chunks, _PASS).unify_dictionaries()
    return np.concatenate([np.zeros(0, np.int64), *(chunk.indices.to_numpy() for chunk in column.chunks)])


def _block_numbers(
    passes: Int[np.ndarray, " row"], segments: Int[np.ndarray, " row"], block_segments: int
) -> Int[np.ndarray, " row"]:
    """A number for every block of neighbouring segments of one pass."""
    return np.asarray(passes * PASS_STRIDE + segments // block_segments)


def seconds_of(table: pa.Table) -> Float[np.ndarray, " row"]:
    """When each row was recorded, Unix time."""
    return np.asarray(pc.cast(table["time"], pa.int64()).to_numpy() / 1e6)


def _uniform(blocks: Int[np.ndarray, " row"]) -> Float[np.ndarray, " row"]:
    """A number in [0, 1) for every block, always the same (a hash)."""
    mixed = blocks.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    return np.asarray((mixed * np.uint64(0xBF58476D1CE4E5B9) >> np.uint64(40)) / 2.0**24)


def sample_of(rows: Rows, block_segments: int) -> Sample:
    """Rows as arrays, in blocks of this many neighbouring segments."""
    table, n = rows.table, len(rows.table)
    k, n_prompts = len(rows.metadata.heads), len(rows.metadata.prompts)
    features = _matrix(table, "features")
    passes, segments = _pass_numbers([table["pass_id"]]), np.asarray(table["segment"].to_numpy(), np.int64)
    return Sample(
        time=seconds_of(table),
        block=np.unique(_block_numbers(passes, segments, block_segments), return_inverse=True)[1],
        raw=_column(table, "raw"),
        smoothed=_column(table, "smoothed"),
        in_event=np.asarray(table["in_event"].to_numpy(), bool),
        brightness=_column(table, "brightness"),
        sharpness=_column(table, "sharpness"),
        dropped=np.nan_to_num(_column(table, "dropped_frames")),
        layout=_matrix(table, "layout"),
        heads=features.reshape(n, k, features.shape[1] // k),
        prompt_scores=_matrix(table, "prompt_scores", n_prompts),
        prompt_heads=_matrix(table, "prompt_contributions", n_prompts * k).reshape(n, n_prompts, k),
        total=rows.total,
        events=rows.events,
    )


def _column(table: pa.Table, name: str) -> Float[np.ndarray, " row"]:
    return np.asarray(table[name].to_numpy(), np.float64)


def _matrix(table: pa.Table, name: str, width: int | None = None) -> Float[np.ndarray, "row width"]:
    """A column of vectors, by default as wide as the longest; NaN where there is none."""
    if width is None:
        width = pc.max(pc.list_value_length(table[name])).as_py() or 0
    matrix = np.full((len(table), width), np.nan)
    start = 0
    for chunk in table[name].chunks:
        valid = np.flatnonzero(chunk.is_valid().to_numpy(zero_copy_only=False))
        if len(valid):
            matrix[start + valid] = chunk.flatten().to_numpy(zero_copy_only=False).reshape(len(valid), -1)
        start += len(chunk)
    return matrix


def note_missing_days(window: Window, cameras: Iterable[str], store: Store) -> set[str]:
    """Put the days on which a camera has no file into `window.missing`; returns the cameras that have one."""
    first, last = window.start.date(), (window.stop - timedelta(microseconds=1)).date()
    logged = partitions(store, first, last)
    days = [first + timedelta(days=i) for i in range((last - first).days + 1)]
    for camera in cameras:
        logged_days = {partition.day for partition in logged.get(CameraName(camera), ())}
        if missing := [day for day in days if day not in logged_days]:
            window.missing[camera] = missing
    return {*logged}
