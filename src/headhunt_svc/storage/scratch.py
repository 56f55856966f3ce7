"""Temporary folders that outlive no process: what a killed one leaves, footage above all, is removed by the next.

PARENT/headhunt-RANDOM/       all temporary folders of one process
PARENT/headhunt-RANDOM.lock   locked while that process lives
"""

import atexit
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

PREFIX, ENDING = "headhunt-", ".lock"
_BYTES = 8  # of randomness in a name
_RANDOM = 2 * _BYTES * "[0-9a-f]"  # nothing of a user is named so: what is, is removed
_guard = threading.Lock()
_spaces: dict[Path, "_Space"] = {}


@dataclass(frozen=True, slots=True)
class _Space:
    """The folder of this process below one parent."""

    folder: Path
    lock: FileLock
    pid: int

    @property
    def is_usable(self) -> bool:
        """Whether it belongs to this process, and nothing that tidies up has removed it."""
        return self.pid == os.getpid() and self.folder.is_dir() and Path(self.lock.lock_file).exists()

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        if self.pid == os.getpid():
            shutil.rmtree(self.folder, ignore_errors=True)
            Path(self.lock.lock_file).unlink(missing_ok=True)
            self.lock.release()


def temporary_folder(parent: Path | None = None) -> Path:
    """A new folder, for this user only; the caller removes it, and otherwise the end of this process or the next one.

    parent: default: the system's folder for temporary files.

    Raises:
        OSError: it cannot be made.
    """
    place = (parent or Path(tempfile.gettempdir())).resolve()
    with _guard:
        space = _spaces.get(place)
        if space is None or not space.is_usable:
            remove_leftovers(place)
            space = _spaces[place] = _new_space(place)
    return Path(tempfile.mkdtemp(dir=space.folder))


@contextmanager
def scratch(parent: Path | None = None) -> Iterator[Path]:
    """A temporary folder that is removed at the end of the `with`; see temporary_folder."""
    folder = temporary_folder(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(parent: Path | None = None) -> None:
    """Remove the temporary folders of processes of this user that have ended without doing so (SIGKILL, power)."""
    place = parent or Path(tempfile.gettempdir())
    for path in place.glob(f"{PREFIX}{_RANDOM}{ENDING}"):
        try:
            if path.lstat().st_uid != os.getuid():
                continue
            with FileLock(path, blocking=False):
                shutil.rmtree(path.with_suffix(""), ignore_errors=True)
                path.unlink(missing_ok=True)
        except (Timeout, FileNotFoundError):
            continue  # its process lives, or another process removes it


def _new_space(place: Path) -> _Space:
    place.mkdir(parents=True, exist_ok=True)
    while True:
        folder = place / f"{PREFIX}{secrets.token_hex(_BYTES)}"
        lock = FileLock(f"{folder}{ENDING}", thread_local=False)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            continue  # another process, which removes leftovers, was faster
        space = _Space(folder, lock, os.getpid())
        if Path(lock.lock_file).exists():
            folder.mkdir(mode=0o700)
            atexit.register(space.remove)
            return space
        lock.release()
