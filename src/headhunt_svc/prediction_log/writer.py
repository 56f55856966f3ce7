"""The prediction log: rows go into a bounded queue, a thread writes them as parquet; scoring never waits or fails.

    day=2026-03-01/camera=yard/20260301T101500-4f1c0a-000000-000031.parquet

A file is named by its writer and the numbers of the flushes that it holds. A merged file is written before the small
ones are removed, so a reader leaves out files whose numbers lie within another's (`unmerged_files`). Every file appears
whole or not at all. kill -9 loses the rows of the last `flush_s` seconds; a power failure also what the system had not
yet written to the disk, but never what was merged.
"""

import contextlib
import io
import itertools
import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from headhunt_svc.names import CameraName, printable
from headhunt_svc.prediction_log.metrics import LOG, LogMetrics
from headhunt_svc.prediction_log.schema import COLUMNS, LogMetadata, as_columns
from headhunt_svc.storage.retention import Retention
from headhunt_svc.storage.store import Store
from headhunt_svc.storage.tables import parquet_bytes, read_table

logger = logging.getLogger(__name__)
MERGE = 32  # flushes that become one file, and such files that become one again
OUTAGE_S = 5.0  # errors one after the other that take so long mean that the store is away: the others are tried later
IDLE_S, MOST_SERIES = 3600.0, 1000  # cameras without rows for so long, or beyond so many, are no longer in memory


def unmerged_files(names: Iterable[str]) -> list[str]:
    """The files to read: all except those whose rows a merged file of the same writer holds."""
    by_writer: dict[str, list[tuple[int, int, str]]] = {}
    for name in names:
        writer, first, last = name.removesuffix(".parquet").rsplit("-", 2)
        by_writer.setdefault(writer, []).append((int(first), int(last), name))
    unmerged: list[str] = []
    for files in by_writer.values():
        end = -1
        for _, stop, file in sorted(files, key=lambda f: (f[0], -f[1])):
            if stop > end:
                unmerged.append(file)
                end = stop
    return sorted(unmerged)


@dataclass(frozen=True, slots=True)
class Partition:
    """A day and a camera."""

    day: date
    camera: CameraName

    def folder(self) -> str:
        """Its place below the log."""
        return f"day={self.day.isoformat()}/camera={self.camera.folder}"

    @classmethod
    def of(cls, name: str) -> "Partition":
        """The partition of a file. Raises ValueError: its folders are no day and camera."""
        day, camera = name.split("/")[:2]
        return cls(date.fromisoformat(day.removeprefix("day=")), CameraName.of_folder(camera.removeprefix("camera=")))


@dataclass(slots=True)
class Status:
    """What became of the rows so far; `stopped`: why the log, or a part of it, cannot be written at the moment."""

    written: int = 0
    lost: int = 0
    stopped: str | None = None


@dataclass(slots=True)
class _Series:
    """Rows of one partition and detector: those that wait, the number of flushes, and files by level of merging.

    failed: the last try to write failed. used: when rows came last (monotonic clock).
    """

    number: int  # two detectors in one process write two series
    waiting: list[pa.Table] = field(default_factory=list)
    flushes: int = 0
    levels: list[list[tuple[int, int, str]]] = field(default_factory=lambda: [[], [], []])
    failed: bool = False
    used: float = 0.0

    @property
    def rows(self) -> int:
        """How many wait."""
        return sum(map(len, self.waiting))


class PredictionLog:
    """One writer of a prediction log.

    with PredictionLog("out/log") as log:
        log.put(metadata, rows)
    """

    def __init__(
        self,
        uri: str,
        *,
        flush_s: float = 5.0,
        held_rows: int = 100_000,
        retention_days: int = 90,
        today: Callable[[], date] = lambda: datetime.now(UTC).date(),
        metrics: LogMetrics = LOG,
    ) -> None:
        """held_rows: rows that wait in memory at most; those that come then are lost, and counted."""
        self.store, self.flush_s, self.held_rows, self.retention_days = Store(uri), flush_s, held_rows, retention_days
        self.status, self.today, self._metrics = Status(), today, metrics
        self.writer = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        self._held, self._lock = 0, threading.Lock()
        self._queue: queue.SimpleQueue[tuple[LogMetadata, pa.Table] | threading.Event | None] = queue.SimpleQueue()
        self._series: dict[tuple[Partition, LogMetadata], _Series] = {}
        self._numbers = itertools.count()
        self._swept: date | None = None
        self._retention = Retention(retention_days)
        self._stopped_in_part = False
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    def __enter__(self) -> "PredictionLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the side of the scoring: never waits -----------------------------------------------------------------------
    def put(self, metadata: LogMetadata, rows: pa.Table) -> bool:
        """Hand over rows (see schema.COLUMNS); False if they are lost because too many wait already."""
        with self._lock:
            if self._held + len(rows) <= self.held_rows:
                self._held += len(rows)
                self._queue.put((metadata, rows))
                return True
        self._lose(len(rows), "queue full")
        return False

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Wait until everything handed over so far is written (or could not be); False if that takes too long."""
        done = threading.Event()
        self._queue.put(done)
        return done.wait(timeout_s)

    def close(self) -> None:
        """Write the rest and end the thread."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join(60)

    def _lose(self, n: int, reason: str) -> None:
        with self._lock:
            self.status.lost += n
        self._metrics.lost_rows.labels(reason).inc(n)

    # -- the writer's side ------------------------------------------------------------------------------------------
    def _run(self) -> None:
        due = time.monotonic() + self.flush_s
        while True:
            try:
                item = self._queue.get(timeout=max(due - time.monotonic(), 0.0))
            except queue.Empty:
                item = threading.Event()  # a flush that nobody waits for
            if isinstance(item, tuple):
                self._sort_in(*item)
                continue
            self._flush()
            due = time.monotonic() + self.flush_s
            if item is None:
                return
            item.set()

    def _sort_in(self, metadata: LogMetadata, rows: pa.Table) -> None:
        """Let rows wait in the series of their partitions; rows of which that cannot be told are lost."""
        try:
            parts = list(_partitioned(rows))
        except Exception as exc:  # no error leaves this thread
            logger.error("rows of the prediction log have no day and camera: %s", printable(str(exc)))
            self._release(len(rows))
            self._lose(len(rows), "no day and camera")
            return
        for partition, part in parts:
            key = partition, metadata
            if key not in self._series:
                self._series[key] = _Series(next(self._numbers))
            self._series[key].waiting.append(part)
            self._series[key].used = time.monotonic()

    def _flush(self) -> None:
        """Write all rows. A partition that cannot be written waits for the next time and holds up no other."""
        written, errors, failing_s = 0, list[str](), 0.0
        for key, series in sorted(self._series.items(), key=lambda item: item[1].failed):  # those that failed come last
            if not series.waiting:
                continue
            began = time.monotonic()
            try:
                self._write(key, series)
            except Exception as exc:  # the log must outlive whatever a store does
                series.failed = True
                errors.append(printable(str(exc)))
                failing_s += time.monotonic() - began
                if failing_s >= OUTAGE_S:
                    break
            else:
                series.failed, failing_s = False, 0.0
                written += 1
                self._tidy(self._merge, key, series)
        self._note(errors, written)
        if errors and written:
            self._make_room()
        self._tidy(self._sweep)
        self._forget()

    def _write(self, key: tuple[Partition, LogMetadata], series: _Series) -> None:
        """Write what waits of one series. Raises whatever the store raises."""
        table = pa.concat_tables(series.waiting)
        series.levels[0].append(self._save(key, table, series.flushes, series.flushes))
        series.waiting, series.flushes = [], series.flushes + 1
        self._release(len(table))
        self.status.written += len(table)
        self._metrics.rows.inc(len(table))

    def _release(self, n: int) -> None:
        """Rows that no longer wait."""
        with self._lock:
            self._held -= n

    def _note(self, errors: list[str], written: int) -> None:
        """Say whether the log can be written, where that has changed."""
        if errors:
            part = written > 0
            if self.status.stopped is None or part != self._stopped_in_part:
                text = (
                    "cannot write a part of the prediction log, the other parts are written: %s"
                    if part
                    else "the prediction log is stopped, scoring goes on: %s"
                )
                logger.error(text, errors[0])
            self.status.stopped, self._stopped_in_part = errors[0], part
            self._metrics.stopped.set(1)
        elif written:
            if self.status.stopped is not None:
                logger.warning("the prediction log is written again; %d rows were lost", self.status.lost)
            self.status.stopped = None
            self._metrics.stopped.set(0)

    def _make_room(self) -> None:
        """Partitions that cannot be written while others can have half of the places; their oldest rows are lost."""
        failed = [series for series in self._series.values() if series.failed]
        excess = sum(series.rows for series in failed) - self.held_rows // 2
        for series in failed:
            while excess > 0 and series.waiting:
                n = len(series.waiting.pop(0))
                excess -= n
                self._release(n)
                self._lose(n, "partition cannot be written")

    def _forget(self) -> None:
        """Drop the series of cameras that send nothing more: their number has no limit of its own."""
        quiet = sorted((k for k, series in self._series.items() if not series.waiting), key=self._last_used)
        surplus, since = len(self._series) - MOST_SERIES, time.monotonic() - IDLE_S
        for i, key in enumerate(quiet):
            idle = self._last_used(key) <= since
            if idle:
                self._tidy(self._merge, key, self._series[key], 2)
            if idle or i < surplus:
                del self._series[key]

    def _last_used(self, key: tuple[Partition, LogMetadata]) -> float:
        return self._series[key].used

    def _tidy(self, what: Callable[..., None], *args: Any) -> None:
        try:
            what(*args)
        except Exception as exc:  # a merge or a sweep that failed is tried again, nothing is lost
            logger.warning("the prediction log could not be tidied: %s", exc)

    def _save(
        self, key: tuple[Partition, LogMetadata], table: pa.Table, first: int, last: int, *, durable: bool = False
    ) -> tuple[int, int, str]:
        partition, metadata = key
        name = f"{partition.folder()}/{self.writer}-{self._series[key].number:03d}-{first:06d}-{last:06d}.parquet"
        content = parquet_bytes(table.replace_schema_metadata(metadata.as_parquet()))
        self.store.write(name, content, durable=durable)
        return first, last, name

    def _merge(self, key: tuple[Partition, LogMetadata], series: _Series, least: int = MERGE) -> None:
        """Make one file of the files of a level, where there are `least`."""
        for level in range(2):
            small = series.levels[level]
            if len(small) < least:
                continue
            tables = {name: table for *_, name in small if (table := self._read(name)) is not None}
            if tables:
                whole = pa.concat_tables(tables.values()).unify_dictionaries()
                merged = self._save(key, whole, small[0][0], small[-1][1], durable=True)  # the small files go next
                series.levels[level + 1].append(merged)
            series.levels[level] = []
            for name in tables:
                self.store.remove(name)

    def _read(self, name: str) -> pa.Table | None:
        """The rows of a file; None if it is damaged or gone, which must not keep the others from being merged."""
        try:
            return as_columns(read_table(io.BytesIO(self.store.read(name))), COLUMNS)
        except (OSError, ValueError, KeyError, pa.ArrowException) as exc:
            logger.warning("the prediction log: %s is damaged, its rows are left out (%s)", name, exc)
            return None

    def _sweep(self) -> None:
        """Remove days that are older than the retention, once a day."""
        today = self.today()
        if self._swept == today:
            return
        oldest, folders = today - timedelta(days=self.retention_days), dict[date, str]()
        for folder in self.store.glob("day=*"):
            with contextlib.suppress(ValueError):  # a folder that is not ours
                folders[date.fromisoformat(folder.removeprefix("day="))] = folder
        old = [day for day in folders if day < oldest]
        earlier = max((day.toordinal() for day in folders if day < today), default=None)
        if not self._retention.may_remove(today.toordinal(), earlier):
            return
        self._swept = today
        for day in old:
            self.store.remove(folders[day], recursive=True)
        for key in [k for k in self._series if k[0].day < oldest]:
            self._series[key].levels = [[], [], []]


def _partitioned(rows: pa.Table) -> Iterator[tuple[Partition, pa.Table]]:
    """Rows by day and camera."""
    days, cameras = pc.cast(rows["time"], pa.date32()), pc.cast(rows["camera"], pa.string())
    keys = pa.table({"day": days, "camera": cameras}).group_by(["day", "camera"]).aggregate([]).to_pylist()
    for key in keys:
        chosen = pc.and_(pc.equal(days, pa.scalar(key["day"])), pc.equal(cameras, key["camera"]))
        yield Partition(key["day"], CameraName(key["camera"])), rows.filter(chosen)
