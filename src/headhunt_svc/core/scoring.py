"""Fit and apply the scorer: logistic regression on the concatenated expert features."""

from collections.abc import Sequence
from dataclasses import dataclass

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
Z1 = Float64[np.ndarray, " segment"]


class _Standardised:
    """Features of mean 0 and scale 1, in coordinates of which there are no more than segments.

    With a ridge penalty the weights lie in the span of the rows, and a rotation does not change the penalty: with more
    features than segments, the regression in coordinates along the rows is the same one, only smaller.
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


@dataclass(frozen=True, slots=True)
class CalibrationCurve:
    """Predicted probability against the share of anomalous segments, on videos held out when the scorer was fitted.

    Bins of about equal counts, lowest first. brier: mean squared error of the probabilities.
    """

    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    counts: tuple[int, ...]
    brier: float


@dataclass(frozen=True, slots=True)
class FittedScorer:
    """A scorer, the C that it was fitted with, and its figures on held-out videos."""

    scorer: Scorer
    c: float
    held_out_auc: float
    curve: CalibrationCurve


def calibration_curve(probability: Z1, labels: Bool[np.ndarray, " segment"], bins: int = 10) -> CalibrationCurve:
    """Mean probability and share of anomalous segments in `bins` groups of equal size, in order of probability."""
    groups = np.array_split(np.argsort(probability, kind="stable"), min(bins, len(labels)))
    return CalibrationCurve(
        tuple(float(probability[g].mean()) for g in groups),
        tuple(float(labels[g].mean()) for g in groups),
        tuple(len(g) for g in groups),
        float(np.mean((probability - labels) ** 2)),
    )


def platt(margins: Z1, labels: Bool[np.ndarray, " segment"]) -> tuple[float, float]:
    """Slope and offset that turn held-out margins into probabilities, with Platt's (1999) targets short of 0 and 1.

    Margins that rank no better than chance give no positive slope; they are left as they are (1, 0).
    """
    counts = np.array([(~labels).sum(), labels.sum()])
    target = ((counts + 1) / (counts + 2))[labels.astype(int)]  # weight of a segment's own class
    twice, classes = np.concatenate([margins, margins])[:, None], np.concatenate([labels, ~labels])
    scale = float(np.abs(margins).max()) or 1.0
    model = LogisticRegression(C=np.inf, max_iter=2000, tol=1e-8)
    model.fit(twice / scale, classes, np.concatenate([target, 1 - target]))
    slope = float(model.coef_[0, 0]) / scale
    return (slope, float(model.intercept_[0])) if slope > 0 else (1.0, 0.0)


def fit_scorer(
    z: Z, labels: Bool[np.ndarray, " segment"], videos: Sequence[str], heads: tuple[HeadRef, ...], params: FitParams
) -> FittedScorer:
    """Choose C by cross-validated AUC with folds grouped by video, fit on all segments, calibrate the probabilities.

    Both classes weigh the same in the regression; Platt's slope and offset then restore the class frequencies of the
    calibration videos, and are folded into weights and bias.

    Raises:
        FeatureError: too few videos for two folds, or one class only.
    """
    check_labels(labels)
    margins = {c: np.zeros(len(z)) for c in params.grid}
    for train, test in video_folds(labels, videos, params.folds):
        standardised = _Standardised(z[train])
        for c in params.grid:
            weight, bias = standardised.fit(labels[train], c)
            margins[c][test] = z[test] @ weight + bias
    auc = {c: float(roc_auc_score(labels, margins[c])) for c in params.grid}
    best = max(params.grid, key=lambda c: auc[c])  # the first, most regularised, of equals
    slope, offset = platt(margins[best], labels)
    weight, bias = _Standardised(z).fit(labels, best)
    scorer = Scorer(heads, slope * weight, slope * bias + offset)
    held_out = np.asarray(expit(slope * margins[best] + offset))
    return FittedScorer(scorer, best, auc[best], calibration_curve(held_out, labels))


def apply_scorer(scorer: Scorer, z: Z) -> Float64[np.ndarray, " segment"]:
    """p = sigmoid(w . z + b), float64[T]."""
    return np.asarray(expit(z.astype(np.float64) @ scorer.weight + scorer.bias))


def contributions(scorer: Scorer, z: Float[np.ndarray, "segment head d_head"]) -> Float64[np.ndarray, "segment head"]:
    """Contribution of each head to the logit: w_k . z_k; with the bias they sum to it."""
    return np.asarray(np.einsum("thd,hd->th", z.astype(np.float64), scorer.weight.reshape(z.shape[1:])))
