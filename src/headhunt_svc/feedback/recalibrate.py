"""Marks of events -> a bundle in which each marked camera has a correction of its own, with its proof. Runs no model.

All other cameras keep their files and scores to the bit, and so does the scorer that cameras share. A correction is
always learnt from the bundle's scorer and all marks that count, never from an earlier correction: without its mark an
event has no effect any more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import logit

from headhunt_svc.core.correction import CameraCorrection, correct_camera
from headhunt_svc.core.labelled import Calibration
from headhunt_svc.detector.bundle import Bundle, StoredPoint, load_bundle, load_golden, save_bundle
from headhunt_svc.detector.cameras import (
    CameraParts,
    Margin,
    load_camera,
    remove_other_cameras,
    save_camera,
)
from headhunt_svc.errors import ConfigError
from headhunt_svc.events.store import EventStore
from headhunt_svc.feedback.marks import (
    AllMarks,
    Marked,
    MarkQuery,
    as_arrays,
    known_detectors,
    normals_of,
    read_marks,
    save_marks,
)
from headhunt_svc.feedback.project import Project
from headhunt_svc.params import Params
from headhunt_svc.pipeline.changes import check_unchanged
from headhunt_svc.types import Scorer

LEAST_THRESHOLD = 1e-6  # a threshold of 0 or 1 has no logit
AS_BEFORE_MARKS = "; calibrated for the scores before marks: `headhunt bundle conform --again` renews the promise"


@dataclass(frozen=True, slots=True)
class Learner:
    """Learns the correction of a camera: the scorer that all cameras share, and the segments that it comes from.

    threshold: of the bundle's default operating point; marked segments shall come to lie on its right side.
    """

    fleet: Scorer
    calibration: Calibration
    validation: Calibration
    threshold: float

    def correct(self, unmarked: CameraParts | None, marks: tuple[Marked, ...]) -> CameraCorrection:
        """From some marks of one camera. unmarked: what it has of its own without marks."""
        parts = CameraParts(None) if unmarked is None else unmarked
        normals = normals_of(marks, len(self.fleet.weight))
        limit = float(logit(np.clip(self.threshold, LEAST_THRESHOLD, 1 - LEAST_THRESHOLD)))
        learned = self.fleet, self.calibration, as_arrays(marks)
        return correct_camera(*learned, normals, parts.footage, self.validation, limit, parts.shrinkage)


def corrected_parts(
    fleet: Scorer, unmarked: CameraParts | None, correction: CameraCorrection, marks: int
) -> CameraParts | None:
    """What a camera has of its own with a correction; as without marks where nothing was learnt from them."""
    conformed = None if unmarked is None else unmarked.footage
    same_weights = correction.bias == fleet.bias and np.array_equal(correction.weight, fleet.weight)
    if same_weights and correction.footage is conformed:
        return unmarked
    margin = Margin(correction.weight, correction.bias, marks)
    return CameraParts(correction.footage, correction.shrinkage, margin, conformed)


@dataclass(frozen=True, slots=True)
class Recalibrated:
    """A new bundle in memory, beside the one that it comes from.

    unmarked, before, after: what cameras have of their own without any mark, in the bundle before, and now.
    """

    old: Bundle
    new: Bundle
    fleet: Scorer
    marks: AllMarks
    learner: Learner
    corrections: Mapping[str, CameraCorrection]
    unmarked: Mapping[str, CameraParts | None]
    before: Mapping[str, CameraParts]
    after: Mapping[str, CameraParts]

    @property
    def changed(self) -> tuple[str, ...]:
        """Cameras whose scorer is another one than in the bundle before."""
        names = sorted({*self.before, *self.after})
        return tuple(name for name in names if (self.old.cameras or {}).get(name) != (self.new.cameras or {}).get(name))

    @property
    def outvoted(self) -> tuple[str, ...]:
        """Events whose marks the other marks of their camera contradict."""
        return tuple(
            self.marks.cameras[camera][i].event.event_id
            for camera, correction in self.corrections.items()
            for i in correction.outvoted
        )


def recalibrate_from_events(
    params: Params,
    store: EventStore,
    project: Project,
    bundle: Path,
    out: Path,
    query: MarkQuery,
    used: tuple[Path, ...] = (),
) -> Recalibrated:
    """Learn from the marks, and write the bundle and marks.json to `out`.

    used: folders of bundles that were in use, whose events' features count where they are of the same heads.

    Raises:
        ConfigError: no mark can be used, or the scorer is relative to a background, which events do not keep.
        ArtifactError: the project's features are not here, or another process has changed the bundle meanwhile.
    """
    if out.resolve() == bundle.resolve():
        raise ConfigError(f"{out} is the bundle that is to be corrected: choose another folder for the new one")
    old, fleet = load_bundle(bundle)
    if fleet.background is not None:
        raise ConfigError(
            f"fit.background: {fleet.background}: scores of this detector are relative to the rest of their video, of "
            "which events keep no features; marks can be learnt from with fit.background: none (`dvc repro`)"
        )
    before = {name: load_camera(bundle, name, camera) for name, camera in (old.cameras or {}).items()}
    marks = read_marks(store, old, query, known_detectors(old, used))
    chosen = _chosen(marks, before, query)
    learner = Learner(fleet, *project.labelled(params, old), old.operating_point(old.default_point).threshold)
    unmarked = {name: before[name].unmarked if name in before else None for name in chosen}
    corrections = {name: learner.correct(unmarked[name], of_camera) for name, of_camera in marks.cameras.items()}
    after = dict(before)
    for name in chosen:
        parts = unmarked[name]
        if name in corrections:
            parts = corrected_parts(fleet, parts, corrections[name], len(marks.cameras[name]))
        after.pop(name, None)
        if parts is not None:
            after[name] = parts
    new = _written(bundle, out, old, fleet, after, marks, corrections)
    result = Recalibrated(old, new, fleet, marks, learner, corrections, unmarked, before, after)
    save_marks(out, marks.file(result.outvoted))
    return result


def _chosen(marks: AllMarks, before: Mapping[str, CameraParts], query: MarkQuery) -> tuple[str, ...]:
    """The cameras to look at: those with marks, and those that had some.

    Raises:
        ConfigError: there are none.
    """
    corrected = {name for name, parts in before.items() if parts.margin is not None}
    cameras = {*marks.cameras, *(corrected & set(query.cameras) if query.cameras else corrected)}
    if cameras and set(query.cameras) <= cameras:
        return tuple(sorted(cameras))
    reasons = "; ".join(f"{len(events)}: {reason}" for reason, events in marks.left_out.items())
    missing = ", ".join(sorted(set(query.cameras) - cameras))
    raise ConfigError(
        f"no marked event{f' of {missing}' if missing else ''} can be learnt from "
        f"({reasons or 'none is marked as a false alarm or confirmed'}): mark events in the console or with `headhunt "
        "events mark`"
    )


def _written(
    bundle: Path,
    out: Path,
    old: Bundle,
    fleet: Scorer,
    after: Mapping[str, CameraParts],
    marks: AllMarks,
    corrections: Mapping[str, CameraCorrection],
) -> Bundle:
    check_unchanged(bundle, old)
    cameras = {name: save_camera(out, name, parts) for name, parts in after.items()}
    step = {
        "from": old.detector_id,
        "marks_sha256": marks.file().digest,
        "marks": marks.count,
        "cameras": sorted(corrections),
    }
    update: dict[str, Any] = {
        "cameras": cameras or None,
        "operating_points": {name: _point(point, after.get(name)) for name, point in old.operating_points.items()},
        "data": {**old.data, "recalibrated": [*old.data.get("recalibrated", []), step]},
        "package_version": version("headhunt-svc"),
    }
    new = old.relocated(bundle, out).model_copy(update=update)
    save_bundle(out, new, fleet, load_golden(bundle))
    remove_other_cameras(out, cameras)
    return new


def _point(point: StoredPoint, camera: CameraParts | None) -> StoredPoint:
    """An operating point; one of a camera of its name says whether its promise is of the scores before marks."""
    marked = camera is not None and camera.margin is not None

    def renamed(one: StoredPoint) -> StoredPoint:
        rule = (one.rule or "").removesuffix(AS_BEFORE_MARKS) + (AS_BEFORE_MARKS if marked else "")
        return one.model_copy(update={"rule": rule or None})

    causal = None if point.causal is None else renamed(point.causal)
    return renamed(point).model_copy(update={"causal": causal})
