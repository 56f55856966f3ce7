"""Temporary folders of processes that are killed."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from headhunt_svc.storage import scratch

HOLDER = """
import sys, time
from pathlib import Path
from headhunt_svc.storage.scratch import temporary_folder
folder = temporary_folder(Path(sys.argv[1]))
(folder / "footage.mp4").write_bytes(b"x")
print(folder, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def holder(place: Path) -> "tuple[subprocess.Popen[str], Path]":
    """A process with a temporary folder that holds footage."""
    command = [sys.executable, "-c", HOLDER, str(place)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_footage_of_a_killed_process_is_removed_and_that_of_a_living_one_stays(place: Path) -> None:
    (place / "headhunt-else").mkdir()  # without a lock: not known to be anybody's
    killed, left = holder(place)
    living, kept = holder(place)
    try:
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        assert (left / "footage.mp4").exists()
        mine = scratch.temporary_folder(place)
        assert not left.parent.exists()
        assert (kept / "footage.mp4").exists()
        assert mine.is_dir()
        assert (place / "headhunt-else").is_dir()
    finally:
        living.communicate("")
    assert living.returncode == 0
    assert not kept.parent.exists()  # a process that ends removes its own
    assert len([*place.iterdir()]) == 3  # mine, its lock, and the one without


def test_a_folder_is_private_and_removed_at_the_end(place: Path) -> None:
    with scratch.scratch(place) as folder:
        (folder / "a").touch()
        assert folder.stat().st_mode & 0o077 == 0
        assert folder.parent.stat().st_mode & 0o077 == 0
    assert not folder.exists()


def test_what_tidies_up_temporary_files_does_no_harm(place: Path) -> None:
    first = scratch.temporary_folder(place)
    for path in place.iterdir():
        path.unlink() if path.is_file() else path.rename(f"{path}.away")
    again = scratch.temporary_folder(place)
    assert again.is_dir()
    assert again.parent != first.parent


def test_a_folder_of_a_user_with_a_lock_beside_it_stays(place: Path) -> None:
    own = place / "headhunt-svc" / "own.py"
    own.parent.mkdir()
    own.touch()
    (place / "headhunt-svc.lock").touch()
    scratch.remove_leftovers(place)
    assert own.exists()
    assert (place / "headhunt-svc.lock").exists()
