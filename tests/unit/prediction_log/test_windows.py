"""Windows of the log: what does not belong is left out, named and counted, never mixed in."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from headhunt_svc.prediction_log.schema import COLUMNS, as_columns
from headhunt_svc.prediction_log.stretches import read_stretch
from headhunt_svc.prediction_log.windows import Window, WindowQuery, note_missing_days, read_window, sample_of
from headhunt_svc.storage.store import Store
from headhunt_svc.storage.tables import read_table
from helpers.log_rows import METADATA, START, K, P, rows, write

DAY = timedelta(days=1)


def read(store: Store, **how: object) -> Window:
    query = WindowQuery(START, START + DAY, METADATA.detector_id, block_segments=4, sample_rows=10_000)
    return read_window(store, replace(query, **how))  # type: ignore[arg-type]


def test_a_window_holds_its_rows_and_no_others(tmp_path: Path) -> None:
    tables = [rows(30, video=f"{i}.mp4", start=START + (i - 1) * DAY, seed=i) for i in range(3)]
    window = read(write(str(tmp_path), *tables, rows(5, "dock", seed=9, probed=0)))
    assert {c: r.total for c, r in window.cameras.items()} == {"yard": 30, "dock": 5}
    assert set(window.cameras["yard"].table["video"].to_pylist()) == {"1.mp4"}
    assert not window.excluded
    assert len(sample_of(window.cameras["dock"], 4).probed) == 0
    sample = sample_of(window.cameras["yard"], 4)
    assert sample.heads.shape == (30, K, P)
    assert len(np.unique(sample.block)) == 8
    expected = tables[1].column("in_event").to_numpy()
    assert sample.events == window.cameras["yard"].events == expected.sum()
    probed = [p is not None for p in tables[1].column("prompt_scores").to_pylist()]
    np.testing.assert_array_equal(~np.isnan(sample.prompt_scores[:, 0]), probed)


def test_a_log_without_novelty_is_read_beside_a_new_one(tmp_path: Path) -> None:
    """Earlier versions wrote no such column."""
    folder = tmp_path / "day=2026-03-01" / "camera=yard"
    folder.mkdir(parents=True)
    before = rows(6, video="old.mp4").drop_columns(["novelty"])
    pq.write_table(before.replace_schema_metadata(METADATA.as_parquet()), folder / "w-000-000000-000000.parquet")
    store = write(str(tmp_path), rows(4, video="new.mp4", seed=1, novelty=[0.5] * 4))
    window = read(store)
    assert not window.excluded
    table = window.cameras["yard"].table
    assert table.schema == COLUMNS
    novelty = dict(zip(table["video"].to_pylist(), table["novelty"].to_pylist(), strict=True))
    assert novelty == {"old.mp4": None, "new.mp4": 0.5}
    stretch = read_stretch(store, "yard", [START.date()], ["raw", "novelty"])
    assert (len(stretch), stretch.unreadable) == (10, 0)
    table = read_table(folder / "w-000-000000-000000.parquet")
    assert as_columns(table, COLUMNS).schema == COLUMNS
    with pytest.raises(KeyError):
        as_columns(table.drop_columns(["raw"]), COLUMNS)


def test_what_does_not_belong_is_named_and_counted(tmp_path: Path) -> None:
    back = [START + timedelta(seconds=1.6 * i - (600 if 10 <= i < 14 else 0)) for i in range(20)]
    store = write(
        str(tmp_path),
        rows(20, video="good.mp4"),
        rows(20, video="good.mp4"),  # the same pass again
        rows(20, video="clock.mp4", time=[t + timedelta(hours=1) for t in back]),
        rows(10, video="ahead.mp4", start=START + timedelta(hours=20)),
    )
    write(str(tmp_path), rows(7, video="b.mp4"), metadata=replace(METADATA, detector_id="b" * 12))
    write(str(tmp_path), rows(3, "dock", video="c.mp4"), metadata=replace(METADATA, detector_id="c" * 12))
    older = rows(4).replace_schema_metadata(
        {"headhunt": METADATA.as_parquet()["headhunt"].replace('version": 1', 'version": 0')}
    )
    folder = tmp_path / "day=2026-03-01" / "camera=yard"
    pq.write_table(older, folder / "w-000-000000-000000.parquet")
    (folder / "x-000-000000-000000.parquet").write_bytes(b"PAR1 half a file")
    window = read(store, now=START + timedelta(hours=12))
    assert dict(window.excluded) == {
        "logged twice": 20,
        "clock jumped back": 4,
        "time in the future": 10,
        f"detector {'b' * 12}": 7,
        f"detector {'c' * 12}": 3,
        "schema 0, this version reads 1": 1,
        "unreadable file": 1,
    }
    assert window.cameras.keys() == {"yard"}
    assert window.cameras["yard"].total == 20 + 16


def test_without_a_named_detector_the_one_with_most_rows_counts(tmp_path: Path) -> None:
    store = write(str(tmp_path), rows(5))
    write(str(tmp_path), rows(9, video="b.mp4"), metadata=replace(METADATA, detector_id="b" * 12))
    window = read(store, detector_id=None)
    assert window.cameras["yard"].total == 9
    assert window.excluded[f"detector {METADATA.detector_id}"] == 5


def test_large_windows_are_drawn_in_whole_blocks_and_counted_in_full(tmp_path: Path) -> None:
    tables = [rows(40, video=f"{i}.mp4", seed=i) for i in range(50)]
    store = write(str(tmp_path), *tables)
    window = read(store, sample_rows=400)
    drawn = window.cameras["yard"]
    assert drawn.total == 2000
    assert drawn.events == sum(t.column("in_event").to_numpy().sum() for t in tables)
    assert 200 < len(drawn.table) < 600
    _, sizes = np.unique(sample_of(drawn, 4).block, return_counts=True)
    assert set(sizes) == {4}
    assert read(store, sample_rows=400).cameras["yard"].table.equals(drawn.table)


def test_missing_days_are_named(tmp_path: Path) -> None:
    store = write(str(tmp_path), rows(5), rows(5, start=START + 2 * DAY, seed=1))
    window = Window(START, START + 3 * DAY)
    note_missing_days(window, ["yard", "dock"], store)
    first = date(2026, 3, 1)
    assert window.missing == {"yard": [first + DAY], "dock": [first, first + DAY, first + 2 * DAY]}


@pytest.mark.parametrize("what", ["empty", "absent"])
def test_an_empty_log_is_an_empty_window(tmp_path: Path, what: str) -> None:
    window = read(Store(str(tmp_path if what == "empty" else tmp_path / "none")))
    assert (window.cameras, dict(window.excluded)) == ({}, {})


@pytest.mark.parametrize("name", ["x.parquet", "a-b-c.parquet", "a-1-.parquet", "-.parquet"])
def test_a_file_that_is_no_part_of_the_log_is_counted(tmp_path: Path, name: str) -> None:
    store = write(str(tmp_path), rows(20))
    for folder in (f"day={START:%Y-%m-%d}/camera=yard", "day=tomorrow/camera=yard", "day=/camera="):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / name).write_bytes(b"")
    window = read_window(store, WindowQuery(START, START + timedelta(days=1)))
    note_missing_days(window, ["yard"], store)
    assert window.cameras["yard"].total == 20
    assert window.excluded["file that is no part of the log"] == 3
    assert window.missing == {}
