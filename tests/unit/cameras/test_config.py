"""cameras.yaml: what is right is read, what is wrong is named, all of it at once."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from headhunt_svc.cameras.config import CamerasError, load_cameras, merging
from headhunt_svc.cameras.sources import DeviceSource, FolderSource, HttpSource, LoopSource, RtspSource
from headhunt_svc.detector.options import Options
from headhunt_svc.errors import ConfigError

FILE = """
defaults:
  time_zone: Europe/Berlin
  notify: [ops]
cameras:
  yard:
    source: rtsp://${YARD_USER}:${YARD_PASSWORD}@10.0.0.5:554/stream1?key=1
    threshold: 0.6
    active_hours: ["mon-fri 18:00-06:00", "sat,sun 00:00-24:00"]
    quiet_hours: ["22:00-06:00"]
    masks:
      - [[0, 0], [0.3, 0], [0.3, 0.2], [0, 0.2]]
  gate:
    source: {kind: rtsp, url: "rtsps://gate/1", transport: udp}
    time_zone: UTC
  1: {source: "http://10.0.0.6/video.mjpg", operating_point: recall, notify: []}
  store: {source: {kind: folder, path: in/store}, name_pattern: "store_%Y%m%d_%H%M%S", keep_clips: false}
  desk: {source: /dev/video0}
  try/out: {source: {kind: loop, path: clip.mp4}}
"""


def write(folder: Path, text: str) -> Path:
    (folder / "cameras.yaml").write_text(text, encoding="utf-8")
    return folder / "cameras.yaml"


def problems(folder: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(CamerasError) as error:
        load_cameras(write(folder, text))
    assert all(problem in str(error.value) for problem in error.value.problems)
    return error.value.problems


def test_events_are_merged_as_the_camera_has_it_else_as_the_setting_says(tmp_path: Path) -> None:
    assert merging(None, 7)("yard") == 7
    with pytest.raises(ConfigError, match=r"none\.yaml not found"):
        merging(tmp_path / "none.yaml", 7)
    path = write(
        tmp_path, "defaults: {merge_s: 20}\ncameras: {yard: {source: rtsp://a, merge_s: 3}, gate: {source: rtsp://b}}"
    )
    of = merging(path, 7)
    assert [of(camera) for camera in ("yard", "gate", "archive")] == [3, 20, 7]
    with pytest.raises(ConfigError):
        merging(write(tmp_path, "cameras: 3"), 7)


def test_every_kind_of_source_and_the_defaults(tmp_path: Path) -> None:
    cameras = load_cameras(write(tmp_path, FILE))
    assert [camera.name for camera in cameras.each()] == ["yard", "gate", "1", "store", "desk", "try/out"]
    kinds = [RtspSource, RtspSource, HttpSource, FolderSource, DeviceSource, LoopSource]
    assert [type(camera.source) for camera in cameras.each()] == kinds
    yard, gate, street = (cameras.get(name) for name in ("yard", "gate", "1"))
    assert yard is not None and gate is not None and street is not None  # noqa: PT018
    assert (yard.time_zone, gate.time_zone) == ("Europe/Berlin", "UTC")
    assert (yard.notify, street.notify) == (("ops",), ())
    assert yard.masks == (((0, 0), (0.3, 0), (0.3, 0.2), (0, 0.2)),)
    assert yard.options() == Options("f1", 0.6, "causal")
    assert street.options("offline") == Options("recall")
    friday = datetime(2026, 11, 27, 16, 30, tzinfo=UTC)  # 17:30 in Berlin
    assert not yard.is_active(friday)
    assert yard.is_active(friday.replace(hour=17))
    assert gate.is_active(friday)
    assert not gate.is_quiet(friday)
    assert yard.is_quiet(friday.replace(hour=21))
    assert cameras.get("nowhere") is None


def test_passwords_come_from_the_environment(tmp_path: Path) -> None:
    yard = load_cameras(write(tmp_path, FILE)).cameras[0].source
    assert isinstance(yard, RtspSource)
    assert yard.missing({"YARD_USER": "me"}) == ["YARD_PASSWORD"]
    with pytest.raises(ConfigError, match="YARD_PASSWORD is not set in the environment") as error:
        yard.address({"YARD_USER": "me"})
    assert "key=1" not in str(error.value)
    address = yard.address({"YARD_USER": "me", "YARD_PASSWORD": "a@b/c:d"})
    assert address == "rtsp://me:a%40b%2Fc%3Ad@10.0.0.5:554/stream1?key=1"
    assert yard.shown == "rtsp://${YARD_USER}:${YARD_PASSWORD}@10.0.0.5:554/stream1"


def test_all_problems_are_named_at_once(tmp_path: Path) -> None:
    text = """
frames: 3
defaults: {time_zone: Europe/Bonn, source: /dev/video0, cooldown_s: 5}
cameras:
  a: {source: "rtsp://me:secret@host/1", threshold: 2, colour: red}
  b: {masks: [[[0, 0], [1, 1]], [[0, 0], [0.5, 0.5], [1, 1]], [[0, 0], [2, 0], [0, 1]]]}
  c: {source: video0, active_hours: [night], name: d, merge_s: -1}
  d: nothing
  e: {source: {kind: tape, path: x}, name_pattern: "%Y%m%d", notify: [""]}
  f: {source: {kind: rtsp, url: "ftp://x/y"}, time_zone: UTC, cooldown_s: soon}
"""
    expected = [
        "frames: unknown parameter",
        "defaults.source: must be stated for each camera",
        "defaults.time_zone: 'Europe/Bonn' is no time zone, such as Europe/Berlin",
        "cameras.a.source.rtsp.url: a password stands in the file: write ${NAME}, and set NAME in the environment",
        "cameras.a.threshold: Input should be less than or equal to 1",
        "cameras.a.colour: unknown parameter",
        "cameras.b.masks.0: a polygon has at least three corners, each [x, y]",
        "cameras.b.masks.1: the corners lie on one line: nothing would be masked",
        "cameras.b.masks.2.1.0: Input should be less than or equal to 1",
        "cameras.c.name: unknown parameter; the name stands before the parameters",
        "cameras.c.merge_s: Input should be greater than or equal to 0",
        "cameras.d: not a mapping of parameters; the least is `source`",
        "cameras.f.source.rtsp.url: not an address of the form rtsp://host/path or http://host/path",
        "cameras.f.cooldown_s: Input should be a valid number, unable to parse string as a number",
    ]
    named = problems(tmp_path, text)
    assert not set(expected) - set(named)
    rest = sorted(set(named) - set(expected))
    beginnings = [
        "cameras.c.active_hours.0: 'night' are no hours",
        "cameras.c.source: not a source: give an address",
        "cameras.e.name_pattern: '%Y%m%d' lacks a part of the time",
        "cameras.e.notify.0: ",
        "cameras.e.source: Input tag 'tape' found using 'kind'",
    ]
    assert len(rest) == len(beginnings)
    assert all(problem.startswith(start) for problem, start in zip(rest, beginnings, strict=True)), rest
    assert "secret" not in " ".join(named)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("cameras: {}", "cameras: must be a mapping with a name"),
        ("cameras: [a]", "cameras: must be a mapping with a name"),
        ("defaults: 3\ncameras: {a: {source: /dev/video0}}", "defaults: not a mapping of parameters"),
        ("cameras: {all cameras: {source: /dev/video0}, all%20cameras: {source: /dev/video1}}", "a second camera"),
        ("cameras: {a: {source: 3}}", "cameras.a.source: "),
        ("cameras: {a: {}}", "cameras.a.source: "),
        ("cameras: {a: {source: 'rtsp://host:port/'}}", "cameras.a.source.rtsp.url: not an address"),
        ("cameras: {a: {source: /dev/video0, name_pattern: '%Q'}}", "cameras.a.name_pattern: "),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, problem: str) -> None:
    assert any(problem in named for named in problems(tmp_path, text))


@pytest.mark.parametrize("text", ["- a", "a: b: c", "cameras: {a: {source: x}, a: {source: y}}"])
def test_what_is_no_file_of_cameras_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"cameras\.yaml"):
        load_cameras(write(tmp_path, text))


def test_a_file_that_is_missing_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--cameras PATH"):
        load_cameras(tmp_path / "cameras.yaml")
