"""No two processes watch one camera."""

from pathlib import Path

import pytest

from headhunt_svc.cameras import claims
from headhunt_svc.cameras.claims import CameraClaims
from headhunt_svc.errors import ConfigError, OutputError


@pytest.fixture(autouse=True)
def _short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "WAIT_S", 0.2)


def test_a_camera_is_claimed_once(tmp_path: Path) -> None:
    with CameraClaims(tmp_path) as first, CameraClaims(tmp_path) as second:
        first.claim(["yard", "street/1"])
        first.claim(["yard"])  # again by the same changes nothing
        second.claim(["lab"])
        with pytest.raises(ConfigError, match=r"another `headhunt watch` watches the camera 'yard' and stores in"):
            second.claim(["store", "yard"])
        first.claim(["store"])  # all or none
        assert second.is_elsewhere("yard")
        assert not first.is_elsewhere("yard")
        assert not second.is_elsewhere("gone")
        first.give_up("yard")
        assert not second.is_elsewhere("yard")
        second.claim(["yard"])
    with CameraClaims(tmp_path) as third:
        third.claim(["yard", "street/1", "lab", "store"])


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "watched").write_text("a file")
    with CameraClaims(tmp_path) as claimed, pytest.raises(OutputError, match="cannot write"):
        claimed.claim(["yard"])
