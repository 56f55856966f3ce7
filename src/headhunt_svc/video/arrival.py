"""Tells when a picture of a live stream was taken from when its data arrived: cameras' own clocks are often wrong."""

import threading
from collections import deque
from datetime import UTC, datetime

_WINDOW_S = 30.0  # in which the smallest delay is that of an idle network
_STEP_S = 0.5  # by which the wall clock may be corrected without being a step


class ArrivalClock:
    """Turns stream times into UTC; threads may share it.

    The delay of data varies with the network; the smallest one of the last 30 s is taken. Between pictures this
    computer's monotonic clock counts. steps: how often its wall clock was set.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._delays: deque[tuple[float, float]] = deque()  # arrivals and delays that increase from left to right
        self._wall_s: float | None = None  # UTC minus the monotonic clock
        self.steps = 0

    def push(self, arrived_s: float, wall_s: float, time_s: float) -> float | None:
        """Data of the picture at time_s of the stream arrived, by the monotonic clock and by the wall clock.

        Returns by how much the wall clock was set meanwhile, if it was.
        """
        step_s: float | None = None
        with self._lock:
            offset = wall_s - arrived_s
            if self._wall_s is not None and abs(offset - self._wall_s) > _STEP_S:
                self.steps += 1
                step_s = offset - self._wall_s
            self._wall_s = offset
            delay = arrived_s - time_s
            while self._delays and self._delays[-1][1] >= delay:
                self._delays.pop()
            self._delays.append((arrived_s, delay))
            while self._delays[0][0] < arrived_s - _WINDOW_S:
                self._delays.popleft()
        return step_s

    def jump(self) -> None:
        """The stream's clock jumped: what is known about its delay says nothing about what follows."""
        with self._lock:
            self._delays.clear()

    @property
    def least_delay_s(self) -> float | None:
        """Between the stream's times and the monotonic clock; None before the first picture."""
        with self._lock:
            return self._delays[0][1] if self._delays else None

    def utc(self, time_s: float) -> datetime:
        """When the picture at time_s of the stream was taken.

        Raises:
            ValueError: no picture has arrived yet.
        """
        with self._lock:
            if self._wall_s is None or not self._delays:
                raise ValueError("no picture has arrived yet, so the stream's times mean nothing")
            return datetime.fromtimestamp(time_s + self._delays[0][1] + self._wall_s, UTC)
