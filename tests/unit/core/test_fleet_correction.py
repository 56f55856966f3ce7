"""Marks reach the common scorer only where they help other cameras and nothing gets worse."""

import numpy as np
import pytest

from headhunt_svc.core.correction import corrected_scorer
from headhunt_svc.core.fitting import fit_scorer
from headhunt_svc.core.fleet_correction import correct_fleet, pooled
from headhunt_svc.core.labelled import Calibration, Marks
from headhunt_svc.core.scoring import logits
from headhunt_svc.params import FitParams
from headhunt_svc.types import HeadRef, Scorer

FEATURES = 8
STEP = np.eye(FEATURES)
KIND, HARMLESS = 5.0 * STEP[0], 6.0 * STEP[1]


def labelled(seed: int) -> Calibration:
    rng = np.random.default_rng(seed)
    normal, kind = rng.normal(size=(200, FEATURES)), rng.normal(size=(60, FEATURES)) + KIND
    videos = [f"normal {i // 20}" for i in range(200)] + [f"kind {i // 6}" for i in range(60)]
    kinds = {video: ("kind",) for video in videos if video.startswith("kind")}
    return Calibration(np.concatenate([normal, kind]), np.arange(260) >= 200, videos, kinds)


@pytest.fixture(scope="module")
def fleet() -> Scorer:
    data, heads, params = labelled(0), (HeadRef(0, 0),), FitParams(grid=(0.1,), scorer="normality")
    return fit_scorer(data.z, data.labels, data.videos, heads, params, data.kinds).scorer


def marks_at(place: np.ndarray, anomalous: bool, seed: int) -> Marks:
    z = 0.3 * np.random.default_rng(seed).normal(size=(6, FEATURES)) + place
    return Marks(z, np.full(6, anomalous), tuple(f"day {i // 2}" for i in range(6)), np.arange(6) // 2)


CAMERAS = {f"normal {i}": "yard" for i in range(10)} | {f"kind {i}": "yard" for i in range(10)}


def test_what_is_harmless_on_all_cameras_becomes_so_for_the_fleet(fleet: Scorer) -> None:
    marks = {name: marks_at(HARMLESS, False, seed) for seed, name in enumerate(("yard", "gate", "hall"))}
    decision = correct_fleet(fleet, labelled(0), marks, labelled(1), labelled(2), CAMERAS)
    assert decision.correction is not None
    assert decision.reasons == ()
    assert all(after < before for before, after in decision.marks.values())
    unseen = marks_at(HARMLESS, False, 9).z
    assert logits(fleet, unseen).min() > 0 > logits(corrected_scorer(fleet, decision.correction), unseen).max()
    assert set(decision.auc) == {"kind", "camera yard"}


def test_a_known_kind_that_gets_worse_keeps_the_common_scorer(fleet: Scorer) -> None:
    marks = {name: marks_at(HARMLESS, False, seed) for seed, name in enumerate(("yard", "gate"))}
    proof = labelled(2)
    hidden = Calibration(np.where(proof.labels[:, None], proof.z - KIND + HARMLESS, proof.z), *_rest(proof))
    decision = correct_fleet(fleet, labelled(0), marks, labelled(1), hidden, CAMERAS)
    assert decision.correction is None
    assert [reason.split(":")[0] for reason in decision.reasons] == ["kind", "camera yard"]


def _rest(data: Calibration) -> tuple:
    return data.labels, data.videos, data.kinds


def test_marks_that_contradict_each_other_keep_the_common_scorer(fleet: Scorer) -> None:
    marks = {"yard": marks_at(HARMLESS, False, 0), "gate": marks_at(HARMLESS, True, 1)}
    decision = correct_fleet(fleet, labelled(0), marks, labelled(1), labelled(2), CAMERAS)
    assert decision.correction is None
    assert "the marks of gate are told no better by the marks of the others" in decision.reasons


def test_marks_of_one_camera_stay_with_it(fleet: Scorer) -> None:
    data = labelled(0)
    decision = correct_fleet(fleet, data, {"yard": marks_at(HARMLESS, False, 0)}, data, data, {})
    assert decision.correction is None
    assert decision.reasons == ("marks of 1 cameras: two or more are needed",)


def test_events_of_cameras_stay_apart() -> None:
    both = pooled({"yard": marks_at(HARMLESS, False, 0), "gate": marks_at(KIND, True, 1)})
    assert both.events == [0, 1, 2, 3, 4, 5]
    assert both.groups == ("yard",) * 6 + ("gate",) * 6
    assert both.anomalous.tolist() == [False] * 6 + [True] * 6
