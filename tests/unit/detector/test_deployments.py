"""Bundles in use: activation, the way back and the audit log."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from headhunt_svc.cli.bundle import print_bundle
from headhunt_svc.core.camera_normality import NormalFootage
from headhunt_svc.detector.bundle import check_model, load_bundle
from headhunt_svc.detector.cameras import CameraParts, camera_file, save_camera
from headhunt_svc.detector.deployments import Deployed
from headhunt_svc.errors import ArtifactError, ConfigError, OutputError
from helpers.bundles import bundle
from helpers.disks import full_after
from helpers.threads import in_threads


def test_bundles_are_activated_rolled_back_and_recorded(tmp_path: Path) -> None:
    old, new = bundle(tmp_path / "bundles", "old", 1), bundle(tmp_path / "bundles", "new", 0.9)
    deployed = Deployed(tmp_path / "deployed")
    with pytest.raises(ConfigError, match="no earlier detector was active here; there are: none"):
        deployed.rollback(None, "")
    ids = [deployed.activate(b, why) for b, why in ((old, "first"), (new, "better"))]
    assert deployed.current.resolve() == new.resolve()
    current, _ = load_bundle(deployed.current)
    check_model(current, deployed.current)  # the path of the model is found through the link
    assert current.detector_id == ids[1]
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
    good, bad = bundle(tmp_path / "bundles", "good", 1), bundle(tmp_path / "bundles", "bad", 0.9)
    deployed = Deployed(tmp_path / "deployed")
    deployed.activate(good, "")
    (bad / "scorer.safetensors").write_bytes(b"")
    with pytest.raises(ArtifactError):
        deployed.activate(bad, "")
    assert deployed.current.resolve() == good.resolve()
    other = bundle(tmp_path / "bundles", "other", 0.8)
    deployed.activate(other, "")
    good.rename(tmp_path / "gone")
    with pytest.raises(ConfigError, match=r"not found.*put the bundle back"):
        deployed.rollback(None, "")
    assert deployed.current.resolve() == other.resolve()


def test_a_bundle_without_the_file_of_a_camera_is_never_activated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, yard = bundle(tmp_path / "bundles", "good", 1), bundle(tmp_path / "bundles", "yard", 0.9)
    z = np.random.default_rng(0).normal(size=(30, len(load_bundle(yard)[1].weight)))
    camera = save_camera(yard, "yard", CameraParts(NormalFootage.measure(z)))
    contents = json.loads((yard / "bundle.json").read_text())
    (yard / "bundle.json").write_text(json.dumps(contents | {"cameras": {"yard": camera.model_dump()}}))
    deployed = Deployed(tmp_path / "deployed")
    yard_id = deployed.activate(yard, "")
    deployed.activate(good, "")
    print_bundle(yard, tmp_path / "none.json")
    assert "of 30 normal segments of this camera" in capsys.readouterr().out
    path = camera_file(yard, "yard", camera.sha256)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    for says in ("is not the one that this bundle was made with", "cannot be read as a camera"):
        with pytest.raises(ArtifactError, match=rf"{re.escape(path.name)} {says}"):
            deployed.activate(yard, "")
        with pytest.raises(ConfigError, match=rf"{re.escape(path.name)} {says}"):
            deployed.rollback(yard_id, "")
        print_bundle(yard, tmp_path / "none.json")
        assert f"cannot be used: {path} {says}" in capsys.readouterr().out
        path.unlink(missing_ok=True)
    assert deployed.current.resolve() == good.resolve()


def test_half_a_line_in_the_audit_log_stops_nothing(tmp_path: Path) -> None:
    old, new = bundle(tmp_path / "bundles", "old", 1), bundle(tmp_path / "bundles", "new", 0.9)
    deployed = Deployed(tmp_path / "deployed")
    ids = [deployed.activate(b, "") for b in (old, new)]
    with deployed.log.open("a") as f:
        f.write('{"time": "2026-03-01T00:0')
    assert [v.detector_id for v in deployed.history()] == ids
    assert deployed.rollback(None, "").detector_id == ids[0]
    assert [v.detector_id for v in deployed.history()] == [*ids, ids[0]]
    with deployed.log.open("a") as f:
        f.write('{"time": "t", "by": "b", "what": "bundle", "why": "of another version"}\n')
    assert [v.active for v in deployed.history()] == [False, False, True]


def test_a_full_disk_changes_neither_the_bundle_in_use_nor_the_log(tmp_path: Path) -> None:
    old, new = bundle(tmp_path / "bundles", "old", 1), bundle(tmp_path / "bundles", "new", 0.9)
    deployed = Deployed(tmp_path / "deployed")
    deployed.activate(old, "")
    before = deployed.log.read_bytes()
    with full_after(len(before) + 10), pytest.raises(OutputError, match=r"cannot write .*audit\.jsonl"):
        deployed.activate(new, "")
    assert deployed.log.read_bytes() == before
    assert deployed.current.resolve() == old.resolve()
    assert [v.active for v in deployed.history()] == [True]
    assert not [p for p in deployed.current.parent.iterdir() if p.name.endswith(".part")]


def test_bundles_that_are_activated_at_once_leave_the_last_one_of_the_log(tmp_path: Path) -> None:
    bundles = [bundle(tmp_path / "bundles", f"b{i}", 1 - i / 100) for i in range(3)]
    assert in_threads(3, lambda i: Deployed(tmp_path / "deployed").activate(bundles[i], "")) == []
    history = Deployed(tmp_path / "deployed").history()
    assert len(history) == 3
    assert [v.active for v in history] == [False, False, True]
