"""Baselines: files, versions, the way back and the audit log."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from conftest import ROOT
from headhunt_svc.errors import ArtifactError, ConfigError, OutputError
from headhunt_svc.monitoring.baselines import Baselines, load_rows, save_rows
from headhunt_svc.monitoring.config import load_drift
from headhunt_svc.monitoring.run import rebaseline
from headhunt_svc.names import CameraName
from headhunt_svc.prediction_log.windows import Rows
from headhunt_svc.storage.audit import audited
from helpers.disks import full_after
from helpers.log_rows import METADATA, START, rows, write
from helpers.threads import in_threads

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


def test_cameras_that_are_rebaselined_at_once_keep_their_own_rows(tmp_path: Path) -> None:
    cameras = [f"camera {i}" for i in range(6)]

    def freeze(i: int) -> None:
        Baselines(tmp_path).add(cameras[i], Rows(METADATA, rows(20 + i, cameras[i]), 20 + i, 0), "at once")

    assert in_threads(len(cameras), freeze) == []
    store = Baselines(tmp_path)
    active = store.active()
    assert sorted(active) == cameras
    for i, camera in enumerate(cameras):
        assert load_rows(store.path(camera, active[camera])).total == 20 + i
    assert len(audited(store.log)) == len(cameras)


def test_versions_that_are_activated_at_once_leave_a_history_without_gaps(tmp_path: Path) -> None:
    store = Baselines(tmp_path)
    versions = [store.add("yard", Rows(METADATA, rows(20 + i), 20 + i, 0), "") for i in range(4)]
    assert in_threads(4, lambda i: [Baselines(tmp_path).activate("yard", versions[i], "") for _ in range(5)]) == []
    lines = audited(store.log)
    assert len(lines) == 24
    assert [line["before"] for line in lines] == ["", *(line["to"] for line in lines[:-1])]
    assert store.active() == {"yard": lines[-1]["to"]}


def test_a_full_disk_keeps_the_active_baseline_and_records_no_change(tmp_path: Path) -> None:
    store = Baselines(tmp_path)
    first, second = (store.add("yard", Rows(METADATA, rows(20 + i), 20 + i, 0), "") for i in range(2))
    before = store.log.read_bytes()
    with full_after(20), pytest.raises(OutputError):
        store.activate("yard", first, "")
    assert store.active() == {"yard": second}
    assert store.log.read_bytes() == before


@pytest.mark.parametrize("damage", [b"", b'{"yard', b"[]", b'{"yard": 3}', b"\0" * 64])
def test_a_damaged_list_of_active_baselines_is_made_again_from_the_audit_log(tmp_path: Path, damage: bytes) -> None:
    store = Baselines(tmp_path)
    versions = {camera: store.add(camera, Rows(METADATA, rows(20), 20, 0), "") for camera in ("yard", "dock")}
    store.add("yard", Rows(METADATA, rows(21), 21, 0), "")
    store.activate("yard", versions["yard"], "back")
    (tmp_path / "active.json").write_bytes(damage)
    assert store.active() == versions
    third = store.add("gate", Rows(METADATA, rows(22), 22, 0), "")
    assert json.loads((tmp_path / "active.json").read_text()) == {**versions, "gate": third}


def test_a_baseline_that_is_no_longer_what_was_written_is_named(tmp_path: Path) -> None:
    store = Baselines(tmp_path)
    version = store.add("yard", Rows(METADATA, rows(20), 20, 0), "")
    assert store.load("yard", version).total == 20
    other = store.add("yard", Rows(METADATA, rows(21), 21, 0), "")
    store.path("yard", other).rename(store.path("yard", version))  # whole, but of another version
    with pytest.raises(ArtifactError, match=r"is damaged: run `headhunt monitor rebaseline` again"):
        store.load("yard", version)


@pytest.mark.parametrize(
    "camera", ["..", ".", "active.json", "Active.JSON", "audit.jsonl", ".lock", "监" * 90, "a\x1b[31m/../b", "%2E%2E"]
)
def test_the_name_of_a_camera_leads_to_no_other_file(camera: str, tmp_path: Path) -> None:
    folder = tmp_path / "in" / "baselines"
    store = Baselines(folder)
    version = store.add(camera, Rows(METADATA, rows(3), 3, 0), "")
    assert store.versions(camera) == [version]
    assert store.active() == {CameraName(camera): version}
    assert store.path(camera, version).parent.parent == folder
    assert list((tmp_path / "in").iterdir()) == [folder]
    again = store.add("yard", Rows(METADATA, rows(3, seed=1), 3, 0), "")
    assert store.active() == {CameraName(camera): version, "yard": again}


def test_a_camera_of_any_name_is_found_by_the_name_that_it_was_given(tmp_path: Path) -> None:
    long = "监" * 90
    write(str(tmp_path / "log"), rows(150, long))
    store, query = Baselines(tmp_path / "baselines"), PARAMS.query(START, START + timedelta(days=1))
    version = rebaseline(str(tmp_path / "log"), store, long, query, PARAMS.min_segments, "")
    assert store.active() == {CameraName(long): version}
