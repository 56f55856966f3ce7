"""cameras.yaml while it is in use: read again, refused, replaced."""

from pathlib import Path

import pytest

from headhunt_svc.cameras.config import Cameras, CamerasError
from headhunt_svc.cameras.reload import CamerasFile, Changes, unset_variables
from headhunt_svc.errors import ConfigError

YARD = "cameras:\n  yard: {source: /dev/video0}\n"
BOTH = YARD + "  street: {source: /dev/video1, threshold: 0.7}\n"


def no_problems(_: Cameras) -> list[str]:
    return []


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "cameras.yaml"
    path.write_text(BOTH, encoding="utf-8")
    return path


def test_a_file_that_has_not_changed_is_not_read_again(path: Path) -> None:
    file = CamerasFile(path, no_problems)
    path.write_text(BOTH, encoding="utf-8")
    path.touch()
    assert file.changed() is None


def test_a_change_is_seen_once_whether_the_file_is_written_or_exchanged(path: Path) -> None:
    file = CamerasFile(path, no_problems)
    path.write_text(YARD, encoding="utf-8")
    cameras = file.changed()
    assert cameras is not None
    assert [camera.name for camera in cameras.each()] == ["yard"]
    assert [camera.name for camera in file.cameras.each()] == ["yard", "street"]  # until the caller takes it over
    assert file.changed() is None
    (path.parent / "new").write_text(BOTH, encoding="utf-8")
    (path.parent / "new").replace(path)
    assert file.changed() is not None


def test_a_broken_file_is_refused_once_and_its_repair_is_seen(path: Path) -> None:
    file = CamerasFile(path, lambda cameras: unset_variables(cameras))
    good = file.cameras
    path.write_text(BOTH.replace("threshold: 0.7", "threshold: 7, colour: red"), encoding="utf-8")
    with pytest.raises(CamerasError) as refused:
        file.changed()
    assert len(refused.value.problems) == 2
    assert file.changed() is None
    path.write_text("cameras:\n  yard: {source: 'rtsp://${NOT_SET_ANYWHERE}@host/'}\n", encoding="utf-8")
    with pytest.raises(CamerasError, match="NOT_SET_ANYWHERE is not set"):
        file.changed()
    path.unlink()
    with pytest.raises(ConfigError, match="not found"):
        file.changed()
    assert file.cameras == good
    path.write_text(BOTH, encoding="utf-8")
    assert file.changed() == good
    assert Changes.between(good, good) == Changes((), ())


def test_only_cameras_with_other_parameters_change(path: Path) -> None:
    file = CamerasFile(path, no_problems)
    text = BOTH.replace("threshold: 0.7", "threshold: 0.8") + "  lab: {source: /dev/video2}\n"
    path.write_text(text, encoding="utf-8")
    cameras = file.changed()
    assert cameras is not None
    changes = Changes.between(file.cameras, cameras)
    assert [camera.name for camera in changes.removed] == ["street"]
    assert [(camera.name, camera.threshold) for camera in changes.added] == [("street", 0.8), ("lab", None)]
