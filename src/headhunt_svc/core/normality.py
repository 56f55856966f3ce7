"""Distance to normal: how far expert features lie from those of normal segments, and how much that shall weigh.

A detector that learnt from some kinds of anomaly must also see others. The distance needs no labelled anomaly: it is
the Mahalanobis distance to the normal calibration segments with the shrunk covariance of Ledoit and Wolf (2004). Its
weight gamma beside the logistic margin is chosen by leaving out whole kinds of anomaly (docs/adr/0013).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64
from scipy.stats import t as student_t
from sklearn.cluster import KMeans
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.metrics import roc_auc_score

from headhunt_svc.core.labelled import Labels, Rows

Z = Float[np.ndarray, "segment features"]
MOST_CLUSTERS = 4
LEVEL = 0.05
LEAST_VARIANCE = 1e-6  # of standardised features along an axis, where these are constant


@dataclass(frozen=True, slots=True)
class NormalFeatures:
    """Mean, scale and covariance of normal features.

    The covariance of the standardised features has the `variances` along `axes` and `rest` along all directions that
    are orthogonal to these: with more features than segments this is much smaller than a matrix.
    """

    mean: Float64[np.ndarray, " features"]
    scale: Float64[np.ndarray, " features"]
    axes: Float64[np.ndarray, "axis features"]
    variances: Float64[np.ndarray, " axis"]
    rest: float

    @classmethod
    def fit(cls, z: Z) -> "NormalFeatures":
        """From the features of normal segments."""
        mean, scale = z.mean(0, dtype=np.float64), z.std(0, dtype=np.float64)
        scale = np.where(scale > 1e-8, scale, 1.0)
        x = (z - mean) / scale
        shrinkage = float(ledoit_wolf_shrinkage(x, assume_centered=True))
        singular, axes = np.linalg.svd(x, full_matrices=False)[1:]
        target = shrinkage * float(np.mean(x**2))
        variances = (1 - shrinkage) * singular**2 / len(x) + target
        return cls(mean, scale, axes, np.maximum(variances, LEAST_VARIANCE), max(target, LEAST_VARIANCE))

    def distance(self, z: Z) -> Float64[np.ndarray, " segment"]:
        """Mahalanobis distance of features."""
        x = (z - self.mean) / self.scale
        along = x @ self.axes.T
        outside = np.maximum((x**2).sum(1) - (along**2).sum(1), 0)
        return np.asarray(np.sqrt((along**2 / self.variances).sum(1) + outside / self.rest))

    def precision(self) -> Float64[np.ndarray, "features features"]:
        """Inverse of the covariance of features as they are, not standardised."""
        within = (self.axes.T * (1 / self.variances - 1 / self.rest)) @ self.axes
        return np.asarray((within + np.eye(len(self.mean)) / self.rest) / np.outer(self.scale, self.scale))


Basis = Literal["kinds", "clusters", "default"]


@dataclass(frozen=True, slots=True)
class NormalityChoice:
    """The weight gamma of the distance beside the margin, each in units of its deviation, and how it was chosen.

    basis: by leaving out kinds of anomaly, or clusters of anomalous videos; `default` where there are too few of both.
    auc: mean over what was left out, for each gamma of the grid. groups: what was left out.
    """

    gamma: float
    basis: Basis
    auc: Mapping[float, float]
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """All videos of one kind of anomaly and some normal ones, left out; rows to fit on and rows to measure on."""

    name: str
    train: Rows
    test: Rows


@dataclass(frozen=True, slots=True)
class Measured:
    """Margins and distances of segments that were left out, in units of their deviation."""

    labels: Labels
    margins: Float64[np.ndarray, " segment"]
    distances: Float64[np.ndarray, " segment"]


def _clusters(z: Z, labels: Labels, videos: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The cluster of each anomalous video, by the mean of its anomalous segments; {} where there are too few."""
    names = np.asarray(videos)
    anomalous = sorted(set(names[labels].tolist()))
    n_clusters = min(MOST_CLUSTERS, len(anomalous) // 2)
    if n_clusters < 2:
        return {}
    means = np.stack([z[(names == v) & labels].mean(0, dtype=np.float64) for v in anomalous])
    scale = means.std(0)
    fitted = KMeans(n_clusters, n_init=10, random_state=0).fit(means / np.where(scale > 1e-8, scale, 1.0))
    return {v: (f"cluster {c}",) for v, c in zip(anomalous, fitted.labels_.tolist(), strict=True)}


def leave_one_kind_out(
    z: Z, labels: Labels, videos: Sequence[str], kinds: Mapping[str, tuple[str, ...]]
) -> tuple[Basis, list[LeftOut]]:
    """For each kind, what remains without its videos, and what is left out; for clusters where there are no two kinds.

    kinds: of each video; () or absent for a normal one. Normal videos are dealt out to the kinds in turn. A kind is not
    left out if fewer than two normal or anomalous segments would remain, or none of either would be left out.
    """
    names, unique = np.asarray(videos), sorted(set(videos))
    basis: Basis = "kinds"
    if len({kind for video in unique for kind in kinds.get(video, ())}) < 2:
        basis, kinds = "clusters", _clusters(z, labels, videos)
    groups = sorted({kind for video in unique for kind in kinds.get(video, ())})
    normal = [video for video in unique if not kinds.get(video)]
    left_out = []
    for i, group in enumerate(groups):
        outside = [video for video in unique if group in kinds.get(video, ())] + normal[i :: len(groups)]
        test = np.isin(names, outside)
        remaining, measured = labels[~test], labels[test]
        if min(remaining.sum(), (~remaining).sum()) >= 2 and len(set(measured.tolist())) == 2:
            left_out.append(LeftOut(group, np.flatnonzero(~test), np.flatnonzero(test)))
    return basis, left_out


def choose_gamma(
    measured: Sequence[Measured], grid: Sequence[float], default: float
) -> tuple[float, dict[float, float]]:
    """The gamma for the distance, and for each gamma the mean AUC over the groups that were left out (two or more).

    0 where no gamma has a higher mean AUC. Else, of those with a higher one that are as good as the best (not worse in
    a paired t-test over the groups, one-sided, 5 %), the nearest to `default`: with few groups the best gamma is mostly
    chance (docs/adr/0013).
    """
    gammas = sorted({0.0, default, *grid})
    auc = np.array([[roc_auc_score(m.labels, m.margins + g * m.distances) for g in gammas] for m in measured])
    mean = auc.mean(0)
    behind = auc[:, [int(mean.argmax())]] - auc
    error = behind.std(0, ddof=1) / np.sqrt(len(auc))
    as_good = (behind.mean(0) <= student_t.ppf(1 - LEVEL, len(auc) - 1) * error) & (mean > mean[0])
    candidates = np.array(gammas)[as_good].tolist()
    chosen = min(candidates, key=lambda gamma: (abs(gamma - default), gamma), default=0.0)
    return chosen, dict(zip(gammas, mean.tolist(), strict=True))
