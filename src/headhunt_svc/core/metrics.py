"""Frame-level metrics over all frames of all videos together, with intervals by bootstrap over videos.

A rank metric depends only on how many anomalous and normal frames have each score. These are counted once per video;
a resample of videos is then a weighted sum of counts, exact and without sorting again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from scipy.sparse import csr_matrix
from scipy.stats import rankdata

from headhunt_svc.errors import FeatureError
from headhunt_svc.types import Metrics

Totals = Float64[np.ndarray, " value"]
COVERAGE = (0.025, 0.975)  # quantiles of the 95 % intervals
RELIABILITY_BINS = 10


def ranking_auc(
    outputs: Float[np.ndarray, "*head piece"], labels: Bool[np.ndarray, " piece"]
) -> Float64[np.ndarray, " *head"]:
    """ROC-AUC of each row; ties count half (the Mann-Whitney statistic)."""
    n_a = int(labels.sum())
    ranks = rankdata(outputs, axis=-1)[..., labels].sum(-1)
    return np.asarray((ranks - n_a * (n_a + 1) / 2) / (n_a * (len(labels) - n_a)))


@dataclass(frozen=True, slots=True)
class Counts:
    """Anomalous and normal frames of every video at every score: sparse [video, value], values descending."""

    values: Float64[np.ndarray, " value"]
    anomalous: csr_matrix
    normal: csr_matrix

    def totals(self, weights: Int[np.ndarray, " video"] | None = None) -> tuple[Totals, Totals]:
        """Anomalous and normal frames at every value, each video times its weight (1 by default)."""
        w = np.ones(self.anomalous.shape[0]) if weights is None else weights.astype(np.float64)
        return np.asarray(self.anomalous.T @ w), np.asarray(self.normal.T @ w)


def count(
    video: Int[np.ndarray, " piece"],
    scores: Float[np.ndarray, " piece"],
    anomalous: Int[np.ndarray, " piece"] | Bool[np.ndarray, " piece"],
    normal: Int[np.ndarray, " piece"] | Bool[np.ndarray, " piece"],
) -> Counts:
    """Counts of pieces of video (frames, segments) that have one score each; video: 0-based number of its video.

    anomalous, normal: frames of either sort in the piece.

    Raises:
        FeatureError: only one class is present.
    """
    if not anomalous.any() or not normal.any():
        raise FeatureError("the videos hold frames of one class only: ROC-AUC and AP are undefined")
    values, column = np.unique(-scores, return_inverse=True)
    shape = (int(video.max()) + 1, len(values))
    tables = []
    for frames in (anomalous, normal):
        some = np.flatnonzero(frames)
        data = frames[some].astype(np.float64)
        tables.append(csr_matrix((data, (video[some], column[some])), shape=shape))
    return Counts(-values, *tables)


class RankFigures(NamedTuple):
    """Area under the ROC curve; average precision (step-wise); area under the PR curve by the trapezoid rule.

    The last one interpolates between points that no threshold reaches, and is too high: a constant score gets more
    than one half. It is reported because published "AP" figures often are this one.
    """

    roc_auc: float
    average_precision: float
    pr_auc_trapezoid: float


def _hits(anomalous: Totals, normal: Totals) -> tuple[Totals, Totals, Totals]:
    """True positives, false positives and precision when everything from the first to this value is flagged."""
    tp, fp = np.cumsum(anomalous), np.cumsum(normal)
    return tp, fp, np.divide(tp, tp + fp, out=np.ones_like(tp), where=tp + fp > 0)


def rank_figures(anomalous: Totals, normal: Totals) -> RankFigures:
    """The figures of frames counted by descending score; NaN where one class is absent. As scikit-learn's."""
    tp, fp, precision = _hits(anomalous, normal)
    if not tp[-1] or not fp[-1]:
        return RankFigures(*[float("nan")] * 3)
    auc = (normal * (tp - anomalous / 2)).sum() / (tp[-1] * fp[-1])
    ap = (anomalous * precision).sum() / tp[-1]
    before = np.concatenate([[1.0], precision[:-1]])  # the curve begins at recall 0 with precision 1
    area = (anomalous * (precision + before)).sum() / 2 / tp[-1]
    return RankFigures(float(auc), float(ap), float(area))


def resamples(n_videos: int, n: int, seed: int) -> Iterator[Int[np.ndarray, " video"]]:
    """How often each video is in each of n resamples with replacement."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        yield np.bincount(rng.integers(0, n_videos, n_videos), minlength=n_videos)


def count_metrics(counts: Counts, bootstrap: int, seed: int) -> Metrics:
    """The figures, with 95 % intervals over `bootstrap` resamples of videos (those that hold both classes)."""
    totals, n_videos = counts.totals(), counts.anomalous.shape[0]
    draws = np.array([rank_figures(*counts.totals(w)) for w in resamples(n_videos, bootstrap, seed)]).reshape(-1, 3)
    draws = draws[np.isfinite(draws).all(1)]
    bounds = zip(*np.quantile(draws, COVERAGE, axis=0).tolist(), strict=True) if len(draws) else [None] * 3
    intervals: dict[str, Any] = {f"{name}_interval": b for name, b in zip(RankFigures._fields, bounds, strict=True)}
    n_frames = int(totals[0].sum() + totals[1].sum())
    return Metrics(**rank_figures(*totals)._asdict(), **intervals, n_videos=n_videos, n_frames=n_frames)


class Flagged(NamedTuple):
    """Frame precision, recall and F1 above a threshold (0 where nothing is flagged)."""

    threshold: float
    precision: float
    recall: float
    f1: float


def _flagged(
    counts: Counts, thresholds: np.ndarray, weights: Int[np.ndarray, " video"] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    tp, fp, _ = _hits(*counts.totals(weights))
    above = np.searchsorted(-counts.values, -thresholds, side="left")  # so many values are above
    hit, false = (np.concatenate([[0.0], x])[above] for x in (tp, fp))
    precision = np.divide(hit, hit + false, out=np.zeros_like(hit), where=hit + false > 0)
    return thresholds, precision, hit / tp[-1], 2 * hit / (hit + false + tp[-1])


def flagged(counts: Counts, thresholds: Sequence[float] | Float64[np.ndarray, " threshold"]) -> list[Flagged]:
    """Frame-level figures of `score > threshold` for every threshold."""
    columns = _flagged(counts, np.asarray(thresholds, np.float64))
    return [Flagged(*row) for row in zip(*(c.tolist() for c in columns), strict=True)]


def f1_interval(counts: Counts, threshold: float, bootstrap: int, seed: int) -> tuple[float, float] | None:
    """The 95 % interval of F1 at a threshold, over resamples of videos that hold an anomaly; None without resamples."""
    thresholds, weights = np.array([threshold]), resamples(counts.anomalous.shape[0], bootstrap, seed)
    f1 = [float(_flagged(counts, thresholds, w)[-1][0]) for w in weights if counts.totals(w)[0].any()]
    if not f1:
        return None
    low, high = np.quantile(f1, COVERAGE).tolist()
    return low, high


def best_f1(counts: Counts) -> Flagged:
    """The threshold of best frame F1 on these very frames, which no threshold chosen beforehand beats."""
    columns = _flagged(counts, np.append(counts.values[1:], np.nextafter(counts.values[-1], -np.inf)))
    best = int(np.argmax(columns[-1]))
    return Flagged(*(float(c[best]) for c in columns))


class Bin(NamedTuple):
    """Frames with scores from low (excluded, but 0) to high: their mean score and the share that is anomalous."""

    low: float
    high: float
    n_frames: int
    mean_score: float
    anomalous_share: float


class Reliability(NamedTuple):
    """How close the scores are to probabilities: Brier score, expected calibration error, and the filled bins."""

    brier: float
    expected_calibration_error: float
    bins: tuple[Bin, ...]


def reliability(counts: Counts) -> Reliability | None:
    """Brier score and reliability over bins of equal width; None where the scores are not all in [0, 1]."""
    if counts.values[0] > 1 or counts.values[-1] < 0:
        return None
    anomalous, normal = counts.totals()
    n, values = anomalous + normal, counts.values
    brier = float((anomalous * (1 - values) ** 2 + normal * values**2).sum() / n.sum())
    which = np.clip(np.ceil(values * RELIABILITY_BINS).astype(int) - 1, 0, None)
    total, scores, share = (
        np.bincount(which, weights=w, minlength=RELIABILITY_BINS) for w in (n, n * values, anomalous)
    )
    bins = tuple(
        Bin(i / RELIABILITY_BINS, (i + 1) / RELIABILITY_BINS, int(k), float(scores[i] / k), float(share[i] / k))
        for i, k in enumerate(total)
        if k
    )
    return Reliability(brier, float(np.abs(scores - share).sum() / n.sum()), bins)


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve y over x in [0, 1], and its 95 % band over resamples of videos (None without resamples)."""

    x: Float64[np.ndarray, " point"]
    y: Float64[np.ndarray, " point"]
    low: Float64[np.ndarray, " point"] | None
    high: Float64[np.ndarray, " point"] | None


def _roc(anomalous: Totals, normal: Totals, x: np.ndarray) -> np.ndarray:
    tp, fp, _ = _hits(anomalous, normal)
    return np.asarray(np.interp(x, np.append(0.0, fp / fp[-1]), np.append(0.0, tp / tp[-1])))


def _precision_recall(anomalous: Totals, normal: Totals, x: np.ndarray) -> np.ndarray:
    tp, _, precision = _hits(anomalous, normal)
    return np.asarray(precision[np.searchsorted(tp / tp[-1], x - 1e-12)])


def curves(counts: Counts, bootstrap: int, seed: int, points: int = 201) -> tuple[Curve, Curve]:
    """ROC (true over false positive rate) and precision over recall (steps: the first threshold that reaches it)."""
    x = np.linspace(0, 1, points)
    weights = list(resamples(counts.anomalous.shape[0], bootstrap, seed))
    both = []
    for curve, first in ((_roc, 0.0), (_precision_recall, x[1] / 2)):
        positions = np.maximum(x, first)
        drawn = [curve(a, n, positions) for a, n in map(counts.totals, weights) if a.any() and n.any()]
        low, high = np.quantile(drawn, COVERAGE, axis=0) if drawn else (None, None)
        both.append(Curve(positions, curve(*counts.totals(), positions), low, high))
    return both[0], both[1]
