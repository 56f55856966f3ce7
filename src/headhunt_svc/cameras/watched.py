"""One camera while it is watched: a thread that begins anew, after a while, whatever has ended it.

A failure, be it a bug, ends neither the thread nor other cameras: it is named in the camera's state and in the log.
"""

import logging
import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime

from headhunt_svc.cameras.config import Camera
from headhunt_svc.cameras.metrics import CRASHES
from headhunt_svc.cameras.status import CameraState, Phase
from headhunt_svc.errors import HeadHuntError, VideoAccessError, reason_of

logger = logging.getLogger(__name__)
STEADY_S = 30.0  # what has gone well for so long begins with short waits again
LOOK_S = 0.5  # how often a waiting thread looks whether it shall end


class Backoff:
    """How long to wait between attempts: twice as long each time, and a random part of that (full jitter), so that
    cameras that broke off together do not come back together."""

    def __init__(self, first_s: float = 1.0, most_s: float = 60.0, least_s: float = 0.2) -> None:
        self._first_s, self._most_s, self._least_s = first_s, most_s, least_s
        self._failures = 0

    def next_s(self, lasted_s: float = 0.0) -> float:
        """The next wait. lasted_s: how long the attempt before it went well."""
        self._failures = 1 if lasted_s >= STEADY_S else self._failures + 1
        longest = min(self._first_s * 2.0 ** min(self._failures - 1, 30), self._most_s)
        return random.uniform(self._least_s, max(longest, self._least_s))


class WatchedCamera(ABC):
    """A camera and the thread that watches it. `state` and `stop` may be called by any thread."""

    def __init__(
        self, camera: Camera, earlier: CameraState | None, clock: Callable[[], datetime] | None = None
    ) -> None:
        """earlier: what is known of the camera from before this process began."""
        self.camera = camera
        self.active_since: datetime | None = None
        self._clock = clock or (lambda: datetime.now(UTC))
        self._last_picture = self._past(None if earlier is None else earlier.last_picture)
        self._last_scored = self._past(None if earlier is None else earlier.last_scored)
        self._phase: Phase = "connecting"
        self._problem: str | None = None
        self._crashes: set[str] = set()  # that were logged with their traceback
        self._backoff = Backoff()
        self._refused = Backoff(60.0, 300.0, 30.0)  # cameras lock users out who try wrong passwords too often
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"camera {camera.name}", daemon=True)

    def _past(self, time: datetime | None) -> datetime | None:
        """A time from before this process; one of a clock that was ahead would hide that the camera is silent."""
        return None if time is None or time > self._clock() else time

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; `join` waits for it."""
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread. Returns whether it has ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @abstractmethod
    def state(self, now: datetime) -> CameraState:
        """How the camera is."""

    @property
    @abstractmethod
    def open_event(self) -> str | None:
        """The id of the event that goes on, if one does."""

    @abstractmethod
    def watch_source(self) -> str | None:
        """Watch until `is_over`, or until the source breaks off; returns why, if there is a reason. Raises anything."""

    @abstractmethod
    def tick(self) -> None:
        """Called about twice a second while the source is away."""

    @abstractmethod
    def finish(self) -> None:
        """End what goes on. Called when the thread ends, and by another one if it does not end in time."""

    def is_over(self) -> bool:
        """Shall the camera be left alone, for good or until its hours begin again?"""
        return self._stop.is_set() or not self.camera.is_active(self._clock())

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if not self.camera.is_active(self._clock()):
                    self._phase, self._problem, self.active_since = "off", None, None
                    self._guarded(self.tick)
                    self._stop.wait(LOOK_S)
                    continue
                if self.active_since is None:
                    self.active_since = self._clock()
                self._attempt()
        finally:
            self._guarded(self.finish)

    def _attempt(self) -> None:
        """Watch once; then wait, if that ended by itself."""
        began, waits = time.monotonic(), self._backoff
        if self._phase == "off":
            self._phase = "connecting"
        problem: str | None = None
        try:
            problem = self.watch_source()
        except VideoAccessError as exc:
            problem, waits = str(exc), self._refused
        except HeadHuntError as exc:
            problem = str(exc)
        except Exception as exc:
            problem = self._crashed(exc)
        if self.is_over():
            return
        self._phase, self._problem = "retrying", problem or "the source has ended"
        end = time.monotonic() + waits.next_s(time.monotonic() - began)
        while not self.is_over() and (left_s := end - time.monotonic()) > 0:
            self._guarded(self.tick)
            self._stop.wait(min(LOOK_S, left_s))

    def _guarded(self, action: Callable[[], None]) -> None:
        """Do something between two attempts, which must not end the thread."""
        try:
            action()
        except HeadHuntError as exc:
            self._problem = str(exc)
        except Exception as exc:
            self._problem = self._crashed(exc)

    def _crashed(self, exc: Exception) -> str:
        """Count a bug, and log it with its traceback the first time; returns the problem in words."""
        if self._stop.is_set():
            return "stopped"
        CRASHES.inc()
        problem = f"not expected: {type(exc).__name__}: {reason_of(exc)}"
        if problem not in self._crashes and len(self._crashes) < 100:
            self._crashes.add(problem)
            logger.error("camera %s: %s", self.camera.name, problem, exc_info=exc)
        return problem
