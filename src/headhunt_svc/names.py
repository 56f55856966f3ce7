"""Names of videos and cameras as text that can be stored, printed and used as a file name (docs/own-footage.md)."""

import hashlib
import os
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from urllib.parse import quote, unquote, unquote_to_bytes

UNNAMED = "unnamed"  # a video that lies in no folder
ALL_CAMERAS = "all cameras"  # what the monitor calls all of them together; a camera of this name is all%20cameras
MOST_BYTES = 200  # of a file name; file systems allow 255, and endings are added
MOST_ID = 16_384  # characters of an id: a path of 4096 bytes, each as %XX, and some more
# control characters, line separators, marks that turn the direction of writing, bytes that are not UTF-8
_UNSAFE = "[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
_PRINTED = re.compile(_UNSAFE)
_ESCAPED = re.compile(f"{_UNSAFE}|%(?=[0-9A-Fa-f]{{2}})")
_MARKUP = re.compile("[<>]|%(?=[0-9A-Fa-f]{2})")


def _percent(match: re.Match[str]) -> str:
    """The bytes of a character as %XX."""
    character = match[0]
    is_byte = "\udc80" <= character <= "\udcff"  # as Python reads a byte of a file name that is not UTF-8
    data = character.encode("utf-8", "surrogateescape" if is_byte else "surrogatepass")
    return "".join(f"%{byte:02X}" for byte in data)


def printable(text: str) -> str:
    """Text for a terminal, a log or a message: what could steer a terminal or is not UTF-8 becomes %XX."""
    return _PRINTED.sub(_percent, text)


def escape(name: str) -> str:
    """The id of a file of this name: as `printable`, and reversible, as a % before two hex digits becomes %25."""
    return _ESCAPED.sub(_percent, name)


def unescape(name: str) -> str:
    """The file name that `escape` made an id of."""
    return os.fsdecode(unquote_to_bytes(name))


def file_name(video_id: str) -> str:
    """A relative path for the outputs of a video, which leads to no other folder and is not too long.

    Ids that are paths below a folder are taken as they are.
    """
    parts = [part for part in video_id.split("/") if part]
    return "/".join(map(_part, parts)) or "%2F"


def _part(part: str) -> str:
    """One part of a path."""
    return _shortened(printable(part), lambda character: len(character.encode()))


class CameraName(str):
    """The name of a camera as logs, baselines, bundles and pages have it: any text becomes one, a name stays as it is.

    It can be printed (`printable`), is no path, and its folder's name has at most MOST_BYTES; long ones end in a hash.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> "CameraName":
        """The name that a text stands for; UNNAMED for an empty one."""
        name = _shortened(printable(text), _quoted_bytes) or UNNAMED
        return super().__new__(cls, name.replace(" ", "%20") if name == ALL_CAMERAS else name)

    @property
    def folder(self) -> str:
        """The name as that of a folder or, with an ending, of a file."""
        return quote(self, safe="")

    @classmethod
    def of_folder(cls, folder: str) -> "CameraName":
        """The name that `folder` was made of."""
        return cls(unquote(folder))

    @property
    def page(self) -> str:
        """The name for a page or script of any library: < and > become %XX, and so does a % that could be mistaken."""
        return _MARKUP.sub(_percent, self)

    @classmethod
    def of_page(cls, text: str) -> "CameraName":
        """The name that `page` was made of."""
        return cls(unquote(text))


class VideoId(str):
    """The id of a video in reports, logs and archives: any text becomes one, an id stays as it is.

    It can be printed (`printable`) and has at most MOST_ID characters; longer ones end in a hash.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> "VideoId":
        """The id that a text stands for."""
        return super().__new__(cls, _cut(printable(text), MOST_ID))

    @classmethod
    def of_file(cls, name: str) -> "VideoId":
        """The id of a file of this name (`escape`)."""
        return cls(escape(name))

    @property
    def file(self) -> str:
        """Where its outputs are, below a folder (`file_name`)."""
        return file_name(self)


def label(camera: str) -> str:
    """See CameraName."""
    return CameraName(camera)


def _quoted_bytes(character: str) -> int:
    return len(quote(character, safe=""))


def _cut(name: str, most: int) -> str:
    """A name of up to `most` characters; a longer one ends in a hash."""
    return name if len(name) <= most else f"{name[: most - 17]}-{_digest(name)}"


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def _shortened(name: str, size: Callable[[str], int]) -> str:
    """A name of up to MOST_BYTES, which is none of those that lead elsewhere; long ones end in a hash."""
    if name in (".", ".."):
        return name.replace(".", "%2E")
    sizes = list(accumulate(map(size, name)))
    if not sizes or sizes[-1] <= MOST_BYTES:
        return name
    return f"{name[: bisect_right(sizes, MOST_BYTES - 17)]}-{_digest(name)}"


def is_uri(text: str) -> bool:
    """Is this an address such as s3://bucket/a.mp4, and no path?"""
    return "://" in text


def absolute(path: Path) -> Path:
    """The absolute path, without `.` and `..`; links are not followed, so that their names stay."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - pathlib keeps `..`


def is_file_uri(text: str) -> bool:
    """Is this file:///folder/a%20b.mp4?"""
    return text.startswith("file://")


def path_of(text: str) -> Path:
    """The path that a path or a file URI stands for."""
    if not is_file_uri(text):
        return Path(text)
    return Path(unescape(text.removeprefix("file://").removeprefix("localhost")))


def uri_of(path: Path) -> str:
    """A path as text; a file URI where the path itself cannot be printed."""
    text = str(path)
    return text if printable(text) == text else "file://" + quote(os.fsencode(path.absolute()))


def camera_of(video_id: str, place: str | Path | None = None) -> CameraName:
    """The camera of a video, unless the caller knows better: the folder in its id, or else the one that it lies in.

    place: the path or URI of the file.
    """
    folder = video_id.rpartition("/")[0]
    if not folder and place is not None:
        folder = "".join(_parts(str(place))[-2:-1])
    return CameraName(folder)


def tell_apart(videos: Sequence[tuple[str, str]]) -> list[str]:
    """Ids of videos, no two the same, from pairs (id, path or URI), no two of the same place.

    Those with one id get as many of their folders in front as they need; where the id is not the end of the place, the
    whole place is the id.
    """
    names = [name for name, _ in videos]
    folders = [_folders(place, name) for name, place in videos]
    shared: set[str] = set()
    while shared != (now := {name for name, times in Counter(names).items() if times > 1}):
        shared = now
        for i in (i for i, name in enumerate(names) if name in shared):
            names[i] = f"{folders[i].pop()}/{names[i]}" if folders[i] else printable(videos[i][1])
    return names


def _folders(place: str, name: str) -> list[str]:
    """The folders in front of a video's id; empty where its id is not the end of its place."""
    parts, inside = _parts(place), name.split("/")
    return parts[: -len(inside)] if parts[-len(inside) :] == inside else []


def _parts(place: str) -> list[str]:
    """The folders and the file of a path or URI."""
    if is_uri(place) and not is_file_uri(place):
        return [printable(part) for part in place.partition("://")[2].split("/") if part]
    return [escape(part) for part in absolute(path_of(place)).parts[1:]]
