"""What is normal for one camera: mean and covariance of its normal footage, shrunk towards those of all cameras.

A camera without a single labelled anomaly can have a distance to normal of its own. The regression, and the weight of
the distance, stay those that were learnt from labelled videos (docs/adr/0018).
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32, Float64

from headhunt_svc.types import Normality, Scorer


@dataclass(frozen=True, slots=True)
class NormalFootage:
    """Normal segments of a camera: their number and mean, and a factor R of their scatter.

    R'R is the sum of (z - mean)(z - mean)' over segments z. R has as many rows as there are segments, or features if
    these are fewer, so that what is kept of a camera is small.
    """

    segments: int
    mean: Float32[np.ndarray, " features"]
    factor: Float32[np.ndarray, "row features"]

    def __post_init__(self) -> None:
        rows, features = self.factor.shape
        if self.segments < 1 or rows > self.segments or self.mean.shape != (features,):
            raise ValueError(
                f"a factor of {rows} x {features} of {self.segments} segments, a mean of {self.mean.shape}"
            )
        if not (np.isfinite(self.mean).all() and np.isfinite(self.factor).all()):
            raise ValueError("mean or factor of normal footage are not finite")

    @classmethod
    def measure(cls, z: Float[np.ndarray, "segment features"]) -> "NormalFootage":
        """From the features of normal segments, at least one."""
        wide = z.astype(np.float64)
        mean = wide.mean(0)
        factor = np.asarray(np.linalg.qr(wide - mean, mode="r"))
        return cls(len(z), mean.astype(np.float32), factor.astype(np.float32))


@dataclass(frozen=True, slots=True)
class Shrinkage:
    """For so many segments the fleet's mean, and its covariance, count beside those of a camera (docs/adr/0018)."""

    mean: float = 5.0
    covariance: float = 40.0

    def __post_init__(self) -> None:
        if not (0 <= self.mean < np.inf and 0 < self.covariance < np.inf):
            raise ValueError(f"shrinkage {self.mean:g} of the mean, {self.covariance:g} of the covariance")


SHRINKAGE = Shrinkage()


def camera_normality(fleet: Normality, footage: NormalFootage, shrinkage: Shrinkage = SHRINKAGE) -> Normality:
    """The distance to normal of a camera; the fleet's stays where the camera has hardly any footage.

    mean: (n mean_c + a mean_f) / (n + a); covariance: (R'R + b covariance_f) / (n + b), n the segments of the camera.
    """
    n, a, b = footage.segments, shrinkage.mean, shrinkage.covariance
    mean = (n * footage.mean.astype(np.float64) + a * fleet.mean) / (n + a)
    return Normality(mean, _precision(fleet.precision, footage.factor.astype(np.float64), n, b), fleet.weight)


def camera_scorer(fleet: Scorer, footage: NormalFootage, shrinkage: Shrinkage = SHRINKAGE) -> Scorer:
    """The scorer of a camera. One without a distance to normal stays as it is."""
    if fleet.normality is None:
        return fleet
    return replace(fleet, normality=camera_normality(fleet.normality, footage, shrinkage))


def _precision(
    fleet: Float64[np.ndarray, "features features"], factor: Float64[np.ndarray, "row features"], n: int, b: float
) -> Float64[np.ndarray, "features features"]:
    """Inverse of (R'R + b inverse(fleet)) / (n + b), by Woodbury: only a matrix of R's rows is solved for."""
    along = factor @ fleet
    within = b * np.eye(len(factor)) + along @ factor.T
    precision = (n + b) / b * (fleet - along.T @ np.linalg.solve(within, along))
    return np.asarray((precision + precision.T) / 2)
