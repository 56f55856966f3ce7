"""Lists and reads the files of the log, by camera and day, while their writers merge them."""

import glob
import re
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from typing import TypeVar

from headhunt_svc.prediction_log.writer import Partition, unmerged_files
from headhunt_svc.storage.store import Store

TRIES = 5  # a merge takes moments, and a writer's next one comes many flushes later
_PAUSE_S = 0.1  # longer before each further try: a listing of a network disk may be old
_NAME = re.compile(r"[^/]-([0-9]{1,18})-([0-9]{1,18})\.parquet$")  # of a writer, with the numbers of its flushes
T = TypeVar("T")


def is_part(name: str) -> bool:
    """Is this the name of a file that a writer of the log has made?"""
    return _NAME.search(name) is not None


def partitions(store: Store, first: date, last: date, camera: str | None = None) -> dict[str, list[Partition]]:
    """The days of every camera, or of one, from the first to the last (included), in order.

    Raises:
        UnreachableError: the store does not answer.
    """
    by_camera: dict[str, list[Partition]] = {}
    for folder in store.glob("day=*/camera=*"):
        partition = partition_of(folder)
        if partition and first <= partition.day <= last and camera in (None, partition.camera):
            by_camera.setdefault(partition.camera, []).append(partition)
    return by_camera


def partition_of(name: str) -> Partition | None:
    """The day and camera of a folder, or of a file in it; None where no writer names a folder like this."""
    with suppress(ValueError):
        partition = Partition.of(name)
        if name.split("/")[:2] == partition.folder().split("/"):
            return partition
    return None


def read_partition(store: Store, partition: Partition, read: Callable[[str], T]) -> list[T | None]:
    """What `read` returns for each file of a day and camera, in order; together they hold every row once.

    A merge takes away files that were listed, and a listing made during it can lack both them and the merged file. Then
    all is listed and read again. None in place of a file that is listed and still not there after some tries.

    read: raises FileNotFoundError where the file is gone.

    Raises:
        UnreachableError: the store does not list its files. Anything else that `read` raises.
    """
    for number in range(1, TRIES):
        names = _listed(store, partition)
        with suppress(FileNotFoundError):
            contents: list[T | None] = [read(name) for name in names]
            if not any(map(_is_merged, set(_listed(store, partition)) - set(names))):
                return contents
        time.sleep(number * _PAUSE_S)
    return [_unless_gone(read, name) for name in _listed(store, partition)]


def _listed(store: Store, partition: Partition) -> list[str]:
    """The files that hold the rows of a day and camera."""
    return unmerged_files(filter(is_part, store.glob(f"{glob.escape(partition.folder())}/*.parquet")))


def _is_merged(name: str) -> bool:
    """Does a file hold several flushes?"""
    numbers = _NAME.search(name)
    return numbers is not None and int(numbers[1]) < int(numbers[2])


def _unless_gone(read: Callable[[str], T], name: str) -> T | None:
    with suppress(FileNotFoundError):
        return read(name)
    return None
