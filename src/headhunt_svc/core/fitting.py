"""Fits the scorer: logistic regression on the concatenated expert features, and their distance to normal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from headhunt_svc.core.folds import video_folds
from headhunt_svc.core.labelled import Labels
from headhunt_svc.core.normality import Measured, NormalFeatures, NormalityChoice, choose_gamma, leave_one_kind_out
from headhunt_svc.core.saliency import check_labels
from headhunt_svc.params import FitParams
from headhunt_svc.types import HeadRef, Normality, Scorer

Z = Float[np.ndarray, "segment features"]
Z1 = Float64[np.ndarray, " segment"]


class _Regression:
    """Logistic regression on features (of mean 0 and scale 1), in coordinates of which there are no more than segments.

    With a ridge penalty the weights lie in the span of the rows, and a rotation does not change the penalty: with more
    features than segments, the regression in coordinates along the rows is the same one, only smaller.
    """

    def __init__(self, z: Z, params: FitParams) -> None:
        self._class_weight = "balanced" if params.balanced else None
        self._mean, self._scale = np.zeros(z.shape[1]), np.ones(z.shape[1])
        if params.standardised:
            self._mean, scale = z.mean(0, dtype=np.float64), z.std(0, dtype=np.float64)
            self._scale = np.where(scale > 1e-8, scale, 1.0)
        self._coordinates: Float64[np.ndarray, "segment coordinate"] = (z - self._mean) / self._scale
        self._axes: Float64[np.ndarray, "coordinate features"] | None = None
        if z.shape[1] > z.shape[0]:
            u, s, self._axes = np.linalg.svd(self._coordinates, full_matrices=False)
            self._coordinates = u * s

    def fit(self, labels: Labels, c: float) -> tuple[Float64[np.ndarray, " features"], float]:
        """Weights and bias of a regression, mean and scale folded in (so that w applies to z as it is)."""
        model = LogisticRegression(C=c, class_weight=self._class_weight, max_iter=2000)
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
    """A scorer, the C that it was fitted with, and its figures on held-out videos.

    normality: how the weight of the distance to normal was chosen; None where fit.scorer leaves no choice.
    """

    scorer: Scorer
    c: float
    held_out_auc: float
    curve: CalibrationCurve
    normality: NormalityChoice | None = None


def calibration_curve(probability: Z1, labels: Labels, bins: int = 10) -> CalibrationCurve:
    """Mean probability and share of anomalous segments in `bins` groups of equal size, in order of probability."""
    groups = np.array_split(np.argsort(probability, kind="stable"), min(bins, len(labels)))
    return CalibrationCurve(
        tuple(float(probability[g].mean()) for g in groups),
        tuple(float(labels[g].mean()) for g in groups),
        tuple(len(g) for g in groups),
        float(np.mean((probability - labels) ** 2)),
    )


def platt(margins: Z1, labels: Labels) -> tuple[float, float]:
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


@dataclass(frozen=True, slots=True)
class _HeldOut:
    """Margins of every C and distances to normal, of segments of videos that were not fitted on."""

    margins: dict[float, Z1]
    distances: Z1

    @classmethod
    def measure(cls, z: Z, labels: Labels, videos: Sequence[str], params: FitParams) -> "_HeldOut":
        margins, distances = {c: np.zeros(len(z)) for c in params.grid}, np.zeros(len(z))
        for train, test in video_folds(labels, videos, params.folds):
            regression = _Regression(z[train], params)
            for c in params.grid:
                weight, bias = regression.fit(labels[train], c)
                margins[c][test] = z[test] @ weight + bias
            if params.scorer != "logistic":
                distances[test] = NormalFeatures.fit(z[train][~labels[train]]).distance(z[test])
        return cls(margins, distances)


def _deviation(values: Z1) -> float:
    """Standard deviation; 1 where it is 0."""
    return float(values.std()) or 1.0


def _choose_normality(
    z: Z,
    labels: Labels,
    videos: Sequence[str],
    kinds: Mapping[str, tuple[str, ...]],
    c: float,
    units: tuple[float, float],
    params: FitParams,
) -> NormalityChoice:
    """Leave out one kind of anomaly after the other; units: deviations of held-out margins and distances."""
    basis, left_out = leave_one_kind_out(z, labels, videos, kinds)
    if len(left_out) < 2:
        return NormalityChoice(params.default_normality_weight, "default", {}, ())
    measured = []
    for group in left_out:
        rows, y = z[group.train], labels[group.train]
        weight, bias = _Regression(rows, params).fit(y, c)
        distances = NormalFeatures.fit(rows[~y]).distance(z[group.test])
        margins = z[group.test] @ weight + bias
        measured.append(Measured(labels[group.test], margins / units[0], distances / units[1]))
    gamma, auc = choose_gamma(measured, params.normality_weights, params.default_normality_weight)
    return NormalityChoice(gamma, basis, auc, tuple(group.name for group in left_out))


def fit_scorer(
    z: Z,
    labels: Labels,
    videos: Sequence[str],
    heads: tuple[HeadRef, ...],
    params: FitParams,
    kinds: Mapping[str, tuple[str, ...]] | None = None,
) -> FittedScorer:
    """Choose C by cross-validated AUC with folds grouped by video, fit on all segments, calibrate the probabilities.

    Both classes weigh the same in the regression. The distance to normal stands beside its margin, each in units of
    its deviation on held-out videos, with a weight gamma that is chosen by leaving out kinds of anomaly. Platt's slope
    and offset then restore the class frequencies of the calibration videos, and are folded into weights and bias.
    The method of the paper does none of this (`FitParams`).

    z: as core/background.inputs makes it, for the background of the parameters.
    kinds: the kinds of anomaly of each video, () for a normal one.

    Raises:
        FeatureError: too few videos for two folds, or one class only.
    """
    check_labels(labels)
    held_out = _HeldOut.measure(z, labels, videos, params)
    auc = {c: float(roc_auc_score(labels, held_out.margins[c])) for c in params.grid}
    best = max(params.grid, key=lambda c: auc[c])  # the first, most regularised, of equals
    units = _deviation(held_out.margins[best]), _deviation(held_out.distances)
    choice = None
    if params.scorer == "logistic+normality":
        choice = _choose_normality(z, labels, videos, kinds or {}, best, units, params)
    of_margin = 0.0 if params.scorer == "normality" else 1.0 if params.scorer == "logistic" else 1 / units[0]
    of_distance = (choice.gamma if choice else float(params.scorer == "normality")) / units[1]
    margins = of_margin * held_out.margins[best] + of_distance * held_out.distances
    slope, offset = platt(margins, labels) if params.platt else (1.0, 0.0)
    weight, bias = _Regression(z, params).fit(labels, best)
    of_margin, of_distance = slope * of_margin, slope * of_distance
    normality = None
    if of_distance > 0:
        normal = NormalFeatures.fit(z[~labels])
        typical = float(held_out.distances[~labels].mean())
        normality = Normality(normal.mean, normal.precision(), of_distance, typical, params.ignore_steady)
    scorer = Scorer(heads, of_margin * weight, of_margin * bias + offset, normality, params.relative_to)
    curve = calibration_curve(np.asarray(expit(slope * margins + offset)), labels)
    return FittedScorer(scorer, best, float(roc_auc_score(labels, margins)), curve, choice)
