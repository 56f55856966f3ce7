"""Events against true spans: precision, recall, mAP at temporal IoU, detection delay, false alarms per hour."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching
from sklearn.metrics import average_precision_score

from headhunt_svc.types import FrameSpan

IOUS = (0.1, 0.2, 0.3, 0.4, 0.5)


class Starts(NamedTuple):
    """When the events and the true spans of a video begin, seconds."""

    events: tuple[float, ...]
    truth: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class VideoEvents:
    """Events of one video with their peaks, its true spans, and how many seconds of footage it has.

    starts: None where frames come at the constant rate fps.
    """

    events: tuple[FrameSpan, ...]
    peaks: tuple[float, ...]
    truth: tuple[FrameSpan, ...]
    fps: float
    duration_s: float
    starts: Starts | None = None

    def delay(self, event: int, span: int) -> float:
        """Seconds from the beginning of a true span to the event, 0 if the event has begun before."""
        frames = self.events[event].start - self.truth[span].start
        if frames <= 0:
            return 0.0
        return frames / self.fps if self.starts is None else self.starts.events[event] - self.starts.truth[span]


def temporal_iou(one: FrameSpan, other: FrameSpan) -> float:
    """Frames in both over frames in either."""
    both = max(0, min(one.stop, other.stop) - max(one.start, other.start))
    return both / (len(one) + len(other) - both)


def hits(events: Sequence[FrameSpan], truth: Sequence[FrameSpan], min_iou: float) -> Bool[np.ndarray, " event"]:
    """Which events match a true span of their own; events come in order of descending peak.

    An event can match a true span with an IoU of at least min_iou, and no span is matched twice. For every k, as many
    of the first k events as possible are matched; where no two events overlap one span, this is the usual matching.
    """
    fits = np.array([[temporal_iou(e, t) >= min_iou for t in truth] for e in events], bool)
    fits = fits.reshape(len(events), len(truth))
    taken: list[int] = []
    for i in np.flatnonzero(fits.any(1)).tolist():
        pairs = maximum_bipartite_matching(csr_matrix(fits[[*taken, i]]), perm_type="column")
        if (pairs >= 0).all():
            taken.append(i)
    result = np.zeros(len(events), bool)
    result[taken] = True
    return result


def event_figures(videos: Sequence[VideoEvents], min_iou: float) -> dict[str, float | None]:
    """Precision, recall, F1 and average precision (steps, no interpolation; ranked by peak) over all videos' events.

    None where undefined: precision without events; recall, F1 and average precision without true spans.
    """
    per_video: list[np.ndarray] = []
    for v in videos:
        order = np.argsort(-np.array(v.peaks), kind="stable")
        hit = np.zeros(len(order), bool)
        hit[order] = hits([v.events[i] for i in order], v.truth, min_iou)
        per_video.append(hit)
    hit = np.concatenate([*per_video, np.zeros(0, bool)])
    peaks = np.array([p for v in videos for p in v.peaks])
    n_events, n_true, n_hits = len(hit), sum(len(v.truth) for v in videos), int(hit.sum())
    ap = float(average_precision_score(hit, peaks)) * n_hits / n_true if n_hits else 0.0
    return {
        "precision": n_hits / n_events if n_events else None,
        "recall": n_hits / n_true if n_true else None,
        "f1": 2 * n_hits / (n_events + n_true) if n_true else None,
        "average_precision": ap if n_true else None,
    }


def delays(video: VideoEvents) -> list[float | None]:
    """Seconds from the beginning of every true span to the first alarm in it; None for a span without alarm."""
    seconds: list[float | None] = []
    for i, span in enumerate(video.truth):
        alarms = [k for k, e in enumerate(video.events) if e.start < span.stop and e.stop > span.start]
        seconds.append(min((video.delay(k, i) for k in alarms), default=None))
    return seconds


def delay_figures(videos: Sequence[VideoEvents]) -> dict[str, Any]:
    """Detection delay of the true spans with an alarm, and how many these are."""
    all_spans = [d for v in videos for d in delays(v)]
    seconds = [d for d in all_spans if d is not None]
    return {
        "true_spans": len(all_spans),
        "found": len(seconds),
        "mean_s": float(np.mean(seconds)) if seconds else None,
        "median_s": float(np.median(seconds)) if seconds else None,
    }


def false_alarms(videos: Sequence[VideoEvents]) -> dict[str, Any]:
    """Events in normal videos per hour of normal video; None without normal video."""
    normal = [v for v in videos if not v.truth]
    hours = sum(v.duration_s for v in normal) / 3600
    n = sum(len(v.events) for v in normal)
    return {"events": n, "hours": hours, "per_hour": n / hours if hours else None}
