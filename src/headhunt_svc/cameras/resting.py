"""Finds the videos of a folder that are finished: those that have not changed for a while."""

import os
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from headhunt_svc.names import absolute, escape
from headhunt_svc.storage.files import text_id
from headhunt_svc.video.files import SUFFIXES


def videos_below(folder: Path) -> Iterator[Path]:
    """The video files of a folder and of those below it; links to folders are not followed.

    A recorder may remove folders meanwhile, where Path.rglob of Python 3.11 fails.

    Raises:
        OSError: a folder cannot be read, except one that is gone or not permitted.
    """
    for inner, _, names in os.walk(folder, onerror=_raise_unless_gone):
        for name in names:
            path = Path(inner, name)
            if path.suffix.lower() in SUFFIXES and path.is_file():
                yield path


def _raise_unless_gone(exc: OSError) -> None:
    """Raise an error of listing a folder that is there: its files must not be taken for deleted."""
    if not isinstance(exc, FileNotFoundError | NotADirectoryError | PermissionError):
        raise exc


def version_of(path: Path) -> str | None:
    """Size and time of a video file; None where there is none (any more)."""
    try:
        facts = path.stat()
    except OSError:  # gone, or not to be read: the next look may find it
        return None
    return f"{facts.st_size}-{facts.st_mtime_ns}"


def changed(version: str) -> datetime:
    """When a file of this version changed last."""
    return datetime.fromtimestamp(_ns(version) / 1e9, UTC)


def _ns(version: str) -> int:
    return int(version.rpartition("-")[2])


class RestingFiles:
    """The videos below a folder that wait: not taken in their present version."""

    def __init__(self, folder: Path, rest_s: float, taken: Mapping[str, str]) -> None:
        """taken: the versions that were taken, by path_id; may change."""
        self._folder, self._rest_s, self._taken = absolute(folder), rest_s, taken
        self._waiting: dict[Path, tuple[str, float]] = {}  # version, and since when (monotonic clock)
        self._not_before: dict[Path, float] = {}
        self._ahead: dict[Path, tuple[str, datetime]] = {}  # files of a clock that is ahead: version, when first seen
        self.newest: datetime | None = None  # when a file changed last

    def name(self, path: Path) -> str:
        """The path below the folder, as a video's id has it."""
        return escape(path.relative_to(self._folder).as_posix())

    def path_id(self, path: Path) -> str:
        """Names the path in the database, however long it is."""
        return text_id(self.name(path))

    def scan(self) -> set[str]:
        """Look at all files; returns their path_ids."""
        paths = list(videos_below(self._folder))
        for path in set(self._waiting) - set(paths):
            self._drop(path)
        for path in paths:
            self.look(path)
        return {self.path_id(path) for path in paths}

    def look(self, path: Path) -> None:
        """Look at a file that may have changed."""
        path = absolute(path)
        if path.suffix.lower() not in SUFFIXES or not path.is_file():
            self._drop(path)
            return
        version = version_of(path)
        if version is None or self._taken.get(self.path_id(path)) == version:
            self._drop(path)
        elif path not in self._waiting or self._waiting[path][0] != version:
            self._waiting[path] = version, time.monotonic()
        if version is not None:
            time_changed = self._changed(path, version)
            self.newest = max(self.newest or time_changed, time_changed)

    def _changed(self, path: Path, version: str) -> datetime:
        """When a file changed last; one of a clock that is ahead counts when it is first seen, or a recorder that has
        stopped would never be silent."""
        time_changed, now = changed(version), datetime.now(UTC)
        if time_changed <= now:
            self._ahead.pop(path, None)
            return time_changed
        known, first_seen = self._ahead.get(path, ("", now))
        if known != version:
            self._ahead[path] = version, now
            return now
        return first_seen

    def _drop(self, path: Path) -> None:
        self._waiting.pop(path, None)
        self._not_before.pop(path, None)

    def resting(self) -> list[tuple[Path, str]]:
        """The files that rest, with their versions; what was written first comes first."""
        now = time.monotonic()
        for path in list(self._waiting):
            self.look(path)
        rest = [
            (path, version)
            for path, (version, since) in self._waiting.items()
            if now - since >= self._rest_s and self._not_before.get(path, 0.0) <= now
        ]
        return sorted(rest, key=lambda item: (_ns(item[1]), str(item[0])))

    def postpone(self, path: Path, wait_s: float) -> None:
        """Leave a file alone for a while."""
        self._not_before[absolute(path)] = time.monotonic() + wait_s
