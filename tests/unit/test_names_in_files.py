"""Names in YAML files are the text that stands there: YAML itself would read off, 007 and 1e3 as something else."""

from pathlib import Path

import pytest

from headhunt_svc.cameras.config import CamerasError, load_cameras
from headhunt_svc.errors import ConfigError
from headhunt_svc.notify.channels import load_channels
from headhunt_svc.sections import read_mapping

ODD = ("off", "on", "no", "Yes", "true", "null", "~", "007", "1e3", "2026-03-01", "1_000", "0x1f", ".inf")


@pytest.mark.parametrize("name", ODD)
def test_a_camera_may_have_any_name(name: str, tmp_path: Path) -> None:
    (tmp_path / "cameras.yaml").write_text(f"cameras:\n  {name}: {{source: 'rtsp://10.0.0.1/1'}}\n")
    (camera,) = load_cameras(tmp_path / "cameras.yaml").each()
    assert camera.name == name


def test_a_channel_may_be_named_so_too(tmp_path: Path) -> None:
    names = [name for name in ODD if name != "~"]  # letters, digits, _, . and -

    def read(quote: str) -> set[str]:
        lines = [f"  {quote}{name}{quote}: {{apprise: 'json://localhost'}}\n" for name in names]
        (tmp_path / "notify.yaml").write_text("channels:\n" + "".join(lines))
        return set(load_channels(tmp_path / "notify.yaml"))

    assert read("'") == read("") == set(names)


def test_a_name_that_is_written_in_two_ways_stands_twice(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("{off: 1, 'off': 2}")
    with pytest.raises(ConfigError, match="off stands here twice"):
        read_mapping(tmp_path / "a.yaml", "--a", [])


def test_values_and_what_is_merged_are_as_yaml_says(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("base: &base {1: off, no: 2}\nmine: {<<: *base, no: 3}\n")
    assert read_mapping(tmp_path / "a.yaml", "--a", []) == {
        "base": {"1": False, "no": 2}, "mine": {"1": False, "no": 3}
    }  # fmt: skip


def test_a_value_that_names_a_channel_must_be_text(tmp_path: Path) -> None:
    (tmp_path / "cameras.yaml").write_text("cameras: {yard: {source: 'rtsp://10.0.0.1/1', notify: [off]}}")
    with pytest.raises(CamerasError, match=r"cameras\.yard\.notify\.0: Input should be a valid string"):
        load_cameras(tmp_path / "cameras.yaml")
