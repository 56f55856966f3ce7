"""What is normal for one camera: mean and covariance of its normal footage, shrunk towards those of all cameras.

A camera without a single labelled anomaly can have a distance to normal of its own. The regression, and the weight of
the distance, stay those that were learnt from labelled videos (docs/adr/0018).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32, Float64

from headhunt_svc.core.scoring import distance_to_normal
from headhunt_svc.types import Normality, Scorer

MOST_GROUPS = 20
HARMLESS = 1 / 400  # what a harmless segment counts in the scatter, in units of the fleet's strength (docs/adr/0024)
Z = Float[np.ndarray, "segment features"]


@dataclass(frozen=True, slots=True)
class NormalFootage:
    """Normal segments of a camera: their number and mean, and a factor R of their scatter.

    R'R is the sum of (z - mean)(z - mean)' over segments z. R has as many rows as there are segments, or features if
    these are fewer, so that what is kept of a camera is small. typical: mean distance of the camera's normal segments
    where their video does not count among what is normal; None where there is one video. harmless: segments that count
    in the scatter alone (add_harmless).
    """

    segments: int
    mean: Float32[np.ndarray, " features"]
    factor: Float32[np.ndarray, "row features"]
    typical: float | None = None
    harmless: int = 0

    def __post_init__(self) -> None:
        rows, features = self.factor.shape
        segments = self.segments + self.harmless
        if min(self.segments, self.harmless) < 0 or rows > segments or self.mean.shape != (features,):
            raise ValueError(f"a factor of {rows} x {features} of {segments} segments, a mean of {self.mean.shape}")
        if not (np.isfinite(self.mean).all() and np.isfinite(self.factor).all()):
            raise ValueError("mean or factor of normal footage are not finite")

    @classmethod
    def measure(cls, z: Z) -> "NormalFootage":
        """From the features of normal segments, at least one."""
        wide = z.astype(np.float64)
        mean = wide.mean(0)
        factor = np.asarray(np.linalg.qr(wide - mean, mode="r"))
        return cls(len(z), mean.astype(np.float32), factor.astype(np.float32))


@dataclass(frozen=True, slots=True)
class Shrinkage:
    """For so many segments the fleet's mean, and its covariance, count beside those of a camera (docs/adr/0024)."""

    mean: float = 5.0
    covariance: float = 640.0

    def __post_init__(self) -> None:
        if not (0 <= self.mean < np.inf and 0 < self.covariance < np.inf):
            raise ValueError(f"shrinkage {self.mean:g} of the mean, {self.covariance:g} of the covariance")


SHRINKAGE = Shrinkage()


def camera_normality(fleet: Normality, footage: NormalFootage, shrinkage: Shrinkage = SHRINKAGE) -> Normality:
    """The distance to normal of a camera; the fleet's stays where the camera has hardly any footage.

    mean: (n mean_c + a mean_f) / (n + a); covariance: (R'R + b covariance_f) / (n + b), n the segments of the camera.
    The covariance of little footage makes distances larger, so their weight is such that typical ones count the same.
    Distances that are smaller, of footage with little variety, keep the fleet's weight: a larger one would turn every
    difference from that footage into an alarm.
    """
    n, b = footage.segments, shrinkage.covariance
    mean = _mean(fleet, footage, shrinkage)
    precision = _precision(fleet.precision, footage.factor.astype(np.float64), n, b)
    unit = min(1.0, fleet.typical / footage.typical) if fleet.typical and footage.typical else 1.0
    return replace(fleet, mean=mean, precision=precision, weight=unit * fleet.weight, typical=footage.typical)


def _mean(fleet: Normality, footage: NormalFootage, shrinkage: Shrinkage) -> Float64[np.ndarray, " features"]:
    n, a = footage.segments, shrinkage.mean
    own = footage.mean.astype(np.float64)
    return np.asarray((n * own + a * fleet.mean) / (n + a)) if n else fleet.mean


def camera_scorer(fleet: Scorer, footage: NormalFootage, shrinkage: Shrinkage = SHRINKAGE) -> Scorer:
    """The scorer of a camera. One without a distance to normal stays as it is."""
    if fleet.normality is None:
        return fleet
    return replace(fleet, normality=camera_normality(fleet.normality, footage, shrinkage))


@dataclass(frozen=True, slots=True)
class Camera:
    """What is normal for a camera; and for each of its videos the scorer that its other videos give.

    A video that helped to say what is normal lies nearer to it than a new one, and would promise too few alarms.
    """

    footage: NormalFootage
    of_others: list[Scorer]


def learn_camera(fleet: Scorer, videos: Sequence[Z], shrinkage: Shrinkage = SHRINKAGE) -> Camera | None:
    """From the features of two or more normal videos, which are left out in groups where there are many.

    None: there is one video only, or the scorer has no distance to normal.
    """
    if len(videos) < 2 or fleet.normality is None:
        return None
    n_groups = min(len(videos), MOST_GROUPS)
    groups = [i % n_groups for i in range(len(videos))]
    rest = [
        NormalFootage.measure(np.concatenate([z for z, own in zip(videos, groups, strict=True) if own != group]))
        for group in range(n_groups)
    ]
    normality = [camera_normality(fleet.normality, footage, shrinkage) for footage in rest]
    distances = [distance_to_normal(normality[group], z) for group, z in zip(groups, videos, strict=True)]
    typical = float(np.concatenate(distances).mean())
    scorers = [camera_scorer(fleet, replace(footage, typical=typical), shrinkage) for footage in rest]
    footage = replace(NormalFootage.measure(np.concatenate(videos)), typical=typical)
    return Camera(footage, [scorers[group] for group in groups])


def add_harmless(
    fleet: Normality,
    footage: NormalFootage | None,
    harmless: Float[np.ndarray, "harmless features"],
    shrinkage: Shrinkage = SHRINKAGE,
) -> NormalFootage:
    """What is normal for a camera, with segments that raised an alarm and are harmless: they add to its spread alone.

    Each counts as HARMLESS of what the fleet's covariance counts: one alone does not make all that is like it normal.

    (footage None: the camera has the fleet's normality so far.) They are far from all that is normal: as part of the
    mean they would make the rest strange. Nothing becomes stranger: the distance stays what it was in directions in
    which no harmless segment lies.
    """
    if footage is None:
        nothing = np.zeros((0, len(fleet.mean)), np.float32)
        footage = NormalFootage(0, fleet.mean.astype(np.float32), nothing, fleet.typical)
    offset = harmless.astype(np.float64) - _mean(fleet, footage, shrinkage)
    rows = np.concatenate([np.sqrt(HARMLESS * shrinkage.covariance) * offset, footage.factor.astype(np.float64)])
    factor = np.asarray(np.linalg.qr(rows, mode="r")).astype(np.float32)
    return replace(footage, factor=factor, harmless=footage.harmless + len(harmless))


def _precision(
    fleet: Float64[np.ndarray, "features features"], factor: Float64[np.ndarray, "row features"], n: int, b: float
) -> Float64[np.ndarray, "features features"]:
    """Inverse of (R'R + b inverse(fleet)) / (n + b), by Woodbury: only a matrix of R's rows is solved for."""
    along = factor @ fleet
    within = b * np.eye(len(factor)) + along @ factor.T
    precision = (n + b) / b * (fleet - along.T @ np.linalg.solve(within, along))
    return np.asarray((precision + precision.T) / 2)
