"""Atomic writes (a reader sees the old file or the new one, never a part), JSON files, and content hashes."""

import contextlib
import errno
import functools
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from headhunt_svc.errors import ArtifactError, unwritable
from headhunt_svc.sections import first_problem
from headhunt_svc.storage.json_text import parse_json

AnyModel = TypeVar("AnyModel", bound=BaseModel)
_LEFTOVER_S = 3600.0  # no writer is silent for so long: it was killed
_UNFINISHED = re.compile(r"\.headhunt-[0-9a-f]{16}\.part")  # nothing of a user is named so


def write_file(path: Path, write: Callable[[Path], object], *, durable: bool = False) -> None:
    """Write a file atomically: `write` writes a temporary file beside it, which then takes its name.

    Any number of processes and threads may write the same file: the last one's content stays, whole.
    durable: the file survives a power failure from here on, which costs two waits for the disk (fsync).

    Raises:
        OutputError: no permission, disk full, ...
    """
    with _temporary(path, durable) as partial:
        write(partial)
        if durable:
            _sync(partial)


def write_link(path: Path, target: str, before: Callable[[], object]) -> None:
    """Write a symbolic link atomically and durably; `before` is called when nothing but the renaming is left to do.

    Raises:
        OutputError: no permission, disk full, ...
    """
    with _temporary(path, durable=True) as partial:
        partial.symlink_to(target)
        before()


def move_file(source: Path, path: Path) -> None:
    """Give a whole file of the same disk another name, durably. Raises OutputError."""
    try:
        _sync(source)
        source.replace(path)
        _sync(path.parent)
    except OSError as exc:
        raise unwritable(path, exc) from exc


@contextlib.contextmanager
def _temporary(path: Path, durable: bool) -> Iterator[Path]:
    """A name beside a file that no other writer uses; what is there at the end takes the file's name."""
    partial = path.with_name(f".headhunt-{secrets.token_hex(8)}.part")
    try:
        _make_folder(path.parent, durable)
        _sweep_once(path.parent)
        yield partial
        partial.replace(path)
        if durable:
            _sync(path.parent)
    except BaseException as exc:
        with contextlib.suppress(OSError):  # the first error is the one to report
            partial.unlink(missing_ok=True)
        if isinstance(exc, OSError):
            raise unwritable(path, exc) from exc
        raise


def _make_folder(folder: Path, durable: bool) -> None:
    """Make a folder and those above it; durable: their names survive a power failure, too."""
    if folder.is_dir():
        return
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for parent in missing if durable else ():
        _sync(parent.parent)


def _sync(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk."""
    is_folder = path.is_dir()
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as exc:
        if not is_folder or exc.errno not in (errno.EINVAL, errno.ENOTSUP):  # network disks that sync names at once
            raise
    finally:
        os.close(fd)


def remove_leftovers(folder: Path, older_than_s: float = 0.0) -> None:
    """Remove the temporary files of writers that were killed, here and below.

    older_than_s: 0 where the caller is the only one that writes here, otherwise the age from which a writer is dead.
    """
    for path in folder.rglob(".headhunt-*.part"):
        _remove_if_old(path, older_than_s)


def _remove_if_old(path: Path, older_than_s: float) -> None:
    with contextlib.suppress(OSError):  # gone, or of another user: it is harmless and stays
        if _UNFINISHED.fullmatch(path.name) and time.time() - path.lstat().st_mtime >= older_than_s:
            path.unlink()


@functools.lru_cache(maxsize=1024)
def _sweep_once(folder: Path) -> None:
    """Remove what dead writers left in a folder, the first time that this process writes there."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for name in [entry.name for entry in entries if entry.name.startswith(".headhunt-")]:
            _remove_if_old(folder / name, _LEFTOVER_S)


def check_writable(folder: Path) -> None:
    """Check that files can be written to a folder, before hours of work. Raises OutputError."""
    probe = folder / f".headhunt-{secrets.token_hex(8)}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as exc:
        raise unwritable(folder, exc) from exc


def write_bytes(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write a file atomically; durable: see write_file. Raises OutputError."""
    write_file(path, lambda p: p.write_bytes(content), durable=durable)


def write_text(path: Path, text: str, *, durable: bool = False) -> None:
    """Write a text file atomically, as UTF-8; durable: see write_file. Raises OutputError."""
    write_file(path, lambda p: p.write_text(text, encoding="utf-8"), durable=durable)


def write_json(path: Path, value: Any, *, durable: bool = False) -> None:
    """Write a JSON file atomically; the same value gives the same bytes. durable: see write_file.

    Raises OutputError.
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n", durable=durable)


def write_checked(path: Path, line: str, *, durable: bool = False) -> None:
    """Write a line of JSON, and a second line with its checksum, for `read_checked`; durable: see write_file.

    Raises OutputError.
    """
    write_text(path, f"{line}\n{_checksum(line)}\n", durable=durable)


def read_checked(path: Path, advice: str) -> str:
    """The line that `write_checked` wrote; a line alone, from before there were checksums, is read as it is.

    advice: the way out, for the message.

    Raises:
        ArtifactError: missing, or not as it was written.
    """
    try:
        line, end, checksum = path.read_text(encoding="utf-8").partition("\n")
    except FileNotFoundError as exc:
        raise ArtifactError(f"{path} not found: {advice}") from exc
    except (OSError, ValueError) as exc:
        raise ArtifactError(f"{path} cannot be read ({exc}): {advice}") from exc
    if not end or not (checksum == f"{_checksum(line)}\n" if checksum else _is_json(line)):
        raise ArtifactError(f"{path} is damaged: {advice}")
    return line


def _is_json(line: str) -> bool:
    try:
        parse_json(line)
    except ValueError:
        return False
    return True


def _checksum(text: str) -> str:
    return json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest()})


def read_json(path: Path, made_by: str) -> Any:
    """Read a JSON file.

    made_by: the command that writes the file, for the error message.

    Raises:
        ArtifactError: it is missing or broken.
    """
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise ArtifactError(f"{path} not found: run `{made_by}` first") from exc
    except (OSError, ValueError) as exc:
        raise ArtifactError(f"{path} cannot be read as JSON ({exc}): run `{made_by}` again") from exc


def read_model(path: Path, kind: type[AnyModel], made_by: str) -> AnyModel | None:
    """What a command has written as JSON, checked; None where it has written nothing.

    Raises:
        ArtifactError: it is broken, or something else.
    """
    if not path.is_file():
        return None
    try:
        return kind.model_validate(read_json(path, made_by))
    except ValidationError as exc:
        raise ArtifactError(f"{path}: {first_problem(exc)}: run `{made_by}` again") from exc


def sha256(*paths: Path) -> str:
    """SHA-256 of the contents of files, one after the other, as hex digits."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as f:
            while block := f.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def code_version(*parts: str) -> str:
    """Hash of modules and rooms of this package and of the libraries' versions.

    Results that were computed by another version of the code are computed again.
    """
    root = Path(__file__).parents[1]
    files = sorted(
        f for part in parts for f in ([root / part] if part.endswith(".py") else (root / part).rglob("*.py"))
    )
    # without the local part: 2.13.0+cpu and 2.13.0 are the same release from different places
    versions = {name: version(name).split("+")[0] for name in ("av", "numpy", "torch", "transformers")}
    return text_id(f"{sha256(*files)} {versions}")


def text_id(text: str) -> str:
    """A short id of a text: the first twelve hex digits of its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
