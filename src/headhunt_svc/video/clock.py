"""The one clock of a video: the timestamps of its frames, as seconds from the first picture.

Detection, the index, labels and evaluation count by it. It repairs what cannot be a camera's time, and names it.
"""

import statistics
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field

import numpy as np

MIN_HOLE_S = 2.0  # without a picture; and at least as many typical steps as:
MIN_HOLE_STEPS = 10
MAX_HOLE_S = 3600.0  # further ahead is another clock, not a longer wait
MAX_BACK_S = 0.5  # further back is another clock, not two pictures in the wrong order; and at least as many steps as:
MAX_BACK_STEPS = 5
_RECENT = 25  # steps whose median is the length of the last picture
_UNIT = 1e5  # steps are counted in units of 1/100 ms; no step is shorter
SAME_RATE = 0.03  # share by which a file's statement may differ from its frames


@dataclass(frozen=True, slots=True)
class Hole:
    """A stretch without pictures: from the end of the last one to the next one, seconds."""

    start_s: float
    stop_s: float


@dataclass(frozen=True, slots=True)
class Discontinuity:
    """The timestamps jump by jump_s at time_s: the clock was set, or recordings were joined. Removed from all times."""

    time_s: float
    jump_s: float


@dataclass(slots=True)
class Clock:
    """Turns the timestamps of pictures in the order of their showing into seconds that increase, without jumps.

    first_step_s: the length of a picture as long as no two are known. period_s: after which timestamps start anew;
    FFmpeg takes a clock that was set back for such a start.
    """

    first_step_s: float
    period_s: float | None = None
    holes: list[Hole] = field(default_factory=list)
    discontinuities: list[Discontinuity] = field(default_factory=list)
    repaired_times: int = 0  # pictures without a timestamp, or not after the one before; placed one step after it
    last_s: float = 0.0
    origin_s: float = 0.0  # timestamp of time 0
    _n: int = 0
    _lost_s: float = 0.0  # until when pictures are known to be lost
    _recent: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))
    _steps: Counter[int] = field(default_factory=Counter)  # how many steps of about which length
    _sums_s: defaultdict[int, float] = field(default_factory=lambda: defaultdict(float))  # of all of these

    @property
    def step_s(self) -> float:
        """How long the last picture stays: the median of recent steps; the stated one where that says the same."""
        step_s = statistics.median(self._recent) if self._recent else self.first_step_s
        return self.first_step_s if abs(step_s - self.first_step_s) <= SAME_RATE * self.first_step_s else step_s

    @property
    def rate(self) -> float | None:
        """Typical pictures per second: 1 / mean of the steps near their median. None before the second picture."""
        if not self._steps:
            return None
        lengths = sorted(self._steps)
        counts, sums_s = (np.array([part[length] for length in lengths]) for part in (self._steps, self._sums_s))
        median = lengths[np.searchsorted(np.cumsum(counts), counts.sum() / 2)]
        near = (np.array(lengths) > median / 2) & (np.array(lengths) < 2 * median)
        return float(counts[near].sum() / sums_s[near].sum())

    def seconds(self, timestamp: float) -> float | None:
        """The time of a timestamp near the last picture's; None before the first picture."""
        return max(timestamp - self.origin_s, 0.0) if self._n else None

    def forget(self, most: int) -> None:
        """Keep only the last holes and discontinuities, and no lengths of steps: for streams without an end."""
        del self.holes[:-most], self.discontinuities[:-most]
        self._steps.clear()
        self._sums_s.clear()

    def lose(self, timestamp: float) -> None:
        """Note a picture that is lost: if the clock jumps behind it, the time that it took is not lost, too."""
        time_s = self.seconds(timestamp)
        if time_s is not None and time_s - self.last_s < MAX_HOLE_S:
            self._lost_s = max(self._lost_s, time_s)

    def push(self, timestamp: float | None) -> bool:
        """Move on to the next picture, at `last_s` then. Is there a hole before it?"""
        self._n += 1
        if self._n == 1:
            self.origin_s = timestamp if timestamp is not None else 0.0
            return False
        time_s = timestamp - self.origin_s if timestamp is not None else self.last_s
        if 1 / _UNIT <= time_s - self.last_s <= MIN_HOLE_S:  # as nearly always
            self._count(time_s - self.last_s)
            self.last_s = time_s
            return False
        step_s = self.step_s
        min_hole_s = max(MIN_HOLE_S, MIN_HOLE_STEPS * step_s)
        if self.period_s and time_s - self.last_s > self.period_s / 2:
            self.origin_s += self.period_s
            time_s -= self.period_s
        if not self.last_s - max(MAX_BACK_S, MAX_BACK_STEPS * step_s) <= time_s <= self.last_s + MAX_HOLE_S:
            resumed_s = max(self.last_s, self._lost_s) + step_s
            self.discontinuities.append(Discontinuity(resumed_s, time_s - resumed_s))
            self.origin_s += time_s - resumed_s
            time_s = resumed_s
        elif time_s - self.last_s < 1 / _UNIT:
            self.repaired_times += 1
            time_s = self.last_s + step_s
        elif time_s - self.last_s <= min_hole_s:
            self._count(time_s - self.last_s)
        hole = time_s - self.last_s > min_hole_s
        if hole and self._lost_s <= self.last_s:  # else it is a gap, and named as such
            self.holes.append(Hole(self.last_s + step_s, time_s))
        self.last_s = time_s
        return hole

    def _count(self, step_s: float) -> None:
        self._recent.append(step_s)
        length = round(step_s * _UNIT)
        self._steps[length] += 1
        self._sums_s[length] += step_s
