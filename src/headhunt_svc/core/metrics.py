"""Frame-level metrics over all frames of all videos concatenated, with intervals by bootstrap over videos."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from headhunt_svc.errors import FeatureError
from headhunt_svc.types import Metrics

Truths = Sequence[Bool[np.ndarray, " frame"]]
FrameScores = Sequence[Float[np.ndarray, " frame"]]


def frame_f1(truth: Bool[np.ndarray, " frame"], flagged: Bool[np.ndarray, " frame"]) -> float:
    """F1 of flagged frames; 0 where nothing is flagged."""
    return float(f1_score(truth, flagged, zero_division=0.0))


def frame_metrics(truths: Truths, scores: FrameScores, bootstrap: int, seed: int) -> Metrics:
    """ROC-AUC and average precision (step-wise); 95 % intervals over `bootstrap` resamples of videos.

    Raises:
        FeatureError: a score is NaN (a gap), lengths differ, or only one class is present.
    """
    for i, (truth, score) in enumerate(zip(truths, scores, strict=True)):
        if len(truth) != len(score) or np.isnan(score).any():
            raise FeatureError(f"video {i}: {len(score)} scores ({np.isnan(score).sum()} NaN) for {len(truth)} frames")
    if len({bool(v) for t in truths for v in np.unique(t)}) < 2:
        raise FeatureError("the videos hold frames of one class only: ROC-AUC and AP are undefined")

    def both(chosen: Sequence[int]) -> tuple[float, float]:
        truth = np.concatenate([truths[i] for i in chosen])
        score = np.concatenate([scores[i] for i in chosen])
        if truth.all() or not truth.any():
            return float("nan"), float("nan")
        return float(roc_auc_score(truth, score)), float(average_precision_score(truth, score))

    n = len(truths)
    auc, ap = both(range(n))
    rng = np.random.default_rng(seed)
    draws = np.array([both(rng.integers(0, n, n).tolist()) for _ in range(bootstrap)]).reshape(-1, 2)
    draws = draws[np.isfinite(draws).all(1)]
    intervals: list[tuple[float, float] | None] = [None, None]
    if len(draws):
        low, high = np.quantile(draws, [0.025, 0.975], axis=0)
        intervals = [(float(low[k]), float(high[k])) for k in range(2)]
    return Metrics(auc, ap, intervals[0], intervals[1], n, sum(len(t) for t in truths))
