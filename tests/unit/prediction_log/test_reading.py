"""Readers of the log beside a writer that merges: every row is read once, whenever the merge comes."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from headhunt_svc.errors import ArtifactError
from headhunt_svc.prediction_log.last_rows import last_row
from headhunt_svc.prediction_log.pairs import read_pairs
from headhunt_svc.prediction_log.shadowing import shadow_uri
from headhunt_svc.prediction_log.stretches import read_stretch
from headhunt_svc.prediction_log.windows import Window, WindowQuery, read_window
from headhunt_svc.prediction_log.writer import PredictionLog
from headhunt_svc.storage.store import Store
from helpers.log_rows import METADATA, START, rows, write

FLUSHES, STOP = 3, START + timedelta(hours=12)
TABLES = [rows(4, video=f"{i}.mp4", seed=i, start=START + timedelta(minutes=i)) for i in range(FLUSHES)]
N, LAST = 4 * FLUSHES, max(time for table in TABLES for time in table["time"].to_pylist())
CANDIDATE = replace(METADATA, detector_id="c" * 12)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PredictionLog]:
    """Some files that are not merged yet; beside them the same segments, scored by a candidate."""
    monkeypatch.setattr("headhunt_svc.prediction_log.reading._PAUSE_S", 0.0)
    write(shadow_uri(str(tmp_path)), *TABLES, metadata=CANDIDATE)
    with PredictionLog(str(tmp_path), flush_s=1000, retention_days=36_500) as log:
        for table in TABLES:
            log.put(METADATA, table)
            assert log.flush()
        yield log


def window_of(store: Store) -> Window:
    return read_window(store, WindowQuery(START, STOP, now=STOP))


def read_by_window(store: Store) -> None:
    window = window_of(store)
    yard = window.cameras["yard"]
    assert (yard.total, len(yard.table), yard.last) == (N, N, LAST)
    assert not window.excluded
    assert window.detectors == {METADATA.detector_id: N}


def read_by_stretch(store: Store) -> None:
    for span in (None, (START, STOP)):
        stretch = read_stretch(store, "yard", [START.date()], ["raw"], span)
        assert (len(stretch), stretch.unreadable) == (N, 0)


def read_by_last_row(store: Store) -> None:
    assert last_row(store, "yard", STOP, METADATA.detector_id) == LAST


def read_by_pairs(store: Store) -> None:
    (pairs,) = read_pairs(store.uri, METADATA.detector_id, CANDIDATE.detector_id, START, STOP)
    assert (len(pairs.table), pairs.active_only, pairs.candidate_only) == (N, 0, 0)


READERS = [read_by_window, read_by_stretch, read_by_last_row, read_by_pairs]
Reader = Callable[[Store], None]


def before(monkeypatch: pytest.MonkeyPatch, what: str, number: int, merge: Callable[[], None]) -> list[str]:
    """Let a merge happen at a call of a method of Store; returns the names of all calls."""
    real: Callable[..., Any] = getattr(Store, what)
    calls: list[str] = []

    def called(self: Store, name: str) -> Any:
        calls.append(name)
        if len(calls) == number:
            monkeypatch.setattr(Store, what, real)  # the merge reads, too
            merge()
            monkeypatch.setattr(Store, what, called)
        return real(self, name)

    monkeypatch.setattr(Store, what, called)
    return calls


def merge_of(log: PredictionLog) -> Callable[[], None]:
    """What the writer's thread does once there are more flushes."""
    ((key, series),) = log._series.items()

    def merge() -> None:
        names = {*log.store.glob("day=*/camera=*/*.parquet")}
        log._merge(key, series, FLUSHES)
        assert len(names) == FLUSHES
        assert len(log.store.glob("day=*/camera=*/*.parquet")) == 1

    return merge


@pytest.mark.parametrize("number", range(1, FLUSHES + 1))
@pytest.mark.parametrize("read", READERS)
def test_files_that_are_merged_before_they_are_opened(
    log: PredictionLog, read: Reader, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = before(monkeypatch, "open", number, merge_of(log))
    read(Store(log.store.uri))
    assert len(opened) >= number


@pytest.mark.parametrize("number", range(1, FLUSHES + 1))
def test_files_that_are_merged_after_a_window_knows_which_rows_count(
    log: PredictionLog, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read of them does not count twice."""
    reads = before(monkeypatch, "read", number, merge_of(log))
    read_by_window(Store(log.store.uri))
    assert len(reads) == FLUSHES + 1  # the files that are gone are counted, then the merged one is read


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("read", READERS)
def test_files_that_are_merged_while_they_are_listed(
    log: PredictionLog, read: Reader, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listing has neither the merged file, which is newer than it, nor the others, which went before their turn."""
    real, merge, lists = Store.glob, merge_of(log), list[str]()

    def glob(self: Store, pattern: str) -> list[str]:
        names = real(self, pattern)
        if pattern.endswith(".parquet"):
            lists.append(pattern)
            if len(lists) == number:
                monkeypatch.setattr(Store, "glob", real)
                merge()
                monkeypatch.setattr(Store, "glob", glob)
                names = [name for name in names if (Path(self.root) / name).exists()]
        return names

    monkeypatch.setattr(Store, "glob", glob)
    read(Store(log.store.uri))
    assert len(lists) >= number


def test_a_file_that_is_listed_and_never_there_is_counted_or_named(log: PredictionLog) -> None:
    """As a link whose target is gone."""
    folder = Path(log.store.uri) / f"day={START.date()}" / "camera=yard"
    (folder / "w-000-000000-000000.parquet").symlink_to(folder / "gone")
    window = window_of(log.store)
    assert (window.cameras["yard"].total, dict(window.excluded)) == (N, {"unreadable file": 1})
    stretch = read_stretch(log.store, "yard", [START.date()], ["raw"])
    assert (len(stretch), stretch.unreadable) == (N, 1)
    read_by_last_row(log.store)
    with pytest.raises(ArtifactError, match="camera=yard lists a file that is missing"):
        read_by_pairs(log.store)


@pytest.mark.parametrize("folder", ["day={:%Y%m%d}/camera=yard", "day={}/camera=ya%72d", "day={}/camera=the yard"])
def test_a_folder_that_no_writer_would_name_so_is_counted(log: PredictionLog, folder: str) -> None:
    """Its rows are not those of the day and camera that its name could mean."""
    there = Path(log.store.uri)
    shutil.copytree(there / f"day={START.date()}" / "camera=yard", there / folder.format(START.date()))
    window = window_of(log.store)
    assert (list(window.cameras), window.cameras["yard"].total) == (["yard"], N)
    assert dict(window.excluded) == {"file in a folder that is no day and camera": FLUSHES}


def test_what_goes_again_and_again_is_counted(log: PredictionLog, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(self: Store, name: str) -> bytes:
        raise FileNotFoundError(name)

    monkeypatch.setattr(Store, "read", gone)
    window = window_of(log.store)
    assert window.cameras == {}
    assert dict(window.excluded) == {"file that was removed while it was read": FLUSHES}


def test_a_merge_without_end_does_not_keep_a_reader_for_ever(
    log: PredictionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(self: Store, name: str) -> BinaryIO:
        raise FileNotFoundError(name)

    monkeypatch.setattr(Store, "open", gone)
    assert read_stretch(log.store, "yard", [START.date()], ["raw"]).unreadable == FLUSHES
