"""Baselines: files, versions, the way back and the audit log."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from conftest import ROOT
from headhunt_svc.errors import ArtifactError, ConfigError
from headhunt_svc.monitoring.baselines import Baselines, load_rows, save_rows
from headhunt_svc.monitoring.config import load_drift
from headhunt_svc.monitoring.run import rebaseline
from headhunt_svc.prediction_log.windows import Rows
from helpers.log_rows import METADATA, START, rows, write

PARAMS = load_drift(ROOT / "monitoring" / "drift.yaml")


def test_the_same_rows_make_the_same_file_and_come_back(tmp_path: Path) -> None:
    table = rows(30)
    cut = Rows(METADATA, table, 500, 7)
    save_rows(tmp_path / "a.parquet", cut)
    order = [*range(15, 30), *range(15)]
    save_rows(tmp_path / "b.parquet", Rows(METADATA, table.take(order), 500, 7))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    loaded = load_rows(tmp_path / "a.parquet")
    assert (loaded.metadata, loaded.total, loaded.events) == (METADATA, 500, 7)
    assert loaded.table.to_pylist() == table.to_pylist()
    (tmp_path / "c.parquet").write_bytes(b"no")
    for name, says in (("c", "is no baseline"), ("d", "not found: run `headhunt monitor reference`")):
        with pytest.raises(ArtifactError, match=says):
            load_rows(tmp_path / f"{name}.parquet")


def test_baselines_are_versions_that_can_be_taken_back(tmp_path: Path) -> None:
    log, folder = str(tmp_path / "log"), tmp_path / "baselines"
    write(log, rows(150, "yard/east"), rows(150, "yard/east", "b.mp4", start=START + timedelta(days=1), seed=1))

    store = Baselines(folder)

    def freeze(day: int) -> str:
        start = START + timedelta(days=day)
        query = PARAMS.query(start, start + timedelta(days=1))
        return rebaseline(log, store, "yard/east", query, PARAMS.min_segments, f"day {day}")

    first, second = freeze(0), freeze(1)
    assert store.versions("yard/east") == sorted([first, second])
    assert store.active() == {"yard/east": second}
    store.activate("yard/east", first, "was fine")
    assert store.active() == {"yard/east": first}
    lines = [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]
    assert [(x["camera"], x["before"], x["to"], x["why"]) for x in lines] == [
        ("yard/east", "", first, "day 0"),
        ("yard/east", first, second, "day 1"),
        ("yard/east", second, first, "was fine"),
    ]
    assert all(x["by"] and x["time"] for x in lines)
    with pytest.raises(ConfigError, match="no baseline 'v9' of camera yard/east; there are"):
        store.activate("yard/east", "v9", "")
    with pytest.raises(ConfigError, match=r"holds 0 segments of dock .* 100 are needed"):
        rebaseline(log, store, "dock", PARAMS.query(START, START + timedelta(days=1)), PARAMS.min_segments, "")
