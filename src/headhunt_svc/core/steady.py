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


def _less(score: float, steady: float, novelty: float) -> float:
    """The score with a lower logit. That of a score of 1, which its digits no longer say, is the novelty at least."""
    if not steady:
        return score
    margin = float(logit(score)) if score < 1 else max(float(logit(np.nextafter(1, 0))), novelty)
    return min(score, float(expit(margin - steady)))  # rounding raises none


class WithoutSteady:
    """Scores of one video less what is strange about it all the time, each once the segments that it needs are there.

    Scores without novelty pass at once, and unchanged.
    """

    def __init__(self, smoothing: Smoothing) -> None:
        self._ahead = look_ahead(smoothing)
        self._novelty: list[float] = []  # of the segments that still count
        self._waiting: deque[float] = deque()  # scores of the last of these

    @property
    def waiting(self) -> int:
        """How many scores are not known yet."""
        return len(self._waiting)

    def add(self, score: float, novelty: float | None, follows: bool = True) -> list[float]:
        """The scores that are known now that one more segment is there.

        follows: does it follow the last one without a break? What comes after a break does not count for what is before
        it; but what stood there before it stands there still, as far as one can tell.
        """
        if novelty is None:
            return [score]
        ready = [] if follows else self.finish()
        self._novelty.append(novelty)
        self._waiting.append(score)
        if len(self._waiting) > self._ahead:
            ready.append(self._next())
        return ready

    def finish(self) -> list[float]:
        """The scores that are still missing: no segment follows, or none for now."""
        return [self._next() for _ in range(len(self._waiting))]

    def _next(self) -> float:
        place = len(self._novelty) - len(self._waiting)  # of the score that is due
        first = max(place - BEHIND, 0)
        steady = steady_part(self._novelty[first : place + self._ahead + 1])
        score = _less(self._waiting.popleft(), steady, self._novelty[place])
        if place >= BEHIND:
            del self._novelty[: first + 1]
        return score


def without_steady(
    scores: Float[np.ndarray, " segment"],
    novelty: Float[np.ndarray, " segment"] | None,
    smoothing: Smoothing = "offline",
    goes_on: Bool[np.ndarray, " boundary"] | None = None,
) -> Float64[np.ndarray, " segment"]:
    """The scores of a whole video less what is strange about it all the time.

    novelty: of each segment (core/scoring.novelty); None: nothing is taken off. goes_on: where the footage has no break
    (core/localization.contiguous); see WithoutSteady.add.
    """
    if novelty is None or not len(scores):
        return np.asarray(scores, np.float64)
    follows = [True] * len(scores) if goes_on is None else [True, *goes_on.tolist()]
    video, ready = WithoutSteady(smoothing), list[float]()
    for segment in zip(scores.tolist(), novelty.tolist(), follows, strict=True):
        ready += video.add(*segment)
    return np.array(ready + video.finish(), np.float64)
