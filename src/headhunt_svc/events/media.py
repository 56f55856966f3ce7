"""The files of events: a JPEG of the peak, a clip, features, and places of the peak; named by the event's id."""

import hashlib
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from headhunt_svc.errors import OutputError
from headhunt_svc.names import CameraName
from headhunt_svc.storage.files import write_bytes, write_file

_NAME = re.compile(
    r"([0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12})\.(jpg|(?:places\.)?safetensors|mp4|mkv)"
)


class Media:
    """The files below `folder`/media, in 256 folders, as no folder should hold too many."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._live = folder / "media", folder / "live"

    def path(self, event_id: str, suffix: str) -> Path:
        """Where a file of an event is."""
        return self.folder / event_id[-2:] / f"{event_id}{suffix}"

    def live(self, camera: str) -> Path:
        """The folder of clips of a live camera while they are written."""
        return self._live / hashlib.sha256(CameraName(camera).encode()).hexdigest()[:16]

    def unfinished(self) -> Iterator[tuple[Path, float]]:
        """The files of clips that are being written, and when they were last."""
        for path in _files_below(self._live):
            with suppress(FileNotFoundError):
                yield path, path.stat().st_mtime

    def write(self, event_id: str, suffix: str, content: bytes) -> None:
        """Write a file, durably. Raises OutputError."""
        write_bytes(self.path(event_id, suffix), content, durable=True)

    def copy(self, event_id: str, path: Path) -> None:
        """Copy a file, durably; it stays where it was. Raises OutputError."""
        write_file(self.path(event_id, path.suffix), lambda partial: shutil.copyfile(path, partial), durable=True)

    def size(self, event_id: str, suffix: str) -> int:
        """Bytes of a file; 0 where somebody has deleted it."""
        try:
            return self.path(event_id, suffix).stat().st_size
        except FileNotFoundError:
            return 0

    def remove(self, event_id: str, suffix: str) -> None:
        """Remove a file, if it is there."""
        self.path(event_id, suffix).unlink(missing_ok=True)

    def files(self) -> Iterator[tuple[str, Path, float]]:
        """The event of every file, its path, and when it was written."""
        for path in _files_below(self.folder):
            if match := _NAME.fullmatch(path.name):
                with suppress(FileNotFoundError):
                    yield match[1], path, path.stat().st_mtime


def copy_if_there(path: Path, target: Path) -> bool:
    """Copy a file of an event out of the store; returns whether it was there, as a purge may delete it at any time.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        write_file(target, lambda unfinished: shutil.copyfile(path, unfinished))
    except OutputError:
        if path.is_file():
            raise
        return False
    return True


def _files_below(folder: Path) -> Iterator[Path]:
    """What is in the folders of a folder.

    Path.glob of Python 3.11 fails where a folder goes meanwhile: `headhunt watch` removes those of its live clips.
    """
    for inner in _listed(folder):
        yield from _listed(inner)


def _listed(folder: Path) -> list[Path]:
    """What is in a folder; nothing where it is gone, a file, or that of another user, such as lost+found."""
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
