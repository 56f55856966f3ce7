"""The types that flow through the package, numpy only: frozen, checked on construction, arrays read-only."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64

NORMAL = "normal"  # the label of a video without anomalies
KIND_SEPARATOR = "+"  # "fighting+shooting": a video of two kinds
Split = Literal["calibration", "validation", "test", "hard"]
LABELLED: tuple[Split, ...] = ("calibration", "validation")  # the splits whose labels a detector is made from
SpanEnds = Literal["inclusive", "half_open"]  # does the frame that an annotation names as a span's end belong to it?
Smoothing = Literal["offline", "causal", "mirrored"]  # see core/localization.smooth
Verdict = Literal["trustworthy", "unstable", "interchangeable", "not trustworthy"]
Background = Literal["median", "ema"]  # see core/background.py
Polygon = tuple[tuple[float, float], ...]  # corners (x, y) as shares of the upright picture, from its top left


class FrameSpan(NamedTuple):
    """Frames start (included) to stop (excluded)."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def edges_of(spans: Sequence[FrameSpan]) -> Int64[np.ndarray, "span 2"]:
    """Starts and stops as an array. Not np.array(spans): the len of a span is its frames, not two."""
    return np.array([(s.start, s.stop) for s in spans], np.int64).reshape(-1, 2)


class HeadRef(NamedTuple):
    """One attention head of the decoder."""

    layer: int
    head: int


def _frozen(array: np.ndarray, ndim: int, name: str) -> None:
    if array.ndim != ndim:
        raise ValueError(f"{name} has {array.ndim} dimensions, expected {ndim}")
    array.setflags(write=False)


@dataclass(frozen=True, slots=True)
class IndexedVideo:
    """A video of the index without its labels: all that decoding it needs. camera: None where nobody has stated it.

    marks: of the clip of a marked event, the version of the marks (data/marks.py).
    """

    video_id: str
    path: Path
    n_frames: int
    fps: float
    split: Split
    camera: str | None = field(default=None, kw_only=True)
    marks: str | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class VideoRecord(IndexedVideo):
    """A labelled video; true_spans are half-open frame spans of anomalies.

    span_starts_s: when the first frame of each of them is shown, for a video whose frames do not come at `fps`; None
    where seconds are frames / fps.
    """

    label: str
    true_spans: tuple[FrameSpan, ...]
    span_starts_s: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.span_starts_s is not None and len(self.span_starts_s) != len(self.true_spans):
            raise ValueError(f"{self.video_id}: {len(self.span_starts_s)} times of {len(self.true_spans)} spans")
        for span in self.true_spans:
            if not 0 <= span.start < span.stop <= self.n_frames:
                raise ValueError(f"{self.video_id}: span {tuple(span)} is not within 0 and {self.n_frames} frames")

    @property
    def is_anomalous(self) -> bool:
        """Does the video hold an anomaly?"""
        return bool(self.true_spans)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of anomaly that the label names, () for a normal video."""
        return () if self.label == NORMAL else tuple(self.label.split(KIND_SEPARATOR))

    def truth(self) -> np.ndarray:
        """Frame truth, bool[n_frames]."""
        truth = np.zeros(self.n_frames, bool)
        for span in self.true_spans:
            truth[span.start : span.stop] = True
        return truth


@dataclass(frozen=True, slots=True)
class Segment:
    """Segment t of a video: the frames that its score stands for, and the F frames that the model sees.

    Those are in the span or, where windows overlap, in the window around it.
    """

    video_id: str
    index: int
    span: FrameSpan
    frame_indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class HeadFeatures:
    """Head outputs float32[T, K, d_head] of segments[T] at heads[K]."""

    segments: tuple[Segment, ...]
    heads: tuple[HeadRef, ...]
    values: Float32[np.ndarray, "segment head d_head"]

    def __post_init__(self) -> None:
        _frozen(self.values, 3, "values")
        if self.values.shape[:2] != (len(self.segments), len(self.heads)):
            raise ValueError(f"values {self.values.shape} do not fit {len(self.segments)} x {len(self.heads)}")

    def select(self, heads: tuple[HeadRef, ...]) -> Float32[np.ndarray, "segment features"]:
        """The features of `heads`, concatenated: the z of the method."""
        columns = [self.heads.index(h) for h in heads]
        return np.ascontiguousarray(self.values[:, columns]).reshape(len(self.values), -1)


@dataclass(frozen=True, slots=True)
class RobustSaliency:
    """Mean, instability (std over prompts) and rss of every head, float64[L, H]; NaN for a constant head."""

    mean: Float64[np.ndarray, "layer head"]
    instability: Float64[np.ndarray, "layer head"]
    rss: Float64[np.ndarray, "layer head"]

    def __post_init__(self) -> None:
        for name in ("mean", "instability", "rss"):
            _frozen(getattr(self, name), 2, name)


@dataclass(frozen=True, slots=True)
class Alternatives:
    """Held-out AUC of other heads than the chosen ones, on the same halves: as many random ones (mean), and all.

    random_error, all_error: standard errors of the differences to the chosen heads.
    """

    random_auc: float
    random_error: float
    all_auc: float
    all_error: float


@dataclass(frozen=True, slots=True)
class Confidence:
    """Confidence in a choice of heads, from the same procedure on random halves of the calibration videos.

    frequency: for every chosen head, the share of the halves that choose it too. stability: agreement of the halves'
    choices beyond chance, 1 if all are the same. agreement: share of the best K heads that two prompts have in common.
    held_out_auc: of a probe of the heads chosen and fitted on one half, on the other; its standard error beside it.
    alternatives: None in older files.
    """

    subsamples: int
    frequency: tuple[float, ...]
    stability: float
    agreement: float | None
    held_out_auc: float
    held_out_error: float
    verdict: Verdict
    words: str
    alternatives: Alternatives | None = None


@dataclass(frozen=True, slots=True)
class HeadSelection:
    """The expert heads, best first, what they were chosen with, and how far the choice can be trusted."""

    heads: tuple[HeadRef, ...]
    rss: tuple[float, ...]
    prompts: tuple[str, ...]
    mllm_id: str
    revision: str
    criteria: str
    confidence: Confidence | None  # None: not measured
    data: str  # names the labelled videos (data/datasets.data_digest)
    model: str  # revision, number format and attention (detector/bundle.model_key)
    segmentation: str  # SegmentationParams as JSON
    deepest_layer: int | None = None  # heads of deeper layers were no candidates


@dataclass(frozen=True, slots=True)
class Normality:
    """Distance of expert features z to normal ones, sqrt((z - mean)' precision (z - mean)), and its weight in a logit.

    precision: the inverse of the covariance of normal features. typical: mean distance of normal segments of videos
    that mean and covariance do not come from, where it was measured. ignores_steady: what is far from normal all the
    time is taken off before scores are smoothed (core/steady.py).
    """

    mean: Float64[np.ndarray, " features"]
    precision: Float64[np.ndarray, "features features"]
    weight: float
    typical: float | None = None
    ignores_steady: bool = False

    def __post_init__(self) -> None:
        _frozen(self.mean, 1, "mean")
        _frozen(self.precision, 2, "precision")
        if self.precision.shape != 2 * self.mean.shape:
            raise ValueError(f"precision {self.precision.shape} does not fit {len(self.mean)} features")
        if not (np.isfinite(self.mean).all() and np.isfinite(self.precision).all() and 0 <= self.weight < np.inf):
            raise ValueError("normality is not finite, or its weight is negative")


@dataclass(frozen=True, slots=True)
class Scorer:
    """p = sigmoid(weight . z + bias + normality.weight * distance of z to normal); the last term is optional.

    background: where there is one, z stands for the features and their difference to the background of the video.
    """

    heads: tuple[HeadRef, ...]
    weight: Float64[np.ndarray, " features"]
    bias: float
    normality: Normality | None = None
    background: Background | None = None

    def __post_init__(self) -> None:
        _frozen(self.weight, 1, "weight")
        if not np.isfinite(self.weight).all() or not np.isfinite(self.bias):
            raise ValueError("scorer weights are not finite")
        if self.normality is not None and self.normality.mean.shape != self.weight.shape:
            raise ValueError(f"{len(self.weight)} weights, normality of {len(self.normality.mean)} features")

    @property
    def n_features(self) -> int:
        """Numbers of a segment, those of all its heads, before a background stands beside them."""
        return len(self.weight) // (1 if self.background is None else 2)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Smoothing width (segments) and threshold: sigma and tau of the method, for one way of smoothing."""

    sigma_segments: float
    threshold: float
    smoothing: Smoothing = "offline"


@dataclass(frozen=True, slots=True)
class CalibratedPoint:
    """An operating point, the rule that it was chosen by, and its figures on the videos that it was chosen on.

    A figure is None where it is undefined; recall: the share of the true spans with an alarm.
    false_alarms_per_hour_bound: in place of the rate seen, the bound that the rule promises.
    """

    operating_point: OperatingPoint
    rule: str
    f1: float | None
    recall: float | None
    false_alarms_per_hour: float | None
    false_alarms_per_hour_bound: float | None = None

    @property
    def figures(self) -> dict[str, float | None]:
        """The figures by the names that files give them."""
        bound = self.false_alarms_per_hour_bound
        per_hour = {"": self.false_alarms_per_hour} if bound is None else {"_bound": bound}
        return {
            "validation_f1": self.f1,
            "validation_found": self.recall,
            **{f"validation_false_alarms_per_hour{end}": rate for end, rate in per_hour.items()},
        }


@dataclass(frozen=True, slots=True)
class CalibratedPair:
    """The operating points of one name: for whole videos, and for live use, where smoothing is causal."""

    offline: CalibratedPoint
    causal: CalibratedPoint | None


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Why some videos do not allow an operating point."""

    reason: str


CalibratedPoints = dict[str, CalibratedPair | Unavailable]  # by name


@dataclass(frozen=True, slots=True)
class Event:
    """An anomalous stretch: frames, seconds from the start of the video, highest smoothed score and its segment."""

    span: FrameSpan
    start_s: float
    stop_s: float
    peak: float
    peak_s: float
    peak_segment: int


@dataclass(frozen=True, slots=True)
class Metrics:
    """Frame-level figures with 95 % intervals (bootstrap over videos)."""

    roc_auc: float
    average_precision: float
    roc_auc_interval: tuple[float, float] | None
    average_precision_interval: tuple[float, float] | None
    n_videos: int
    n_frames: int
    pr_auc_trapezoid: float
    pr_auc_trapezoid_interval: tuple[float, float] | None
