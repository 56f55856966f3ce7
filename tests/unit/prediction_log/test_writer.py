"""The prediction log: what is written is there, whole, and nothing waits for it."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from conftest import ROOT
from headhunt_svc.errors import ArtifactError, OutputError
from headhunt_svc.names import CameraName
from headhunt_svc.prediction_log.schema import COLUMNS, LogMetadata
from headhunt_svc.prediction_log.writer import MERGE, Partition, PredictionLog, unmerged_files
from headhunt_svc.storage import retention
from headhunt_svc.storage import store as module
from headhunt_svc.storage.store import Store
from headhunt_svc.storage.tables import read_table
from helpers.log_rows import METADATA, START, rows, write


def read(store: Store) -> pa.Table:
    names = unmerged_files(store.glob("day=*/camera=*/*.parquet"))
    return pa.concat_tables([read_table(store.open(n)).cast(COLUMNS) for n in names]).unify_dictionaries()


@pytest.mark.parametrize("uri", ["{tmp}/log", "file://{tmp}/log", "memory://log-{tmp}"])
def test_rows_come_back_from_partitions_of_day_and_camera(uri: str, tmp_path: Path) -> None:
    night = START + timedelta(hours=23, minutes=59, seconds=58)
    tables = [rows(4, "yard/east gate", start=night), rows(3, "dock", seed=1)]
    store = write(uri.format(tmp=tmp_path), *tables)
    parts = {Partition.of(n) for n in store.glob("day=*/camera=*/*.parquet")}
    assert parts == {
        Partition(date(2026, 3, 1), CameraName("dock")),
        Partition(date(2026, 3, 1), CameraName("yard/east gate")),
        Partition(date(2026, 3, 2), CameraName("yard/east gate")),
    }
    by_segment = [sorted(t.to_pylist(), key=lambda r: (r["camera"], r["segment"])) for t in (read(store), *tables)]
    assert by_segment[0] == by_segment[2] + by_segment[1]


def test_a_file_says_which_detector_wrote_it_and_other_files_are_refused(tmp_path: Path) -> None:
    store = write(str(tmp_path), rows(2))
    (name,) = store.glob("day=*/camera=*/*.parquet")
    metadata = pq.read_schema(tmp_path / name).metadata
    assert LogMetadata.from_parquet(metadata, name) == METADATA
    newer = metadata[b"headhunt"].replace(b'"schema_version": 1', b'"schema_version": 7')
    with pytest.raises(ArtifactError, match="schema 7, this version reads 1"):
        LogMetadata.from_parquet({b"headhunt": newer}, name)
    with pytest.raises(ArtifactError, match="is no prediction log"):
        LogMetadata.from_parquet({}, name)


def test_many_flushes_become_one_file_and_none_is_counted_twice(tmp_path: Path) -> None:
    with PredictionLog(str(tmp_path), retention_days=36_500) as log:
        for i in range(MERGE + 2):
            log.put(METADATA, rows(2, video=f"{i}.mp4"))
            assert log.flush()
        names = log.store.glob("day=*/camera=*/*.parquet")
        assert len(names) == 3
        table = read(log.store)
    assert len(table) == 2 * (MERGE + 2)
    assert LogMetadata.from_parquet(pq.read_schema(tmp_path / names[0]).metadata, "") == METADATA
    assert log.status.written == len(table)


def _without_a_column() -> bytes:
    """A file of something else."""
    file = io.BytesIO()
    pq.write_table(rows(2).drop_columns(["raw"]).replace_schema_metadata(METADATA.as_parquet()), file)
    return file.getvalue()


@pytest.mark.parametrize("damage", [b"", b"PAR1" * 100, _without_a_column(), None])
def test_a_damaged_file_does_not_keep_the_others_from_being_merged(tmp_path: Path, damage: bytes | None) -> None:
    with PredictionLog(str(tmp_path), retention_days=36_500) as log:
        for i in range(MERGE):
            log.put(METADATA, rows(2, video=f"{i}.mp4"))
            if i == MERGE - 1:
                damaged = tmp_path / log.store.glob("day=*/camera=*/*.parquet")[3]
                damaged.unlink() if damage is None else damaged.write_bytes(damage)
            assert log.flush()
    files = [*tmp_path.rglob("*.parquet")]
    assert sorted(files, key=str)[1:] == ([] if damage is None else [damaged])
    assert len(read(log.store)) == 2 * (MERGE - 1)


@given(st.integers(1, 40), st.data())
def test_merged_files_hide_exactly_what_they_hold(n: int, data: st.DataObject) -> None:
    """However many merges happened and whichever small files were not removed yet, every flush is there once."""
    edges = sorted({0, n, *data.draw(st.lists(st.integers(0, n), max_size=5))})
    merged = [(a, b - 1) for a, b in pairwise(edges)]
    small = [(i, i) for i in range(n) if data.draw(st.booleans())]
    names = {f"day=d/camera=c/w-000-{a:06d}-{b:06d}.parquet" for a, b in merged + small}
    covered: list[int] = []
    for name in unmerged_files(sorted(names)):
        first, last = map(int, name.removesuffix(".parquet").rsplit("-", 2)[1:])
        covered += range(first, last + 1)
    assert sorted(covered) == list(range(n))


def test_days_beyond_the_retention_are_removed(tmp_path: Path) -> None:
    today = date(2026, 3, 10)
    with PredictionLog(str(tmp_path), retention_days=5, today=lambda: today) as log:
        for day in (0, 3, 5, 9):
            log.put(METADATA, rows(1, start=START + timedelta(days=day)))
    left = sorted(p.name for p in tmp_path.iterdir())
    assert left == ["day=2026-03-06", "day=2026-03-10"]


def test_a_clock_that_jumps_ahead_removes_nothing_until_it_has_run_on_for_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a running process, and in one that starts with a wrong clock; a clock that is right removes at once."""
    now = {"today": date(2026, 3, 10), "seconds": 0.0}
    monkeypatch.setattr(retention, "monotonic", lambda: now["seconds"])
    days = lambda: sorted(p.name.removeprefix("day=") for p in tmp_path.glob("day=*"))  # noqa: E731

    def step(log: PredictionLog, today: date, hours: float, day: int) -> None:
        now.update(today=today, seconds=now["seconds"] + 3600 * hours)
        log.put(METADATA, rows(1, video=f"{today}", start=START + timedelta(days=day)))
        assert log.flush()

    def open_log() -> PredictionLog:
        return PredictionLog(str(tmp_path), flush_s=1000, retention_days=5, today=lambda: now["today"])

    with open_log() as log:
        for day in (6, 7, 8):
            step(log, date(2026, 3, 10), 0, day)
        step(log, date(2036, 1, 1), 0.5, 8)
        assert days() == ["2026-03-07", "2026-03-08", "2026-03-09"]
        step(log, date(2026, 3, 10), 0.5, 8)  # the clock is right again
        step(log, date(2026, 3, 13), 72, 8)
        assert days() == ["2026-03-08", "2026-03-09"]
    now["today"] = date(2036, 1, 1)
    with open_log() as log:
        step(log, date(2036, 1, 1), 0.1, 3593)
        assert days() == ["2026-03-08", "2026-03-09", "2036-01-01"]
        step(log, date(2036, 1, 1), 0.8, 3593)
        assert len(days()) == 3
        step(log, date(2036, 1, 1), 0.3, 3593)
        assert days() == ["2036-01-01"]


def test_scoring_does_not_wait_for_a_store_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs, entered = threading.Event(), threading.Event()

    def write_slowly(self: Store, name: str, data: bytes, *, durable: bool = False) -> None:
        entered.set()
        assert hangs.wait(60)

    monkeypatch.setattr(Store, "write", write_slowly)
    log = PredictionLog(str(tmp_path), flush_s=0.01, held_rows=10)
    try:
        assert log.put(METADATA, rows(6))
        assert entered.wait(60)
        assert [log.put(METADATA, rows(4)), log.put(METADATA, rows(1))] == [True, False]
        assert log.status.lost == 1
    finally:
        hangs.set()
        log.close()
    assert (log.status.written, log.status.lost) == (10, 1)


def test_a_failing_store_is_an_alarm_and_the_rows_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, full = module.write_bytes, [True]

    def write_bytes(path: Path, content: bytes, *, durable: bool) -> None:
        if full[0]:
            raise OutputError(f"cannot write {path} (No space left on device)")
        real(path, content, durable=durable)

    monkeypatch.setattr(module, "write_bytes", write_bytes)
    with PredictionLog(str(tmp_path), held_rows=5, retention_days=36_500) as log:
        log.put(METADATA, rows(3))
        assert log.flush()
        log.put(METADATA, rows(3, seed=1))  # does not fit any more
        assert "No space left" in str(log.status.stopped)
        assert REGISTRY.get_sample_value("headhunt_prediction_log_stopped") == 1
        assert "the prediction log is stopped, scoring goes on" in caplog.text
        full[0] = False
        assert log.flush()
        assert log.status.stopped is None
        assert REGISTRY.get_sample_value("headhunt_prediction_log_stopped") == 0
    assert (log.status.written, log.status.lost) == (3, 3)
    assert len(read(log.store)) == 3


FULL = """
import resource, sys
sys.path.insert(0, {here!r})
from helpers.log_rows import METADATA, rows
from headhunt_svc.prediction_log.writer import PredictionLog
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # the system refuses to write more into a file
with PredictionLog(sys.argv[1]) as log:
    log.put(METADATA, rows(500))
    log.flush()
    print(log.status.stopped)
"""


def test_what_the_system_refuses_to_write_leaves_no_half_file(tmp_path: Path) -> None:
    code = FULL.format(here=str(ROOT / "tests"))
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "cannot write" in done.stdout
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


KILLED = """
import sys, time
sys.path.insert(0, {here!r})
from helpers.log_rows import METADATA, rows
from headhunt_svc.prediction_log.writer import PredictionLog
log = PredictionLog(sys.argv[1], flush_s=0.05, retention_days=36_500)
for i in range(100_000):
    log.put(METADATA, rows(3, video=f"{{i}}.mp4", segment=range(3 * i, 3 * i + 3)))
    print(i, flush=True)
    time.sleep(0.002)
"""


def test_a_killed_writer_leaves_readable_files_without_holes(tmp_path: Path) -> None:
    code = KILLED.format(here=str(ROOT / "tests"))
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        while len(list(tmp_path.rglob("*.parquet"))) < 6:
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        assert process.stdout is not None
        put = len(process.stdout.read().splitlines())
    segments = np.sort(read(Store(str(tmp_path)))["segment"].to_numpy())
    assert 0 < len(segments) <= 3 * put + 3
    np.testing.assert_array_equal(segments, np.arange(len(segments)))
