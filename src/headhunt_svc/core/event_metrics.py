"""Events against true spans: precision, recall, mAP at temporal IoU, alarms in time, false alarms per hour.

Everything is class-agnostic: an event has no kind, and matches a true span of any kind.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching
from sklearn.metrics import average_precision_score

from headhunt_svc.types import FrameSpan

IOUS = (0.1, 0.2, 0.3, 0.4, 0.5)
DELAYS_S = (2.0, 5.0, 10.0)
LONGEST_S = 10.0  # an alarm that comes later than this adds nothing to the time-to-alarm score


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


def alike(video: VideoEvents, min_iou: float) -> Bool[np.ndarray, "event span"]:
    """Which events have an IoU of at least min_iou with which true spans."""
    fits = np.array([[temporal_iou(e, t) >= min_iou for t in video.truth] for e in video.events], bool)
    return fits.reshape(len(video.events), len(video.truth))


def in_time(video: VideoEvents, limit_s: float) -> Bool[np.ndarray, "event span"]:
    """Which events raise an alarm in which true spans, at most limit_s seconds after the span has begun."""
    fits = np.zeros((len(video.events), len(video.truth)), bool)
    for k, event in enumerate(video.events):
        for i, span in enumerate(video.truth):
            fits[k, i] = event.start < span.stop and event.stop > span.start and video.delay(k, i) <= limit_s
    return fits


def hits(fits: Bool[np.ndarray, "event span"]) -> Bool[np.ndarray, " event"]:
    """Which events match a true span of their own; events come in order of descending peak.

    fits: which can match which; no span is matched twice. For every k, as many of the first k events as possible are
    matched; where no two events fit one span, this is the usual matching.
    """
    taken: list[int] = []
    for i in np.flatnonzero(fits.any(1)).tolist():
        pairs = maximum_bipartite_matching(csr_matrix(fits[[*taken, i]]), perm_type="column")
        if (pairs >= 0).all():
            taken.append(i)
    result = np.zeros(len(fits), bool)
    result[taken] = True
    return result


def event_figures(
    videos: Sequence[VideoEvents], fit: Callable[[VideoEvents, float], np.ndarray], limit: float
) -> dict[str, float | None]:
    """Precision, recall, F1 and average precision (steps, no interpolation; ranked by peak) over all videos' events.

    fit, limit: when an event can match a true span: `alike` from which IoU on, or `in_time` up to which delay.
    None where undefined: precision without events; recall, F1 and average precision without true spans.
    """
    per_video: list[np.ndarray] = []
    for v in videos:
        order = np.argsort(-np.array(v.peaks), kind="stable")
        hit = np.zeros(len(order), bool)
        hit[order] = hits(fit(v, limit)[order])
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
    """Detection delay of the true spans with an alarm and how many these are, and what is found in time.

    within_s: for each allowed delay the share of the true spans with an alarm by then (recall), and the average
    precision of the events if only those in time count as hits. time_to_alarm: the mean of 1 for an alarm at once,
    falling to 0 at LONGEST_S, and 0 without an alarm: the area under recall over the allowed delay.
    """
    all_spans = [d for v in videos for d in delays(v)]
    seconds = [d for d in all_spans if d is not None]
    within = {
        f"{limit:g}": {
            "recall": sum(d <= limit for d in seconds) / len(all_spans) if all_spans else None,
            "average_precision": event_figures(videos, in_time, limit)["average_precision"],
        }
        for limit in DELAYS_S
    }
    credit = sum(max(0.0, 1 - d / LONGEST_S) for d in seconds)
    return {
        "true_spans": len(all_spans),
        "found": len(seconds),
        "mean_s": float(np.mean(seconds)) if seconds else None,
        "median_s": float(np.median(seconds)) if seconds else None,
        "within_s": within,
        "mean_recall": _mean([row["recall"] for row in within.values()]),
        "mean_average_precision": _mean([row["average_precision"] for row in within.values()]),
        "time_to_alarm": credit / len(all_spans) if all_spans else None,
    }


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean of values; None where one is undefined."""
    defined = [v for v in values if v is not None]
    return float(np.mean(defined)) if len(defined) == len(values) else None


def false_alarms(videos: Sequence[VideoEvents]) -> dict[str, Any]:
    """Events in normal videos per hour of normal video; None without normal video."""
    normal = [v for v in videos if not v.truth]
    hours = sum(v.duration_s for v in normal) / 3600
    n = sum(len(v.events) for v in normal)
    return {"events": n, "hours": hours, "per_hour": n / hours if hours else None}
