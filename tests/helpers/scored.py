"""Scored segments as a detector yields them."""

import numpy as np

from headhunt_svc.detector.batches import ScoredBatch, TimedSegment
from headhunt_svc.types import FrameSpan, Segment


def scored_batches(
    raw: np.ndarray,
    size: int,
    holes: frozenset[int] = frozenset(),
    first: int = 0,
    novelty: np.ndarray | None = None,
) -> list[ScoredBatch]:
    """Segments of a second, whose features are their number, from `first` on.

    Behind those in `holes`, ten seconds are missing.
    """
    starts = np.cumsum([0.0] + [1.0 + 10 * (i in holes) for i in range(len(raw) - 1)])
    timed = [
        TimedSegment(Segment("v", i, FrameSpan(int(s), int(s) + 1), (int(s),)), s, s + 1)
        for i, s in enumerate(starts.tolist())
    ]
    values = np.arange(first, first + len(raw), dtype=np.float32).reshape(-1, 1, 1)
    places = [slice(i, i + size) for i in range(0, len(raw), size)]
    return [
        ScoredBatch(tuple(timed[p]), values[p], raw[p], raw[p, None], novelty=None if novelty is None else novelty[p])
        for p in places
    ]
