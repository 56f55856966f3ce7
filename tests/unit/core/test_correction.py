"""A camera's correction from marks, on features whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from headhunt_svc.core.camera_normality import NormalFootage, camera_scorer
from headhunt_svc.core.correction import Calibration, Marks, add_false_alarms, correct_camera, corrected_scorer
from headhunt_svc.core.fitting import fit_scorer
from headhunt_svc.core.scoring import distance_to_normal, logits
from headhunt_svc.params import FitParams
from headhunt_svc.types import HeadRef, Scorer

FEATURES = 12
PARAMS = FitParams(grid=(0.01, 0.1, 1.0))
NONE = np.zeros((0, FEATURES))
HARMLESS = np.r_[0.0, 5.0, 5.0, np.zeros(FEATURES - 3)]  # strange, and on the anomalous side of the first feature


def draw(rng: np.random.Generator, count: int, offset: np.ndarray) -> np.ndarray:
    return rng.normal(size=(count, FEATURES)) + offset


def world(seed: int = 0) -> tuple[Scorer, Calibration]:
    """A fleet that was fitted on normal segments and on two kinds, which differ from them in two features."""
    rng = np.random.default_rng(seed)
    kinds = {"a": 4.0 * np.eye(FEATURES)[0], "b": 3.0 * np.eye(FEATURES)[0] + 3.0 * np.eye(FEATURES)[1]}
    z, labels, videos, of_video = [], [], [], {}
    for i in range(12):
        z.append(draw(rng, 20, np.zeros(FEATURES)))
        videos += [f"normal {i}"] * 20
        labels += [False] * 20
    for kind, offset in kinds.items():
        for i in range(6):
            z.append(draw(rng, 10, offset))
            videos += [f"{kind} {i}"] * 10
            labels += [True] * 10
            of_video[f"{kind} {i}"] = (kind,)
    calibration = Calibration(np.concatenate(z), np.array(labels), videos, of_video)
    heads = (HeadRef(0, 0),)
    fitted = fit_scorer(calibration.z, calibration.labels, calibration.videos, heads, PARAMS, calibration.kinds)
    return fitted.scorer, calibration


def marks_of(z: np.ndarray, anomalous: bool | np.ndarray, per_event: int = 2) -> Marks:
    event = np.arange(len(z)) // per_event
    return Marks(z, np.broadcast_to(anomalous, len(z)).copy(), tuple(f"day {e}" for e in event), event)


def test_marked_false_alarms_quieten_unseen_segments_like_them_and_leave_known_kinds() -> None:
    fleet, calibration = world()
    rng = np.random.default_rng(1)
    unseen = draw(rng, 200, HARMLESS)
    correction = correct_camera(fleet, calibration, marks_of(draw(rng, 10, HARMLESS), False), NONE, None, PARAMS)
    scorer = corrected_scorer(fleet, correction)
    assert (logits(fleet, unseen) > 0).mean() > 0.9
    assert (logits(scorer, unseen) > 0).mean() < 0.1
    anomalous = calibration.z[calibration.labels]
    assert (logits(scorer, anomalous) > 0).mean() > (logits(fleet, anomalous) > 0).mean() - 0.05
    assert correction.mark_weight > 0
    assert not correction.outvoted


def test_a_kind_that_was_overlooked_is_found_once_it_is_marked() -> None:
    fleet, calibration = world()
    fleet = replace(fleet, normality=None)
    rng = np.random.default_rng(2)
    overlooked = -3.0 * np.eye(FEATURES)[4]
    unseen = draw(rng, 200, overlooked)
    correction = correct_camera(fleet, calibration, marks_of(draw(rng, 20, overlooked), True), NONE, None, PARAMS)
    assert (logits(fleet, unseen) > 0).mean() < 0.2
    assert (logits(corrected_scorer(fleet, correction), unseen) > 0).mean() > 0.7
    assert correction.footage is None


def test_a_wrong_mark_is_outvoted_and_costs_little() -> None:
    fleet, calibration = world()
    rng = np.random.default_rng(3)
    z = 0.3 * draw(rng, 20, np.zeros(FEATURES)) + HARMLESS
    wrong = np.arange(20) // 2 == 4
    correction = correct_camera(fleet, calibration, marks_of(z, wrong), NONE, None, PARAMS)
    assert correction.outvoted == (4,)
    unseen = logits(corrected_scorer(fleet, correction), 0.3 * draw(rng, 200, np.zeros(FEATURES)) + HARMLESS)
    right = marks_of(z, False).only(np.flatnonzero(~wrong))
    without = correct_camera(fleet, calibration, right, NONE, None, PARAMS)
    assert not without.outvoted
    assert (unseen > 0).mean() < 0.1


def test_marks_that_agree_with_the_fleet_change_little() -> None:
    fleet, calibration = world()
    z = draw(np.random.default_rng(4), 10, 4.0 * np.eye(FEATURES)[0])
    correction = correct_camera(fleet, calibration, marks_of(z, True), NONE, None, PARAMS)
    scorer, labels = corrected_scorer(fleet, correction), calibration.labels
    for rows in (calibration.z[labels], calibration.z[~labels]):
        alarms = [(logits(each, rows) > 0).mean() for each in (fleet, scorer)]
        assert abs(alarms[0] - alarms[1]) < 0.05


def test_false_alarms_widen_what_is_normal_and_leave_its_mean() -> None:
    fleet, _ = world()
    assert fleet.normality is not None
    rng = np.random.default_rng(5)
    normals, alarms = draw(rng, 30, np.zeros(FEATURES)), draw(rng, 5, HARMLESS)
    sampled = NormalFootage.measure(normals)
    own = add_false_alarms(fleet, sampled, NONE, alarms)
    assert own is not None
    assert_allclose(own.mean, sampled.mean, atol=1e-6)
    assert own.segments == 35
    scatter = (normals - normals.mean(0)).T @ (normals - normals.mean(0))
    scatter += (alarms - normals.mean(0)).T @ (alarms - normals.mean(0))
    assert_allclose(own.factor.T @ own.factor, scatter, rtol=1e-3, atol=1e-3)
    unseen = draw(rng, 50, HARMLESS)
    before, after = (camera_scorer(fleet, footage).normality for footage in (sampled, own))
    assert before is not None
    assert after is not None
    assert distance_to_normal(after, unseen).mean() < 0.7 * distance_to_normal(before, unseen).mean()


def test_footage_and_sampled_normals_together_are_the_footage_of_both() -> None:
    fleet, _ = world()
    z = draw(np.random.default_rng(6), 40, np.ones(FEATURES))
    both = add_false_alarms(fleet, NormalFootage.measure(z[:25]), z[25:], NONE)
    whole = NormalFootage.measure(z)
    assert both is not None
    assert both.segments == 40
    assert_allclose(both.mean, whole.mean, atol=1e-5)
    assert_allclose(both.factor.T @ both.factor, whole.factor.T @ whole.factor, atol=1e-3)


def test_without_marks_there_is_nothing_to_learn_from() -> None:
    fleet, calibration = world()
    with pytest.raises(ValueError, match="no marks"):
        correct_camera(fleet, calibration, marks_of(NONE, False), NONE, None, PARAMS)


def test_marks_are_as_many_as_their_labels() -> None:
    with pytest.raises(ValueError, match="2 marked segments, 2 labels, 1 groups"):
        Marks(np.zeros((2, 3)), np.array([True, False]), ("a",), np.array([0, 1]))
