"""The protocol of docs/evaluation.md: from scores of segments to every figure that this project reports.

The same for the detector's own reports and for score files of others. A segment is any stretch of frames with one
score; frames are counted per segment, so that time and memory do not grow with their number.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from headhunt_svc.core.event_metrics import IOUS, Starts, VideoEvents, alike, delay_figures, event_figures, false_alarms
from headhunt_svc.core.frame_times import span_seconds
from headhunt_svc.core.localization import contiguous, events, smooth
from headhunt_svc.core.metrics import Counts, best_f1, count, count_metrics, flagged, reliability
from headhunt_svc.core.steady import without_steady
from headhunt_svc.errors import FeatureError
from headhunt_svc.params import EvaluateParams
from headhunt_svc.types import FrameSpan, OperatingPoint, Smoothing, VideoRecord, edges_of

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ScoredVideo:
    """A video with its truth and one score for each of the segments, which cover every frame once.

    times: when the segments begin and end, seconds. They count where the record says that the video's frames do not
    come at a constant rate; seconds are frames / fps otherwise, and in score files, which tell no times.
    novelty: of raw scores, where what is strange all the time does not count (core/steady.py).
    """

    record: VideoRecord
    spans: tuple[FrameSpan, ...]
    scores: Float64[np.ndarray, " segment"]
    times: Float64[np.ndarray, "segment 2"] | None = None
    novelty: Float64[np.ndarray, " segment"] | None = None
    edges: Int64[np.ndarray, "segment 2"] = field(init=False, repr=False)  # of the spans
    anomalous: Int64[np.ndarray, " segment"] = field(init=False, repr=False)  # frames in each segment

    def __post_init__(self) -> None:
        name, n = self.record.video_id, self.record.n_frames
        if len(self.scores) != len(self.spans):
            raise FeatureError(f"{name}: {len(self.scores)} scores for {len(self.spans)} segments")
        if not np.isfinite(self.scores).all():
            bad = int((~np.isfinite(self.scores)).sum())
            raise FeatureError(f"{name}: {bad} of {len(self.scores)} scores are no numbers")
        edges = edges_of(self.spans)
        if not (
            len(edges)
            and (edges[0, 0], edges[-1, 1]) == (0, n)
            and (edges[1:, 0] == edges[:-1, 1]).all()
            and (edges[:, 0] < edges[:, 1]).all()
        ):
            raise FeatureError(f"{name}: the scores do not cover its {n} frames, each once")
        so_far = np.append(0, np.cumsum(self.record.truth()))
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "anomalous", so_far[edges[:, 1]] - so_far[edges[:, 0]])

    @property
    def constant(self) -> bool:
        """Are seconds frames / fps?"""
        return self.times is None or self.record.span_starts_s is None

    @property
    def seconds(self) -> Float64[np.ndarray, "segment 2"]:
        """When the segments begin and end."""
        return self.edges / self.record.fps if self.times is None or self.constant else self.times

    @property
    def goes_on(self) -> Bool[np.ndarray, " boundary"]:
        """Is there footage from each segment to the next, without a hole?"""
        return contiguous(self.seconds)

    @property
    def duration_s(self) -> float:
        """Seconds of footage, without holes."""
        return self.record.n_frames / self.record.fps if self.constant else float(np.diff(self.seconds).sum())

    def smoothed(self, sigma_segments: float, smoothing: Smoothing = "offline") -> "ScoredVideo":
        """The same with its scores smoothed, not across holes, less what is strange about the video all the time."""
        scores = without_steady(self.scores, self.novelty, smoothing, self.goes_on)
        return replace(self, scores=smooth(scores, sigma_segments, smoothing, self.goes_on), novelty=None)

    def true_seconds(self) -> list[tuple[float, float]]:
        """When the true spans begin and end."""
        spans, fps = self.record.true_spans, self.record.fps
        if self.constant:
            return [(span.start / fps, span.stop / fps) for span in spans]
        stops_s = [span_seconds(span, self.edges, self.seconds)[1] for span in spans]
        return list(zip(self.record.span_starts_s or (), stops_s, strict=True))

    def events(self, threshold: float) -> VideoEvents:
        """Events above a threshold, of the scores as they are (not smoothed again)."""
        r = self.record
        starts_s, stops_s = self.seconds.T
        detected = events(self.scores, self.spans, starts_s, stops_s, OperatingPoint(0.0, threshold))
        spans, peaks = tuple(e.span for e in detected), tuple(e.peak for e in detected)
        starts = None if self.constant else Starts(tuple(e.start_s for e in detected), r.span_starts_s or ())
        return VideoEvents(spans, peaks, r.true_spans, r.fps, self.duration_s, starts)


def counts_of(videos: Sequence[ScoredVideo], scores: Sequence[np.ndarray] | None = None) -> Counts:
    """Frames by score; with `scores`, these instead of the videos' own.

    Raises:
        FeatureError: only one class is present.
    """
    if not videos:
        raise FeatureError("no video to evaluate")
    number = np.repeat(np.arange(len(videos)), [len(v.spans) for v in videos])
    anomalous = np.concatenate([v.anomalous for v in videos])
    length = np.concatenate([v.edges[:, 1] - v.edges[:, 0] for v in videos])
    used = np.concatenate([v.scores for v in videos] if scores is None else list(scores))
    return count(number, used, anomalous, length - anomalous)


def rank(videos: Sequence[ScoredVideo], bootstrap: int, seed: int) -> Figures:
    """Rank metrics of some of the videos; {"undefined": why} where they hold one class only."""
    try:
        return asdict(count_metrics(counts_of(videos), bootstrap, seed))
    except FeatureError as exc:
        return {"undefined": str(exc), "n_videos": len(videos)}


def by_kind(videos: Sequence[ScoredVideo], seed: int) -> dict[str, Figures]:
    """Rank metrics of each kind of anomaly beside all normal videos; a video of two kinds counts for both."""
    rows = {}
    for kind in sorted({k for v in videos for k in v.record.kinds}):
        row = rank([v for v in videos if kind in v.record.kinds or not v.record.is_anomalous], 0, seed)
        rows[kind] = {k: x for k, x in row.items() if not k.endswith("_interval") and k != "n_frames"}
    return rows


def baselines(videos: Sequence[ScoredVideo], params: EvaluateParams) -> dict[str, Figures]:
    """Figures without a detector: a constant, the truth of whole videos, and random scores (mean of some draws)."""
    rng = np.random.default_rng(params.seed)
    makers: dict[str, tuple[int, Callable[[ScoredVideo], np.ndarray]]] = {
        "constant": (1, lambda v: np.full(len(v.spans), 0.5)),
        "video_oracle": (1, lambda v: np.full(len(v.spans), float(v.record.is_anomalous))),
        "random": (params.random_draws, lambda v: rng.random(len(v.spans))),
    }
    rows = {}
    for name, (n, make) in makers.items():
        draws = []
        for _ in range(n):
            counts = counts_of(videos, [make(v) for v in videos])
            # flagged: everything of a constant, the anomalous videos of the oracle, half of the random scores
            above = flagged(counts, np.array([0.5 if name != "constant" else 0.0]))[0]._asdict()
            del above["threshold"]
            ranked = asdict(count_metrics(counts, 0, 0))
            draws.append({k: ranked[k] for k in ("roc_auc", "average_precision", "pr_auc_trapezoid")} | above)
        rows[name] = {key: float(np.mean([d[key] for d in draws])) for key in draws[0]}
    return rows


def per_video(videos: Sequence[ScoredVideo], detected: Sequence[VideoEvents]) -> dict[str, Figures]:
    """Figures of every video alone; roc_auc and average_precision are None where it holds one class only."""
    rows = {}
    for v, e in zip(videos, detected, strict=True):
        row = rank([v], 0, 0)
        rows[v.record.video_id] = {
            "label": v.record.label,
            "n_frames": v.record.n_frames,
            "anomalous_frames": int(v.anomalous.sum()),
            "highest_score": float(v.scores.max()),
            "events": len(e.events),
            "roc_auc": row.get("roc_auc"),
            "average_precision": row.get("average_precision"),
        }
    return rows


def assess(videos: Sequence[ScoredVideo], operating_point: OperatingPoint | None, params: EvaluateParams) -> Figures:
    """Every figure of the protocol for smoothed scores; operating_point None: the threshold of best F1 on these videos.

    Raises:
        FeatureError: no videos, or frames of one class only.
    """
    counts = counts_of(videos)
    best_here = operating_point is None
    frames = best_f1(counts) if operating_point is None else flagged(counts, np.array([operating_point.threshold]))[0]
    detected = [v.events(frames.threshold) for v in videos]
    events_at = {f"{iou:g}": event_figures(detected, alike, iou) for iou in IOUS}
    precisions = [row["average_precision"] for row in events_at.values()]
    rows = per_video(videos, detected)
    single = [r["roc_auc"] for r in rows.values() if r["roc_auc"] is not None]
    calibrated = reliability(counts)
    return {
        **asdict(count_metrics(counts, params.bootstrap, params.seed)),
        "anomalous_videos_only": rank([v for v in videos if v.record.is_anomalous], params.bootstrap, params.seed),
        "by_kind": by_kind(videos, params.seed),
        "mean_roc_auc_of_videos": float(np.mean(single)) if single else None,
        "at_threshold": frames._asdict() | {"chosen": "best F1 on these very videos" if best_here else "beforehand"},
        "events": {
            "matching": "class-agnostic: an event has no kind, and matches a true span of any kind",
            "at_iou": events_at,
            "mean_average_precision": float(np.mean([p for p in precisions if p is not None])),
        },
        "detection_delay": delay_figures(detected),
        "false_alarms": false_alarms(detected),
        "reliability": None
        if calibrated is None
        else calibrated._asdict() | {"bins": [b._asdict() for b in calibrated.bins]},
        "baselines": baselines(videos, params),
        "per_video": rows,
    }
