"""Fit and apply the scorer: logistic regression on the concatenated expert features."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from headhunt_svc.core.saliency import check_labels
from headhunt_svc.errors import FeatureError
from headhunt_svc.params import FitParams
from headhunt_svc.types import HeadRef, Scorer

Z = Float[np.ndarray, "segment features"]


def _fit(z: Z, labels: Bool[np.ndarray, " segment"], c: float) -> tuple[Float64[np.ndarray, " features"], float]:
    """Weights of a regression on standardised features, mean and scale folded in (so that w applies to z as it is)."""
    mean, scale = z.mean(0, dtype=np.float64), z.std(0, dtype=np.float64)
    scale = np.where(scale > 1e-8, scale, 1.0)
    model = LogisticRegression(C=c, class_weight="balanced", max_iter=2000)
    model.fit((z - mean) / scale, labels)
    weight = model.coef_[0] / scale
    return weight, float(model.intercept_[0] - weight @ mean)


def fit_scorer(
    z: Z, labels: Bool[np.ndarray, " segment"], videos: Sequence[str], heads: tuple[HeadRef, ...], params: FitParams
) -> Scorer:
    """Choose C by cross-validated AUC with folds grouped by video, then fit on everything.

    Raises:
        FeatureError: too few videos for two folds, or one class only.
    """
    check_labels(labels)
    groups = np.unique(np.asarray(videos), return_inverse=True)[1]
    folds = min(params.folds, len(set(groups[labels])), len(set(groups[~labels])))
    if folds < 2:
        raise FeatureError("anomalous and normal segments must come from at least two videos each")
    cv = list(StratifiedGroupKFold(folds).split(z, labels, groups))

    def out_of_fold(c: float) -> float:
        margin = np.zeros(len(z))
        for train, test in cv:
            weight, bias = _fit(z[train], labels[train], c)
            margin[test] = z[test] @ weight + bias
        return float(roc_auc_score(labels, margin))

    best = max(params.grid, key=out_of_fold)  # the first, most regularised, of equals
    weight, bias = _fit(z, labels, best)
    return Scorer(heads, weight, bias)


def apply_scorer(scorer: Scorer, z: Z) -> Float64[np.ndarray, " segment"]:
    """p = sigmoid(w . z + b), float64[T]."""
    return np.asarray(expit(z.astype(np.float64) @ scorer.weight + scorer.bias))
