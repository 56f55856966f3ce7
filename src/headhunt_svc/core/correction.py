"""Corrects the scorer of one camera from operators' marks: the smallest change of known scores that the marks ask for.

The correction is linear in the features: a vector is added to the weights, a number to the bias. Its size is measured
by how much it moves the logits of segments whose truth is known (calibration, and the camera's sampled normal ones), so
that marks move what they show and little else. False alarms also count to the spread of what is normal for the camera.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from scipy.optimize import minimize
from scipy.special import expit

from headhunt_svc.core.camera_normality import NormalFootage, camera_scorer
from headhunt_svc.core.folds import Labels, Rows
from headhunt_svc.core.scoring import logits
from headhunt_svc.params import FitParams
from headhunt_svc.types import Scorer

Z = Float[np.ndarray, "segment features"]
Z1 = Float64[np.ndarray, " segment"]
Normals = Float[np.ndarray, "normal features"]
Alarms = Float[np.ndarray, "alarm features"]
WEIGHTS = (0.5, 2.0, 8.0, 32.0)  # of a mark, against the mean over known segments
RIDGE = 0.1  # share of the mean variance that every direction of the features has at least
MOST_FOLDS = 10
CONTRADICTED = 0.7  # probability of the opposite with which the other marks outvote an event


@dataclass(frozen=True, slots=True)
class Calibration:
    """The segments that the detector was fitted on: features, labels, videos, and the kinds of anomaly of a video."""

    z: Z
    labels: Labels
    videos: Sequence[str]
    kinds: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Marks:
    """Marked segments of one camera, one a row.

    groups: what is left out together in cross-validation (video and day of the event). event: number of the event that
    the segment belongs to.
    """

    z: Z
    anomalous: Bool[np.ndarray, " segment"]
    groups: tuple[str, ...]
    event: Int[np.ndarray, " segment"]

    def __post_init__(self) -> None:
        if not len(self.z) == len(self.anomalous) == len(self.groups) == len(self.event):
            raise ValueError(
                f"{len(self.z)} marked segments, {len(self.anomalous)} labels, {len(self.groups)} groups and "
                f"{len(self.event)} numbers of events"
            )

    def __len__(self) -> int:
        return len(self.z)

    def only(self, rows: Rows) -> "Marks":
        """Some of the segments."""
        return Marks(self.z[rows], self.anomalous[rows], tuple(self.groups[i] for i in rows), self.event[rows])


@dataclass(frozen=True, slots=True)
class CameraCorrection:
    """What marks make of a camera: weight and bias in place of the fleet's, and what is normal for it.

    mark_weight: of one mark, chosen by cross-validation. outvoted: events that the other marks contradict.
    cv: log loss of marks that were left out, and of calibration segments, for each choice; "before" is without marks.
    """

    weight: Float64[np.ndarray, " features"]
    bias: float
    footage: NormalFootage | None
    mark_weight: float
    outvoted: tuple[int, ...]
    cv: Mapping[str, Mapping[str, float]]


def corrected_scorer(fleet: Scorer, correction: CameraCorrection) -> Scorer:
    """The scorer of the camera that was corrected."""
    scorer = fleet if correction.footage is None else camera_scorer(fleet, correction.footage)
    return replace(scorer, weight=correction.weight, bias=correction.bias)


def add_false_alarms(
    fleet: Scorer, footage: NormalFootage | None, normals: Normals, alarms: Alarms
) -> NormalFootage | None:
    """Normal footage of a camera, with sampled normal segments; false alarms count to its spread, not to its mean.

    A handful of false alarms are far from all that is normal: as part of the mean they would make the rest strange.
    None: the scorer has no distance to normal, or there are no such segments.
    """
    if fleet.normality is None or not (len(normals) or len(alarms)):
        return footage
    parts: list[Float64[np.ndarray, "_ features"]] = []
    segments, mean = 0, fleet.normality.mean
    if footage is not None:
        segments, mean = footage.segments, footage.mean.astype(np.float64)
        parts.append(footage.factor.astype(np.float64))
    if len(normals):
        sampled = normals.mean(0, dtype=np.float64)
        parts.append(normals - sampled)
        if segments:
            parts.append(np.sqrt(segments * len(normals) / (segments + len(normals))) * (sampled - mean)[None])
        mean = (segments * mean + len(normals) * sampled) / (segments + len(normals))
        segments += len(normals)
    parts.append(alarms - mean)
    segments += len(alarms)
    singular, axes = np.linalg.svd(np.concatenate(parts), full_matrices=False)[1:]
    factor = (singular[:, None] * axes)[:segments]
    typical = footage.typical if footage is not None else None
    return NormalFootage(segments, mean.astype(np.float32), factor.astype(np.float32), typical)


class _Known:
    """Segments whose truth is known, as a measure of a change: the mean square of what it does to their logits."""

    def __init__(self, z: Z) -> None:
        self._mean, scale = z.mean(0, dtype=np.float64), z.std(0, dtype=np.float64)
        self._scale = np.where(scale > 1e-8, scale, 1.0)
        x = (z - self._mean) / self._scale
        variances, self._axes = np.linalg.eigh(x.T @ x / len(x))
        self._root = 1 / np.sqrt(np.maximum(variances, 0) + RIDGE)

    def coordinates(self, z: Z) -> Float64[np.ndarray, "segment coordinate"]:
        """Of segments, such that a change's size is the length of its vector; the last one is the bias."""
        along = ((z - self._mean) / self._scale) @ self._axes * self._root
        return np.column_stack([along, np.ones(len(z))])

    def change(self, vector: Float64[np.ndarray, " coordinate"]) -> tuple[Float64[np.ndarray, " features"], float]:
        """What a vector adds to weight and bias."""
        weight = self._axes @ (self._root * vector[:-1]) / self._scale
        return weight, float(vector[-1] - weight @ self._mean)


def _learn(
    x: Float64[np.ndarray, "segment coordinate"], before: Z1, anomalous: Labels, weights: Z1
) -> Float64[np.ndarray, " coordinate"]:
    """The shortest vector that turns the logits of marks towards what they say: ridge logistic regression from them.

    It lies in the span of the marks, of which there are fewer than coordinates.
    """
    u, s, axes = np.linalg.svd(x, full_matrices=False)
    rows, sign = u * s, np.where(anomalous, 1.0, -1.0)

    def loss(vector: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (before + rows @ vector)
        slope = -weights * sign * expit(-margin)
        value = float(weights @ np.logaddexp(0, -margin) + vector @ vector / 2)
        return value, rows.T @ slope + vector

    return np.asarray(minimize(loss, np.zeros(rows.shape[1]), jac=True, method="L-BFGS-B").x @ axes)


def _log_loss(logit: Z1, anomalous: Labels) -> Z1:
    return np.asarray(np.logaddexp(0, np.where(anomalous, -logit, logit)))


def _balanced(values: Z1, labels: Labels) -> float:
    return float(np.mean([values[labels == c].mean() for c in (False, True)]))


def _shares(marks: Marks, weight: float) -> Z1:
    """Weight of each marked segment: an event counts once, however many segments it has."""
    _, number, counts = np.unique(marks.event, return_inverse=True, return_counts=True)
    return np.asarray(weight / counts[number])


def _folds(groups: Sequence[str]) -> Iterable[tuple[Rows, Rows]]:
    """Rows to learn from and rows to measure on, no group in both."""
    number = np.unique(np.asarray(groups), return_inverse=True)[1]
    fold = number % min(MOST_FOLDS, number.max() + 1)
    for i in range(fold.max() + 1):
        yield np.flatnonzero(fold != i), np.flatnonzero(fold == i)


def _weigh(
    known: _Known, calibration: Calibration, marks: Marks, scorer: Scorer, weight: float
) -> tuple[Z1, dict[str, float]]:
    """Logits of marks from corrections that were learned without their group, and the figures of these corrections."""
    x, before = known.coordinates(marks.z), logits(scorer, marks.z)
    x_known, before_known = known.coordinates(calibration.z), logits(scorer, calibration.z)
    held_out, of_known = before.copy(), []
    for train, test in _folds(marks.groups):
        shares = _shares(marks.only(train), weight)
        vector = _learn(x[train], before[train], marks.anomalous[train], shares) if len(train) else np.zeros(x.shape[1])
        held_out[test] = before[test] + x[test] @ vector
        loss = _log_loss(before_known + x_known @ vector, calibration.labels)
        of_known.append(_balanced(loss, calibration.labels))
    loss = _log_loss(held_out, marks.anomalous)
    return held_out, {
        "marks": float(_shares(marks, 1) @ loss / len(set(marks.event.tolist()))),
        "calibration": float(np.mean(of_known)),
    }


def correct_camera(
    fleet: Scorer,
    calibration: Calibration,
    marks: Marks,
    normals: Normals,
    footage: NormalFootage | None,
    params: FitParams,
) -> CameraCorrection:
    """Correct a camera from its marks; weights of marks are chosen by cross-validation over their groups.

    normals: sampled segments of the camera that nobody took for anomalous. footage: what is normal for it so far.

    Raises:
        ValueError: there are no marks.
    """
    if not len(marks):
        raise ValueError("there are no marks to learn from")
    before = fleet if footage is None else camera_scorer(fleet, footage)
    known = _Known(np.concatenate([calibration.z, normals]) if len(normals) else calibration.z)
    cv, held_out = {}, {}
    for weight in (0.0, *WEIGHTS):
        held_out[weight], cv[f"{weight:g}"] = _weigh(known, calibration, marks, before, weight)
    best = min(held_out, key=lambda weight: sum(cv[f"{weight:g}"].values()))
    against = np.where(marks.anomalous, -1.0, 1.0) * held_out[best]
    outvoted = tuple(
        event
        for event in sorted(set(marks.event.tolist()))
        if best and expit(against[marks.event == event].mean()) > CONTRADICTED
    )
    kept = marks.only(np.flatnonzero(~np.isin(marks.event, outvoted)))
    if not len(kept) or not best:
        return CameraCorrection(fleet.weight, fleet.bias, footage, best, outvoted, cv)
    own = add_false_alarms(fleet, footage, normals, kept.z[~kept.anomalous])
    after = fleet if own is None else camera_scorer(fleet, own)
    vector = _learn(known.coordinates(kept.z), logits(after, kept.z), kept.anomalous, _shares(kept, best))
    change, shift = known.change(vector)
    return CameraCorrection(fleet.weight + change, fleet.bias + shift, own, best, outvoted, cv)
