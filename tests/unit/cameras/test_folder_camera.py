"""Files of a folder: taken when they rest, once each, whatever happens to others."""

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headhunt_svc.cameras import folders, resting
from headhunt_svc.cameras.config import Camera
from headhunt_svc.cameras.folders import FolderCamera
from headhunt_svc.cameras.resting import RestingFiles, version_of, videos_below
from headhunt_svc.cameras.sharing import Shared
from headhunt_svc.detector.in_use import InUse
from headhunt_svc.detector.options import Options
from headhunt_svc.detector.pipeline import Detector
from headhunt_svc.detector.runner import Runner
from headhunt_svc.errors import ConfigError, UnreachableError, VideoOpenError
from headhunt_svc.events.database import connect
from headhunt_svc.events.store import EventStore
from headhunt_svc.prediction_log.recording import Recorder
from headhunt_svc.settings import EventSettings
from headhunt_svc.types import HeadRef, OperatingPoint, Scorer
from helpers.events import NOON
from helpers.vanishing import removed_when_listed


class Still(Detector):
    """A detector that nobody asks for scores."""

    scorer = Scorer((HeadRef(0, 0),), np.ones(2), 0.0)

    def __init__(self) -> None:
        self.normality, self.detector_id = None, "d" * 12

    def at(self, camera: str | None) -> "Still":
        return self

    def operating_point(self, options: Options = Options()) -> OperatingPoint:
        return OperatingPoint(0.0, 0.5)

    def check_normality(self, options: Options) -> None:
        pass

    def model_reader(self, explain: bool = False) -> Any:
        return None


class Folder(FolderCamera):
    """A folder whose files are not scored, but listed."""

    def __init__(self, camera: Camera, shared: Shared) -> None:
        super().__init__(camera, shared, None)
        self.scored: list[str] = []
        self.errors: dict[str, Exception] = {}

    def _score(self, path: Path, name: str, content: str) -> None:
        self.scored.append(name)
        if name in self.errors:
            raise self.errors[name]


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Shared]:
    settings, detector = EventSettings(folder=tmp_path / "events"), Still()
    engine = connect(settings)
    with EventStore(engine, settings) as store:
        yield Shared(InUse(detector), Runner(detector), Recorder(None), store, engine)


@pytest.fixture
def begin(shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Folder]]:
    monkeypatch.setattr(folders, "SCAN_S", 0.5)
    monkeypatch.setattr(folders, "RETRY_S", 0.1)
    (tmp_path / "in").mkdir()
    begun: list[Folder] = []

    def start(errors: dict[str, Exception] | None = None) -> Folder:
        source = {"kind": "folder", "path": tmp_path / "in", "rest_s": 0.3}
        camera = Folder(Camera.model_validate({"name": "store", "source": source}), shared)
        camera.errors |= errors or {}
        camera.start()
        begun.append(camera)
        return camera

    yield start
    for camera in begun:
        camera.stop()
    assert all(camera.join(5) for camera in begun)


def put(folder: Path, name: str, content: str, age_s: float = 0) -> Path:
    path = folder / "in" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    os.utime(path, (time.time() - age_s, time.time() - age_s))
    return path


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_each_file_is_taken_once_also_after_a_restart_and_under_another_name(
    begin: Callable[..., Folder], tmp_path: Path
) -> None:
    put(tmp_path, "b.mp4", "b", age_s=50)
    put(tmp_path, "a.mp4", "a", age_s=20)
    put(tmp_path, "notes.txt", "no video")
    camera = begin()
    wait_for(lambda: len(camera.scored) == 2)
    assert camera.scored == ["b.mp4", "a.mp4"]  # what was written first comes first
    put(tmp_path, "day/c.mp4", "c")
    wait_for(lambda: len(camera.scored) == 3)
    assert camera.scored[2] == "day/c.mp4"
    (tmp_path / "in" / "a.mp4").rename(tmp_path / "in" / "old.mp4")
    shutil.copy(tmp_path / "in" / "b.mp4", tmp_path / "in" / "copy.mp4")
    wait_for(lambda: len(camera._versions) == 5)
    camera.stop()
    assert camera.join(5)
    again = begin()
    put(tmp_path, "new.mp4", "new")
    wait_for(lambda: again.scored)
    assert (len(camera.scored), again.scored) == (3, ["new.mp4"])


def test_a_file_that_grows_is_taken_when_it_rests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(resting.time, "monotonic", lambda: now_s)
    taken: dict[str, str] = {}
    path = put(tmp_path, "a.mp4", "x")
    files = RestingFiles(tmp_path / "in", 10.0, taken)
    files.scan()
    for i in range(5):
        now_s += 8
        put(tmp_path, "a.mp4", "y" * i, age_s=20 - i)
        assert files.resting() == []
    now_s += 11
    ((found, version),) = files.resting()
    assert (found, version) == (path, version_of(path))
    taken[files.path_id(path)] = version
    assert files.resting() == []
    put(tmp_path, "a.mp4", "another")
    files.look(path)
    assert files.resting() == []
    now_s += 11
    assert len(files.resting()) == 1


def test_a_file_that_cannot_be_read_blocks_no_other_and_is_tried_again_when_it_changes(
    begin: Callable[..., Folder], tmp_path: Path
) -> None:
    put(tmp_path, "bad.mp4", "bad", age_s=50)
    put(tmp_path, "good.mp4", "good")
    camera = begin({"bad.mp4": VideoOpenError("not a video")})
    wait_for(lambda: len(camera.scored) >= 2)
    wait_for(lambda: camera.state(NOON).problem)
    assert camera.state(NOON).problem == "files that could not be scored: 1, the last one is bad.mp4"
    time.sleep(0.7)
    assert camera.scored == ["bad.mp4", "good.mp4"]
    camera.errors.clear()
    put(tmp_path, "bad.mp4", "repaired")
    wait_for(lambda: len(camera.scored) == 3)
    wait_for(lambda: camera.state(NOON).problem is None)


def test_a_file_at_which_the_program_fails_is_left_after_some_attempts(
    begin: Callable[..., Folder], tmp_path: Path
) -> None:
    put(tmp_path, "odd.mp4", "odd", age_s=50)
    put(tmp_path, "good.mp4", "good")
    camera = begin({"odd.mp4": ValueError("a bug")})
    wait_for(lambda: camera.state(NOON).problem)
    assert sorted(camera.scored) == ["good.mp4", *["odd.mp4"] * folders.ATTEMPTS]
    assert camera._taken.problems()[0].problem == "not expected: ValueError: a bug"


def test_a_file_waits_while_events_cannot_be_stored(begin: Callable[..., Folder], tmp_path: Path) -> None:
    put(tmp_path, "a.mp4", "a")
    camera = begin({"a.mp4": UnreachableError("the database is away")})
    wait_for(lambda: camera.state(NOON).phase == "retrying")
    assert camera.state(NOON).problem == "the database is away"
    camera.errors.clear()
    wait_for(lambda: len(camera.scored) >= 2 and camera.state(NOON).problem is None)
    wait_for(lambda: len(camera._versions) == 1)


def test_a_folder_that_is_gone_is_named(begin: Callable[..., Folder], tmp_path: Path) -> None:
    (tmp_path / "in").rmdir()
    camera = begin()
    wait_for(lambda: camera.state(NOON).problem)
    assert camera.state(NOON).problem == f"{tmp_path / 'in'}: no such folder"
    put(tmp_path, "a.mp4", "a")
    wait_for(lambda: camera.scored)


def test_a_name_pattern_that_cannot_be_used_is_refused(shared: Shared, tmp_path: Path) -> None:
    source = {"kind": "folder", "path": tmp_path}
    camera = Camera.model_validate({"name": "s", "source": source, "name_pattern": "x_%Y%m%d_%H%M%S"})
    Folder(camera, shared)
    with pytest.raises(ConfigError, match="name pattern"):
        Folder(camera.model_copy(update={"name_pattern": "x_%Q"}), shared)


def test_what_waits_is_forgotten_when_it_is_gone(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    files = RestingFiles(tmp_path / "in", 0.0, {})
    path = put(tmp_path, "a.mp4", "a")
    assert files.scan() == {files.path_id(path)}
    assert [found for found, _ in files.resting()] == [path]
    files.postpone(path, 60)
    assert files.resting() == []
    path.unlink()
    assert (files.scan(), files.resting()) == (set(), [])


def test_a_file_of_a_clock_that_is_ahead_counts_when_it_is_first_seen(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    files = RestingFiles(tmp_path / "in", 0.0, {})
    put(tmp_path, "a.mp4", "a", age_s=-86_400)
    begun = datetime.now(UTC)
    files.scan()
    first = files.newest
    assert first is not None
    assert begun <= first <= datetime.now(UTC)
    time.sleep(0.01)
    files.scan()
    assert files.newest == first  # a recorder that has stopped becomes silent
    put(tmp_path, "b.mp4", "b", age_s=-86_400)
    files.scan()
    assert files.newest > first


def test_a_day_that_its_recorder_removes_keeps_no_other_from_being_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [put(tmp_path, f"{name}/a.mp4", "a") for name in ("day1", "day2", "day3")]
    put(tmp_path, "day1/a.txt", "no video")
    put(tmp_path, "day3/night/b.mkv", "b")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "in" / "day1")  # not followed: a video counts once
    (tmp_path / "in" / "c.mp4").symlink_to(paths[0])
    found = sorted(videos_below(tmp_path / "in"))
    assert [str(path.relative_to(tmp_path / "in")) for path in found] == [
        "c.mp4", "day1/a.mp4", "day2/a.mp4", "day3/a.mp4", "day3/night/b.mkv",
    ]  # fmt: skip
    removed_when_listed(monkeypatch, paths[1].parent)
    files = RestingFiles(tmp_path / "in", 0.0, {})
    assert files.scan() == {files.path_id(path) for path in found if path != paths[1]}


def test_a_folder_that_cannot_be_read_is_not_taken_for_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "day1/a.mp4", "a")
    scandir = os.scandir

    def broken(path: str) -> Any:
        if Path(path).name == "day1":
            raise OSError(errno.EIO, "Input/output error", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", broken)
    with pytest.raises(OSError, match="Input/output error"):
        RestingFiles(tmp_path / "in", 0.0, {}).scan()
