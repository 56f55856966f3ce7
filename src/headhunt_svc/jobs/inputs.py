"""Finds the videos of a job (paths, folders, globs, manifests, object stores) and fetches each as a local file.

Jobs over HTTP are bounded (`Allowed`): what they name is below a folder or prefix, also when it is read, much later.
"""

import asyncio
import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import fsspec
from fsspec.callbacks import Callback
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from headhunt_svc.errors import ConfigError, DatasetError, VideoError, VideoLimitError, VideoOpenError
from headhunt_svc.jobs.models import JobVideo
from headhunt_svc.names import VideoId, is_file_uri, is_uri, path_of, printable, tell_apart, uri_of
from headhunt_svc.storage.addresses import PORTS
from headhunt_svc.storage.boundaries import RefusedError, folder_of, link_to, open_below, prefix_of
from headhunt_svc.storage.download import download
from headhunt_svc.storage.rows import RowFile
from headhunt_svc.storage.scratch import scratch
from headhunt_svc.storage.store import store_errors
from headhunt_svc.video.files import find_videos

UPLOAD = "upload:"
_UPLOADED = re.compile(f"{UPLOAD}[0-9a-f]{{64}}")
_MOST_PARTS = 64  # of a path from its first wildcard on; of "**", which visits all folders, one over HTTP
_MANIFEST_BYTES = 64 * 2**20  # over HTTP


class StoppedError(Exception):
    """Ends the work on a video for a reason that has nothing to do with the video (cancelled, the worker stops)."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What jobs over HTTP may read: uploads, files below folders (links are followed), URIs below prefixes.

    roots: real paths.
    """

    roots: tuple[Path, ...]
    prefixes: tuple[str, ...]

    def __call__(self, uri: str) -> str | None:
        """The boundary that a path or URI is below, and may not leave when it is read; None: it may not be read."""
        if uri.startswith(UPLOAD):
            return UPLOAD if _UPLOADED.fullmatch(uri) else None
        if _is_remote(uri):
            return prefix_of(uri, self.prefixes)
        folder = folder_of(path_of(uri), self.roots)
        return None if folder is None else str(folder)


def within(roots: Sequence[Path], prefixes: Sequence[str]) -> Allowed:
    """The check for jobs over HTTP."""
    return Allowed(tuple(root.resolve() for root in roots), tuple(prefixes))


def _is_remote(text: str) -> bool:
    return is_uri(text) and not is_file_uri(text)


class _Entry(BaseModel):
    """One row of a manifest, which may have other columns."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    uri: str | None = None
    path: str | None = None
    video_id: str | None = None

    @model_validator(mode="after")
    def _is_named(self) -> "_Entry":
        if not (self.uri or self.path):
            raise ValueError("uri and path are both empty")
        return self


def _manifest(path: Path, allowed: Allowed | None) -> list[tuple[str, str]]:
    """(uri, name or "") of each row of a CSV or JSON-lines file with `uri` or `path` and, optionally, `video_id`."""
    advice = "rows need uri (or path) and may have video_id"
    try:
        file = RowFile(path, advice, None if allowed is None else _read(path, allowed))
        videos = [(row.uri or row.path or "", row.video_id or "") for _, row in file.rows(_Entry)]
        file.check()
    except DatasetError as exc:
        raise ConfigError(f"{path} is no manifest ({exc}): {advice}") from exc
    return [(uri if is_uri(uri) or uri.startswith(UPLOAD) else str(path.parent / uri), name) for uri, name in videos]


def _read(path: Path, allowed: Allowed) -> bytes:
    """The content of a manifest below a folder. Raises RefusedError, ConfigError."""
    with open_below(path, allowed.roots)[0] as file:
        content = file.read(_MANIFEST_BYTES + 1)
    if len(content) > _MANIFEST_BYTES:
        raise ConfigError(f"{path} has more than {_MANIFEST_BYTES} bytes: split it")
    return content


def _videos(text: str, allowed: Allowed | None) -> list[tuple[str, str]]:
    """(uri, name or "") of each video of one input. Raises ConfigError, VideoError, RefusedError, OSError."""
    if text.startswith(UPLOAD):
        return [(text, "")]
    if _is_remote(text):
        return [(uri, "") for uri in _uris(text, allowed)]
    path = path_of(text)
    text = str(path)
    if path.suffix.lower() in (".csv", ".jsonl"):
        return _manifest(path, allowed)
    if os.path.isdir(path):  # noqa: PTH112 - no folder either: a name that is too long
        return [(str(video), VideoId.of_file(video.relative_to(path).as_posix())) for video in find_videos([path])]
    if glob.has_magic(text) and not os.path.exists(path):  # noqa: PTH110
        _check_wildcards(path, allowed)
        names = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 - absolute patterns too
        return [(name, "") for name in names if Path(name).is_file()]
    return [(text, "")]


def _check_wildcards(path: Path, allowed: Allowed | None) -> None:
    """Refuse patterns that take for ever."""
    first = next(i for i, part in enumerate(path.parts) if glob.has_magic(part))
    if len(path.parts) - first > _MOST_PARTS:
        raise ConfigError(
            f"a path may have {_MOST_PARTS} parts from its first wildcard on: name a folder or a manifest"
        )
    if allowed is not None and path.parts.count("**") > 1:
        raise ConfigError("a path may have one ** over HTTP: name a folder or a manifest")


def _uris(uri: str, allowed: Allowed | None) -> list[str]:
    """The URIs that a URI with wildcards matches. Raises ConfigError."""
    is_http = uri.partition("://")[0].lower() in PORTS
    pattern = uri.partition("://")[2].partition("/")[2].partition("?")[0] if is_http else uri  # "?" begins a query
    if not glob.has_magic(pattern):
        return [uri]
    advice = "name its videos one by one or in a manifest"
    if is_http and allowed is not None:
        raise ConfigError(f"{uri} cannot be listed (a page may lead anywhere): {advice}")
    try:
        fs, path = fsspec.core.url_to_fs(uri)
        return sorted(str(fs.unstrip_protocol(name)) for name in fs.glob(path))
    except Exception as exc:  # every store's library has its own
        if isinstance(exc, MemoryError):
            raise
        reason = str(exc) if allowed is None else type(exc).__name__
        raise ConfigError(f"{uri} cannot be listed ({reason}): {advice}") from exc


@dataclass(frozen=True, slots=True)
class _Match:
    """A video that an input names: its path or URI, its id, and the boundary that it may not leave."""

    uri: str
    name: str
    below: str | None


def _matches(text: str, allowed: Allowed | None) -> list[_Match]:
    """The videos of one input. A refusal names the input only: neither what is in a file, nor what lies elsewhere."""
    refused = ConfigError(f"{text} is not in a folder or store that jobs may read: see HEADHUNT_JOBS_ROOTS")
    boundary = None if allowed is None else allowed(text)
    if allowed is not None and boundary is None:
        raise refused
    try:
        videos = _videos(text, allowed)
    except RefusedError as exc:
        raise refused from exc
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{text} cannot be read ({getattr(exc, 'strerror', None) or exc})") from exc
    if not videos and allowed is None:
        raise ConfigError(f"{text} matches no video")
    matches = []
    for uri, name in videos:
        if _is_remote(uri) or uri.startswith(UPLOAD):
            place, video_id = uri, VideoId(name or PurePosixPath(uri).name)
        else:
            file = path_of(uri).absolute()
            place, video_id = uri_of(file), VideoId(name) or VideoId.of_file(file.name)
        below = boundary if allowed is None or place == text else allowed(place)
        if allowed is not None and below is None:
            raise refused
        matches.append(_Match(place, video_id, below))
    if not matches:
        raise ConfigError(f"{text} matches no video in a folder or store that jobs may read: see HEADHUNT_JOBS_ROOTS")
    return matches


def expand(inputs: Sequence[str], allowed: Allowed | None = None) -> tuple[JobVideo, ...]:
    """The videos of a request, each once, in order.

    A video is named by its manifest, by its path below the folder that was given, or by its file name; where two would
    have one name, with as many of its folders in front as tell them apart. URIs and names are printable (names.py).
    allowed: what may be read, where somebody else names it.

    Raises:
        ConfigError: nothing found, not allowed, or the same video twice.
        VideoError: an empty folder.
    """
    videos = [match for text in inputs for match in _matches(text, allowed)]
    for uri, times in Counter(video.uri for video in videos).items():
        if times > 1:
            raise ConfigError(f"{uri} is listed {times} times: list it once")
    names = tell_apart([(video.name, video.uri) for video in videos])
    try:
        return tuple(JobVideo(uri=v.uri, video_id=name, below=v.below) for v, name in zip(videos, names, strict=True))
    except ValidationError as exc:
        raise ConfigError(
            "the path, URI or name of a video is too long or has characters that cannot be printed"
        ) from exc


@contextmanager
def local(
    uri: str,
    uploads: Path,
    check: Callable[[], object] = lambda: None,
    *,
    below: str | None = None,
    limit_bytes: int | None = None,
) -> Iterator[Path]:
    """A video as a local file; one from an object store is fetched, and removed at the end of the `with`.

    check: called during the download, and ends it by raising. below: the boundary of a job over HTTP (`Allowed`).
    limit_bytes: of a download below a boundary.

    Raises:
        VideoOpenError: there is no such video, or it is not below its boundary.
        VideoLimitError: it is longer than limit_bytes.
        UnreachableError: the store does not answer; may work later.
    """
    if uri.startswith(UPLOAD):
        yield uploads / PurePosixPath(uri.removeprefix(UPLOAD)).name
    elif not _is_remote(uri) and below is None:
        yield path_of(uri)
    else:
        with scratch() as folder, ExitStack() as files:
            if _is_remote(uri):
                ending = re.search(r"\.[A-Za-z0-9]{1,8}$", uri.partition("?")[0])
                path = folder / f"video{ending[0] if ending else ''}"
                _fetch(uri, path, check, below, limit_bytes)
            else:
                path = _opened(uri, folder, Path(below or "/"), files)
            try:
                yield path
            except VideoError as exc:  # names the video as the job does
                raise type(exc)(str(exc).replace(printable(str(path)), uri)) from exc


def _opened(uri: str, folder: Path, root: Path, files: ExitStack) -> Path:
    """A path to the open file that a path leads to, which is below `root`."""
    try:
        file, real = open_below(path_of(uri), [root])
    except RefusedError as exc:
        raise VideoOpenError(f"{uri}: there is no such video in the folder that the job was allowed to read") from exc
    files.enter_context(file)
    return link_to(file, folder, real.name)


def _fetch(uri: str, target: Path, check: Callable[[], object], below: str | None, limit_bytes: int | None) -> None:
    """Fetch a video from an object store or host."""
    is_bounded = below is not None
    if below is not None and prefix_of(uri, [below]) is None:
        raise VideoOpenError(f"{uri}: not in the store that the job was allowed to read")
    limit = limit_bytes if is_bounded else None
    if is_bounded and limit is not None and uri.partition("://")[0].lower() in PORTS:
        try:
            asyncio.run(download(uri, target, limit, check))
        except RefusedError as exc:
            raise VideoOpenError(f"{uri}: {exc}") from exc
        return

    def progress(_: object, n_bytes: int, **__: object) -> None:
        check()
        if limit is not None and n_bytes > limit:
            raise VideoLimitError(f"{uri}: longer than {limit} bytes: cut it or raise max_upload_bytes")

    with store_errors(f"{uri} cannot be fetched now", StoppedError):
        try:
            fs, path = fsspec.core.url_to_fs(uri)
            fs.get_file(path, str(target), callback=Callback(hooks={"check": progress}))
        except FileNotFoundError as exc:
            raise VideoOpenError(f"{uri}: there is no such video") from exc
        except (ValueError, ImportError, PermissionError) as exc:
            raise VideoOpenError(f"{uri}: {exc}") from exc
        if target.exists():
            progress(None, target.stat().st_size)
