"""Which few segments to ask people about: those whose label would teach most. Values in, choice out.

uncertain: the score is near the threshold. new: farther from what is normal for its camera than its other segments.
disagreeing: some prompts put it above the threshold, others below.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args

from jaxtyping import Float32
from numpy import ndarray

from headhunt_svc.types import HeadRef

Reason = Literal["uncertain", "new", "disagreeing"]
REASONS: tuple[Reason, ...] = get_args(Reason)
NEAR = 1.0  # logits between score and threshold: an uncertain one of .5 is between .27 and .73
APART_S = 30.0  # between two questions about one camera: neighbours look alike
_EDGE = 1e-6  # scores of 0 and 1 have no logit


@dataclass(frozen=True, slots=True)
class Candidate:
    """A segment, or a stored event that nobody has marked, that people could be asked about.

    start_s: in its file, where it is of one. event_id: of the stored event that it is. score: smoothed, where it is
    known; else raw. distance: to what is normal for the camera, as a multiple of a usual distance where that is known.
    features_id: see EventFeatures. prompts: raw scores under other prompts.
    """

    camera: str
    video_id: str
    start: datetime
    stop: datetime
    score: float
    threshold: float
    detector_id: str
    start_s: float | None = None
    source: str | None = None
    event_id: str | None = None
    heads: tuple[HeadRef, ...] = ()
    features: Float32[ndarray, "head d_head"] | None = field(default=None, compare=False, repr=False)
    features_id: str | None = None
    raw: float | None = None
    contributions: tuple[float, ...] = ()
    distance: float | None = None
    prompts: tuple[float, ...] = ()

    @property
    def margin(self) -> float:
        """Logits between score and threshold."""
        return abs(_logit(self.score) - _logit(self.threshold))

    @property
    def disagreement(self) -> float:
        """Share of the prompts that are outvoted about whether it is above the threshold: 0 to 1/2."""
        above = sum(score > self.threshold for score in self.prompts)
        return min(above, len(self.prompts) - above) / len(self.prompts) if self.prompts else 0.0

    def value(self, reason: Reason) -> float | None:
        """How much this reason speaks for asking: the higher, the more; None: it does not."""
        match reason:
            case "uncertain":
                return -self.margin if self.margin <= NEAR else None
            case "new":
                return self.distance
            case "disagreeing":
                return self.disagreement or None


@dataclass(frozen=True, slots=True)
class Chosen:
    """A candidate, and why it was chosen."""

    candidate: Candidate
    reason: Reason


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that was chosen before."""

    camera: str
    reason: Reason
    start: datetime


def choose(candidates: Iterable[Candidate], most: int, each: int, asked: Sequence[Asked] = ()) -> list[Chosen]:
    """At most `most` questions, those that were asked before included; of a camera at most `each` for a reason.

    Cameras and reasons take turns. The same candidates give the same choice, in whatever order they come.
    """
    per_camera, per_pool, per_reason = Counter[str](), Counter[tuple[str, Reason]](), Counter[Reason]()
    times: dict[str, list[datetime]] = {}
    for earlier in asked:
        per_camera[earlier.camera] += 1
        per_pool[earlier.camera, earlier.reason] += 1
        per_reason[earlier.reason] += 1
        times.setdefault(earlier.camera, []).append(earlier.start)
    pools = _pools(candidates)
    chosen: list[Chosen] = []
    while len(asked) + len(chosen) < most:
        for (camera, reason), pool in list(pools.items()):
            while pool and (per_pool[camera, reason] >= each or not _is_apart(pool[-1], times.get(camera, ()))):
                pool.pop()
            if not pool:
                del pools[camera, reason]
        if not pools:
            break

        def turn(name: tuple[str, Reason]) -> tuple[int, int, int, float, str]:
            camera, reason = name
            value = pools[name][-1].value(reason)
            assert value is not None
            return per_camera[camera], per_reason[reason], REASONS.index(reason), -value, camera

        camera, reason = min(pools, key=turn)
        candidate = pools[camera, reason].pop()
        chosen.append(Chosen(candidate, reason))
        per_camera[camera] += 1
        per_pool[camera, reason] += 1
        per_reason[reason] += 1
        times.setdefault(camera, []).append(candidate.start)
    return chosen


def _pools(candidates: Iterable[Candidate]) -> dict[tuple[str, Reason], list[Candidate]]:
    """The candidates of each camera and reason, the best one last."""
    pools: dict[tuple[str, Reason], list[tuple[float, Candidate]]] = {}
    for candidate in candidates:
        for reason in REASONS:
            value = candidate.value(reason)
            if value is not None:
                pools.setdefault((candidate.camera, reason), []).append((value, candidate))
    order = {name: sorted(pool, key=lambda pair: (pair[0], *_name(pair[1]))) for name, pool in pools.items()}
    return {name: [candidate for _, candidate in pool] for name, pool in order.items()}


def _name(candidate: Candidate) -> tuple[datetime, str, str, float, float, tuple[float, ...]]:
    """Tells candidates of one camera apart, so that ties are decided the same way each time."""
    c = candidate
    distance = -1.0 if c.distance is None else c.distance
    return c.start, c.video_id, c.event_id or "", c.score, distance, c.prompts


def _is_apart(candidate: Candidate, times: Iterable[datetime]) -> bool:
    return all(abs((candidate.start - time).total_seconds()) >= APART_S for time in times)


def _logit(score: float) -> float:
    bounded = min(max(score, _EDGE), 1 - _EDGE)
    return math.log(bounded / (1 - bounded))
