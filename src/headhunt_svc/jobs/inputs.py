"""What a job names -> its videos: paths, folders, globs, manifests, object stores; and each video as a local file."""

import csv
import glob
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import fsspec
from fsspec.callbacks import Callback

from headhunt_svc.errors import ConfigError, VideoOpenError
from headhunt_svc.jobs.models import Input
from headhunt_svc.storage.store import store_errors
from headhunt_svc.video.files import find_videos

UPLOAD = "upload:"


class StoppedError(Exception):
    """The work is to end, for a reason that is none of the video's."""


Allowed = Callable[[str], bool]


def _is_uri(text: str) -> bool:
    return "://" in text


def within(roots: Sequence[Path], prefixes: Sequence[str]) -> Allowed:
    """May a job sent over HTTP read this? Paths by where they really lead, URIs by their beginning."""
    real = [root.resolve() for root in roots]

    def allowed(uri: str) -> bool:
        if uri.startswith(UPLOAD):
            return True
        if _is_uri(uri):
            return ".." not in PurePosixPath(uri).parts and any(uri.startswith(p) for p in prefixes)
        at = Path(uri).resolve()
        return any(at.is_relative_to(root) for root in real)

    return allowed


def _manifest(path: Path) -> list[tuple[str, str]]:
    """(uri, name or "") of a CSV with a header or of JSON lines: `uri` or `path`, and `video_id` if wanted."""
    try:
        with path.open(encoding="utf-8", newline="") as f:
            rows = (
                list(csv.DictReader(f)) if path.suffix == ".csv" else [json.loads(line) for line in f if line.strip()]
            )
        found = [(str(row.get("uri") or row["path"]), str(row.get("video_id") or "")) for row in rows]
    except (OSError, ValueError, KeyError, AttributeError) as exc:
        raise ConfigError(f"{path} is no manifest ({exc}): rows with uri (or path) and, if wanted, video_id") from exc
    here = path.parent
    return [(uri if _is_uri(uri) or uri.startswith(UPLOAD) else str(here / uri), name) for uri, name in found]


def _found(text: str) -> list[tuple[str, str]]:
    """One input of a request -> (uri, name or "")."""
    if text.startswith(UPLOAD):
        return [(text, "")]
    if _is_uri(text):
        return [(uri, "") for uri in _in_store(text)]
    path = Path(text)
    if path.suffix in (".csv", ".jsonl"):
        return _manifest(path)
    if path.is_dir():
        return [(str(video), video.relative_to(path).as_posix()) for video in find_videos([path])]
    if glob.has_magic(text) and not path.exists():
        names = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 - absolute patterns too
        return [(name, "") for name in names if Path(name).is_file()]
    return [(text, "")]


def _in_store(uri: str) -> list[str]:
    if not glob.has_magic(uri):
        return [uri]
    try:
        fs, path = fsspec.core.url_to_fs(uri)
        return sorted(str(fs.unstrip_protocol(name)) for name in fs.glob(path))
    except (OSError, ValueError, ImportError) as exc:
        raise ConfigError(f"{uri} cannot be listed ({exc}): name its videos one by one or in a manifest") from exc


def expand(inputs: Sequence[str], allowed: Allowed = lambda _: True) -> tuple[Input, ...]:
    """The videos of a request, each once, in order.

    A video is named by its manifest, by its path below the folder that was given, or by its file name; where two would
    have the same name, by its whole URI.

    Raises:
        ConfigError: nothing found, not allowed, or the same video twice.
        VideoError: an empty folder.
    """
    found: list[tuple[str, str]] = []
    for text in inputs:
        if not allowed(text):
            raise ConfigError(f"{text} is not in a folder or store that jobs may read: see HEADHUNT_JOBS_ROOTS")
        here = _found(text)
        if not here:
            raise ConfigError(f"{text} matches no video")
        found += [(uri if _is_uri(uri) or uri.startswith(UPLOAD) else str(Path(uri).absolute()), n) for uri, n in here]
    for uri, times in Counter(uri for uri, _ in found).items():
        if times > 1:
            raise ConfigError(f"{uri} is listed {times} times: list it once")
        if not allowed(uri):
            raise ConfigError(f"{uri} is not in a folder or store that jobs may read: see HEADHUNT_JOBS_ROOTS")
    names = Counter(name or PurePosixPath(uri).name for uri, name in found)
    short = ((uri, name or PurePosixPath(uri).name) for uri, name in found)
    return tuple(Input(uri=uri, video_id=name if names[name] == 1 else uri) for uri, name in short)


class _Watched(Callback):  # type: ignore[misc]  # fsspec has no types
    """Asks after every piece of a download whether to go on."""

    def __init__(self, check: Callable[[], object]) -> None:
        super().__init__()
        self._check = check

    def call(self, *args: object, **more: object) -> None:
        """Called by fsspec as bytes arrive."""
        self._check()


@contextmanager
def local(uri: str, uploads: Path, check: Callable[[], object] = lambda: None) -> Iterator[Path]:
    """The video as a local file; one of an object store is there only inside the `with`.

    check: called while it is fetched; what it raises ends that.

    Raises:
        VideoOpenError: there is no such video.
        UnreachableError: the store does not answer; may work later.
    """
    if uri.startswith(UPLOAD):
        yield uploads / PurePosixPath(uri.removeprefix(UPLOAD)).name
    elif not _is_uri(uri):
        yield Path(uri)
    else:
        with tempfile.TemporaryDirectory(prefix="headhunt-") as folder:
            target = Path(folder) / PurePosixPath(uri).name
            with store_errors(f"{uri} cannot be fetched now", StoppedError):
                try:
                    fs, path = fsspec.core.url_to_fs(uri)
                    fs.get_file(path, str(target), callback=_Watched(check))
                except FileNotFoundError as exc:
                    raise VideoOpenError(f"{uri}: there is no such video") from exc
                except (ValueError, ImportError, PermissionError) as exc:
                    raise VideoOpenError(f"{uri}: {exc}") from exc
            yield target
