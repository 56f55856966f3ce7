"""The one gate for files and URIs that somebody else names: what is below a folder or a prefix, and stays there."""

import os
import stat
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from headhunt_svc.errors import HeadHuntError
from headhunt_svc.storage.addresses import PORTS, parse_endpoint

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY  # opening a FIFO must not wait for a writer
_ON_THIS_DISK = frozenset({"file", "local"})  # their files are reached by way of folders, where links are checked
_MOST_DECODINGS = 8


class RefusedError(HeadHuntError):
    """What may not be read, or is not there: the message does not tell which."""


def real_path(path: Path) -> Path | None:
    """Where a path leads after all links; None where it leads nowhere or is no path."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links; a zero byte
        return None


def folder_of(path: Path, roots: Iterable[Path]) -> Path | None:
    """The first of these folders, which are real paths, that holds a path after all links; None if none does."""
    real = real_path(path)
    return None if real is None else next((root for root in roots if real.is_relative_to(root)), None)


def open_below(path: Path, roots: Sequence[Path]) -> tuple[BinaryIO, Path]:
    """Open an ordinary file below one of the folders; returns it, and the path that it really has.

    Read from the file, or by `link_to`, and never by the path: whoever may write to the folder can put another file or
    a link there at any time. What is checked is the file that was opened.

    Raises:
        RefusedError: it is elsewhere, not there, or no ordinary file.
    """
    refused = RefusedError(f"{path} is no file below a folder that may be read")
    folders = [root.resolve() for root in roots]
    if not path.is_absolute() or folder_of(path, folders) is None:
        raise refused  # before anything is opened
    try:
        file = open(path, "rb", buffering=0, opener=lambda name, _: os.open(name, _FLAGS))
    except (OSError, ValueError) as exc:
        raise refused from exc
    try:
        opened = Path(f"/proc/self/fd/{file.fileno()}").readlink()  # as the system has it: no link is followed again
        is_below = any(opened.is_relative_to(folder) for folder in folders)
        if not is_below or not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise refused
    except BaseException:
        file.close()
        raise
    return file, opened


def link_to(file: BinaryIO, folder: Path, name: str) -> Path:
    """A path in an own folder that leads to this open file, whatever happens to the file's name; while it is open."""
    link = Path(tempfile.mkdtemp(dir=folder)) / name
    link.symlink_to(f"/proc/self/fd/{file.fileno()}")
    return link


def prefix_of(uri: str, prefixes: Iterable[str]) -> str | None:
    """The first of these prefixes that a URI is below, folder by folder; None if there is none.

    A prefix is a store or a folder in it: s3://bucket/day is above s3://bucket/day/1.mp4, but not s3://bucket/day2.
    """
    segments = _segments(uri)
    if segments is None:
        return None
    for prefix in prefixes:
        above = _segments(prefix)
        while above and not above[-1]:
            above.pop()
        if above and segments[: len(above)] == above and len(segments) > len(above):
            return prefix
    return None


def _segments(uri: str) -> list[str] | None:
    """Scheme, store and folders of a URI; None where libraries may disagree about what it means."""
    scheme, separator, rest = uri.partition("://")
    scheme = scheme.lower()
    if not separator or not scheme.isalnum() or scheme in _ON_THIS_DISK or not uri.isprintable() or "::" in rest:
        return None
    if scheme in PORTS:
        try:
            endpoint = parse_endpoint(uri)
        except ValueError:
            return None
        rest = f"{endpoint.shown}:{endpoint.port}{urlsplit(uri).path}"
    segments = rest.split("/")
    return None if "@" in segments[0] or any(map(_leads_up, segments)) else [scheme, *segments]


def _leads_up(segment: str) -> bool:
    """Whether some server could take a part of a path for `.` or `..`, or for several parts."""
    for _ in range(_MOST_DECODINGS):
        decoded = unquote(segment)
        if any(part.split(";")[0].strip() in (".", "..") for part in decoded.replace("\\", "/").split("/")):
            return True
        if decoded == segment:
            return False
        segment = decoded
    return True
