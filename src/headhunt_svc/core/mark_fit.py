"""Fits a correction to marked segments, fast enough to be fitted many times: all that is costly is done once.

A correction lies in the span of the marks: a segment has as many coordinates as there are of these. Its length is the
root of the mean square of what it does to the logits of known segments, with a share of ridge.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from scipy.optimize import minimize
from scipy.special import expit

from headhunt_svc.core.camera_normality import HARMLESS, SHRINKAGE, Shrinkage
from headhunt_svc.core.labelled import Labels, Rows
from headhunt_svc.core.scoring import distance_to_normal, logits
from headhunt_svc.types import Normality, Scorer

Known = Float[np.ndarray, "known features"]
Z = Float[np.ndarray, "segment features"]
Z1 = Float64[np.ndarray, " segment"]
RIDGE = 1.0  # added to the variance of known segments in every direction, in units of their mean variance


def log_loss(logit: Z1, anomalous: Labels) -> Z1:
    """Of each segment."""
    return np.asarray(np.logaddexp(0, np.where(anomalous, -logit, logit)))


def shares(event: Int[np.ndarray, " segment"]) -> Z1:
    """Weight of each segment: an event counts as one, however many segments it has."""
    _, number, counts = np.unique(event, return_inverse=True, return_counts=True)
    return np.asarray(1 / counts[number])


@dataclass(frozen=True, slots=True)
class Directions:
    """Coordinates of segments in which the length of a correction is its size; the last one is of the bias."""

    mean: Float64[np.ndarray, " features"]
    scaled: Float64[np.ndarray, "features coordinate"]

    @classmethod
    def measure(cls, known: Known) -> "Directions":
        """From the segments whose logits a correction shall leave."""
        mean, scale = known.mean(0, dtype=np.float64), known.std(0, dtype=np.float64)
        scale = np.where(scale > 1e-8, scale, 1.0)
        x = (known - mean) / scale
        variances, axes = np.linalg.eigh(x.T @ x / len(x))
        return cls(mean, axes / np.sqrt(np.maximum(variances, 0) + RIDGE) / scale[:, None])

    def coordinates(self, z: Z) -> Float64[np.ndarray, "segment coordinates"]:
        """Of segments."""
        return np.column_stack([(z - self.mean) @ self.scaled, np.ones(len(z))])

    def change(self, vector: Float64[np.ndarray, " coordinates"]) -> tuple[Float64[np.ndarray, " features"], float]:
        """What a correction adds to weights and bias."""
        weight = self.scaled @ vector[:-1]
        return weight, float(vector[-1] - weight @ self.mean)


@dataclass(frozen=True, slots=True)
class _Nearer:
    """How much nearer to normal segments come when marked ones are added to it (camera_normality.add_harmless).

    along, among: P-products of the segments, and of the marked ones, with the marked ones; P the precision so far.
    """

    weight: float
    segments: float
    distances: Float64[np.ndarray, " segment"]
    along: Float64[np.ndarray, "segment mark"]
    among: Float64[np.ndarray, "mark mark"]

    @classmethod
    def measure(
        cls, normality: Normality, segments: int, strength: float, z: Z, marked: Float[np.ndarray, "mark features"]
    ) -> "_Nearer":
        offset = np.sqrt(HARMLESS * strength) * (marked - normality.mean)
        pulled = offset @ normality.precision
        among = pulled @ offset.T
        distances = distance_to_normal(normality, z)
        return cls(normality.weight, segments + strength, distances, (z - normality.mean) @ pulled.T, among)

    def change(self, harmless: Rows) -> Z1:
        """Of the logits, where some of the marked segments count as harmless."""
        if not len(harmless):
            return np.zeros(len(self.distances))
        along = self.along[:, harmless]
        within = self.among[np.ix_(harmless, harmless)] + self.segments * np.eye(len(harmless))
        closer = np.einsum("th,ht->t", along, np.linalg.solve(within, along.T))
        return np.asarray(self.weight * (np.sqrt(np.maximum(self.distances**2 - closer, 0)) - self.distances))


@dataclass(frozen=True, slots=True)
class Fitted:
    """A correction: a vector of the coordinates of the marks, and the logits of all segments that it is added to."""

    vector: Float64[np.ndarray, " coordinate"]
    base: Float64[np.ndarray, " all"]


@dataclass(frozen=True, slots=True)
class Learner:
    """Marked segments, and known ones on which a correction is measured; the marked ones come first."""

    directions: Directions
    basis: Float64[np.ndarray, "coordinate coordinates"]
    rows: Float64[np.ndarray, "all coordinate"]
    base: Float64[np.ndarray, " all"]
    nearer: _Nearer | None
    anomalous: Bool[np.ndarray, " segment"]
    event: Int[np.ndarray, " segment"]

    @classmethod
    def prepare(
        cls,
        scorer: Scorer,
        segments: int,
        known: Known,
        measured: Float[np.ndarray, "measured features"],
        z: Z,
        anomalous: Bool[np.ndarray, " segment"],
        event: Int[np.ndarray, " segment"],
        shrinkage: Shrinkage = SHRINKAGE,
    ) -> "Learner":
        """scorer: of the camera so far, from so many normal segments of it; z: the marked segments."""
        directions = Directions.measure(known)
        every = np.concatenate([z, measured]).astype(np.float64)
        coordinates = directions.coordinates(every)
        basis = np.linalg.svd(coordinates[: len(z)], full_matrices=False)[2]
        nearer = None
        if scorer.normality is not None:
            nearer = _Nearer.measure(scorer.normality, segments, shrinkage.covariance, every, z)
        return cls(directions, basis, coordinates @ basis.T, logits(scorer, every), nearer, anomalous, event)

    @property
    def before(self) -> Float64[np.ndarray, " segment"]:
        """Logits of the marks without a correction."""
        return self.base[: len(self.event)]

    @property
    def known_before(self) -> Float64[np.ndarray, " measured"]:
        """Logits of the known segments without a correction."""
        return self.base[len(self.event) :]

    def learn(self, rows: Rows, weight: float) -> Fitted:
        """Correct from some of the marks: ridge logistic regression from the logits that they have."""
        base = self.base
        if self.nearer is not None:
            base = base + self.nearer.change(rows[~self.anomalous[rows]])
        if not len(rows) or weight == 0:
            return Fitted(np.zeros(self.rows.shape[1]), base)
        x, before, sign = self.rows[rows], base[rows], np.where(self.anomalous[rows], 1.0, -1.0)
        weights = weight * shares(self.event[rows])

        def loss(vector: np.ndarray) -> tuple[float, np.ndarray]:
            margin = sign * (before + x @ vector)
            slope = -weights * sign * expit(-margin)
            return float(weights @ np.logaddexp(0, -margin) + vector @ vector / 2), x.T @ slope + vector

        fitted = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B")
        return Fitted(np.asarray(fitted.x), base)

    def marks_after(self, fitted: Fitted, rows: Rows) -> Float64[np.ndarray, " _"]:
        """Logits of some marks with a correction."""
        return np.asarray(fitted.base[rows] + self.rows[rows] @ fitted.vector)

    def known_after(self, fitted: Fitted) -> Float64[np.ndarray, " measured"]:
        """Logits of the known segments with a correction."""
        marks = len(self.event)
        return np.asarray(fitted.base[marks:] + self.rows[marks:] @ fitted.vector)

    def change(self, fitted: Fitted) -> tuple[Float64[np.ndarray, " features"], float]:
        """What a correction adds to weights and bias."""
        return self.directions.change(fitted.vector @ self.basis)
