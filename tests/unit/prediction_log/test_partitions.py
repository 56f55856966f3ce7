"""Partitions of the prediction log do not wait for each other, and cameras that are gone are forgotten."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headhunt_svc.errors import OutputError
from headhunt_svc.names import CameraName
from headhunt_svc.prediction_log import writer as module
from headhunt_svc.prediction_log.writer import Partition, PredictionLog
from headhunt_svc.storage.store import Store
from helpers.log_rows import METADATA, START, rows

LONG = "监" * 28  # 84 bytes, and 252 once it is the name of a folder


def refuse(monkeypatch: pytest.MonkeyPatch, *cameras: str) -> list[str]:
    """Let the store refuse these cameras' folders; returns the list of them, which can be changed."""
    real, refused = Store.write, list(cameras)

    def write(self: Store, name: str, data: bytes, **options: bool) -> None:
        if any(f"camera={camera}/" in name for camera in refused):
            raise OutputError(f"cannot write {name} (quota)")
        real(self, name, data, **options)

    monkeypatch.setattr(Store, "write", write)
    return refused


def cameras_in(log: PredictionLog) -> set[str]:
    return {Partition.of(name).camera for name in log.store.glob("day=*/camera=*/*.parquet")}


def test_a_camera_with_a_long_name_is_logged_and_stops_nobody(tmp_path: Path) -> None:
    with PredictionLog(str(tmp_path), flush_s=1000, retention_days=36_500) as log:
        log.put(METADATA, rows(3, LONG))
        log.put(METADATA, rows(2, "yard"))
        assert log.flush()
        assert (log.status.written, log.status.stopped) == (5, None)
        assert cameras_in(log) == {CameraName(LONG), "yard"}


@given(st.text(max_size=300))
def test_a_partition_is_read_back_from_its_folder(camera: str) -> None:
    partition = Partition(START.date(), CameraName(camera))
    assert Partition.of(f"{partition.folder()}/x.parquet") == partition
    assert all(len(part) <= 255 for part in partition.folder().split("/"))


def test_a_partition_that_fails_delays_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refused = refuse(monkeypatch, "bad")
    with PredictionLog(str(tmp_path), flush_s=1000, retention_days=36_500) as log:
        for seed in range(3):
            log.put(METADATA, rows(2, "bad", seed=seed))
            log.put(METADATA, rows(1, "yard", seed=seed))
            assert log.flush()
            assert log.status.written == seed + 1
        assert "quota" in str(log.status.stopped)
        assert caplog.text.count("cannot write a part of the prediction log, the other parts are written") == 1
        refused.clear()
        assert log.flush()
        assert (log.status.written, log.status.lost, log.status.stopped) == (9, 0, None)


def test_rows_of_a_partition_that_fails_leave_room_for_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, "bad")
    with PredictionLog(str(tmp_path), flush_s=1000, held_rows=10, retention_days=36_500) as log:
        for seed in range(8):
            log.put(METADATA, rows(2, "bad", seed=seed))
            assert log.put(METADATA, rows(2, "yard", seed=seed))
            assert log.flush()
        assert log.status.written == 16
        assert log.status.lost == 12  # of the 16 rows of `bad` the latest four fit into half of the places
    assert cameras_in(log) == {"yard"}


def test_a_store_that_is_away_is_not_asked_for_every_camera_and_none_is_always_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OUTAGE_S", 0.0)
    refused = [f"bad{i}" for i in range(20)]
    refuse(monkeypatch, *refused)
    with PredictionLog(str(tmp_path), flush_s=1000, retention_days=36_500) as log:
        for camera in (*refused, "yard"):
            log.put(METADATA, rows(1, camera))
        for tries in range(len(refused) + 1):
            assert log.status.written == 0, tries
            assert log.flush()
        assert log.status.written == 1


def test_rows_that_cannot_be_sorted_by_day_are_lost_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., object] = module._partitioned

    def partitioned(table: object) -> object:
        if len(table) == 3:  # type: ignore[arg-type]
            raise ValueError("year 20260 is out of range")
        return real(table)

    monkeypatch.setattr(module, "_partitioned", partitioned)
    with PredictionLog(str(tmp_path), flush_s=1000, held_rows=3, retention_days=36_500) as log:
        assert log.put(METADATA, rows(3, "odd"))
        assert log.flush(5)
        assert log.put(METADATA, rows(2, "yard"))
        assert log.flush(5)
        assert (log.status.written, log.status.lost) == (2, 3)


def test_cameras_that_send_nothing_more_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.0)
    with PredictionLog(str(tmp_path), flush_s=1000, retention_days=36_500) as log:
        for i in range(3):
            log.put(METADATA, rows(1, f"camera{i}"))
            log.put(METADATA, rows(1, "yard", seed=i))
            assert log.flush()
        assert len(log._series) <= 2
        names = log.store.glob("day=*/camera=yard/*.parquet")
    assert len({name.rpartition("/")[2] for name in names}) == 3  # no file took the place of another


def test_no_more_cameras_are_remembered_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SERIES", 5)
    with PredictionLog(str(tmp_path), flush_s=1000, retention_days=36_500) as log:
        for i in range(12):
            log.put(METADATA, rows(1, f"camera{i:02d}"))
        assert log.flush()
        assert len(log._series) == 5
        assert log.status.written == 12
    assert len(cameras_in(log)) == 12
