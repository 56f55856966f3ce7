"""A folder of files on a disk or in an object store."""

import contextlib
import glob
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from headhunt_svc.errors import ConfigError, HeadHuntError, UnreachableError
from headhunt_svc.storage.files import write_bytes


@contextlib.contextmanager
def store_errors(action: str, *passed: type[Exception]) -> Iterator[None]:
    """Turns the exceptions of a store's library, which differ from store to store, into one.

    passed: exceptions that are left as they are, besides HeadHuntError and MemoryError.

    Raises:
        UnreachableError: with `action` and the reason.
    """
    try:
        yield
    except Exception as exc:
        if isinstance(exc, (HeadHuntError, MemoryError, *passed)):
            raise
        raise UnreachableError(f"{action} ({str(exc) or type(exc).__name__})") from exc


class Store:
    """Reads and writes the files of one folder, given as a path or as any URI that fsspec knows.

    A file appears whole or not at all: on a disk it is written beside its name and renamed, an object store lists an
    object once it is complete. Names are relative to the folder, with slashes. A store can be sent to other processes.

    Raises:
        ConfigError: on construction, no store of this kind, or its package is not installed.
        FileNotFoundError: from `read` and `open`, no such file.
        UnreachableError: from all methods, the store does not answer or refuses.
    """

    def __init__(self, uri: str) -> None:
        try:
            self.fs, root = url_to_fs(uri)
        except (ValueError, ImportError) as exc:
            raise ConfigError(f"{uri}: {exc}") from exc
        is_local = isinstance(self.fs, LocalFileSystem)
        self.root = str(root).rstrip("/")
        self.folder = Path(root).absolute() if is_local else None  # the same in a process that runs elsewhere
        self.uri = str(self.folder) if is_local else uri

    def __reduce__(self) -> tuple[type["Store"], tuple[str]]:
        return Store, (self.uri,)

    def write(self, name: str, data: bytes, *, durable: bool = False) -> None:
        """Write a file atomically; what was there is replaced. durable: on a disk, see write_file.

        Raises:
            OutputError: it cannot be written to the disk.
        """
        if self.folder is not None:
            write_bytes(self.folder / name, data, durable=durable)
            return
        path = self._path(name)
        with store_errors(f"cannot write {self.uri}/{name} now"):
            try:
                self.fs.pipe_file(path, data)
            except FileNotFoundError:  # a store with real folders (sftp, hdfs)
                self.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
                self.fs.pipe_file(path, data)

    def read(self, name: str) -> bytes:
        """The content of a file."""
        with store_errors(f"cannot read {self.uri}/{name} now", FileNotFoundError):
            return bytes(self.fs.cat_file(self._path(name)))

    def open(self, name: str) -> BinaryIO:
        """A file to read from in parts."""
        with store_errors(f"cannot read {self.uri}/{name} now", FileNotFoundError):
            file: Any = self.fs.open(self._path(name), "rb")
            return file  # type: ignore[no-any-return]  # fsspec has no types

    def glob(self, pattern: str) -> list[str]:
        """Names of files and folders that match, sorted; empty if the folder does not exist."""
        with store_errors(f"cannot list {self.uri} now"):
            self.fs.invalidate_cache()
            paths = self.fs.glob(f"{glob.escape(self.root)}/{pattern}")
            return sorted(str(path)[len(self.root) :].lstrip("/") for path in paths)

    def remove(self, name: str, *, recursive: bool = False) -> None:
        """Remove a file, or a folder with what is in it; does nothing if it does not exist."""
        with store_errors(f"cannot remove {self.uri}/{name} now"), contextlib.suppress(FileNotFoundError):
            self.fs.rm(self._path(name), recursive=recursive)

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"
