"""How a process that works until it is stopped learns that it shall end."""

import signal
import time


class StopRequest:
    """Whether the process shall end. A signal handler sets it, so it holds no lock: the code that a signal interrupts
    may wait for this very request, and a threading.Event would then never be set."""

    def __init__(self) -> None:
        self._requested = False

    def set(self) -> None:
        """Ask the process to end."""
        self._requested = True

    def set_by_signals(self) -> None:
        """SIGTERM and SIGINT set it from now on; only the main thread may call this."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.set())

    def is_set(self) -> bool:
        """Was it asked to?"""
        return self._requested

    def wait(self, timeout_s: float) -> bool:
        """Wait for the request, at most so long. Returns whether it came."""
        end = time.monotonic() + timeout_s
        while not self._requested and (left_s := end - time.monotonic()) > 0:
            time.sleep(min(0.1, left_s))
        return self._requested
