"""A camera's correction from marks, on features whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from headhunt_svc.core.camera_normality import SHRINKAGE, NormalFootage, Shrinkage, camera_scorer
from headhunt_svc.core.correction import AUC_BOUND, correct_camera, corrected_scorer
from headhunt_svc.core.fitting import fit_scorer
from headhunt_svc.core.labelled import Calibration, Marks
from headhunt_svc.core.mark_fit import Learner
from headhunt_svc.core.scoring import logits
from headhunt_svc.params import FitParams
from headhunt_svc.types import HeadRef, Scorer

FEATURES = 12
PARAMS = FitParams(grid=(0.01, 0.1, 1.0))
NONE = np.zeros((0, FEATURES))
HARMLESS = np.r_[0.0, 5.0, 5.0, np.zeros(FEATURES - 3)]  # strange, and on the anomalous side of the first feature


def draw(rng: np.random.Generator, count: int, offset: np.ndarray) -> np.ndarray:
    return rng.normal(size=(count, FEATURES)) + offset


def world(seed: int = 0, params: FitParams = PARAMS) -> tuple[Scorer, Calibration]:
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
    fitted = fit_scorer(calibration.z, calibration.labels, calibration.videos, heads, params, calibration.kinds)
    return fitted.scorer, calibration


def marks_of(z: np.ndarray, anomalous: bool | np.ndarray, per_event: int = 2) -> Marks:
    event = np.arange(len(z)) // per_event
    return Marks(z, np.broadcast_to(anomalous, len(z)).copy(), tuple(f"day {e}" for e in event), event)


def test_marked_false_alarms_quieten_unseen_segments_like_them_and_leave_known_kinds() -> None:
    fleet, calibration = world()
    rng = np.random.default_rng(1)
    unseen = draw(rng, 200, HARMLESS)
    correction = correct_camera(fleet, calibration, marks_of(draw(rng, 10, HARMLESS), False), NONE, None)
    scorer = corrected_scorer(fleet, correction)
    assert (logits(fleet, unseen) > 0).mean() > 0.9
    assert (logits(scorer, unseen) > 0).mean() < 0.15
    anomalous = calibration.z[calibration.labels]
    assert (logits(scorer, anomalous) > 0).mean() > (logits(fleet, anomalous) > 0).mean() - 0.1
    assert correction.mark_weight > 0
    assert not correction.outvoted


def test_a_kind_that_was_overlooked_is_found_once_it_is_marked() -> None:
    fleet, calibration = world(params=PARAMS.model_copy(update={"scorer": "logistic"}))
    rng = np.random.default_rng(2)
    overlooked = -6.0 * np.eye(FEATURES)[4]
    unseen = draw(rng, 200, overlooked)
    correction = correct_camera(fleet, calibration, marks_of(draw(rng, 20, overlooked), True), NONE, None)
    assert (logits(fleet, unseen) > 0).mean() < 0.2
    assert (logits(corrected_scorer(fleet, correction), unseen) > 0).mean() > 0.7
    assert correction.footage is None


def test_a_wrong_mark_is_outvoted_and_costs_little() -> None:
    fleet, calibration = world()
    rng = np.random.default_rng(3)
    z = 0.3 * draw(rng, 20, np.zeros(FEATURES)) + HARMLESS
    wrong = np.arange(20) // 2 == 4
    correction = correct_camera(fleet, calibration, marks_of(z, wrong), NONE, None)
    assert correction.outvoted == (4,)
    unseen = logits(corrected_scorer(fleet, correction), 0.3 * draw(rng, 200, np.zeros(FEATURES)) + HARMLESS)
    right = marks_of(z, False).only(np.flatnonzero(~wrong))
    without = correct_camera(fleet, calibration, right, NONE, None)
    assert not without.outvoted
    assert (unseen > 0).mean() < 0.1


def test_marks_that_agree_with_the_fleet_change_little() -> None:
    fleet, calibration = world()
    z = draw(np.random.default_rng(4), 10, 4.0 * np.eye(FEATURES)[0])
    correction = correct_camera(fleet, calibration, marks_of(z, True), NONE, None)
    scorer, labels = corrected_scorer(fleet, correction), calibration.labels
    for rows in (calibration.z[labels], calibration.z[~labels]):
        alarms = [(logits(each, rows) > 0).mean() for each in (fleet, scorer)]
        assert abs(alarms[0] - alarms[1]) < 0.05


def test_what_was_learned_is_what_the_corrected_scorer_says() -> None:
    fleet, calibration = world()
    rng = np.random.default_rng(7)
    z = np.concatenate([draw(rng, 6, HARMLESS), draw(rng, 4, -5.0 * np.eye(FEATURES)[5])])
    marks = marks_of(z, np.arange(10) >= 6)
    footage = NormalFootage.measure(draw(rng, 30, 0.5 * np.ones(FEATURES)))
    for own, shrinkage in ((None, SHRINKAGE), (footage, SHRINKAGE), (footage, Shrinkage(2, 30))):
        before = fleet if own is None else camera_scorer(fleet, own, shrinkage)
        segments = 0 if own is None else own.segments
        known = calibration.z
        learned = known, z, marks.anomalous, marks.event
        learner = Learner.prepare(before, segments, known, *learned, shrinkage)
        correction = correct_camera(fleet, calibration, marks, NONE, own, shrinkage=shrinkage)
        fitted = learner.learn(np.arange(10), correction.mark_weight)
        scorer = corrected_scorer(fleet, correction)
        assert correction.mark_weight > 0
        assert not correction.outvoted
        assert_allclose(learner.marks_after(fitted, np.arange(10)), logits(scorer, z), rtol=1e-3, atol=1e-3)
        assert_allclose(learner.known_after(fitted), logits(scorer, known), rtol=1e-3, atol=1e-3)


def test_what_a_correction_costs_is_measured_on_validation_segments_of_both_classes() -> None:
    fleet, calibration = world()
    rng = np.random.default_rng(8)
    marks = marks_of(draw(rng, 10, HARMLESS), False)
    z = np.concatenate([draw(rng, 20, np.zeros(FEATURES)), draw(rng, 20, HARMLESS)])
    videos = [f"video {i}" for i in range(40)]
    validation = Calibration(z, np.arange(40) >= 20, videos, {})
    bounded = correct_camera(fleet, calibration, marks, NONE, None, validation)
    free = correct_camera(fleet, calibration, marks, NONE, None, replace(validation, labels=np.zeros(40, bool)))
    assert bounded.mark_weight < free.mark_weight
    assert bounded.cv["before"]["auc"] - bounded.cv[f"{free.mark_weight:g}"]["auc"] > AUC_BOUND
    assert free.cv == correct_camera(fleet, calibration, marks, NONE, None).cv


@pytest.mark.parametrize(("events", "days", "needs"), [(6, 6, True), (4, 4, False), (6, 1, False)])
def test_events_with_nothing_in_common_need_other_heads(events: int, days: int, needs: bool) -> None:
    """They lie as normal segments do, so that none is found by what the others teach."""
    fleet, calibration = world(params=PARAMS.model_copy(update={"scorer": "logistic"}))
    z = draw(np.random.default_rng(5), events, np.zeros(FEATURES))
    groups = tuple(f"day {i % days}" for i in range(events))
    marks = Marks(z, np.ones(events, bool), groups, np.arange(events))
    correction = correct_camera(fleet, calibration, marks, NONE, None)
    assert correction.needs_other_heads == needs


def test_events_that_the_others_teach_need_no_other_heads() -> None:
    fleet, calibration = world(params=PARAMS.model_copy(update={"scorer": "logistic"}))
    z = draw(np.random.default_rng(2), 12, -6.0 * np.eye(FEATURES)[4])
    correction = correct_camera(fleet, calibration, marks_of(z, True), NONE, None)
    assert (correction.overlooked, correction.needs_other_heads) == (6, False)


def test_without_marks_there_is_nothing_to_learn_from() -> None:
    fleet, calibration = world()
    with pytest.raises(ValueError, match="no marks"):
        correct_camera(fleet, calibration, marks_of(NONE, False), NONE, None)


def test_marks_are_as_many_as_their_labels() -> None:
    with pytest.raises(ValueError, match="2 marked segments, 2 labels, 1 groups"):
        Marks(np.zeros((2, 3)), np.array([True, False]), ("a",), np.array([0, 1]))
