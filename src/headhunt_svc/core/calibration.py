"""Operating points: sigma and threshold chosen on validation videos, by rules that a user of the detector can state.

f1         the best frame F1 (as HeadHunt-VAD does)
budget     at most so many false alarms per hour of normal footage, with a stated confidence
recall     at least this share of the true spans raises an alarm
conformal  from normal footage alone, with a guarantee on how often a window of normal footage raises an alarm

f1 and recall search a grid of sigmas and thresholds, budget the thresholds at a fixed sigma; thresholds are the
n_thresholds midpoints between 0 and 1 at equal distance. Each is chosen once for offline and once for causal
smoothing. What budget and conformal promise is in promises.py.

A point that finds none of the true spans, or that raises the alarm in every normal segment, is never chosen: it would
keep some of these promises (no false alarm; one false alarm an hour, in videos of an hour) and tell nothing.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64

from headhunt_svc.core.localization import runs
from headhunt_svc.core.metrics import flagged
from headhunt_svc.core.promises import (
    Alarms,
    allowed,
    check_mostly_normal,
    cluster_sizes,
    rate_bounds,
    window_promise,
)
from headhunt_svc.core.protocol import ScoredVideo, counts_of
from headhunt_svc.errors import FeatureError
from headhunt_svc.params import CalibrateParams
from headhunt_svc.types import CalibratedPair, CalibratedPoint, CalibratedPoints, OperatingPoint, Smoothing, Unavailable

RULES = ("f1", "budget", "recall", "conformal")  # the names of their operating points


@dataclass(frozen=True, slots=True)
class _Grid:
    """Figures at one sigma for every threshold; NaN where a figure is undefined.

    alarms, hours: of the normal videos.
    useful: is a true span found (where there are any), and no alarm in some normal segment (where there are any)?
    """

    sigma: float
    thresholds: Float64[np.ndarray, " threshold"]
    f1: Float64[np.ndarray, " threshold"]
    recall: Float64[np.ndarray, " threshold"]
    alarms: Alarms
    hours: float
    useful: Bool[np.ndarray, " threshold"]

    @property
    def false_alarms_per_hour(self) -> Float64[np.ndarray, " threshold"]:
        """NaN without normal video."""
        return np.asarray(self.alarms.sum(0) / (self.hours or math.nan))

    def point(self, i: int, smoothing: Smoothing, rule: str) -> CalibratedPoint:
        """The i-th threshold."""
        figures = [float(x[i]) for x in (self.f1, self.recall, self.false_alarms_per_hour)]
        operating_point = OperatingPoint(self.sigma, float(self.thresholds[i]), smoothing)
        return CalibratedPoint(operating_point, rule, *(None if math.isnan(x) else x for x in figures))


def _measure(videos: Sequence[ScoredVideo], sigma: float, thresholds: np.ndarray, smoothing: Smoothing) -> _Grid:
    """Frame F1, recall of true spans and false alarms of every threshold."""
    smoothed = [v.smoothed(sigma, smoothing) for v in videos]
    f1 = recall = np.full(len(thresholds), np.nan)
    peaks = []  # highest score within each true span
    for v in smoothed:
        for span in v.record.true_spans:
            inside = (v.edges[:, 0] < span.stop) & (v.edges[:, 1] > span.start)
            peaks.append(v.scores[inside].max())
    if peaks:
        recall = (np.array(peaks)[:, None] > thresholds).mean(0)
        f1 = np.array([row.f1 for row in flagged(counts_of(smoothed), thresholds)])
    normal = [v for v in smoothed if not v.record.is_anomalous]
    alarms = np.array([[len(runs(v.scores > t, v.goes_on)[0]) for t in thresholds] for v in normal], np.int64)
    hours = sum(v.duration_s for v in normal) / 3600
    lowest_normal = min((float(v.scores[v.anomalous == 0].min(initial=np.inf)) for v in smoothed), default=np.inf)
    useful = ~(recall == 0) & ((thresholds >= lowest_normal) | np.isinf(lowest_normal))
    return _Grid(sigma, thresholds, f1, recall, alarms.reshape(len(normal), len(thresholds)), hours, useful)


def _thresholds(params: CalibrateParams) -> Float64[np.ndarray, " threshold"]:
    return np.asarray((np.arange(params.n_thresholds) + 0.5) / params.n_thresholds)


def _grids(videos: Sequence[ScoredVideo], params: CalibrateParams, smoothing: Smoothing) -> list[_Grid]:
    return [_measure(videos, sigma, _thresholds(params), smoothing) for sigma in params.sigma_segments]


Rank = Callable[[_Grid, int], tuple[float, ...] | None]  # None: the point is not allowed


def _by_f1(grid: _Grid, i: int) -> tuple[float, ...]:
    return (grid.f1[i],)


def _best(grids: Sequence[_Grid], rank: Rank, smoothing: Smoothing, rule: str, useful: bool = True) -> CalibratedPoint:
    """The point of the highest rank, of useful ones only if `useful`; of equals, the first."""
    points = [(g, i) for g in grids for i in range(len(g.thresholds)) if g.useful[i] or not useful]
    if not points:
        raise FeatureError(
            "at every sigma and threshold of the grid no true span of the validation videos is found, or every normal "
            "segment raises the alarm: check the labels, or label more videos"
        )
    ranked = [(r, g, i) for g, i in points if (r := rank(g, i)) is not None]
    if not ranked:
        raise FeatureError(f"no sigma and threshold of the grid gives {rule}")
    _, grid, i = max(ranked, key=lambda item: item[0])
    return grid.point(i, smoothing, rule)


def _check_videos(videos: Sequence[ScoredVideo], normal: bool = False) -> None:
    """Raise FeatureError unless there is an anomalous video and, if `normal`, a normal one."""
    if not any(v.record.is_anomalous for v in videos):
        raise FeatureError("calibration of the operating point needs validation videos with at least one anomaly")
    if normal and all(v.record.is_anomalous for v in videos):
        raise FeatureError("false alarms are counted in normal validation videos, of which there are none")


def _check_constant(videos: Sequence[ScoredVideo]) -> None:
    """Raise FeatureError if all segments have one score."""
    scores = np.concatenate([v.scores for v in videos] or [np.zeros(0)])
    if len(scores) > 1 and np.ptp(scores) == 0:
        raise FeatureError(
            f"all {len(scores)} segments have the score {scores[0]:.3f}, which tells nothing apart: check the labels, "
            "or label more videos"
        )


def _edge(point: OperatingPoint, params: CalibrateParams) -> str:
    """What the rule says of a choice at the edge of its grid, where a wider one may hold a better choice."""
    sigmas, thresholds = params.sigma_segments, _thresholds(params)
    edges = []
    if len(set(sigmas)) > 1 and point.sigma_segments == max(sigmas):
        edges.append("sigma is the largest of calibrate.sigma_segments: try larger ones")
    if point.threshold in (thresholds[0], thresholds[-1]):
        edges.append("the threshold is at the edge of its grid: try a larger calibrate.n_thresholds")
    return "".join(f"; {edge}" for edge in edges)


def best_f1_point(videos: Sequence[ScoredVideo], params: CalibrateParams) -> CalibratedPoint:
    """The sigma and threshold of best F1 over all validation frames, useful or not: a figure to compare detectors by.

    Raises:
        FeatureError: no anomaly among the validation videos, or no normal frame.
    """
    _check_videos(videos)
    return _best(_grids(videos, params, "offline"), _by_f1, "offline", "the best frame F1", useful=False)


def budget(videos: Sequence[ScoredVideo], params: CalibrateParams, smoothing: Smoothing) -> CalibratedPoint:
    """Of the thresholds that keep the budget with the stated confidence, the highest recall, then the best F1.

    Raises:
        FeatureError: too little normal video for that (the hours that it takes are named), or no useful threshold.
    """
    _check_videos(videos, normal=True)
    _check_constant(videos)
    grid = _measure(videos, params.promise_sigma, _thresholds(params), smoothing)
    most, confidence, total = params.false_alarms_per_hour, params.confidence, grid.alarms.sum(0)
    bounds = rate_bounds(total, grid.hours, confidence, cluster_sizes(grid.alarms, 1 / params.n_thresholds))
    keeps = allowed(bounds, most)
    rule = f"with {100 * confidence:.4g} % confidence at most {most:g} false alarms per hour"
    if not keeps.any():
        raise FeatureError(
            f"to promise {rule} takes {bounds[-1] * grid.hours / most:.3g} h of normal video, and there are "
            f"{grid.hours:.3g} h, with {total[-1]} false alarms at the highest threshold: add normal videos, or raise "
            "calibrate.false_alarms_per_hour"
        )

    def kept(g: _Grid, i: int) -> tuple[float, ...] | None:
        return (g.recall[i], g.f1[i]) if keeps[i] else None

    point = _best([grid], kept, smoothing, rule)
    count = int(total[grid.thresholds == point.operating_point.threshold][0])
    seen = f"{rule} ({count} in {grid.hours:.3g} h of validation)"
    return replace(point, rule=seen, false_alarms_per_hour=None, false_alarms_per_hour_bound=most)


def conformal(
    videos: Sequence[ScoredVideo],
    params: CalibrateParams,
    smoothing: Smoothing,
    usual: OperatingPoint | None = None,
) -> CalibratedPoint:
    """The threshold that at most `conformal_rate` of windows of new normal videos pass, from the normal ones here.

    usual: the operating point that these videos would be judged by otherwise; they are refused if it calls most of
    their segments anomalous.

    Raises:
        FeatureError: too few normal videos for that rate, a threshold that nothing passes, or refused videos.
    """
    _check_constant(videos)
    normal = [v for v in videos if not v.record.is_anomalous]
    sigma = params.promise_sigma
    promise = window_promise([v.smoothed(sigma, smoothing) for v in normal], params)
    if usual is not None:
        check_mostly_normal([v.smoothed(usual.sigma_segments, usual.smoothing) for v in normal], usual.threshold)
    threshold = promise.threshold
    point = _measure(videos, sigma, np.array([threshold]), smoothing).point(0, smoothing, promise.words)
    if threshold >= 1 or point.recall == 0:
        passed = "no score is higher" if threshold >= 1 else "none of the true spans scores higher"
        raise FeatureError(
            f"normal videos score up to {threshold:.3f} and {passed}: raise the share of windows that may alarm, or "
            "add normal footage"
        )
    return point


def points_for_smoothing(
    videos: Sequence[ScoredVideo], params: CalibrateParams, smoothing: Smoothing = "offline"
) -> dict[str, CalibratedPoint | Unavailable]:
    """Every operating point by name, or why these videos do not allow it; the videos' scores are raw.

    recall: among the points with enough recall, the fewest false alarms, then the best F1.
    """
    least_recall = params.recall

    def enough_recall(g: _Grid, i: int) -> tuple[float, ...] | None:
        return (-g.false_alarms_per_hour[i], g.f1[i]) if g.recall[i] >= least_recall else None

    grids = _grids(videos, params, smoothing)

    def best(rank: Rank, rule: str, normal: bool = True) -> CalibratedPoint:
        _check_videos(videos, normal)
        _check_constant(videos)
        point = _best(grids, rank, smoothing, rule)
        return replace(point, rule=rule + _edge(point.operating_point, params))

    points: dict[str, CalibratedPoint | Unavailable] = {}

    def conformal_point() -> CalibratedPoint:
        f1 = points["f1"]
        return conformal(videos, params, smoothing, None if isinstance(f1, Unavailable) else f1.operating_point)

    rules: dict[str, Callable[[], CalibratedPoint]] = {
        "f1": lambda: best(_by_f1, "the best frame F1", normal=False),
        "budget": lambda: budget(videos, params, smoothing),
        "recall": lambda: best(enough_recall, f"at least {least_recall:g} of the true spans found"),
        "conformal": conformal_point,
    }
    for name, choose in rules.items():
        try:
            points[name] = choose()
        except FeatureError as exc:
            points[name] = Unavailable(str(exc))
    return points


def operating_points(videos: Sequence[ScoredVideo], params: CalibrateParams) -> CalibratedPoints:
    """Every operating point by name, for offline and causal smoothing, or why the first is not available.

    Raises:
        FeatureError: the videos allow none.
    """
    offline, causal = (points_for_smoothing(videos, params, s) for s in ("offline", "causal"))
    reasons = {name: point.reason for name, point in offline.items() if isinstance(point, Unavailable)}
    if len(reasons) == len(offline):
        same = set(reasons.values())
        raise FeatureError(same.pop() if len(same) == 1 else "; ".join(f"{name}: {r}" for name, r in reasons.items()))
    pairs: CalibratedPoints = {}
    for name, point in offline.items():
        live = causal[name]
        usable = live if isinstance(live, CalibratedPoint) else None
        pairs[name] = point if isinstance(point, Unavailable) else CalibratedPair(point, usable)
    return pairs
