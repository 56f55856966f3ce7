"""Decides whether what the marks of some cameras say shall change the scorer of all cameras.

It shall only if it helps cameras that it was not learned from, and if nothing else gets worse (docs/adr/0020).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64
from sklearn.metrics import roc_auc_score

from headhunt_svc.core.correction import (
    AUC_BOUND,
    CameraCorrection,
    correct_camera,
    corrected_scorer,
    per_event,
)
from headhunt_svc.core.labelled import Calibration, Marks
from headhunt_svc.core.mark_fit import log_loss
from headhunt_svc.core.scoring import logits
from headhunt_svc.types import Scorer


@dataclass(frozen=True, slots=True)
class FleetDecision:
    """correction: for all cameras, None where the common scorer stays; reasons: why it stays, () where it changes.

    marks: mean log loss of each camera's marks, before and from a correction that was learned without this camera.
    auc: of the proof segments of each kind and camera, before and after.
    """

    correction: CameraCorrection | None
    reasons: tuple[str, ...]
    marks: Mapping[str, tuple[float, float]]
    auc: Mapping[str, tuple[float, float]]


def pooled(marks: Mapping[str, Marks]) -> Marks:
    """The marks of several cameras as those of one; the cameras are the groups of cross-validation."""
    events, first = [], 0
    for own in marks.values():
        numbers = np.unique(own.event, return_inverse=True)[1]
        events.append(numbers + first)
        first += len(own.events)
    return Marks(
        np.concatenate([own.z for own in marks.values()]),
        np.concatenate([own.anomalous for own in marks.values()]),
        tuple(camera for camera, own in marks.items() for _ in range(len(own))),
        np.concatenate(events),
    )


def _groups(proof: Calibration, cameras: Mapping[str, str]) -> dict[str, Bool[np.ndarray, " segment"]]:
    """Segments of each kind with all normal ones, and of each camera; only what holds both classes."""
    kinds = sorted({kind for video in proof.videos for kind in proof.kinds.get(video, ())})
    groups = {
        kind: ~proof.labels | (proof.labels & np.array([kind in proof.kinds.get(video, ()) for video in proof.videos]))
        for kind in kinds
    }
    for camera in sorted({cameras[video] for video in proof.videos if video in cameras}):
        groups[f"camera {camera}"] = np.array([cameras.get(video) == camera for video in proof.videos])
    return {name: rows for name, rows in groups.items() if len(set(proof.labels[rows].tolist())) == 2}


def _auc(
    before: Scorer, after: Scorer, proof: Calibration, cameras: Mapping[str, str]
) -> dict[str, tuple[float, float]]:
    values = [logits(scorer, proof.z) for scorer in (before, after)]
    return {
        name: (roc_auc_score(proof.labels[rows], values[0][rows]), roc_auc_score(proof.labels[rows], values[1][rows]))
        for name, rows in _groups(proof, cameras).items()
    }


def _loss(scorer: Scorer, marks: Marks) -> float:
    values: Float64[np.ndarray, " segment"] = log_loss(logits(scorer, marks.z), marks.anomalous)
    return float(per_event(marks, values).mean())


def correct_fleet(
    fleet: Scorer,
    calibration: Calibration,
    marks: Mapping[str, Marks],
    validation: Calibration,
    proof: Calibration,
    cameras: Mapping[str, str],
    threshold: float = 0.0,
) -> FleetDecision:
    """Correct the scorer of all cameras by the marks of two or more, unless something gets worse.

    proof: labelled segments that neither the scorer nor the weight of the marks comes from; cameras: of its videos.
    threshold: as in correct_camera.
    """
    told = {camera: own for camera, own in marks.items() if len(own)}
    if len(told) < 2:
        return FleetDecision(None, (f"marks of {len(told)} cameras: two or more are needed",), {}, {})
    nothing = np.zeros((0, len(fleet.weight)))
    losses = {}
    for camera, own in told.items():
        others = pooled({name: rest for name, rest in told.items() if name != camera})
        correction = correct_camera(fleet, calibration, others, nothing, None, validation, threshold)
        losses[camera] = _loss(fleet, own), _loss(corrected_scorer(fleet, correction), own)
    correction = correct_camera(fleet, calibration, pooled(told), nothing, None, validation, threshold)
    auc = _auc(fleet, corrected_scorer(fleet, correction), proof, cameras)
    reasons = [
        f"the marks of {camera} are told no better by the marks of the others"
        for camera, (before, after) in losses.items()
        if after >= before
    ]
    reasons += [
        f"{name}: AUC {before:.3f} -> {after:.3f}"
        for name, (before, after) in auc.items()
        if before - after > AUC_BOUND
    ]
    return FleetDecision(None if reasons else correction, tuple(reasons), losses, auc)
