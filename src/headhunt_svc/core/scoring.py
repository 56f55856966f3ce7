"""Fit and apply the scorer: logistic regression on the concatenated expert features."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from headhunt_svc.core.folds import video_folds
from headhunt_svc.core.saliency import check_labels
from headhunt_svc.params import FitParams
from headhunt_svc.types import HeadRef, Scorer

Z = Float[np.ndarray, "segment features"]


class _Standardised:
    """Features of mean 0 and scale 1, in coordinates of which there are no more than segments.

    The weights of a ridge penalty lie in the span of the rows, and a rotation leaves the penalty alone: with more
    features than segments the regression in the coordinates along the rows is the same one, only smaller.
    """

    def __init__(self, z: Z) -> None:
        self._mean, scale = z.mean(0, dtype=np.float64), z.std(0, dtype=np.float64)
        self._scale = np.where(scale > 1e-8, scale, 1.0)
        self._coordinates: Float64[np.ndarray, "segment coordinate"] = (z - self._mean) / self._scale
        self._axes: Float64[np.ndarray, "coordinate features"] | None = None
        if z.shape[1] > z.shape[0]:
            u, s, self._axes = np.linalg.svd(self._coordinates, full_matrices=False)
            self._coordinates = u * s

    def fit(self, labels: Bool[np.ndarray, " segment"], c: float) -> tuple[Float64[np.ndarray, " features"], float]:
        """Weights and bias of a regression, mean and scale folded in (so that w applies to z as it is)."""
        model = LogisticRegression(C=c, class_weight="balanced", max_iter=2000)
        model.fit(self._coordinates, labels)
        along = model.coef_[0] if self._axes is None else model.coef_[0] @ self._axes
        weight = along / self._scale
        return weight, float(model.intercept_[0] - weight @ self._mean)


def fit_scorer(
    z: Z, labels: Bool[np.ndarray, " segment"], videos: Sequence[str], heads: tuple[HeadRef, ...], params: FitParams
) -> Scorer:
    """Choose C by cross-validated AUC with folds grouped by video, then fit on everything.

    Raises:
        FeatureError: too few videos for two folds, or one class only.
    """
    check_labels(labels)
    margins = {c: np.zeros(len(z)) for c in params.grid}
    for train, test in video_folds(labels, videos, params.folds):
        known = _Standardised(z[train])
        for c in params.grid:
            weight, bias = known.fit(labels[train], c)
            margins[c][test] = z[test] @ weight + bias
    # the first, most regularised, of equals
    best = max(params.grid, key=lambda c: float(roc_auc_score(labels, margins[c])))
    weight, bias = _Standardised(z).fit(labels, best)
    return Scorer(heads, weight, bias)


def apply_scorer(scorer: Scorer, z: Z) -> Float64[np.ndarray, " segment"]:
    """p = sigmoid(w . z + b), float64[T]."""
    return np.asarray(expit(z.astype(np.float64) @ scorer.weight + scorer.bias))
