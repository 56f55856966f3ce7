"""Baselines and bundles in use: versions, the way back, and the record of it."""

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from conftest import ROOT
from headhunt_svc.detector.deployments import Deployed
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
    assert store.load("yard/east").version == second  # type: ignore[union-attr]
    store.activate("yard/east", first, "was fine")
    assert store.load("yard/east").version == first  # type: ignore[union-attr]
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


def bundle(folder: Path, name: str, scale: float) -> Path:
    """A copy of the shipped bundle with another name and threshold, beside a copy of its model."""
    shutil.copytree(ROOT / "artifacts" / "detector", folder / name)
    if not (folder / "demo_mllm").exists():
        shutil.copytree(ROOT / "artifacts" / "demo_mllm", folder / "demo_mllm")
    made = json.loads((folder / name / "bundle.json").read_text())
    made["operating_points"]["f1"]["threshold"] *= scale
    (folder / name / "bundle.json").write_text(json.dumps(made))
    return folder / name


def test_bundles_are_activated_rolled_back_and_recorded(tmp_path: Path) -> None:
    from headhunt_svc.detector.bundle import check_model, load_bundle

    old, new = bundle(tmp_path / "made", "old", 1), bundle(tmp_path / "made", "new", 0.9)
    deployed = Deployed(tmp_path / "deployed")
    with pytest.raises(ConfigError, match="no earlier detector was active here; there are: none"):
        deployed.rollback(None, "")
    ids = [deployed.activate(b, why) for b, why in ((old, "first"), (new, "better"))]
    assert deployed.current.resolve() == new.resolve()
    made, _ = load_bundle(deployed.current)
    check_model(made, deployed.current)  # the path of the model is found through the link
    assert made.detector_id == ids[1]
    assert deployed.rollback(None, "false alarms").detector_id == ids[0]
    assert load_bundle(deployed.current)[0].detector_id == ids[0]
    assert [(v.detector_id, v.why, v.active) for v in deployed.history()] == [
        (ids[0], "first", False),
        (ids[1], "better", False),
        (ids[0], "false alarms", True),
    ]
    assert deployed.rollback(ids[1], "").folder == new.resolve()
    with pytest.raises(ConfigError, match="no such detector was active here"):
        deployed.rollback("ffffffffffff", "")


def test_a_broken_bundle_is_never_activated(tmp_path: Path) -> None:
    good, bad = bundle(tmp_path / "made", "good", 1), bundle(tmp_path / "made", "bad", 0.9)
    deployed = Deployed(tmp_path / "deployed")
    deployed.activate(good, "")
    (bad / "scorer.safetensors").write_bytes(b"")
    with pytest.raises(ArtifactError):
        deployed.activate(bad, "")
    assert deployed.current.resolve() == good.resolve()
    other = bundle(tmp_path / "made", "other", 0.8)
    deployed.activate(other, "")
    good.rename(tmp_path / "gone")
    with pytest.raises(ConfigError, match=r"not found.*put the bundle back"):
        deployed.rollback(None, "")
    assert deployed.current.resolve() == other.resolve()
