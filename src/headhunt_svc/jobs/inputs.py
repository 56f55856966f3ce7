"""Finds the videos of a job (paths, folders, globs, manifests, object stores) and fetches each as a local file."""

import glob
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import fsspec
from fsspec.callbacks import Callback
from pydantic import BaseModel, ConfigDict, model_validator

from headhunt_svc.errors import ConfigError, DatasetError, VideoOpenError
from headhunt_svc.jobs.models import JobVideo
from headhunt_svc.names import VideoId, is_file_uri, is_uri, path_of, tell_apart, uri_of
from headhunt_svc.storage.rows import RowFile
from headhunt_svc.storage.store import store_errors
from headhunt_svc.video.files import find_videos

UPLOAD = "upload:"


class StoppedError(Exception):
    """Ends the work on a video for a reason that has nothing to do with the video (cancelled, the worker stops)."""


Allowed = Callable[[str], bool]


def within(roots: Sequence[Path], prefixes: Sequence[str]) -> Allowed:
    """The check for jobs over HTTP: paths (symbolic links resolved) below a root; URIs that begin with a prefix."""
    real = [root.resolve() for root in roots]

    def allowed(uri: str) -> bool:
        if uri.startswith(UPLOAD):
            return True
        if is_uri(uri) and not is_file_uri(uri):
            return ".." not in PurePosixPath(uri).parts and any(uri.startswith(p) for p in prefixes)
        path = path_of(uri).resolve()
        return any(path.is_relative_to(root) for root in real)

    return allowed


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


def _manifest(path: Path) -> list[tuple[str, str]]:
    """(uri, name or "") of each row of a CSV or JSON-lines file with `uri` or `path` and, optionally, `video_id`."""
    advice = "rows need uri (or path) and may have video_id"
    try:
        file = RowFile(path, advice)
        videos = [(row.uri or row.path or "", row.video_id or "") for _, row in file.rows(_Entry)]
        file.check()
    except DatasetError as exc:
        raise ConfigError(f"{path} is no manifest ({exc}): {advice}") from exc
    return [(uri if is_uri(uri) or uri.startswith(UPLOAD) else str(path.parent / uri), name) for uri, name in videos]


def _videos(text: str) -> list[tuple[str, str]]:
    """(uri, name or "") of each video of one input."""
    if text.startswith(UPLOAD):
        return [(text, "")]
    if is_uri(text) and not is_file_uri(text):
        return [(uri, "") for uri in _uris(text)]
    path = path_of(text)
    text = str(path)
    if path.suffix.lower() in (".csv", ".jsonl"):
        return _manifest(path)
    if os.path.isdir(path):  # noqa: PTH112 - no folder either: a name that is too long
        return [(str(video), VideoId.of_file(video.relative_to(path).as_posix())) for video in find_videos([path])]
    if glob.has_magic(text) and not os.path.exists(path):  # noqa: PTH110
        names = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 - absolute patterns too
        return [(name, "") for name in names if Path(name).is_file()]
    return [(text, "")]


def _uris(uri: str) -> list[str]:
    """The URIs that a URI with wildcards matches. Raises ConfigError."""
    if not glob.has_magic(uri):
        return [uri]
    try:
        fs, path = fsspec.core.url_to_fs(uri)
        return sorted(str(fs.unstrip_protocol(name)) for name in fs.glob(path))
    except (OSError, ValueError, ImportError) as exc:
        raise ConfigError(f"{uri} cannot be listed ({exc}): name its videos one by one or in a manifest") from exc


def expand(inputs: Sequence[str], allowed: Allowed = lambda _: True) -> tuple[JobVideo, ...]:
    """The videos of a request, each once, in order.

    A video is named by its manifest, by its path below the folder that was given, or by its file name; where two would
    have one name, with as many of its folders in front as tell them apart. URIs and names are printable (names.py).

    Raises:
        ConfigError: nothing found, not allowed, or the same video twice.
        VideoError: an empty folder.
    """
    videos: list[tuple[str, str]] = []
    for text in inputs:
        _check(text, allowed)
        matches = _videos(text)
        if not matches:
            raise ConfigError(f"{text} matches no video")
        for uri, name in matches:
            if (is_uri(uri) and not is_file_uri(uri)) or uri.startswith(UPLOAD):
                videos.append((uri, VideoId(name or PurePosixPath(uri).name)))
            else:
                file = path_of(uri).absolute()
                videos.append((uri_of(file), VideoId(name) or VideoId.of_file(file.name)))
    for uri, times in Counter(uri for uri, _ in videos).items():
        if times > 1:
            raise ConfigError(f"{uri} is listed {times} times: list it once")
        _check(uri, allowed)
    names = tell_apart([(name, uri) for uri, name in videos])
    return tuple(JobVideo(uri=uri, video_id=name) for (uri, _), name in zip(videos, names, strict=True))


def _check(uri: str, allowed: Allowed) -> None:
    if not allowed(uri):
        raise ConfigError(f"{uri} is not in a folder or store that jobs may read: see HEADHUNT_JOBS_ROOTS")


@contextmanager
def local(uri: str, uploads: Path, check: Callable[[], object] = lambda: None) -> Iterator[Path]:
    """A video as a local file; one from an object store is fetched, and removed at the end of the `with`.

    check: called during the download, and ends it by raising.

    Raises:
        VideoOpenError: there is no such video.
        UnreachableError: the store does not answer; may work later.
    """
    if uri.startswith(UPLOAD):
        yield uploads / PurePosixPath(uri.removeprefix(UPLOAD)).name
    elif not is_uri(uri) or is_file_uri(uri):
        yield path_of(uri)
    else:
        with tempfile.TemporaryDirectory(prefix="headhunt-") as folder:
            target = Path(folder) / PurePosixPath(uri).name
            with store_errors(f"{uri} cannot be fetched now", StoppedError):
                try:
                    fs, path = fsspec.core.url_to_fs(uri)
                    fs.get_file(path, str(target), callback=Callback(hooks={"check": lambda *_: check()}))
                except FileNotFoundError as exc:
                    raise VideoOpenError(f"{uri}: there is no such video") from exc
                except (ValueError, ImportError, PermissionError) as exc:
                    raise VideoOpenError(f"{uri}: {exc}") from exc
            yield target
