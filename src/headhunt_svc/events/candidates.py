"""Follows the scores of a video, and keeps of its events and of some normal segments what is to be stored.

A segment counts once its smoothed score is final. Memory does not grow with the video: of an event that goes on, the
picture of the highest score so far is kept, and the features of a limited number of segments.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float32

from headhunt_svc.core.localization import contiguous, is_contiguous, kernel, smooth
from headhunt_svc.core.steady import WithoutSteady
from headhunt_svc.detector.batches import ScoredBatch
from headhunt_svc.events.features import MOST_SEGMENTS, NORMAL_SEGMENTS, EventFeatures
from headhunt_svc.events.places import Places
from headhunt_svc.types import HeadRef, OperatingPoint


@dataclass(frozen=True, slots=True, eq=False)
class _Scored:
    """A segment; features, shares: copies, as a part of a batch would keep the whole batch in memory.

    shares: of the places of its pictures, where the scores are explained.
    """

    index: int
    start_s: float
    stop_s: float
    raw: float
    contributions: tuple[float, ...]
    features: Float32[np.ndarray, "head d_head"]
    shares: Float32[np.ndarray, "picture row column"] | None


@dataclass(slots=True, eq=False)
class Run:
    """Segments in a row whose smoothed scores are above the threshold: an event.

    peak: the highest smoothed score; peak_s: in the middle of its segment. raw, shares: of this segment.
    """

    start_s: float
    stop_s: float
    peak: float = -1.0
    peak_s: float = 0.0
    contributions: tuple[float, ...] = ()
    picture: bytes | None = None
    raw: float = 0.0
    shares: Float32[np.ndarray, "picture row column"] | None = None
    kept: list[_Scored] = field(default_factory=list)
    _step: int = 1  # every how many segments' features are kept
    _n: int = 0

    def add(self, segment: _Scored, smoothed: float, picture: bytes | None) -> None:
        """The next segment."""
        self.stop_s = segment.stop_s
        if smoothed > self.peak:
            self.peak, self.picture = smoothed, picture
            self.peak_s, self.contributions = (segment.start_s + segment.stop_s) / 2, segment.contributions
            self.raw, self.shares = segment.raw, segment.shares
        if self._n % self._step == 0:
            self.kept.append(replace(segment, shares=None))
        self._n += 1
        if len(self.kept) > MOST_SEGMENTS:
            self.kept, self._step = self.kept[::2], 2 * self._step


class Candidates:
    """The runs of one video so far, and a sample of its normal segments."""

    def __init__(
        self,
        point: OperatingPoint,
        detector_id: str,
        heads: tuple[HeadRef, ...],
        take: Callable[[int, bool], bytes | None],
        span_s: tuple[float, float] | None = None,
        merge_s: float = 0.0,
        sample_over: int | None = None,
        features_id: str | None = None,
    ) -> None:
        """take: the picture of a segment of this index, which is asked for once; False: it is not needed.

        span_s: where somebody says that the one event is, whatever the scores are. merge_s: runs that are closer are
        one. sample_over: normal segments are sampled from about so many of the last ones; by default from all.
        features_id: what the features are of (Bundle.features_id).
        """
        self._span_s, self._merge_s, self._sample_over = span_s, merge_s, sample_over
        self._is_above = False  # the last segment, so that the run goes on if the next one follows
        self._reached_s = 0.0
        self._point, self._detector_id, self._heads, self._take = point, detector_id, heads, take
        self._features_id = features_id
        half = len(kernel(point.sigma_segments)) // 2
        self._behind, self._ahead = half, 0 if point.smoothing == "causal" else half
        self._video = WithoutSteady(point.smoothing)
        self._scores: deque[float] = deque()  # that smoothing still needs
        self._edges: deque[tuple[float, float]] = deque()  # of the same segments, and of those that follow
        self._waiting: deque[_Scored] = deque()  # their smoothed scores are not final
        self._runs: list[Run] = []
        self._open: Run | None = None
        self._normal: list[_Scored] = []
        self._n_normal = 0
        self._random = random.Random(detector_id)  # the same sample of the same video

    def add(self, batch: ScoredBatch, offset_s: float = 0.0) -> None:
        """The next segments. offset_s: is added to their times."""
        for i, timed in enumerate(batch.segments):
            raw = float(batch.raw[i])
            edges = timed.start_s + offset_s, timed.stop_s + offset_s
            follows = bool(self._edges) and is_contiguous(self._edges[-1][1], edges[0])
            novelty = None if batch.novelty is None else float(batch.novelty[i])
            self._scores += self._video.add(raw, novelty, follows)
            self._edges.append(edges)
            parts = tuple(batch.contributions[i].tolist())
            where = (timed.segment.index, *edges)
            explained = None if batch.attribution is None else batch.attribution.pictures[i].astype(np.float32)
            self._waiting.append(_Scored(*where, raw, parts, np.array(batch.features[i]), explained))
        self._settle(len(self._waiting) - self._video.waiting - self._ahead)

    def finish(self) -> None:
        """No segment follows."""
        self._scores += self._video.finish()
        self._settle(len(self._waiting))

    def _settle(self, n: int) -> None:
        """The smoothed scores of the first n segments that wait are final."""
        if n <= 0:
            return
        first = len(self._edges) - len(self._waiting)
        unbroken = contiguous(np.array(self._edges)[: len(self._scores)])
        smoothed = smooth(np.array(self._scores), self._point.sigma_segments, self._point.smoothing, unbroken)
        for i in range(first, first + n):
            follows = i > 0 and bool(unbroken[i - 1])
            self._place(self._waiting.popleft(), float(smoothed[i]), follows)
        for _ in range(max(first + n - self._behind - 1, 0)):  # one more, to see whether the next one follows
            self._scores.popleft()
            self._edges.popleft()

    def _place(self, segment: _Scored, smoothed: float, follows: bool) -> None:
        self._reached_s = segment.stop_s
        is_above = smoothed > self._point.threshold
        is_event = is_above
        if self._span_s is not None:
            is_event = segment.start_s < self._span_s[1] and self._span_s[0] < segment.stop_s
        follows, self._is_above = follows and self._is_above, is_event
        if not is_event:
            self._take(segment.index, False)
            if not is_above:
                self._sample(segment)
            return
        if self._open is None or not (follows or segment.start_s - self._open.stop_s < self._merge_s):
            self._open = Run(segment.start_s, segment.stop_s)
            self._runs.append(self._open)
        self._open.add(segment, smoothed, self._take(segment.index, smoothed > self._open.peak))

    def _sample(self, segment: _Scored) -> None:
        """Every normal segment has the same chance to be in the sample (reservoir sampling).

        With sample_over a new one always has the same chance to come in, so old ones go.
        """
        segment = replace(segment, shares=None)
        self._n_normal += 1
        if self._sample_over is not None:
            self._n_normal = min(self._n_normal, self._sample_over)
        if len(self._normal) < NORMAL_SEGMENTS:
            self._normal.append(segment)
        elif (place := self._random.randrange(self._n_normal)) < NORMAL_SEGMENTS:
            self._normal[place] = segment

    @property
    def runs(self) -> tuple[Run, ...]:
        """All of them in order, except those that are forgotten."""
        return tuple(self._runs)

    @property
    def is_above(self) -> bool:
        """Does the last segment belong to an event?"""
        return self._is_above

    def is_over(self, run: Run) -> bool:
        """Can no segment that comes belong to this run?"""
        if run is not self._open:
            return True
        return not self._is_above and self._reached_s - run.stop_s >= self._merge_s

    def forget(self, run: Run) -> None:
        """Keep a run no longer; no further segment belongs to it."""
        self._runs.remove(run)
        if self._open is run:
            self._open = None

    def run(self, start_s: float, stop_s: float) -> Run | None:
        """The run of an event of the report; the last bits of smoothed scores may differ, so the one that overlaps."""

        def overlap(run: Run) -> float:
            return min(run.stop_s, stop_s) - max(run.start_s, start_s)

        best = max(self._runs, key=overlap, default=None)
        return best if best is not None and overlap(best) > 0 else None

    def places(self, run: Run) -> Places | None:
        """Which places spoke for a run's peak, where the scores are explained."""
        if run.shares is None or run.picture is None:
            return None
        return Places(self._detector_id, run.raw, run.shares, run.picture)

    def features(self, run: Run) -> EventFeatures:
        """Features of a run, and those of normal segments."""
        normal = sorted(self._normal, key=lambda segment: segment.index)
        shape = (0, *run.kept[0].features.shape)
        return EventFeatures(
            self._detector_id,
            self._heads,
            np.stack([s.features for s in run.kept]),
            np.array([s.start_s for s in run.kept]),
            np.array([s.raw for s in run.kept]),
            np.stack([s.features for s in normal]) if normal else np.empty(shape, np.float32),
            np.array([s.start_s for s in normal], np.float64),
            np.array([s.raw for s in normal], np.float64),
            self._features_id,
        )
