"""Two ways of doing the same, timed in turn: what slows the machine meets both."""

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

Clock = Callable[[], float]
Times = list[tuple[float, float]]


def seconds(work: Callable[[], object], clock: Clock) -> float:
    """Seconds of one call."""
    start = clock()
    work()
    return clock() - start


def in_turn(works: Sequence[Callable[[], object]], rounds: int, clock: Clock = time.process_time) -> list[list[float]]:
    """Times of all in every round; every other round runs them in reverse, and the first round is a warm-up.

    clock: processor time by default, which other work on the machine disturbs least.
    """
    times = []
    for i in range(rounds + 1):
        own = [seconds(work, clock) for work in works[:: 1 if i % 2 else -1]]
        times.append(own[:: 1 if i % 2 else -1])
    return times[1:]


def alternate(
    one: Callable[[], object], other: Callable[[], object], rounds: int, clock: Clock = time.process_time
) -> Times:
    """Times of both in every round: see `in_turn`."""
    return [(times[0], times[1]) for times in in_turn((one, other), rounds, clock)]


@dataclass(frozen=True, slots=True)
class Ratio:
    """Of the pairs' ratios, one to the other: the median, the lowest and the highest."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, times: Iterable[tuple[float, float]]) -> "Ratio":
        """The ratio of all pairs."""
        ratios = [one / other for one, other in times]
        return cls(statistics.median(ratios), min(ratios), max(ratios))

    def __str__(self) -> str:
        return f"{self.median:.3f} (pairs: {self.lowest:.2f} to {self.highest:.2f})"
