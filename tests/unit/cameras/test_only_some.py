"""`headhunt cameras check --camera`: one camera of many."""

from pathlib import Path

import pytest

from headhunt_svc.cameras.config import load_cameras
from headhunt_svc.errors import ConfigError


def test_some_cameras_are_chosen_by_name_in_the_order_of_the_file(tmp_path: Path) -> None:
    lines = [f"  {name}: {{source: 'rtsp://10.0.0.1/{name}'}}" for name in ("yard", "dock", "gate")]
    (tmp_path / "cameras.yaml").write_text("cameras:\n" + "\n".join(lines) + "\n")
    cameras = load_cameras(tmp_path / "cameras.yaml")
    assert [camera.name for camera in cameras.only(["gate", "yard", "gate"]).each()] == ["yard", "gate"]
    with pytest.raises(ConfigError, match=r"no camera 'yrad'; there are: yard, dock, gate"):
        cameras.only(["yard", "yrad"])
