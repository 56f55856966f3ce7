"""Locks between processes and threads: files that the system unlocks when their holder ends, however it ends."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from headhunt_svc.errors import OutputError, unwritable

LOCK_POLL_S = 0.1
LOCK_WAIT_S = 60.0


@contextmanager
def locked(path: Path, busy: Callable[[], object] | None = None) -> Iterator[bool]:
    """Hold a file lock. Yields whether it is held.

    busy: called repeatedly while another holds the lock, and may raise; without it, there is no waiting.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    held = False
    while not held:
        try:
            lock.acquire(blocking=False)
            held = True
        except Timeout:
            if busy is None:
                break
            busy()
            time.sleep(LOCK_POLL_S)
    try:
        yield held
    finally:
        if held:
            lock.release()


@contextmanager
def exclusive(path: Path, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Hold a file lock; waits while another holds it.

    Raises:
        OutputError: it is still held after wait_s, or cannot be made (permission, disk full).
    """
    deadline = time.monotonic() + wait_s

    def busy() -> None:
        if time.monotonic() > deadline:
            raise OutputError(f"{path} has been locked by another process for {wait_s:g} s: wait for it, or end it")

    with ExitStack() as stack:
        try:
            stack.enter_context(locked(path, busy))
        except OSError as exc:
            raise unwritable(path, exc) from exc
        yield


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Write to a folder as the only process that does; the lock lies beside the folder, whose content DVC may hash.

    Raises:
        OutputError: another process writes there, or the lock cannot be made.
    """
    with ExitStack() as stack:
        place = folder.resolve()
        path = place.with_name(f".{place.name}.lock")
        try:
            held = stack.enter_context(locked(path))
        except OSError as exc:
            raise unwritable(path, exc) from exc
        if not held:
            raise OutputError(f"another process writes to {folder}: wait for it, or end it")
        yield
