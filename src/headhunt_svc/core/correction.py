"""Corrects the scorer of a camera from operators' marks: the smallest change of known scores that the marks ask for.

The correction is linear in the features: something is added to weights and bias. How large a change is, is measured by
what it does to the logits of segments whose truth is known, so that marks move what they show and little else. False
alarms also widen what is normal for the camera (docs/adr/0020).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float64
from sklearn.metrics import roc_auc_score

from headhunt_svc.core.camera_normality import SHRINKAGE, NormalFootage, Shrinkage, add_harmless, camera_scorer
from headhunt_svc.core.labelled import Calibration, Labels, Marks, Rows
from headhunt_svc.core.mark_fit import Learner, log_loss
from headhunt_svc.types import Scorer

Z1 = Float64[np.ndarray, " segment"]
Normals = Float[np.ndarray, "normal features"]
WEIGHTS = (0.0, 0.02, 0.1, 0.5, 2.0, 8.0)  # of an event; 0: false alarms widen what is normal, nothing else
VOTING_WEIGHT = 0.1
LEAST_GAIN = 0.1  # log loss of the other events, by which they are told better without an event that is outvoted
MOST_OUTVOTED = 1 / 3  # of the events
CANDIDATES = 4  # contradicted events that are tried in a round
TOLD = 0.1  # log loss of an event: right enough; no larger weight is needed
NEAR = 0.1  # log loss of an event: as good as the best
AUC_BOUND = 0.01  # most that a weight may cost on known segments
FOLDS = 10
LEAST_OVERLOOKED = 5  # events that were marked as anomalous, fewer say nothing about the heads


@dataclass(frozen=True, slots=True)
class CameraCorrection:
    """What marks make of a camera: weight and bias in place of the fleet's, and what is normal for it.

    mark_weight: of one event, chosen by cross-validation. outvoted: events that the other marks contradict, and that
    nothing was learned from. cv: for each weight, the log loss of marks that were left out ("marks", "before" without
    any correction), also of harmless and overlooked events alone, and the AUC of known segments ("auc").
    overlooked: number of events marked as anomalous that were judged by marks of another group; outvoted ones not.
    shrinkage: how strongly the fleet counts in what is normal for it.
    """

    weight: Float64[np.ndarray, " features"]
    bias: float
    footage: NormalFootage | None
    mark_weight: float
    outvoted: tuple[int, ...]
    cv: Mapping[str, Mapping[str, float]]
    overlooked: int
    shrinkage: Shrinkage = SHRINKAGE

    @property
    def needs_other_heads(self) -> bool:
        """Are overlooked events mostly taken for normal when they are left out, whatever the weight of the others is?

        The heads do not hold what they have in common then. False with fewer than LEAST_OVERLOOKED such events.
        """
        losses = [figures["overlooked"] for figures in self.cv.values() if "overlooked" in figures]
        return bool(self.overlooked >= LEAST_OVERLOOKED and losses and min(losses) > np.log(2))


def corrected_scorer(fleet: Scorer, correction: CameraCorrection) -> Scorer:
    """The scorer of the camera that was corrected."""
    scorer = fleet if correction.footage is None else camera_scorer(fleet, correction.footage, correction.shrinkage)
    return replace(scorer, weight=correction.weight, bias=correction.bias)


def _folds(groups: Sequence[str]) -> list[tuple[Rows, Rows]]:
    """Rows to learn from and rows to measure on, no group in both; one group: nothing to learn from."""
    number = np.unique(np.asarray(groups), return_inverse=True)[1]
    fold = number % min(FOLDS, number.max() + 1)
    return [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(fold.max() + 1)]


def per_event(marks: Marks, values: Z1) -> Float64[np.ndarray, " event"]:
    """Mean over the segments of each event."""
    return np.array([values[marks.event == event].mean() for event in marks.events])


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Logits of marks from corrections that were learned without their group, and the mean AUC of known segments."""

    logits: Z1
    auc: float


def hold_out(learner: Learner, marks: Marks, rows: Rows, weight: float, known: Labels | None = None) -> HeldOut:
    """Cross-validate a weight on some rows of the marks; known: labels of the known segments, None: not measured."""
    held_out, auc = np.zeros(len(rows)), []
    groups = [marks.groups[i] for i in rows]
    for train, test in _folds(groups):
        change = learner.learn(rows[train], weight)
        held_out[test] = learner.marks_after(change, rows[test])
        if known is not None:
            auc.append(float(roc_auc_score(known, learner.known_after(change))))
    return HeldOut(held_out, float(np.mean(auc)) if auc else np.nan)


def _outvoted(learner: Learner, marks: Marks) -> tuple[int, ...]:
    """Events that the others contradict, and without which these are told better; one after the other."""
    outvoted: list[int] = []
    while len(outvoted) + 1 <= MOST_OUTVOTED * len(marks.events):
        rows = np.flatnonzero(~np.isin(marks.event, outvoted))
        kept = marks.only(rows)
        held_out = hold_out(learner, marks, rows, VOTING_WEIGHT).logits
        loss = dict(zip(kept.events, per_event(kept, log_loss(held_out, kept.anomalous)).tolist(), strict=True))
        against = per_event(kept, np.where(kept.anomalous, -held_out, held_out))
        gains = {}
        for i in np.argsort(-against, kind="stable")[:CANDIDATES].tolist():
            event = kept.events[i]
            if against[i] > 0:
                others = rows[kept.event != event]
                rest = marks.only(others)
                after = hold_out(learner, marks, others, VOTING_WEIGHT).logits
                gains[event] = sum(loss.values()) - loss[event]
                gains[event] -= float(per_event(rest, log_loss(after, rest.anomalous)).sum())
        best = max(gains, key=lambda event: gains[event], default=None)
        if best is None or gains[best] < LEAST_GAIN:
            break
        outvoted.append(best)
    return tuple(sorted(outvoted))


def _figures(marks: Marks, loss: Float64[np.ndarray, " event"], auc: float) -> dict[str, float]:
    overlooked = per_event(marks, marks.anomalous.astype(float)) > 0.5
    parts = {"harmless": loss[~overlooked], "overlooked": loss[overlooked]}
    means = {name: float(values.mean()) for name, values in parts.items() if len(values)}
    return {"marks": float(loss.mean()), **means, "auc": auc}


def _choose(learner: Learner, marks: Marks, rows: Rows, known: Labels) -> tuple[float, dict[str, dict[str, float]]]:
    """The weight of an event, and the figures of every weight.

    Of the weights that cost no more than the bound on known segments, the smallest one that tells marks that were left
    out right, or as well as the best weight does (within NEAR, or one standard error of the difference).
    """
    kept = marks.only(rows)
    auc = float(roc_auc_score(known, learner.known_before))
    before = per_event(kept, log_loss(learner.before[rows], kept.anomalous))
    cv, losses = {"before": _figures(kept, before, auc)}, {}
    for weight in WEIGHTS:
        held_out = hold_out(learner, marks, rows, weight, known)
        loss = per_event(kept, log_loss(held_out.logits, kept.anomalous))
        cv[f"{weight:g}"] = _figures(kept, loss, held_out.auc)
        if auc - held_out.auc <= AUC_BOUND or weight == 0:
            losses[weight] = loss
    best = min(losses, key=lambda weight: losses[weight].mean())
    for weight in losses:  # the smallest first
        behind = losses[weight] - losses[best]
        error = behind.std(ddof=1) / np.sqrt(len(behind)) if len(behind) > 1 else 0.0
        if losses[weight].mean() <= TOLD or behind.mean() <= max(error, NEAR):
            return weight, cv
    return best, cv


def correct_camera(
    fleet: Scorer,
    calibration: Calibration,
    marks: Marks,
    normals: Normals,
    footage: NormalFootage | None,
    validation: Calibration | None = None,
    threshold: float = 0.0,
    shrinkage: Shrinkage = SHRINKAGE,
) -> CameraCorrection:
    """Correct a camera from its marks; a mark counts as much as cross-validation over their groups says.

    normals: sampled segments of the camera that raised no alarm; like the calibration segments, they shall keep their
    logits. footage: what is normal for the camera so far; shrinkage: how strongly the fleet counts beside it.
    validation: labelled segments that the fleet's scorer was not fitted on: what a correction costs is measured on them
    where they are of both classes, else on calibration.
    threshold: logit from which the camera raises an alarm; marks shall come to lie on its right side.

    Raises:
        ValueError: there are no marks.
    """
    if not len(marks):
        raise ValueError("there are no marks to learn from")
    measured = calibration if validation is None or len(set(validation.labels.tolist())) < 2 else validation
    before = fleet if footage is None else camera_scorer(fleet, footage, shrinkage)
    known = np.concatenate([calibration.z, normals]) if len(normals) else calibration.z
    segments = 0 if footage is None else footage.segments
    at_threshold = replace(before, bias=before.bias - threshold)
    learned = measured.z, marks.z, marks.anomalous, marks.event
    learner = Learner.prepare(at_threshold, segments, known, *learned, shrinkage)
    outvoted = _outvoted(learner, marks)
    rows = np.flatnonzero(~np.isin(marks.event, outvoted))
    weight, cv = _choose(learner, marks, rows, measured.labels)
    harmless = marks.z[rows][~marks.anomalous[rows]]
    own = footage
    if fleet.normality and len(harmless):
        own = add_harmless(fleet.normality, footage, harmless, shrinkage)
    change, shift = learner.change(learner.learn(rows, weight))
    kept = marks.only(rows)
    overlooked = len(set(kept.event[kept.anomalous].tolist())) if len(set(kept.groups)) > 1 else 0
    corrected = fleet.weight + change, fleet.bias + shift
    return CameraCorrection(*corrected, own, weight, outvoted, cv, overlooked, shrinkage)
