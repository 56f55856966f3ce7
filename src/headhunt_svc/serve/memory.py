"""Admits videos by the memory that they need: what all of them use at the same time has a bound."""

import asyncio
import ctypes
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from headhunt_svc.errors import VideoLimitError
from headhunt_svc.serve import metrics

KEEP_FREED_S = 15.0
_POLL_S = 0.2  # how often a video that waits looks whether it must stop


class Share:
    """What one video may use of the budget."""

    def __init__(self, budget: "MemoryBudget", mib: int) -> None:
        self._budget, self.mib = budget, mib

    def grow(self, mib: int) -> bool:
        """Take as much as this in all, if there is room now."""
        with self._budget.changed:
            if mib - self.mib > self._budget.free_mib:
                return False
            self._budget.give(self.mib - mib)
            self.mib = mib
            return True


class MemoryBudget:
    """Hands out shares of `total_mib`, in the order of asking: what needs much is not overtaken for ever."""

    def __init__(self, total_mib: int) -> None:
        self.total_mib = self.free_mib = total_mib
        self.changed = threading.Condition()
        self._line: deque[object] = deque()

    def give(self, mib: int) -> None:
        """Give back so much, or take it where it is less than 0; `changed` is held."""
        self.free_mib += mib
        metrics.MEMORY_RESERVED_BYTES.set((self.total_mib - self.free_mib) * 2**20)
        self.changed.notify_all()

    @contextmanager
    def share(self, mib: int, check: Callable[[], object], name: str = "") -> Iterator[Share]:
        """Wait for so much memory, and hold it.

        check: called while waiting; raises if the work must stop. name: of the video, for the error.

        Raises:
            VideoLimitError: more than there is in all.
        """
        if mib > self.total_mib:
            raise VideoLimitError(
                f"{name}: needs about {mib} MiB of memory, more than all videos together may use ({self.total_mib}); "
                "scale it down or raise memory_mib"
            )
        place = object()
        with self.changed:
            self._line.append(place)
            try:
                while self._line[0] is not place or mib > self.free_mib:
                    check()
                    self.changed.wait(_POLL_S)
                self.give(-mib)
            finally:
                self._line.remove(place)
                self.changed.notify_all()
        share = Share(self, mib)
        try:
            yield share
        finally:
            with self.changed:
                self.give(share.mib)


class FreedMemory:
    """Gives freed memory back to the system: glibc keeps it for each thread that had some, and would only grow.

    Not after each video, because the next call of the model would get its memory page by page from the system again,
    which is 8 % of its time for the first embedded detector. KEEP_FREED_S after a video at the latest, busy or not.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None

    def give_back_soon(self) -> None:
        """A video has ended; call it in the loop's thread."""
        if self._timer is None:
            self._timer = self._loop.call_later(KEEP_FREED_S, self._give_back)

    def _give_back(self) -> None:
        self._timer = None
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim is not None:
            threading.Thread(target=trim, args=(0,), name="trim", daemon=True).start()  # takes some milliseconds
