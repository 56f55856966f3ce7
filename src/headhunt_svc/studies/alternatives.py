"""Scorers that the detector does not use, on the same features: a linear SVM and a small MLP.

Tuned and calibrated like the logistic regression (core/fitting.py): the strength of the regularisation by
cross-validated AUC with folds grouped by video, slope and offset of the probability from held-out margins.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from scipy.special import expit
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.class_weight import compute_sample_weight

from headhunt_svc.core.fitting import platt
from headhunt_svc.core.folds import video_folds
from headhunt_svc.params import FitParams
from headhunt_svc.pipeline.labelled_features import LabelledFeatures

HIDDEN_UNITS = 16
Kind = Literal["svm", "mlp"]
Apply = Callable[[np.ndarray], np.ndarray]


def _fitted(kind: Kind, z: np.ndarray, labels: np.ndarray, c: float, seed: int) -> Apply:
    """Margins float64[T] of features [T, K*d_head]; both classes weigh the same."""
    if kind == "svm":
        svm = LinearSVC(C=c, class_weight="balanced", max_iter=20000, random_state=seed)
        apply: Apply = make_pipeline(StandardScaler(), svm).fit(z, labels).decision_function
        return apply
    # lbfgs: deterministic, and made for few samples; alpha is the penalty, so the inverse of C
    mlp = MLPClassifier((HIDDEN_UNITS,), solver="lbfgs", alpha=1 / c, max_iter=2000, random_state=seed)
    weights = compute_sample_weight("balanced", labels)
    net = make_pipeline(StandardScaler(), mlp).fit(z, labels, mlpclassifier__sample_weight=weights)
    return lambda x: np.asarray(np.diff(net.predict_log_proba(x))[:, 0])


def fit_alternative(kind: Kind, data: LabelledFeatures, z: np.ndarray, params: FitParams, seed: int) -> Apply:
    """Probabilities of features by a scorer of another kind, fitted on z float[T, K*d_head] of `data`."""
    z, labels = z.astype(np.float64), data.labels
    folds = list(video_folds(labels, data.videos, params.folds))
    held_out = {c: np.zeros(len(z)) for c in params.grid}
    for c, margins in held_out.items():
        for train, test in folds:
            margins[test] = _fitted(kind, z[train], labels[train], c, seed)(z[test])
    best = max(params.grid, key=lambda c: roc_auc_score(labels, held_out[c]))
    slope, offset = platt(held_out[best], labels)
    apply = _fitted(kind, z, labels, best, seed)
    return lambda x: np.asarray(expit(slope * apply(x.astype(np.float64)) + offset))
