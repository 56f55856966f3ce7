"""What is strange about a video all the time, and therefore no event: taken off its scores before they are smoothed.

A thing that no calibration video shows, a parked lorry or a new sign, is far from normal for as long as it is there.
What the distance to normal adds to a logit above what is typical is the segment's novelty; the lowest fifth of the
novelty around a segment is what is there all the time (docs/adr/0025).
"""

from collections import deque
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64
from scipy.special import expit, logit

from headhunt_svc.types import Smoothing

BEHIND = 187  # segments before one that count: five minutes of 1.6 s
AHEAD = 8  # segments after one that count, where the smoothing looks ahead
LEAST = 8  # fewer segments do not tell what is there all the time
SHARE = 0.2


def look_ahead(smoothing: Smoothing) -> int:
    """How many segments after one count."""
    return 0 if smoothing == "causal" else AHEAD


def steady_part(novelty: Sequence[float]) -> float:
    """The lowest fifth of the novelty of some neighbouring segments; 0 where it is negative or they are few.

    Never negative: a quiet video is no reason for higher scores.
    """
    if len(novelty) < LEAST:
        return 0.0
    rank = int(SHARE * (len(novelty) - 1))
    return max(0.0, float(np.partition(np.asarray(novelty), rank)[rank]))


class WithoutSteady:
    """Scores of one video less what is strange about it all the time, each once the segments that it needs are there.

    Scores without novelty pass at once, and unchanged.
    """

    def __init__(self, smoothing: Smoothing) -> None:
        self._ahead = look_ahead(smoothing)
        self._novelty: list[float] = []  # of the segments that still count, of this stretch of footage
        self._waiting: deque[float] = deque()  # scores of the last of these

    @property
    def waiting(self) -> int:
        """How many scores are not known yet."""
        return len(self._waiting)

    def add(self, score: float, novelty: float | None, follows: bool = True) -> list[float]:
        """The scores that are known now that one more segment is there.

        follows: does it follow the last one without a break? What was before a break counts no longer.
        """
        if novelty is None:
            return [score]
        known = [] if follows else self.finish()
        self._novelty.append(novelty)
        self._waiting.append(score)
        if len(self._waiting) > self._ahead:
            known.append(self._next())
        return known

    def finish(self) -> list[float]:
        """The scores that are still missing: no segment follows."""
        known = [self._next() for _ in range(len(self._waiting))]
        self._novelty = []
        return known

    def _next(self) -> float:
        place = len(self._novelty) - len(self._waiting)  # of the score that is due
        first = max(place - BEHIND, 0)
        steady = steady_part(self._novelty[first : place + self._ahead + 1])
        if place >= BEHIND:
            del self._novelty[: first + 1]
        score = self._waiting.popleft()
        return min(score, float(expit(logit(score) - steady))) if steady else score  # rounding raises none


def without_steady(
    scores: Float[np.ndarray, " segment"],
    novelty: Float[np.ndarray, " segment"] | None,
    smoothing: Smoothing = "offline",
    goes_on: Bool[np.ndarray, " boundary"] | None = None,
) -> Float64[np.ndarray, " segment"]:
    """The scores of a whole video less what is strange about it all the time.

    novelty: of each segment (core/scoring.novelty); None: nothing is taken off. goes_on: where the footage has a break
    (core/localization.contiguous), only what is on the same side of it counts.
    """
    if novelty is None:
        return np.asarray(scores, np.float64)
    follows = [True] * len(scores) if goes_on is None else [True, *goes_on.tolist()]
    video, known = WithoutSteady(smoothing), list[float]()
    for segment in zip(scores.tolist(), novelty.tolist(), follows, strict=True):
        known += video.add(*segment)
    return np.array(known + video.finish(), np.float64)
